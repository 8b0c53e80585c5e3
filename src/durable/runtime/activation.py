"""One stretch of a run on one worker: from the claim until it suspends, ends, or is dropped.

`DESIGN.md` tells the whole story; the rules that this file keeps are:

- An entry is applied only when the body's loop is blocked, and then the loop is pumped before the next one is applied.
  Live, the entry is made from an arrival; on replay, it comes from the journal. Nothing else reaches the body.
- What begins live is held until every entry before it is durable.
- Everything produced since the last commit goes to the store as one Advance, accepted or refused whole.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from durable.core.places import step_place
from durable.core.records import Entry, Kind, Pending, Requests, RunRecord, Status
from durable.core.replay import Journal, patch_name
from durable.errors import (
    BusyLoop,
    Deadlock,
    DecodeError,
    ForbiddenInWorkflow,
    HistoryLimit,
    NonDeterminismError,
    WorkflowError,
)
from durable.runtime import strict
from durable.runtime.arrivals import CANCEL, Arrival, Arrivals
from durable.runtime.clock import elapsed_ms
from durable.runtime.endings import Ended, Ending
from durable.runtime.frontier import Frontier
from durable.runtime.interruptions import CLEANED_UP, ONCE_MORE, Interruptions
from durable.runtime.loop import BodyLoop, BodyTimerHandle
from durable.runtime.outbox import Call, Outbox, Request, answers_of
from durable.runtime.scope import BodyScope, Evicted, current
from durable.runtime.specs import WorkflowSpec
from durable.runtime.steps import MISSING, Operation, TimerOperation
from durable.runtime.unawaited import Unawaited
from durable.runtime.waits import MessageOperation
from durable.runtime.where import place_of
from durable.store.operations import Advance, Fenced, GoOn, Outcome, Paused, Release, Suspend, Then, Woken

if TYPE_CHECKING:
    from durable.runtime.host import Host

logger = logging.getLogger("durable.workflow")

PUMP_SECONDS: Final = 0.005
"""Longest time a body keeps the worker's loop to itself (design §3)."""

SLOW_PUMP_SECONDS: Final = 1.0
"""A callback of a body that keeps the loop longer than this is logged, with where the body stands."""

UNCOMMITTED_MAX: Final = 1_000
"""Entries that may wait for a failing store before the body stops (design §3)."""

SHORT_WAIT_MS: Final = 1_000
"""A wait shorter than this keeps the lease (design §3, Suspension)."""

_GO_ON: Final = GoOn()


class Phase(Enum):
    """What an activation may do; `DESIGN.md` has the transitions."""

    AT_WORK = "at work"
    """Entries are applied."""
    DECIDED = "decided"
    """The run's end is decided, and not yet handed to the store; nothing is applied any more."""
    LEAVING = "leaving"
    """An Advance that gives up the run is on its way."""
    RESTING = "resting"
    """The run is suspended and this is only kept in the cache: whoever claims it next may be another worker."""
    GONE = "gone"
    """The body is unwound, or must not do anything any more."""


_PRODUCTIVE: Final = (Phase.AT_WORK, Phase.DECIDED)


