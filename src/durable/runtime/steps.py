"""The durable operations of a body: what each does when it is issued live, when it is withdrawn, when it is due.

An operation is awaited once. It is *issued* (gets its identity), then either *taken inline* from the journal, or it
waits on a future until its outcome is applied. Issued live, or when the journal is exhausted, it *begins*: it puts what
it wants from the outside world into the activation's next Advance, or among the commands held until that is durable.
A branch that is cancelled *withdraws* the operation; an outcome that arrives later finds it gone and is dropped.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Final

from durable.core import ids
from durable.core.failure import ORIGIN_ATTRIBUTE, Origin
from durable.core.places import key_of, message_place, promise_place, result_place, step_place
from durable.core.records import Entry, Kind, RunState, Settled, Status, Wait
from durable.core.retry import TaskOptions
from durable.errors import RunNotFound, RunNotOpen, TaskInterrupted, TaskTimedOut, UsageError
from durable.runtime.scope import Evicted
from durable.runtime.specs import TaskSpec, WorkflowSpec
from durable.store.operations import Cancel, Outcome, Send, Settle, Start

if TYPE_CHECKING:
    from durable.runtime.activation import Activation

FAR_FUTURE_MS: Final = 253_402_300_799_000
"""The last millisecond that a datetime can name; no timer is due later."""


class Operation:
    """One durable operation of a body."""

    __slots__ = ("act", "attempt", "digest", "due_at", "future", "key", "kind", "name", "note", "seq", "step_id")

    def __init__(
        self, act: Activation, kind: Kind, name: str, *, digest: int = 0, note: str = "", step_id: str | None = None
    ) -> None:
        self.act = act
        self.kind = kind
        self.name = name
        self.digest = digest
        self.note = note
        self.step_id = step_id
        self.seq: int | None = None
        self.key = 0
        """`seq`, or a negative number in order of issue for an operation with a step_id."""
        self.attempt = 0
        """Attempts that ended."""
        self.due_at = 0
        self.future: asyncio.Future[Any] | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        act = self.act
        if not self.key:
            act.issue(self)
            entry = act.take_inline(self)
            if entry is not None:
                return self.result_of(entry)
        # Nobody but this frame sees the future, so it needs no hash of its own.
        future = self.future = asyncio.Future(loop=act.loop)
        try:
            return (yield from future)
        except asyncio.CancelledError:
            if self.key in act.open:
                act.withdraw(self)
            raise

    def result_of(self, entry: Entry) -> Any:
        """Return or raise what an outcome recorded."""
        if entry.status is Status.ERROR:
            raise self.error_of(entry)
        return self.decode(entry)

    def error_of(self, entry: Entry) -> BaseException:
        """Return the recorded error, marked with where it came from."""
        act = self.act
        error = act.decode_error(entry, self.place)
        setattr(error, ORIGIN_ATTRIBUTE, Origin(entry.position, act.seq + 1))
        return error

    @property
    def place(self) -> bytes:
        """What the operation's value is bound to, if the codec binds values."""
        act = self.act
        if not act.host.binds_values:
            return b""
        return step_place(act.host.app, act.run_id, act.run.continuation, key_of(self.seq, self.step_id))

    def deliver(self, entry: Entry, value: Any) -> None:
        """Let the body see an outcome; `value` is the decoded one if the caller has it, else `MISSING`."""
        future = self.future
        if future is None or future.done():
            return
        try:
            if entry.status is Status.ERROR:
                future.set_exception(self.error_of(entry))
                future._log_traceback = False
            else:
                future.set_result(self.decode(entry) if value is MISSING else value)
        except Evicted:
            """The activation was halted: the value cannot be decoded here."""

    # What the kinds differ in ---------------------------------------------------------------------------------------

    def decode(self, entry: Entry) -> Any:
        """Return the value of a recorded success."""
        return self.act.decode(entry, Any, self.label, self.place)

    def issued(self, begun: bool) -> None:
        """The operation has its identity; `begun` says whether its BEGUN entry was taken from the journal just now."""

    def recorded(self, entry: Entry) -> None:
        """Take note of an entry that leaves the operation open."""
        self.attempt = entry.attempt
        self.due_at = entry.due_at

    def begin(self) -> None:
        """Ask the outside world for the outcome. Called once per activation, when live."""

    def begin_again(self) -> None:
        """Begin once more after a failed attempt."""

    def resume(self) -> None:
        """The run was about to leave, and stays: begin what was put off."""

    def timer_came(self) -> None:
        """The time that the operation put into `act.timers` has come."""

    def withdraw(self) -> None:
        """The outcome is not wanted any more."""

    def closed(self) -> None:
        """The outcome has been recorded live."""

    def answered(self, outcome: Outcome) -> None:
        """The store answered what `begin` put into the Advance."""

    @property
    def label(self) -> str:
        """What error messages call the value."""
        return f"{self.kind.name.lower()} {self.name!r}"

    @property
    def outcome_number(self) -> int:
        """What the outcome's entry says as attempt: the attempt's number, or that of the message received."""
        return 0

    @property
    def holds_lease(self) -> bool:
        """Would a suspension lose something? True while something runs in this process for it."""
        return False


