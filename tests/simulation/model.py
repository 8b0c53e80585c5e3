"""What must be true of the database and of the effects, whatever goes wrong: O1 to O6 of the reliability targets.

The model keeps its own account of every run from what the store was asked and what it answered: who owns it under which
epoch, what is recorded, which signals and messages were accepted, who was told of what. After every write it compares
that with the tables. It shares no code with the store but the records.

O1  what was acknowledged is there                        `acknowledged`, `_check_promises`, `_check_letters`
O2  what is recorded never changes                        `_check_journal`
O3  only the owner writes, one epoch after a takeover     `_check_advance`, `_check_journal`, `_check_owner`
O4  whatever can go on, does                              `_check_sleepers`, and `world.stuck`
O5  effects happen once, more often only after faults     `effect`
O6  the result is that of a run without faults            `check_result`
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from durable.core.failure import dropped_positions
from durable.core.lease import DEATHS_MAX
from durable.core.records import Entry, Kind, Pending, Reason, Requests, RunKey, RunState, Status, WorkerId
from durable.store._memory_tables import Row, Tables
from durable.store.base import Expired
from durable.store.operations import (
    Advance,
    Answer,
    Cancel,
    Claim,
    Claimed,
    Committed,
    Continue,
    Done,
    Existing,
    Fenced,
    Finish,
    GoOn,
    Operation,
    Outcome,
    Rewind,
    Send,
    Settle,
    Start,
    Started,
    Woken,
)
from tests.simulation.loop import SimTask

if TYPE_CHECKING:
    from durable.runtime.activation import Activation
    from durable.runtime.steps import TaskOperation
    from tests.simulation.store import SimStore
    from tests.simulation.world import Process

OUTCOMES: Final = (Status.OK, Status.ERROR)

_RANKS: Final[dict[type, int]] = {Start: 0, Advance: 1, Claim: 3}
"""In which order the operations of a batch take effect; all others have rank 2."""

StepKey = int | str
Knows = tuple[str, RunKey, int]
"""A process that knows something of a run which it owns, or owned, under an epoch."""


class RunModel:
    """What the model knows of one run."""

    def __init__(self, key: RunKey, run_id: str, digest: int) -> None:
        self.key = key
        self.run_id = run_id
        self.digest = digest
        self.state = RunState.QUEUED
        self.owner: WorkerId | None = None
        self.epoch = 0
        self.continuation = 0
        self.journal: dict[int, Entry] = {}
        self.next_position = 0
        self.outcomes: set[StepKey] = set()
        """Steps whose outcome is recorded."""
        self.begun: set[StepKey] = set()
        """Steps whose begin is recorded."""
        self.attempts: dict[StepKey, int] = {}
        """Failed attempts that are recorded, by step."""
        self.next_at: dict[StepKey, int] = {}
        """When the next attempt of a step may begin."""
        self.received: set[int] = set()
        """Numbers of the messages whose receipt is recorded."""
        self.letters: dict[str, tuple[str, bytes]] = {}
        self.taken: set[int] = set()
        """Epochs that ended because the owner was found dead, or left without giving the run up."""
        self.deaths = 0
        """Owners found dead since the last new entry."""
        self.cancelled_by = 0
        """Number of the commit that brought a cancellation which is not applied yet."""
        self.executed: dict[tuple[StepKey, int], list[tuple[int, str]]] = {}
        """By step and attempt: epoch and process of each execution."""


class Model:
    """The account of one schedule."""

    def __init__(self, tables: Tables, violate: Callable[[str], None], latest_ms: Callable[[], int]) -> None:
        self._tables = tables
        self._violate = violate
        self._latest_ms = latest_ms
        self.runs: dict[RunKey, RunModel] = {}
        self.by_id: dict[str, RunModel] = {}
        self.promises: dict[str, tuple[bytes, str]] = {}
        self.acks: list[tuple[str, Any]] = []
        self.commits = 0
        self.zombie_writes = 0
        """Advances of workers that had lost their runs, which were refused."""
        self.executions = 0
        self._needs: dict[tuple[str, int, int], int] = {}
        """What has to be durable before the effect of an operation: journal positions, by run, continuation, number."""
        self._told_cancel: dict[Knows, int] = {}
        """Who knows of a cancellation, and from which callback on nothing new may begin there."""
        self._stubborn: set[str] = set()
        """Runs whose bodies go on after a cancellation."""
        self._let_go: dict[Knows, int] = {}
        """Who knows that it has lost a run, and from which callback on."""
        self._lost: dict[tuple[object, RunKey, int], int] = {}
        """The same of an engine, by its connection: one that ends and the next one may share a process."""

    # What the store did ---------------------------------------------------------------------------------------------

    def committed(self, batch: Sequence[Operation], answer: Committed) -> bool:
        """A batch has taken effect; return whether it has changed anything."""
        self.commits += 1
        if len(batch) == 1:
            if batch[0].__class__ is Claim and not answer.outcomes[0].value:  # type: ignore[union-attr]
                return False  # nothing was due: the most frequent batch of all
            self._take_in(batch[0], answer.outcomes[0])
            self.look()
            return True
        for rank in (0, 1, 2, 3):  # the order of the contract
            for operation, outcome in zip(batch, answer.outcomes, strict=True):
                if _RANKS.get(type(operation), 2) == rank:
                    self._take_in(operation, outcome)
        self.look()
        return True

    def _take_in(self, operation: Operation, outcome: Outcome) -> None:
        match operation:
            case Start():
                self._started(operation, outcome)
            case Advance():
                self._advanced(operation, outcome)
            case Settle():
                self._settled(operation, outcome)
            case Send():
                if outcome is Done.DONE:
                    run = self.by_id[operation.run_id]
                    run.letters.setdefault(operation.message_id, (operation.name, operation.data))
            case Cancel():
                self._cancelled(operation, outcome)
            case Rewind():
                self._rewound(operation, outcome)
            case _:
                self._claimed(outcome)

    def _started(self, start: Start, outcome: Outcome) -> None:
        record = outcome.record if isinstance(outcome, Started | Existing) else None
        known = self.by_id.get(start.run_id)
        if known is not None:
            if isinstance(outcome, Started):
                self._violate(f"{start.run_id} was started twice")
            return
        if not isinstance(outcome, Started) or record is None:
            self._violate(f"{start.run_id} is new, and its start was answered {outcome}")
            return
        run = self.runs[record.key] = self.by_id[start.run_id] = RunModel(record.key, start.run_id, start.digest)
        if record.owner is not None:
            run.owner, run.epoch, run.state = record.owner, 1, RunState.RUNNING
        self._expect(run, Entry(
            0, self._tables.runs[record.key].created_at, Kind.RUN, Status.OK, name="start", digest=start.digest,
            note=start.note, data=start.input,
        ))  # fmt: skip

    def _claimed(self, outcome: Outcome) -> None:
        claims = outcome.value if isinstance(outcome, Answer) and isinstance(outcome.value, tuple) else ()
        for item in claims:
            if not isinstance(item, Claimed):
                continue
            run = self.runs[item.record.key]
            if run.owner is not None:
                self._violate(f"{run.run_id} was claimed by {item.record.owner} while {run.owner} owned it")
            run.owner, run.state = item.record.owner, RunState.RUNNING
            run.epoch += 1

    def _advanced(self, advance: Advance, outcome: Outcome) -> None:
        run = self.runs.get(advance.run)
        if run is None or isinstance(outcome, Fenced):
            if run is not None and (run.owner, run.epoch) != (advance.worker, advance.epoch):
                self.zombie_writes += 1
            return
        new = [entry for entry in advance.entries if run.journal.get(entry.position) != entry]
        is_owner = (run.owner, run.epoch) == (advance.worker, advance.epoch)
        if not is_owner:
            # Only the Advance that gave the run away may be heard again, and changes nothing then.
            if new or run.epoch != advance.epoch:
                self._violate(
                    f"{run.run_id} of {run.owner} (epoch {run.epoch}) took a write of {advance.worker} "
                    f"(epoch {advance.epoch}): {new}"
                )
            return
        for entry in new:
            self._expect(run, entry)
        self._take_in_extras(advance, outcome, is_repeated=bool(advance.entries) and not new)
        woken = outcome is Woken.WOKEN or (isinstance(outcome, Answer) and outcome.woken)
        if not woken and not isinstance(advance.then, GoOn):
            self._left(run, advance)

    def _take_in_extras(self, advance: Advance, outcome: Outcome, *, is_repeated: bool) -> None:
        extras = advance.extras
        if extras is None:
            return
        if isinstance(advance.then, Continue):
            self.runs[advance.run].received.update(extras.consumed)
        answers = outcome.value if isinstance(outcome, Answer) and isinstance(outcome.value, tuple) else ()
        calls: list[Operation] = [*extras.starts, *extras.settles, *extras.sends, *extras.cancels]
        if len(answers) != len(calls):
            self._violate(f"{len(calls)} calls of an Advance got {len(answers)} answers")
        for call, answer in zip(calls, answers, strict=False):
            if not (is_repeated and isinstance(call, Cancel)):  # reported then, and not made again
                self._take_in(call, answer)

    def _left(self, run: RunModel, advance: Advance) -> None:
        run.owner = None
        run.state = RunState.QUEUED
        match advance.then:
            case Finish(state):
                run.state = state
                run.cancelled_by = 0
            case Continue():
                run.continuation += 1
                run.journal.clear()
                run.outcomes.clear()
                run.begun.clear()
                run.attempts.clear()
                run.executed.clear()
                run.next_position = 0
                then = advance.then
                self._expect(run, Entry(
                    0, self._tables.runs[run.key].last_entry().at, Kind.RUN, Status.OK, name="start",
                    digest=then.digest, note=then.note, data=then.input,
                ))  # fmt: skip
            case _:
                pass

    def _settled(self, settle: Settle, outcome: Outcome) -> None:
        known = self.promises.get(settle.promise_id)
        first = isinstance(outcome, Answer) and bool(outcome.value)
        if known is None:
            self.promises[settle.promise_id] = settle.data, settle.token
            if not first:
                self._violate(f"the first settle of {settle.promise_id!r} was refused")
        elif first != (known[1] == settle.token):
            self._violate(f"settling {settle.promise_id!r} again was answered {outcome}")

    def _cancelled(self, cancel: Cancel, outcome: Outcome) -> None:
        run = self.by_id.get(cancel.run_id)
        if run is None or not isinstance(outcome, Answer) or run.state.is_final:
            return
        if outcome.value is RunState.CANCELLED:
            run.state = RunState.CANCELLED
            row = self._tables.runs[run.key]
            self._expect(run, row.last_entry())
        elif not run.cancelled_by:
            run.cancelled_by = self.commits

    def _rewound(self, rewind: Rewind, outcome: Outcome) -> None:
        run = self.by_id.get(rewind.run_id)
        if run is None or outcome is not Done.DONE or run.journal.get(rewind.mark.position) == rewind.mark:
            return
        if run.state is not RunState.FAILED and self._state_before(run) is not RunState.SET_ASIDE:
            self._violate(f"{run.run_id} was rewound while it was {run.state.label}")
        for position in rewind.drop:
            entry = run.journal.pop(position, None)
            if entry is not None:
                self._forget(run, entry)
        # Attempts that were withdrawn have left nothing behind, and may be made again.
        known = {_step_of(entry) for entry in run.journal.values()}
        run.executed = {key: where for key, where in run.executed.items() if key[0] in known}
        run.received.difference_update(rewind.unread)
        run.state = RunState.QUEUED
        self._expect(run, rewind.mark)

    def _state_before(self, run: RunModel) -> RunState:
        # The model does not follow what is set aside: its owner says so, and it is nobody's then.
        return RunState.SET_ASIDE if run.owner is None and not run.state.is_final else run.state

    def _forget(self, run: RunModel, entry: Entry) -> None:
        step = _step_of(entry)
        if step is None:
            return
        if entry.status in OUTCOMES:
            run.outcomes.discard(step)
        elif entry.status is Status.BEGUN:
            run.begun.discard(step)
        if entry.kind is Kind.TASK:
            # What is dropped, and every later attempt, may be made again.
            run.attempts[step] = min(run.attempts.get(step, 0), entry.attempt - 1)
            run.next_at.pop(step, None)
            for key in [key for key in run.executed if key[0] == step and key[1] >= entry.attempt]:
                del run.executed[key]

    def expired(self, expired: Expired) -> None:
        """The runs of dead workers were taken back."""
        owned = [run.key for run in self.runs.values() if run.owner in expired.workers]
        if sorted(owned) != sorted(expired.runs):
            self._violate(f"runs {expired.runs} of the dead {expired.workers} were taken back, they owned {owned}")
        for key in expired.runs:
            run = self.runs[key]
            run.deaths += 1
            self._take_away(run)
            row = self._tables.runs[key]
            is_poisoned = row.life.state is RunState.SET_ASIDE and row.life.reason == Reason.POISONED
            if is_poisoned is not (run.deaths >= DEATHS_MAX):
                self._violate(f"{run.run_id} is {row.life.state.label} after {run.deaths} deaths in a row")
            if is_poisoned:
                run.deaths = 0
        self.look()

    def unregistered(self, worker: WorkerId) -> None:
        """A worker says that it ends; what it owns is handed back."""
        for run in self.runs.values():
            if run.owner == worker:
                self._take_away(run)

    def _take_away(self, run: RunModel) -> None:
        run.taken.add(run.epoch)
        run.owner = None
        run.state = RunState.QUEUED

    # What is recorded -----------------------------------------------------------------------------------------------

    def _expect(self, run: RunModel, entry: Entry) -> None:
        """An entry was accepted; it must be there from now on, and make sense where it is."""
        if entry.position != run.next_position:
            self._violate(f"{run.run_id}: entry {entry} was accepted, its next position is {run.next_position}")
        last = run.journal.get(entry.position - 1)
        if last is not None and entry.at < last.at:
            self._violate(f"{run.run_id}: time runs backward from {last} to {entry}")
        if entry.at > self._latest_ms():
            self._violate(f"{run.run_id}: {entry} is dated {entry.at - self._latest_ms()} ms after any clock's time")
        run.journal[entry.position] = entry
        run.next_position = entry.position + 1
        run.deaths = 0
        if entry.kind is Kind.RUN:
            if entry.name == "cancel":
                run.cancelled_by = 0
            return
        self._expect_step(run, entry)

    def _expect_step(self, run: RunModel, entry: Entry) -> None:
        step = _step_of(entry)
        if step is None:
            return
        if entry.status is Status.BEGUN and entry.kind is not Kind.TASK and step in run.begun:
            self._violate(f"{run.run_id}: {entry} is recorded a second time")
        if entry.status is Status.BEGUN:
            run.begun.add(step)
        if step in run.outcomes:
            self._violate(f"{run.run_id}: {entry} is recorded after the outcome of its step")
        if entry.kind is Kind.TASK:
            attempt = run.attempts.get(step, 0) + 1
            if entry.attempt != attempt:
                self._violate(f"{run.run_id}: {entry} is attempt {entry.attempt} of its step, expected {attempt}")
            if entry.status is Status.RETRY:
                run.attempts[step] = attempt
                run.next_at[step] = entry.due_at
        if entry.status in OUTCOMES:
            run.outcomes.add(step)
            if entry.kind is Kind.MESSAGE and entry.status is Status.OK:
                self._receive(run, entry)

    def _receive(self, run: RunModel, entry: Entry) -> None:
        letters = self._tables.runs[run.key].letters.values()
        numbers = {letter.message.number: letter.message for letter in letters}
        message = numbers.get(entry.attempt)
        if message is None or (message.name, message.data) != (entry.name, entry.data):
            self._violate(f"{run.run_id}: {entry} says that a message was received which is {message}")
        if entry.attempt in run.received:
            self._violate(f"{run.run_id}: message {entry.attempt} was received twice")
        earlier = [n for n, m in numbers.items() if m.name == entry.name and n < entry.attempt]
        if not run.received.issuperset(earlier):
            self._violate(f"{run.run_id}: message {entry.attempt} was received before {sorted(earlier)}")
        run.received.add(entry.attempt)

    # What the tables say --------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Compare the tables with the account."""
        tables = self._tables
        if len(tables.runs) != len(self.runs):
            self._violate(f"there are runs {list(tables.runs)}, expected {list(self.runs)}")
        for key, row in tables.runs.items():
            run = self.runs.get(key)
            if run is not None:
                self._check_owner(run, row)
                self._check_journal(run, row)
                self._check_letters(run, row)
                if row.life.state is RunState.SUSPENDED:
                    self._check_sleeper(row)
        if len(tables.promises) != len(self.promises):
            self._violate(f"there are promises {list(tables.promises)}, expected {list(self.promises)}")
        for (_, name), promise in tables.promises.items():
            if (promise.record.data, promise.token) != self.promises.get(name):
                self._violate(f"promise {name!r} has changed to {promise}")

    def _check_owner(self, run: RunModel, row: Row) -> None:
        if (row.owner, row.life.epoch) != (run.owner, run.epoch):
            found, wanted = (row.owner, row.life.epoch), (run.owner, run.epoch)
            self._violate("{} is owned by {} under epoch {}, expected {} under {}".format(run.run_id, *found, *wanted))
        if (row.life.state is RunState.RUNNING) != (row.owner is not None):
            self._violate(f"{run.run_id} is {row.life.state.label} and owned by {row.owner}")
        if (row.life.state.is_final or run.state.is_final) and row.life.state is not run.state:
            self._violate(f"{run.run_id} is {row.life.state.label}, expected {run.state.label}")
        if row.life.continuation != run.continuation:
            self._violate(f"{run.run_id} is continuation {row.life.continuation}, expected {run.continuation}")

    def _check_journal(self, run: RunModel, row: Row) -> None:
        journal = row.journal
        if journal.keys() != run.journal.keys():
            self._violate(f"{run.run_id} has entries {sorted(journal)}, expected {sorted(run.journal)}")
            return
        for position, entry in journal.items():
            known = run.journal[position]
            if entry is not known:
                if entry != known:
                    self._violate(f"{run.run_id}: entry {known} has become {entry}")
                run.journal[position] = entry

    def _check_letters(self, run: RunModel, row: Row) -> None:
        if not run.letters and not row.letters:
            return
        found = {name: (letter.message.name, letter.message.data) for name, letter in row.letters.items()}
        if found != run.letters:
            self._violate(f"{run.run_id} has messages {found}, expected {run.letters}")
        read = {letter.message.number for letter in row.letters.values() if letter.read}
        if read != run.received:
            self._violate(f"{run.run_id}: messages {read} are marked as read, recorded are {run.received}")

    def _check_sleeper(self, row: Row) -> None:
        """A run that is suspended must not wait for what is there already."""
        if row.life.requests & Requests.CANCEL:
            self._violate(f"{row.run_id} is suspended, and asked to cancel")
        for wait in row.waits:
            kind, name = wait.target[:2], wait.target[2:]
            if kind == "p:" and name in self.promises:
                self._violate(f"{row.run_id} is suspended and waits for {name!r}, which is settled")
            if kind == "r:" and ((other := self.by_id.get(name)) is None or other.state.is_final):
                self._violate(f"{row.run_id} is suspended and waits for {name!r}, which has ended")
            if kind == "m:" and any(not one.read and one.message.name == name for one in row.letters.values()):
                self._violate(f"{row.run_id} is suspended and waits for {name!r}, which has come")

    # What was answered ----------------------------------------------------------------------------------------------

    def answered(self, store: SimStore, batch: Sequence[Operation], answer: Committed, commit: int) -> None:
        """A process has got the answer to its batch, which was the `commit`-th."""
        process = store.process
        for operation, outcome in zip(batch, answer.outcomes, strict=True):
            if isinstance(operation, Advance):
                run = self.runs.get(operation.run)
                knows = process.name, operation.run, operation.epoch
                if isinstance(outcome, Fenced):
                    self._let_go.setdefault(knows, process.loop.horizon)
                elif run is not None and 0 < run.cancelled_by <= commit and run.epoch == operation.epoch:
                    self._told_cancel.setdefault(knows, process.loop.horizon)
            elif isinstance(outcome, Answer) and isinstance(outcome.value, tuple):
                claims = [item for item in outcome.value if isinstance(item, Claimed)]
                # Those who wait for the claim take it in one callback later.
                process.loop.call_soon(self._lost_before, store, claims)
                self.told(process, [(item.record.key, item.pending) for item in claims])
        self.told(process, answer.pending)

    def told(self, process: Process, pending: Sequence[tuple[RunKey, Pending]]) -> None:
        """A process has been told what has arrived."""
        for key, arrived in pending:
            if arrived.requests & Requests.CANCEL:
                self._told_cancel.setdefault((process.name, key, self.runs[key].epoch), process.loop.horizon)

    def _lost_before(self, store: SimStore, claims: Sequence[Claimed]) -> None:
        """Who gets a run under a new epoch has lost it under all earlier ones."""
        for record in (item.record for item in claims):
            for epoch in range(1, record.epoch):
                self._lost.setdefault((store, record.key, epoch), store.process.loop.horizon)

    def let_go(self, process: Process) -> None:
        """A process has found out that it was taken for dead."""
        for run in self.runs.values():
            for epoch in run.taken:
                self._let_go.setdefault((process.name, run.key, epoch), process.loop.horizon)

    # Effects --------------------------------------------------------------------------------------------------------

    def may_go_on(self, run_id: str, may: bool) -> None:
        """Note whether a run's body goes on after a cancellation."""
        if may:
            self._stubborn.add(run_id)

    def issued(self, act: Activation, number: int) -> None:
        """A body has come to a task: everything that is recorded by now must be durable before its effect."""
        self._needs[act.run_id, act.run.continuation, number] = act.journal.position

    def effect(self, process: Process, op: TaskOperation, number: int, attempt: int) -> None:
        """A task has its effect."""
        self.executions += 1
        act = op.act
        run = self.runs[act.run.key]
        epoch = act.run.epoch
        step = op.step_id if op.seq is None else op.seq
        assert step is not None
        what = f"{run.run_id}: operation {number}, attempt {attempt}, of {process.name} under epoch {epoch}"
        knows = process.name, run.key, epoch
        if process.loop.count > self._let_go.get(knows, sys.maxsize):
            self._violate(f"{what} began after the process had learned that it had lost the run")
        if act.run.continuation != run.continuation:
            return  # a worker that has lost the run lags behind
        is_told = _began(process, op) > self._told_cancel.get(knows, sys.maxsize)
        if is_told and number >= 0 and run.run_id not in self._stubborn:
            self._violate(f"{what} began after the process had learned of the cancellation")
        self._check_durable(act, run, number, what)
        self._check_repetition(process, op, run, (step, attempt), what)

    def goes_on(self, process: Process, op: TaskOperation, number: int) -> None:
        """An attempt was not cancelled until now."""
        run = op.act.run
        if process.loop.count > self._lost.get((op.act.host.store, run.key, run.epoch), sys.maxsize):
            self._violate(
                f"{run.run_id}: operation {number} of {process.name} under epoch {run.epoch} went on after the process "
                "had learned that it had lost the run"
            )

    def _check_durable(self, act: Activation, run: RunModel, number: int, what: str) -> None:
        need = self._needs.get((run.run_id, run.continuation, number), 0)
        if run.next_position < need:
            self._violate(f"{what} began when {run.next_position} entries were durable of the {need} before it")

    def _check_repetition(
        self, process: Process, op: TaskOperation, run: RunModel, key: tuple[StepKey, int], what: str
    ) -> None:
        step, attempt = key
        epoch = op.act.run.epoch
        is_owner = run.epoch == epoch and run.owner is not None
        if is_owner and (step in run.outcomes or run.attempts.get(step, 0) >= attempt):
            self._violate(f"{what} began although its outcome is recorded")
        if op.options.at_most_once and not any(
            entry.status is Status.BEGUN and _step_of(entry) == step and entry.attempt == attempt
            for entry in run.journal.values()
        ):
            self._violate(f"{what} is at-most-once, and began before that was recorded")
        clock = process.clock
        if is_owner and attempt > 1 and not clock.has_jumped and not clock.has_come(run.next_at.get(step, 0)):
            self._violate(f"{what} began at {clock.now_ms()}, before its time {run.next_at[step]}")
        earlier = run.executed.setdefault(key, [])
        if earlier and op.options.at_most_once:
            self._violate(f"{what} is at-most-once, and began before: {earlier}")
        for other, by in earlier:
            if other == epoch:
                self._violate(f"{what} was begun by {by} under the same epoch before")
            elif min(other, epoch) not in run.taken:
                self._violate(f"{what} was begun by {by} under epoch {other}, which nobody was robbed of")
        earlier.append((epoch, process.name))

    # The end --------------------------------------------------------------------------------------------------------

    def all_final(self) -> bool:
        """Have all runs ended?"""
        return all(row.life.state.is_final for row in self._tables.runs.values())


def _began(process: Process, op: TaskOperation) -> int:
    """Return with which callback an attempt began; what has a time limit runs in a task of its own."""
    task = asyncio.current_task()
    is_limited = op.timeout_ms(process.clock.now_ms()) is not None
    return task.made_at if is_limited and isinstance(task, SimTask) else process.loop.count


def _step_of(entry: Entry) -> StepKey | None:
    if entry.kind is Kind.RUN:
        return None
    return entry.step_id if entry.seq is None else entry.seq


def gaps_of(journal: Sequence[Entry]) -> set[int]:
    """Return the positions that the marks of rewinds account for."""
    marks = (entry for entry in journal if entry.kind is Kind.RUN and entry.name == "rewind")
    return {position for mark in marks for position in dropped_positions(mark.note)}
