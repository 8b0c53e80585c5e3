"""What each operation does to the tables of the memory store, in plain steps.

An operation is refused before it changes anything, so that a refusal leaves nothing behind.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import assert_never

from durable.core.records import (
    Entry,
    Kind,
    Message,
    PromiseRecord,
    Requests,
    RunState,
    Status,
    WorkerId,
)
from durable.core.states import RunEvent
from durable.store._memory_life import Life
from durable.store._memory_tables import Letter, Promise, Row, Tables
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
    Extras,
    Fenced,
    Finish,
    GoOn,
    Mend,
    NotFound,
    NotOpen,
    Operation,
    Outcome,
    Paused,
    PauseRun,
    Release,
    ResumeRun,
    Rewind,
    Send,
    SetAside,
    Settle,
    Start,
    Started,
    Suspend,
    Woken,
)


def execute_batch(tables: Tables, batch: Sequence[Operation], worker: WorkerId | None, now: int) -> Committed:
    """Execute a checked batch in the order that the contract names, and return its answer."""
    transaction = Transaction(tables, now)
    outcomes: dict[int, Outcome] = {}
    for place in sorted(range(len(batch)), key=lambda place: _rank(batch[place])):
        outcomes[place] = transaction.apply(batch[place])
    pending = () if worker is None else transaction.tell(worker)
    return Committed([outcomes[place] for place in range(len(batch))], transaction.due(), pending)


def _rank(operation: Operation) -> int:
    match operation:
        case Start():
            return 0
        case Advance():
            return 1
        case Claim():
            return 3
        case _:
            return 2


class Transaction(Life):
    """One commit, operation by operation."""

    def apply(self, operation: Operation) -> Outcome:
        """Execute one operation."""
        match operation:
            case Start():
                return self.start(operation)
            case Claim():
                return self.claim(operation)
            case Advance():
                return self.advance(operation)
            case Settle():
                return self.settle(operation)
            case Rewind():
                return self.rewind(operation)
            case Send() | Cancel() | PauseRun() | ResumeRun() | Mend():
                row = self.tables.by_id.get((operation.app, operation.run_id))
                return NotFound() if row is None else self.request(row, operation)
            case _:
                assert_never(operation)

    def request(self, row: Row, operation: Send | Cancel | PauseRun | ResumeRun | Mend) -> Outcome:
        """Execute an operation that names a run which is there."""
        match operation:
            case Send():
                return self.send(row, operation)
            case Cancel():
                return self.cancel(row, operation.reason)
            case PauseRun():
                return self.pause(row)
            case ResumeRun():
                return self.resume(row)
            case Mend():
                return self.mend(row)
            case _:
                assert_never(operation)

    # Life of a run ---------------------------------------------------------------------------------------------------

    def start(self, start: Start) -> Outcome:
        """Insert a run, or report the one that is there."""
        row = self.tables.by_id.get((start.queue.app, start.run_id))
        if row is None:
            row = self._insert(start)
            if start.worker in self.tables.workers and row.due_at is not None and row.due_at <= self.now:
                self.take(row, start.worker)
            return Started(row.record())
        is_repeated = start.worker is not None and (row.owner, row.epoch, row.next_position) == (start.worker, 1, 1)
        return Started(row.record()) if is_repeated else Existing(row.record())

    def _insert(self, start: Start) -> Row:
        self.tables.last_key += 1
        row = Row(
            self.tables.last_key, start.run_id, start.queue, self.now, start.digest, start.note,
            self.now if start.due_at is None else start.due_at, start.parent_id, start.deadline_at, dict(start.tags),
        )  # fmt: skip
        self.tables.runs[row.key] = self.tables.by_id[row.app, row.run_id] = row
        self.append(row, _start_entry(self.now, start))
        self.reindex(row)
        return row

    def claim(self, claim: Claim) -> Outcome:
        """Give due runs to a worker, earliest first."""
        if claim.worker not in self.tables.workers:
            return Answer(())
        queues, runs = frozenset(claim.queues), frozenset(claim.runs)
        due = [
            (row.due_at, row.key, row)
            for row in self.tables.claimable.values()
            if row.due_at is not None and row.due_at <= self.now and (row.queue in queues or row.key in runs)
        ]
        rows = [row for _, _, row in heapq.nsmallest(max(0, claim.limit), due)]
        for row in rows:
            self.take(row, claim.worker)
        return Answer(tuple(Claimed(row.record(), row.next_position, self.tables.pending(row)) for row in rows))

    # Advance ---------------------------------------------------------------------------------------------------------

    def advance(self, advance: Advance) -> Outcome:
        """Store all that a run produced, or nothing."""
        row = self.tables.runs.get(advance.run)
        if row is None:
            return Fenced(0)
        extras = advance.extras or Extras()
        if self._was_left_by(row, advance):
            return _answer(self._extra_outcomes(extras, is_repeated=True), extras, woken=False)
        if (row.owner, row.epoch) != (advance.worker, advance.epoch) or not self._fits(row, advance):
            return Fenced(row.epoch)
        is_repeated = bool(advance.entries) and advance.entries[-1].position < row.next_position
        self._record(row, advance, extras, is_repeated=is_repeated)
        outcomes = self._extra_outcomes(extras, is_repeated=is_repeated)
        self._change_waits(row, extras)
        return _answer(outcomes, extras, woken=not self._then(row, advance.then))

    def _was_left_by(self, row: Row, advance: Advance) -> bool:
        """Is this the Advance that gave the run away, repeated because its answer was lost?"""
        if (row.left_by, row.epoch) != (advance.worker, advance.epoch) or isinstance(advance.then, GoOn):
            return False
        is_newest = not advance.entries or advance.entries[-1].position == row.next_position - 1
        return is_newest and all(self._is_stored(row, entry) for entry in advance.entries)

    def _fits(self, row: Row, advance: Advance) -> bool:
        """Is each entry either the run's next one, or there already as it is?"""
        new = [entry for entry in advance.entries if not self._is_stored(row, entry)]
        return not new or new[0].position == row.next_position

    def _is_stored(self, row: Row, entry: Entry) -> bool:
        return row.journal.get(entry.position) == entry and row.epochs[entry.position] == row.epoch

    def _record(self, row: Row, advance: Advance, extras: Extras, *, is_repeated: bool) -> None:
        if not is_repeated:
            row.active_ms += extras.active_ms
        if extras.progress is not None:
            row.progress = extras.progress
        for entry in advance.entries:
            if entry.position == row.next_position:
                self.append(row, entry)
                if (entry.kind, entry.name) == (Kind.RUN, "cancel"):
                    row.requests, row.cancel_reason = row.requests & ~Requests.CANCEL, ""
        for letter in row.letters.values():
            letter.read = letter.read or letter.message.number in extras.consumed

    def _extra_outcomes(self, extras: Extras, *, is_repeated: bool) -> tuple[Outcome, ...]:
        """Execute what else an Advance asks for; repeated, all but cancel requests are known by their ids."""
        known: list[Operation] = [*extras.starts, *extras.settles, *extras.sends]
        first = [self.apply(operation) for operation in known]
        cancels = [self._cancelled(cancel) if is_repeated else self.apply(cancel) for cancel in extras.cancels]
        return (*first, *cancels)

    def _cancelled(self, cancel: Cancel) -> Outcome:
        """Report what became of a request without making it again."""
        row = self.tables.by_id.get((cancel.app, cancel.run_id))
        if row is None:
            return NotFound()
        return NotOpen(row.state) if row.state in (RunState.SUCCEEDED, RunState.FAILED) else Answer(row.state)

    def _change_waits(self, row: Row, extras: Extras) -> None:
        for wait in extras.waits:
            row.waits[wait] = None
            self.tables.waiting.setdefault((row.app, wait.target), {})[row.key] = row
        self.forget(row, extras.unwaits)
        if any(wait in row.waits and self.tables.is_there(row, wait) for wait in extras.waits):
            row.notice = True

    def _then(self, row: Row, then: GoOn | Suspend | Finish | SetAside | Release | Paused | Continue) -> bool:
        """Let the run go where its owner says; False if it stays because something has arrived."""
        if isinstance(then, GoOn):
            return True
        is_refused = isinstance(then, Suspend) and self.tables.has_arrived(row)
        if is_refused or (isinstance(then, Paused) and Requests.PAUSE not in row.requests):
            row.notice = True
            return False
        cancel_is_new = row.notice and Requests.CANCEL in row.requests
        row.owner, row.left_by, row.notice = None, row.owner, False
        self._leave(row, then)
        if cancel_is_new and isinstance(then, SetAside | Release | Paused):
            self.move(row, RunEvent.CANCEL_REQUESTED, due_at=self.sooner(row))
        return True

    def _leave(self, row: Row, then: Suspend | Finish | SetAside | Release | Paused | Continue) -> None:
        match then:
            case Suspend(due_at):
                self.move(row, RunEvent.BLOCKED, due_at=due_at)
            case Finish(state, reason, detail):
                self.end(row, state, reason, detail)
            case SetAside(reason, detail):
                self.set_aside(row, reason, detail)
            case Release(due_at):
                self.move(row, RunEvent.RELEASED, due_at=due_at)
            case Paused():
                row.requests &= ~Requests.PAUSE
                self.move(row, RunEvent.PAUSED, due_at=None)
            case Continue():
                self._continue(row, then)
            case _:
                assert_never(then)

    def _continue(self, row: Row, then: Continue) -> None:
        at = max(self.now, row.last_entry().at)
        self.forget(row, tuple(row.waits))
        row.journal.clear()
        row.epochs.clear()
        self.append(row, _start_entry(at, then))
        row.digest, row.note = then.digest, then.note
        row.continuation += 1
        self.move(row, RunEvent.CONTINUED, due_at=self.now)

    # Promises, messages, requests ------------------------------------------------------------------------------------

    def settle(self, settle: Settle) -> Outcome:
        """Settle a promise unless it is settled."""
        key = settle.app, settle.promise_id
        if (promise := self.tables.promises.get(key)) is not None:
            return Answer(promise.token == settle.token)
        record = PromiseRecord(settle.promise_id, self.now, settle.ok, settle.data)
        self.tables.promises[key] = Promise(record, settle.token)
        for row in self.tables.waiters(settle.app, f"p:{settle.promise_id}"):
            self.wake(row)
        return Answer(True)

    def send(self, row: Row, send: Send) -> Outcome:
        """Append a message to a mailbox unless it is there."""
        if send.message_id in row.letters:
            return Done.DONE
        if row.state.is_final:
            return NotOpen(row.state)
        self.tables.last_message += 1
        row.letters[send.message_id] = Letter(Message(self.tables.last_message, send.name, send.data))
        if row.waits_for(f"m:{send.name}"):
            self.wake(row)
        return Done.DONE

    def cancel(self, row: Row, reason: str) -> Outcome:
        """Ask a run to cancel, or end it if nothing of it has been executed."""
        if row.state.is_final:
            return Answer(row.state) if row.state is RunState.CANCELLED else NotOpen(row.state)
        if row.epoch == 0:
            return self._cancel_unclaimed(row, reason)
        if Requests.CANCEL not in row.requests:
            row.requests, row.cancel_reason = row.requests | Requests.CANCEL, reason
            row.notice = row.state is RunState.RUNNING
        if row.state is not RunState.RUNNING:
            self.move(row, RunEvent.CANCEL_REQUESTED, due_at=self.sooner(row))
        return Answer(row.state)

    def _cancel_unclaimed(self, row: Row, reason: str) -> Outcome:
        at = max(self.now, row.last_entry().at)
        self.append(row, Entry(row.next_position, at, Kind.RUN, Status.ERROR, name="finish", note=reason))
        if row.state is RunState.PAUSED:
            self.move(row, RunEvent.CANCEL_REQUESTED, due_at=None)
        self.end(row, RunState.CANCELLED, reason, "")
        return Answer(row.state)

    def pause(self, row: Row) -> Outcome:
        """Pause a run, or ask its owner to."""
        match row.state:
            case RunState.RUNNING:
                row.notice = row.notice or Requests.PAUSE not in row.requests
                row.requests |= Requests.PAUSE
            case RunState.QUEUED | RunState.SUSPENDED:
                row.requests &= ~Requests.PAUSE
                self.move(row, RunEvent.PAUSED, due_at=row.due_at if row.epoch == 0 else None)
            case RunState.PAUSED:
                pass
            case _:
                return NotOpen(row.state)
        return Answer(row.state)

    def resume(self, row: Row) -> Outcome:
        """Let a paused run go on, or withdraw a request to pause."""
        if row.state is RunState.PAUSED:
            self.move(row, RunEvent.RESUMED, due_at=self.now if row.due_at is None else row.due_at)
        elif Requests.PAUSE not in row.requests:
            return NotOpen(row.state)
        row.requests &= ~Requests.PAUSE
        return Answer(row.state)

    def mend(self, row: Row) -> Outcome:
        """Let a run that was set aside try again."""
        if row.state is not RunState.SET_ASIDE:
            return NotOpen(row.state)
        row.deaths = 0
        self.move(row, RunEvent.MENDED, due_at=self.now)
        return Answer(row.state)

    def rewind(self, rewind: Rewind) -> Outcome:
        """Drop entries of a run that failed or was set aside, and queue it."""
        row = self.tables.by_id.get((rewind.app, rewind.run_id))
        if row is None:
            return NotFound()
        if row.journal.get(rewind.mark.position) == rewind.mark:
            return Done.DONE
        can_retry = row.state in (RunState.FAILED, RunState.SET_ASIDE)
        if not can_retry or rewind.mark.position != row.next_position:
            return NotOpen(row.state)
        for position in rewind.drop:
            row.journal.pop(position, None)
            row.epochs.pop(position, None)
        for letter in row.letters.values():
            letter.read = letter.read and letter.message.number not in rewind.unread
        self.forget(row, tuple(row.waits))
        self.append(row, rewind.mark)
        self.move(row, RunEvent.RETRIED, due_at=self.now)
        return Done.DONE


def _start_entry(at: int, start: Start | Continue) -> Entry:
    return Entry(0, at, Kind.RUN, Status.OK, name="start", digest=start.digest, note=start.note, data=start.input)


def _answer(outcomes: tuple[Outcome, ...], extras: Extras, *, woken: bool) -> Outcome:
    if extras.starts or extras.settles or extras.sends or extras.cancels:
        return Answer(outcomes, woken)
    return Woken.WOKEN if woken else Done.DONE