class Activation:
    """A body that executes, and everything that is between it and the store."""

    def __init__(self, host: Host, spec: WorkflowSpec, run: RunRecord, entries: list[Entry], pending: Pending) -> None:
        self.host = host
        self.spec = spec
        self.run = run
        self.run_id = run.run_id
        self.journal = Journal(run.run_id, entries, run.started_at or run.created_at)
        seed = f"{host.app}\n{run.run_id}\n{run.continuation}"
        self.loop = BodyLoop(self, seed)  # type: ignore[abstract]
        self.frontier = Frontier(self.journal, self.loop)
        self.arrivals = Arrivals(self.frontier.open)
        self.interruptions = Interruptions(run, spec.timeout_ms)
        self.outbox = Outbox()
        self.unawaited = Unawaited()
        self.live = False
        """Is the journal exhausted, and everything open begun?"""
        self.durable = self.journal.position
        """Everything before this position is committed."""
        self.phase = Phase.AT_WORK
        self.in_flight = 0
        """Attempts that run in this process, withdrawn ones included."""
        self.computing = False
        """A plain function's body runs in its thread: nothing may be applied."""
        self.alarm_at: int | None = None
        """When `ring` is asked for; kept by the alarms."""
        self.scheduled = False
        """Stands in the engine's line for a turn."""
        self.ended: Ended | None = None
        self.trouble: BaseException | None = None
        """Why the activation cannot go on."""
        self.straggling_since: int | None = None
        """When the body had ended while attempts were still running."""
        self.active_since = host.clock.now_ms()
        self._pending = pending
        self._held: deque[tuple[int, Callable[[], object]]] = deque()
        self._then: Then = _GO_ON
        self._submitted = self.durable
        self._calls: list[Call] = []
        self._closing = False
        """The body has ended, and its branches were cancelled."""
        self._release_at: int | None = None
        limit = host.options.pump_seconds
        self._pump_seconds = PUMP_SECONDS if limit is None else limit
        self.root: asyncio.Task[Any] = self._launch()

    def _launch(self) -> asyncio.Task[Any]:
        """Make the body's coroutine, in a context that holds nothing but the current run."""
        context = contextvars.Context()
        context.run(current.set, BodyScope(self))
        coro = self.host.bodies.body_of(self)
        return self.loop.create_task(coro, name=self.spec.name, context=context)

    @property
    def replaying(self) -> bool:
        """Has an earlier activation been where the body is now?

        Also where the journal ends, until the body blocks there: whoever had the run before came that far.
        """
        return self.journal.replaying or (not self.live and self.run.epoch > 1)

    # What the body asks for -----------------------------------------------------------------------------------------

    def refuse_outside(self) -> None:
        """Refuse whoever is not the body on its way.

        Raises:
            Evicted: the activation has ended.
            ForbiddenInWorkflow: something of the body's that is not part of its flow asks.
        """
        if self.phase is Phase.GONE:
            raise Evicted
        if not self.loop.is_running() and not self.computing:
            raise ForbiddenInWorkflow(
                f"run {self.run_id!r}: a durable operation was started outside the workflow's own flow (a finalizer?)"
            )

    def withdraw(self, op: Operation) -> None:
        """Forget an operation whose branch was cancelled."""
        self.frontier.withdraw(op)
        # At the journal's end, too: whoever had the run before may have died within this pump.
        if self.phase is not Phase.GONE and not self.journal.replaying:
            op.withdraw()

    def value(self, name: str, make: Callable[[], Any]) -> Any:
        """Return a synchronous value: recorded, or made now and recorded at once.

        Raises:
            Evicted: the activation has ended.
        """
        self.refuse_outside()
        seq = self.frontier.number_value()
        label = f"value of durable.{name}()"
        host = self.host
        if host.options.on_step is not None:
            host.options.on_step(self, Kind.VALUE, name, seq)
        place = step_place(host.app, self.run_id, self.run.continuation, seq) if host.binds_values else b""
        try:
            entry = self.journal.take_value(seq, name)
        except NonDeterminismError as error:
            raise self.halted(error) from None
        if entry is not None:
            return self.decode(entry, Any, label, place)
        data, value = host.codec.round_trip(make(), label=label, aad=place)
        self._append(Kind.VALUE, Status.OK, seq=seq, name=name, data=data)
        return value

    def patched(self, name: str) -> bool:
        """Does this run take the new code of a change? See `durable.patched`."""
        self.refuse_outside()
        new = self.journal.take_patch(name)
        if new is None:
            self._append(Kind.VALUE, Status.OK, name=patch_name(name))
        return new is not False

    def begin_timer(self, handle: BodyTimerHandle, delay_ms: int) -> None:
        """A callback of asyncio's wants to run later; called by the body's loop."""
        if self.phase is Phase.GONE:
            return  # the body is being unwound: nothing fires, and what it awaits next ends it
        op = TimerOperation(self, delay_ms, name="timer", handle=handle)
        self.frontier.issue(op)
        handle.key = op.key
        if self.live:
            op.begin()

    def cancel_timer(self, handle: BodyTimerHandle) -> None:
        """The callback is not wanted any more; called by the body's loop."""
        op = self.frontier.open.get(handle.key)
        if op is not None:
            self.withdraw(op)

    # Recording ------------------------------------------------------------------------------------------------------

    def _append(self, kind: Kind, status: Status, **fields: Any) -> None:
        self.outbox.entries.append(self.journal.append(self.host.clock.now_ms(), kind, status, fields))

    def record(self, op: Operation, status: Status, *, attempt: int = 0) -> None:
        """Record something about an operation that stays open."""
        self._append(
            op.kind, status, seq=op.seq, step_id=op.step_id, name=op.name, digest=op.digest, attempt=attempt,
            note=op.note,
        )  # fmt: skip

    def decode(self, entry: Entry, result_type: Any, label: str, place: bytes) -> Any:
        """Return an entry's value.

        Raises:
            Evicted: it cannot be decoded here; the run is set aside.
        """
        try:
            return self.host.codec.decode(entry.data, result_type, label=label, aad=place)
        except DecodeError as error:
            raise self.halted(error) from error

    def decode_error(self, entry: Entry, place: bytes) -> BaseException:
        """Return an entry's error.

        Raises:
            Evicted: it cannot be decoded here; the run is set aside.
        """
        try:
            return self.host.codec.decode_error(entry.data, aad=place)
        except DecodeError as error:
            raise self.halted(error) from error

    # Applying -------------------------------------------------------------------------------------------------------

    def _replay_next(self) -> bool:
        """Apply the next recorded entry; the loop is blocked. False: something has to happen first."""
        entry = self.journal.peek()
        assert entry is not None
        if entry.kind is Kind.RUN:
            self.journal.take_any()
            if entry.attempt != CLEANED_UP:
                self._interrupt(entry.name, entry.note)
            return True
        try:
            return self.frontier.replay(entry)
        except NonDeterminismError as error:
            self.halt(error)
            return True
        except Evicted:
            return True  # halted already, with the reason

    def _go_live(self) -> None:
        self.live = True
        self.frontier.begin_all()
        self.tell(self._pending)
        if self.interruptions.swallowed and not self.arrivals.cancel_requested:
            self.arrivals.request(CANCEL, ONCE_MORE)
        self.ring()

    def arrive(self, op: Operation, status: Status, data: bytes, value: Any, *, took: int = 0, due_at: int = 0) -> None:
        """Something has happened to an operation; it is applied in its turn."""
        self.arrivals.line.append(Arrival(op, status, data, value, took, due_at))
        self.host.turn_soon(self)

    def arrive_error(self, op: Operation, error: BaseException, *, took: int = 0) -> None:
        """An operation has failed for good."""
        self.arrive(op, Status.ERROR, self.host.codec.encode_error(error, aad=op.place), MISSING, took=took)

    def tell(self, pending: Pending) -> None:
        """Take in what the store says has arrived."""
        if not self.live:
            self._pending = pending
            return
        # What nobody here waits for (any more) would keep the run from ever suspending.
        self.outbox.unwaits += self.arrivals.tell(pending, self.host.codec)
        self.host.turn_soon(self)

    def _accept(self, arrival: Arrival) -> None:
        """Give an arrival its position and apply it; the loop is blocked."""
        op = arrival.operation
        if op is None:
            self._accept_request(arrival)
            return
        if self.frontier.open.get(op.key) is not op:
            if isinstance(op, MessageOperation) and op.number:
                self.arrivals.give_back(op, arrival.data)
            return  # withdrawn meanwhile, or told twice
        if arrival.status is Status.BEGUN:
            op.begin()
            return
        now = max(self.host.clock.now_ms(), op.due_at)  # its time had come, though the clock may be set back since
        entry = self.journal.append_outcome(
            now, op, arrival.status, op.outcome_number, arrival.took, arrival.due_at, arrival.data
        )
        self.outbox.entries.append(entry)
        if arrival.status is Status.RETRY:
            op.recorded(entry)
            self.hold(lambda: self._begin_again(op))
            return
        self.frontier.close(op)
        op.deliver(entry, arrival.value)

    def _begin_again(self, op: Operation) -> None:
        if self.frontier.open.get(op.key) is op:  # else its branch was cancelled meanwhile
            op.begin_again()

    def _accept_request(self, arrival: Arrival) -> None:
        name = arrival.name
        if not self.interruptions.may_come(name):
            return
        note = arrival.data.decode("utf-8", "replace")
        again = name == CANCEL and note != ONCE_MORE and self.interruptions.cleans_up
        self._append(Kind.RUN, Status.OK, name=name, note=note, attempt=CLEANED_UP if again else 0)
        if name == CANCEL:
            self.arrivals.cancel_waits = False
            self.interruptions.recorded_at(self.journal.position - 1)
        if not again:
            self._interrupt(name, note)

    def _interrupt(self, name: str, reason: str) -> None:
        self.interruptions.came(name, reason)
        self.root.cancel(f"run {name}")

    @property
    def is_cancelled(self) -> bool:
        """Was the run asked to cancel?"""
        told = self.arrivals.cancel_requested or bool(self._pending.requests & Requests.CANCEL)
        return told or self.interruptions.cancelled

    def notice_swallowed_cancel(self) -> None:
        """A body that asks for more after it swallowed its cancellation gets it once more (design §3, Cancellation)."""
        if asyncio.current_task(self.loop) is not self.root or not self.interruptions.swallows_now():
            return
        # Behind the journal's end it is asked for now; before that, a recorded one follows, or `_go_live` asks.
        if not self.journal.replaying:
            self.arrivals.request(CANCEL, ONCE_MORE)

    # Turns ----------------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Go on as far as possible, for at most `PUMP_SECONDS`; then decide what the run does next."""
        if not self._may_go_on():
            return
        self._then = _GO_ON  # what was decided before does not hold once something more is applied
        until = perf_counter() + self._pump_seconds
        try:
            while self.loop.is_blocked or self._pump(until):
                if self.computing:
                    self._hand_over()
                    return
                if not self._step():
                    self._decide()
                    return
                if perf_counter() > until:
                    break
        except BusyLoop as error:
            self.halt(BusyLoop(self._where(str(error))))
            self._decide()
            return
        self.flush()
        self.host.turn_soon(self)

    def _may_go_on(self) -> bool:
        return self.phase is Phase.AT_WORK and not self.computing

    def _pump(self, until: float) -> bool:
        if self.host.options.strict:
            with strict.Watch(self.run_id, self.forbid):
                done = self.loop.pump(until)
        else:
            done = self.loop.pump(until)
        seconds = perf_counter() - (until - self._pump_seconds)
        if seconds > SLOW_PUMP_SECONDS:
            logger.warning(
                "run %r kept its worker's loop for %.1f s, and all other runs with it, before it came to %s: move what "
                "computes or blocks into a task, a plain (def) one for what blocks",
                self.run_id, seconds, self._places() or "its end",
            )  # fmt: skip
        return done

    def _hand_over(self) -> None:
        """Let the thread of a plain body compute; nothing is applied until it asks."""
        self.flush()
        self.host.bodies.resume(self)

    def _step(self) -> bool:
        """Apply one entry, if there is one to apply; the loop is blocked."""
        if self.trouble is not None:
            return False
        if self.root.done() and (branches := self.loop.open_tasks()):
            if not self._closing:
                self._closing = True
                for task in branches:
                    task.cancel()
                return True
        elif self.root.done():
            if (entry := self.journal.left_over()) is not None:
                self.halt(self.journal.diverged(entry, "the end of the workflow"))
            return not self.live and self._go_live_first()
        if self.journal.replaying and self._replay_next():
            return True
        if not self.live and not self.journal.replaying:
            return self._go_live_first()
        return self._step_live()

    def _go_live_first(self) -> bool:
        self._go_live()
        return True

    def _step_live(self) -> bool:
        if not self.arrivals.line or self.journal.position - self.durable >= UNCOMMITTED_MAX:
            return False
        self._accept(self.arrivals.line.popleft())
        return True

    def _decide(self) -> None:
        """Decide what the run does next, now that nothing can be applied."""
        self._then = _GO_ON
        if self.trouble is not None:
            self.host.executor.stop_attempts(self)
            if not self.in_flight or not self.host.waits_for_stragglers(self):
                self._end(self.host.endings.of_trouble(self, self.trouble))
        elif self.root.done() and not self.loop.open_tasks():
            if not self.in_flight or not self.host.waits_for_stragglers(self):
                self._end(self.host.endings.of_body(self))
        else:
            self._wait()
        self.flush()

    def _end(self, ending: Ending) -> None:
        self.phase = Phase.DECIDED
        self._tell_unawaited()
        if self.trouble is not None and ending.final is not None:
            # Cancelled without a body that could pass it on: its children are cancelled all the same.
            for op in self.frontier.open.values():
                op.withdraw()
        self._then = ending.then
        self.ended = ending.ended
        if ending.final is not None:
            status, data, note = ending.final
            self._append(Kind.RUN, status, name="finish", data=data, note=note)
        elif ending.replaces_journal:
            # Entries that are not stored yet would have no place in the new one.
            self.outbox.entries.clear()

    def _tell_unawaited(self) -> None:
        if places := self.unawaited.take_places():
            logger.warning(
                "run %r has ended, and what it called here was never awaited, so it was not done: %s",
                self.run_id, ", ".join(places),
            )  # fmt: skip

    def _wait(self) -> None:
        due_at = self._next_due()
        if self._is_busy():
            if due_at is not None:
                self.host.alarms.ring_at(due_at, self)
        elif self.arrivals.pause_requested:
            self._then = Paused()
        elif self._release_at is not None:
            self._then = Release(self._release_at)
        elif self._is_too_long:
            self._give_up(HistoryLimit(self.run_id, self.host.options.history_max))
        elif any(op.holds_lease for op in self.frontier.open.values()):
            if due_at is not None:
                self.host.alarms.ring_at(due_at, self)
        elif due_at is None and not self.frontier.open:
            self._give_up(Deadlock(self._where("every branch waits for another one, and nothing will ever wake them")))
        elif due_at is not None and due_at - self.host.clock.now_ms() < SHORT_WAIT_MS:
            self.host.alarms.ring_at(due_at, self)
        else:
            self._then = Suspend(due_at)

    def _give_up(self, error: WorkflowError) -> None:
        self.halt(error)
        self._end(self.host.endings.of_trouble(self, error))

    @property
    def _is_too_long(self) -> bool:
        """Has the journal reached its limit? What runs is still recorded, nothing new is started."""
        return self.journal.position >= self.host.options.history_max and bool(self.frontier.open)

    def _is_busy(self) -> bool:
        """Does something run for the body, or is about to be applied?"""
        return bool(self.in_flight or self._held or self._calls or self.outbox.calls or self.arrivals.line)

    def _next_due(self) -> int | None:
        timers = self.frontier.timers
        due = min(timers.values()) if timers else None
        limit = self.limit_at() if self.interruptions.limited else None
        return limit if limit is not None and (due is None or limit < due) else due

    def limit_at(self) -> int | None:
        """Return when the next of the run's own limits passes, in milliseconds; None if none will."""
        return self.interruptions.next_limit_at(self.run, self.active_since, active=bool(self.in_flight))

    def limit_seconds(self, limit: str) -> float:
        """Return how long a limit of the run allows."""
        timeout_ms = self.interruptions.timeout_ms
        deadline_ms = (self.run.deadline_at or 0) - self.run.created_at
        return ((timeout_ms or 0) if limit == "timeout" else deadline_ms) / 1000

    def ring(self) -> None:
        """A time has come, perhaps."""
        if not self._may_go_on() or not self.live:
            return  # `_wait` asks for another ring where one is needed
        clock = self.host.clock
        self.frontier.ring(clock.has_come)
        at = self.run.deadline_at
        if at is not None and clock.has_come(at) and self.interruptions.passes("deadline"):
            self.arrivals.request("deadline")
        if self.spec.timeout_ms is not None:
            spent = self.run.active_ms + clock.now_ms() - self.active_since
            if spent >= self.spec.timeout_ms and self.interruptions.passes("timeout"):
                self.arrivals.request("timeout")
        self.host.turn_soon(self)

    # Leaving --------------------------------------------------------------------------------------------------------

    def halt(self, error: BaseException) -> None:
        """The activation cannot go on; the first reason counts."""
        if self.trouble is None:
            self.trouble = error
            self.loop.halted = True

    def halted(self, error: BaseException) -> Evicted:
        """As `halt`, from within the body: return what to raise there."""
        self.halt(error)
        return Evicted()

    def forbid(self, error: ForbiddenInWorkflow) -> None:
        """The body did what a body cannot do; it sticks to the run even if a library swallows the error."""
        self.halt(error)

    def report(self, message: str, error: BaseException | None) -> None:
        """Log what nobody awaits; called by the body's loop."""
        if self.phase is not Phase.GONE and not isinstance(error, Evicted):
            self.host.report(self.run_id, message, error)

    def release(self, due_at: int) -> None:
        """Hand the run back as soon as nothing runs for it here."""
        self._release_at = due_at
        self.host.turn_soon(self)

    @property
    def is_gone(self) -> bool:
        """Is the body unwound?"""
        return self.phase is Phase.GONE

    @property
    def is_over(self) -> bool:
        """Has the body come to its end, good or bad?"""
        return self.trouble is not None or self.phase is not Phase.AT_WORK

    @property
    def winds_down(self) -> bool:
        """Does the run leave as soon as it can? Nothing new is started for it here."""
        return (
            self._release_at is not None
            or self.arrivals.pause_requested
            or self.is_over
            or self.journal.position >= self.host.options.history_max
        )

    def rest(self) -> None:
        """The run is suspended, durably; the body waits in the cache."""
        self.phase = Phase.RESTING

    def evict(self) -> None:
        """End the body without its having a say; nothing is recorded."""
        if self.phase is not Phase.GONE:
            self.phase = Phase.GONE
            self.alarm_at = None
            self.loop.halted = True
            self.unawaited.take_places()
            self.host.bodies.unwind(self)
            self.host.executor.stop_attempts(self)
            self.loop.close_all()
            # What refers to itself waits for the garbage collector.
            self.frontier.open.clear()
            del self.root

    def rejoin(self, run: RunRecord, pending: Pending) -> None:
        """Go on after a suspension without replay: the journal has not changed."""
        self.run = run
        self.phase = Phase.AT_WORK
        self._then = _GO_ON
        self.active_since = self.host.clock.now_ms()
        self.tell(pending)
        self.ring()

    # Between the body and the store ---------------------------------------------------------------------------------

    def hold(self, command: Callable[[], object]) -> None:
        """Carry out a command as soon as everything recorded before it is durable."""
        self._held.append((self.journal.position, command))

    def call(self, op: Operation | None, request: Request) -> None:
        """Put a request into the next Advance."""
        self.outbox.calls.append(Call(request, op))

    def flush(self) -> None:
        """Let the committer take what there is, and carry out what may be carried out."""
        self._carry_out()
        if self.outbox or self._then is not _GO_ON:
            self.host.committer.add(self)

    def _carry_out(self) -> None:
        held = self._held
        if self.arrivals.cancel_waits and not self.root.done():
            return  # nothing starts after a cancellation that was acknowledged
        # Nor in the middle of a pump, which may still cancel what is held.
        while held and held[0][0] <= self.durable and self.loop.is_blocked:
            held.popleft()[1]()

    def take(self) -> Advance | None:
        """Return everything produced since the last Advance; called by the committer."""
        if self.computing or self.phase not in _PRODUCTIVE:
            return None
        leaves = self._then is not _GO_ON
        active_ms = elapsed_ms(self.active_since, self.host.clock.now_ms()) if leaves else 0
        entries, extras, self._calls = self.outbox.take()
        self._submitted = self.journal.position
        if leaves:
            self.phase = Phase.LEAVING
        if isinstance(self._then, Paused):
            self.arrivals.pause_requested = False  # obeyed; should it be refused and still wanted, we are told again
        return Advance(self.run.key, self.host.worker_id, self.run.epoch, entries, self._then, extras, active_ms)

    def stored(self, outcome: Outcome) -> None:
        """The store has accepted or refused what `take` returned: take note. `go_on` follows, once all is told."""
        if self.phase is Phase.GONE or isinstance(outcome, Fenced):
            return
        self.durable = self._submitted
        if self.interruptions.became_durable(self.durable):
            self.arrivals.cancel_requested = False
        calls, self._calls = self._calls, []
        for call, answer in zip(calls, answers_of(outcome), strict=False):
            if call.operation is not None and self.frontier.open.get(call.operation.key) is call.operation:
                call.operation.answered(answer)

    def go_on(self, outcome: Outcome) -> None:
        """Carry out what was held, or leave; or let go, if the store has refused."""
        if self.phase is Phase.GONE:
            return
        if isinstance(outcome, Fenced):
            self.host.fenced(self)
            return
        self._carry_out()
        if self.phase is Phase.LEAVING:
            if outcome is not Woken.WOKEN and not getattr(outcome, "woken", False):
                self.host.left(self, self._then)
                return
            self._stay()
        if not self.in_flight or self.arrivals.line:
            self.host.turn_soon(self)

    def _stay(self) -> None:
        """Something has arrived that the decision to leave did not know; the store tells it next."""
        self.phase = Phase.AT_WORK
        self._then = _GO_ON
        for op in list(self.frontier.open.values()):
            op.resume()

    def _where(self, text: str) -> str:
        """Return `text` with the line at which each branch stands."""
        return f"{text}; {self._places()}"

    def _places(self) -> str:
        return "; ".join(f"{task.get_name()}: {place_of(task)}" for task in self.loop.open_tasks())