MISSING: Final = object()


class TaskOperation(Operation):
    """A call of a task."""

    __slots__ = (
        "args", "begun", "called_at", "context", "interrupted", "kwargs", "memory_id", "options", "running", "spec",
        "wanted",
    )  # fmt: skip

    def __init__(
        self, act: Activation, spec: TaskSpec, options: TaskOptions, args: tuple[Any, ...], kwargs: Mapping[str, Any],
        step_id: str | None,
    ) -> None:  # fmt: skip
        _, digest, note = act.host.codec.encode_arguments(args, kwargs, label=spec.name, live=True)
        super().__init__(
            act, Kind.TASK, spec.name, digest=digest if options.check_args else 0, note=note, step_id=step_id
        )
        self.spec = spec
        self.options = options
        self.args = args
        self.kwargs = kwargs
        self.context = contextvars.copy_context()
        self.called_at = act.journal.last_at
        self.begun = 0
        """Attempt whose at-most-once marker is recorded."""
        self.running = False
        """Does an attempt run now, in this process?"""
        self.wanted = False
        self.interrupted = False
        """An attempt ended without an outcome, because the loop ends: another activation begins it anew."""
        self.memory_id = ""
        """Name of the step in a store that remembers results by name."""

    def issued(self, begun: bool) -> None:
        if self.act.host.step_memory is not None:
            self.memory_id = self.step_id or self.act.next_memory_id(self.name)

    @property
    def label(self) -> str:
        return self.spec.label

    @property
    def holds_lease(self) -> bool:
        return self.running or self.wanted or self.interrupted

    def decode(self, entry: Entry) -> Any:
        return self.act.decode(entry, self.spec.result_type, self.label, self.place)

    def recorded(self, entry: Entry) -> None:
        if entry.status is Status.BEGUN:
            self.begun = entry.attempt
        else:
            super().recorded(entry)

    def begin(self) -> None:
        if self.due_at and not self.act.host.clock.has_come(self.due_at):
            self.act.timers[self.key] = self.due_at
            self.act.host.alarms.ring_at(self.due_at, self.act)
        elif self.options.at_most_once and self.begun > self.attempt:
            self.act.arrive_error(self, TaskInterrupted(self.name, self.act.run_id))
        else:
            self._start()

    def timer_came(self) -> None:
        self.begin_again()

    def begin_again(self) -> None:
        """Begin the next attempt, called from outside the body's turns.

        Where that records something, it waits for its turn like all that is recorded.
        """
        if self.options.at_most_once:
            self.act.arrive(self, Status.BEGUN, b"", None)
        else:
            self.begin()

    def _start(self) -> None:
        self.wanted = True
        if self.act.winds_down:
            return  # nothing new starts; `resume` asks again, should the run stay
        if self.options.at_most_once:
            self.begun = self.attempt + 1
            self.act.record(self, Status.BEGUN, attempt=self.begun)
        self.act.hold(self._execute)

    def _execute(self) -> None:
        act = self.act
        if act.open.get(self.key) is not self:
            self.wanted = False
        elif not act.winds_down or (self.begun > self.attempt and not act.is_over):
            # An at-most-once attempt whose marker is recorded starts even then: nobody may ever start it again.
            self.wanted = False
            self.running = True
            act.host.executor.execute(self)

    def resume(self) -> None:
        if self.wanted:
            self._start()

    def withdraw(self) -> None:
        self.wanted = False
        if self.running:
            self.act.hold(self._stop)

    def _stop(self) -> None:
        self.act.host.executor.stop(self)

    @property
    def outcome_number(self) -> int:
        return self.attempt + 1

    @property
    def idempotency_key(self) -> str:
        act = self.act
        key = key_of(self.seq, self.step_id)
        return ids.idempotency_key(act.host.app, act.run_id, act.run.continuation, key, self.name)

    def timeout_ms(self, now: int) -> tuple[int, str] | None:
        """Return how long the attempt that starts now may take, and which limit says so."""
        options = self.options
        limits = []
        if options.timeout_ms is not None:
            limits.append((options.timeout_ms, "timeout"))
        if options.deadline_ms is not None:
            limits.append((max(self.called_at + options.deadline_ms - now, 0), "deadline"))
        return min(limits) if limits else None

    def timed_out(self, limit: str) -> TaskTimedOut:
        """Return the error of an attempt that ran into a limit."""
        milliseconds = self.options.timeout_ms if limit == "timeout" else self.options.deadline_ms
        return TaskTimedOut(self.name, limit, (milliseconds or 0) / 1000)


