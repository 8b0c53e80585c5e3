"""The durable operations that other runs and clients answer: signals, messages, children, requests to the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from durable.core.places import message_place, promise_place, result_place
from durable.core.records import Entry, Kind, RunState, Settled, Status, Wait
from durable.core.replay import describe
from durable.errors import RunNotFound, RunNotOpen, UsageError
from durable.runtime.specs import WorkflowSpec
from durable.runtime.steps import Operation
from durable.store.operations import Cancel, Outcome, Send, Settle, Start

if TYPE_CHECKING:
    from durable.runtime.activation import Activation


class WaitOperation(Operation):
    """A wait for a promise: a signal, an approval, anything that is settled once from outside."""

    __slots__ = ("result_type", "target")

    def __init__(
        self, act: Activation, kind: Kind, name: str, target: str, *, result_type: Any = Any, digest: int = 0,
        note: str = "", step_id: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(act, kind, name, digest=digest, note=note, step_id=step_id)
        self.target = target
        self.result_type = result_type

    @property
    def wait(self) -> Wait:
        return Wait(self.key, self.target)

    def decode(self, entry: Entry) -> Any:
        # The value was encoded by whoever settled it, outside any run.
        return self.act.decode(entry, self.result_type, self.label, self.place)

    @property
    def place(self) -> bytes:
        return promise_place(self.act.host.app, self.target[2:]) if self.act.host.binds_values else b""

    def begin(self) -> None:
        self.act.outbox.waits.append(self.wait)

    def withdraw(self) -> None:
        self.act.outbox.unwaits.append(self.wait)

    def closed(self) -> None:
        self.act.outbox.unwaits.append(self.wait)

    def missing(self) -> BaseException:
        """Return the error for a target that does not exist."""
        return RunNotFound(self.target[2:], self.act.host.app)


class MessageOperation(WaitOperation):
    """A wait for the next message of a name."""

    __slots__ = ("number",)

    def __init__(self, act: Activation, name: str) -> None:
        super().__init__(act, Kind.MESSAGE, name, f"m:{name}")
        self.number = 0

    def begin(self) -> None:
        super().begin()
        self.act.arrivals.match_messages()
        if self.number:
            self.act.host.turn_soon(self.act)

    @property
    def outcome_number(self) -> int:
        return self.number

    def closed(self) -> None:
        super().closed()
        self.act.outbox.consumed.append(self.number)

    @property
    def place(self) -> bytes:
        return message_place(self.act.host.app, self.act.run_id) if self.act.host.binds_values else b""


class ChildOperation(WaitOperation):
    """A child run: started (unless it is only awaited) and awaited."""

    __slots__ = ("_entry", "asking", "attached", "begun", "early", "reviving", "seal", "start")

    def __init__(
        self, act: Activation, spec: WorkflowSpec | None, run_id: str, start: Start | None, *, digest: int = 0,
        note: str = "", step_id: str | None = None, seal: Callable[[Start], Start] = lambda start: start,
    ) -> None:  # fmt: skip
        name = spec.name if spec else "result"
        result_type = spec.result_type if spec else Any
        super().__init__(
            act, Kind.CHILD, name, f"r:{run_id}", result_type=result_type, digest=digest, note=note, step_id=step_id
        )
        self.start = start
        self.seal = seal
        """Encodes the arguments for a run id that is known only now."""
        self.begun = False
        self._entry: Entry | None = None
        self.asking = False
        """The start was sent and not answered yet: whether a run that has ended is this child is not known."""
        self.attached = False
        """The run was there already and is not this one's child: it is awaited, never cancelled."""
        self.early: Settled | None = None
        """What was told of the child's end meanwhile."""
        self.reviving = False
        """The child had failed before and is being let go on: its old failure is no outcome."""

    @property
    def place(self) -> bytes:
        return result_place(self.act.host.app, self.child_id) if self.act.host.binds_values else b""

    @property
    def holds_lease(self) -> bool:
        return self.reviving

    @property
    def child_id(self) -> str:
        return self.target[2:]

    def issued(self, begun: bool) -> None:
        if self.start is not None and not self.start.run_id:
            self.start = self.seal(self.start._replace(run_id=self.derived_id()))
            self.target = f"r:{self.start.run_id}"
        if self.child_id == self.act.run_id:
            raise UsageError(f"run {self.child_id!r} waits for itself, which never ends; give the child another id")
        # The history shows which run it was; its arguments are the child's.
        self.note = self.child_id
        if self._entry is not None:
            self._check_id(self._entry)

    def recorded(self, entry: Entry) -> None:
        self.begun = True
        self._entry = entry
        if self.child_id:  # else it is derived when the operation is issued, which comes next
            self._check_id(entry)

    def _check_id(self, entry: Entry) -> None:
        self.note = self.child_id
        if entry.note != self.child_id:
            raise self.act.halted(self.act.journal.diverged(entry, describe(self)))

    def begin(self) -> None:
        if self.start is not None and self.begun:
            self.act.host.answers.adopt_child(self)
            if self.step_id is None and not self.act.journal.rewound:
                return
            # The wait is registered, but maybe not as it is now: a rewind forgets all waits, and keys of steps with a
            # step id count how many of those came before.
        elif self.start is not None:
            self.begun = self.asking = True
            self.act.record(self, Status.BEGUN)
            self.act.call(self, self.start)
        super().begin()

    def answered(self, outcome: Outcome) -> None:
        self.asking = False
        self.act.host.answers.to_child(self, outcome)

    def puts_off(self, settled: Settled) -> bool:
        """Is it too early to take the child's end for the outcome? It is kept then, or forgotten if it is old."""
        if self.asking:
            self.early = settled
        return self.asking or self.reviving

    def withdraw(self) -> None:
        super().withdraw()
        if self.start is not None and self.begun and not self.attached:
            reason = "its parent does not wait for it any more"
            self.act.call(None, Cancel(self.act.host.app, self.child_id, reason, self.act.run_id))


class CallOperation(Operation):
    """A request to the store whose answer is recorded: start a run without waiting, settle, send, cancel."""

    __slots__ = ("request", "seal")

    def __init__(
        self, act: Activation, kind: Kind, name: str, request: Start | Settle | Send | Cancel, *, digest: int = 0,
        note: str = "", step_id: str | None = None, seal: Callable[[Start], Start] = lambda start: start,
    ) -> None:  # fmt: skip
        super().__init__(act, kind, name, digest=digest, note=note, step_id=step_id)
        self.request = request
        self.seal = seal

    def issued(self, begun: bool) -> None:
        if isinstance(self.request, Start) and not self.request.run_id:
            self.request = self.seal(self.request._replace(run_id=self.derived_id()))

    @property
    def holds_lease(self) -> bool:
        return True

    def begin(self) -> None:
        self.act.call(self, self.request)

    def not_found(self) -> BaseException:
        """Return the error for a request to a run that does not exist."""
        return RunNotFound(getattr(self.request, "run_id", ""), self.act.host.app)

    def not_open(self, state: RunState) -> BaseException:
        """Return the error for a request to a run that has ended."""
        return RunNotOpen(
            getattr(self.request, "run_id", ""), state.label, f"{self.name} needs a run that has not ended"
        )

    def answered(self, outcome: Outcome) -> None:
        self.act.host.answers.to_call(self, outcome)
