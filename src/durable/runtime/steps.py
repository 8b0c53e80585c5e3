"""The durable operations of a body: what each does when it is issued live, when it is withdrawn, when it is due.

An operation is awaited once. It is *issued* (gets its identity), then either *taken inline* from the journal, or it
waits on a future until its outcome is applied. Issued live, or when the journal is exhausted, it *begins*: it puts what
it wants from the outside world into the activation's next Advance, or among the commands held until that is durable.
A branch that is cancelled *withdraws* the operation; an outcome that arrives later finds it gone and is dropped.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Final

from durable.core import ids
from durable.core.failure import ORIGIN_ATTRIBUTE, Origin
from durable.core.places import key_of, step_place
from durable.core.records import Entry, Kind, Status
from durable.core.retry import TaskOptions
from durable.errors import TaskInterrupted, TaskTimedOut, UsageError
from durable.runtime.scope import Evicted
from durable.runtime.specs import TaskSpec
from durable.store.operations import Outcome

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
            act.frontier.issue(self)
            entry = act.frontier.take_inline(self)
            if entry is not None:
                return self.result_of(entry)
        # Nobody but this frame sees the future, so it needs no hash of its own.
        future = self.future = asyncio.Future(loop=act.loop)
        try:
            return (yield from future)
        except asyncio.CancelledError:
            if self.key in act.frontier.open:
                act.withdraw(self)
            raise
        finally:
            self.future = None
            del future  # whose error refers to this frame: what refers to itself waits for the garbage collector

    def result_of(self, entry: Entry) -> Any:
        """Return or raise what an outcome recorded."""
        if entry.status is Status.ERROR:
            raise self.error_of(entry)
        return self.decode(entry)

    def error_of(self, entry: Entry) -> BaseException:
        """Return the recorded error, marked with where it came from."""
        act = self.act
        error = act.decode_error(entry, self.place)
        setattr(error, ORIGIN_ATTRIBUTE, Origin(entry.position, act.frontier.seq + 1))
        return error

    @property
    def place(self) -> bytes:
        """What the operation's value is bound to, if the codec binds values."""
        act = self.act
        if not act.host.binds_values:
            return b""
        return step_place(act.host.app, act.run_id, act.run.continuation, key_of(self.seq, self.step_id))

    def derived_id(self) -> str:
        """Return the id of a run that the operation starts and that was given none."""
        return ids.child_id(self.act.run_id, self.step_id or self.key, self.act.run.continuation)

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
        """The time that the operation put into `act.frontier.timers` has come."""

    def withdraw(self) -> None:
        """The outcome is not wanted any more."""

    def closed(self) -> None:
        """The outcome has been recorded live."""

    def answered(self, outcome: Outcome) -> None:
        """The store answered what `begin` put into the Advance."""

    @property
    def label(self) -> str:
        """What error messages call the value."""
        return f"{self.kind.label} {self.name!r}"

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
            self.memory_id = self.step_id or self.act.frontier.next_memory_id(self.name)

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
            self.act.frontier.timers[self.key] = self.due_at
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
        if act.frontier.open.get(self.key) is not self:
            self.wanted = False
        elif not act.winds_down or (self.begun > self.attempt and not act.is_over):
            # An at-most-once attempt whose marker is recorded starts even then: nobody may ever start it again.
            self.wanted = False
            self.running = True
            act.host.executor.execute(self)
        else:
            act.host.turn_soon(act)  # which decides how the run leaves

    def put_off(self) -> None:
        """Start the attempt later, unless it is not wanted by then: it has not begun, and something may have come."""
        self.wanted = True
        self.act.hold(self._execute)

    def resume(self) -> None:
        if self.wanted:
            self._start()

    def withdraw(self) -> None:
        self.wanted = False
        if self.running:
            self.act.hold(self._stop)

    def closed(self) -> None:
        del self.context  # which names the operation

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
        self.act.frontier.timers[self.key] = self.due_at

    def timer_came(self) -> None:
        self.act.arrive(self, Status.OK, b"", None)

    def deliver(self, entry: Entry, value: Any) -> None:
        if self.handle is not None:
            self.act.loop.fire(self.handle)
        else:
            super().deliver(entry, value)