class TimerOperation(Operation):
    """A sleep, or a callback of asyncio's that wants to run later."""

    __slots__ = ("delay_ms", "handle")

    def __init__(self, act: Activation, delay_ms: int, *, name: str, handle: asyncio.TimerHandle | None = None) -> None:
        super().__init__(act, Kind.TIMER, name)
        self.delay_ms = delay_ms
        self.handle = handle

    def decode(self, entry: Entry) -> None:
        return None

    def recorded(self, entry: Entry) -> None:
        self.due_at = min(entry.at + self.delay_ms, FAR_FUTURE_MS)

    def issued(self, begun: bool) -> None:
        act = self.act
        sleep_ms_max = getattr(act.host.store, "sleep_ms_max", None)
        if sleep_ms_max is not None and self.delay_ms > sleep_ms_max:
            raise UsageError(
                f"run {act.run_id!r} sleeps for {self.delay_ms / 1000:g} s: a durable.Store has no place for timers "
                f"over {sleep_ms_max / 1000:g} s; use a full store, such as db='sqlite:///app.db'"
            )
        # The loop's time is that of the entry applied last, which may be long ago: the body computed, or the worker
        # died and another one has come this far. So the moment at which a wait begins is recorded, once; its deadline
        # is then a pure function of the journal, and stands over any number of crashes.
        if begun:
            return
        if not act.journal.replaying:
            act.record(self, Status.BEGUN)
        self.due_at = min(act.journal.last_at + self.delay_ms, FAR_FUTURE_MS)

    def begin(self) -> None:
        self.act.timers[self.key] = self.due_at

    def timer_came(self) -> None:
        self.act.arrive(self, Status.OK, b"", None)

    def deliver(self, entry: Entry, value: Any) -> None:
        if self.handle is not None:
            self.act.loop.fire(self.handle)
        else:
            super().deliver(entry, value)


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

    __slots__ = ("asking", "attached", "begun", "early", "reviving", "seal", "start")

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
            self.start = self.seal(self.start._replace(run_id=ids.child_id(self.act.run_id, self.step_id or self.key)))
            self.target = f"r:{self.start.run_id}"
        if self.child_id == self.act.run_id:
            raise UsageError(f"run {self.child_id!r} waits for itself, which never ends; give the child another id")
        # The history shows which run it was; its arguments are the child's.
        self.note = self.child_id

    def recorded(self, entry: Entry) -> None:
        self.begun = True

    def begin(self) -> None:
        if self.start is None:
            super().begin()
        elif self.begun:
            self.act.host.answers.adopt_child(self)
        else:
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
            self.act.call(None, Cancel(self.act.host.app, self.child_id, "its parent does not wait for it any more"))


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
            run_id = ids.child_id(self.act.run_id, self.step_id or self.key)
            self.request = self.seal(self.request._replace(run_id=run_id))

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
