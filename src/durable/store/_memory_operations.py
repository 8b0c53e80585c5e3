"""What each operation does to the tables of the memory store: what is read, what is asked of the core, what is written.

An operation is refused before it changes anything, so that a refusal leaves nothing behind.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import assert_never

from durable.core.decisions import advances, requests, standing, starts
from durable.core.decisions.standing import Decided
from durable.core.records import Message, PromiseRecord, RunState, WorkerId
from durable.store._memory_changes import Changes
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
    Mend,
    NotFound,
    Operation,
    Outcome,
    PauseRun,
    ResumeRun,
    Rewind,
    Send,
    Settle,
    Start,
    Started,
    Suspend,
)


def execute_batch(tables: Tables, batch: Sequence[Operation], worker: WorkerId | None, now: int) -> Committed:
    """Execute a checked batch in the order that the contract names, and return its answer."""
    transaction = Transaction(tables, now)
    outcomes: dict[int, Outcome] = {}
    for place in sorted(range(len(batch)), key=lambda place: _rank(batch[place])):
        outcomes[place] = transaction.execute(batch[place])
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


class Transaction(Changes):
    """One commit, operation by operation."""

    def execute(self, operation: Operation) -> Outcome:
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
            case Send() | Cancel() | PauseRun() | ResumeRun() | Mend() | Rewind():
                row = self._meant(operation)
                return NotFound() if row is None else self.request(row, operation)
            case _:
                assert_never(operation)

    # Starts and claims -----------------------------------------------------------------------------------------------

    def start(self, start: Start) -> Outcome:
        """Insert a run, or report the one that is there."""
        row = self.tables.by_id.get((start.queue.app, start.run_id))
        if row is not None:
            return Existing(row.record())
        return Started(self._insert(start).record())

    def _insert(self, start: Start) -> Row:
        tables, life = self.tables, starts.new_run(start, self.now, worker_lives=start.worker in self.tables.workers)
        tables.last_key += 1
        row = Row(
            tables.last_key, start.run_id, start.queue, self.now, start.parent_id, start.deadline_at, dict(start.tags),
            life, start.worker if life.state is RunState.RUNNING else None,
        )  # fmt: skip
        tables.runs[row.key] = tables.by_id[row.app, row.run_id] = row
        tables.index(row)
        self.append(row, starts.start_entry(self.now, start))
        self.due_soon[row.key] = row
        return row

    def claim(self, claim: Claim) -> Outcome:
        """Give due runs to a worker, earliest first."""
        if claim.worker not in self.tables.workers:
            return Answer(())
        queues, runs = frozenset(claim.queues), frozenset(claim.runs)
        due = [
            (row.life.due_at, row.key, row)
            for row in self.tables.claimable.values()
            if standing.is_due(row.life, self.now) and (row.queue in queues or row.key in runs)
        ]
        rows = [row for _, _, row in heapq.nsmallest(max(0, claim.limit), due)]
        for row in rows:
            row.worker = claim.worker
            self.put(row, starts.taken(row.life, self.now))
        return Answer(tuple(Claimed(row.record(), row.life.next_position, self.tables.pending(row)) for row in rows))

    # Advances --------------------------------------------------------------------------------------------------------

    def advance(self, advance: Advance) -> Outcome:
        """Store all that a run produced, or nothing."""
        row = self.tables.runs.get(advance.run)
        if row is None:
            return Fenced(0)
        hold, journal, epochs = _hold(row, advance.worker), row.journal, row.epochs
        accepted = advances.judge(
            advance, row.life.epoch, hold, row.life.next_position,
            lambda entry: journal.get(entry.position) == entry and epochs[entry.position] == advance.epoch,
        )  # fmt: skip
        if isinstance(accepted, Fenced):
            return accepted
        extras = advance.extras or Extras()
        if accepted.left:
            return advances.answer(self._extra_outcomes(extras, is_repeated=True), extras, woken=False)
        self._record(row, advance, accepted)
        outcomes = self._extra_outcomes(extras, is_repeated=accepted.repeated)
        self._change_waits(row, extras)
        return advances.answer(outcomes, extras, woken=self._leave(row, advance))

    def _record(self, row: Row, advance: Advance, accepted: advances.Accepted) -> None:
        for entry in advance.entries[accepted.new_from :]:
            self.append(row, entry)
        self.put(row, advances.recorded(row.life, advance, accepted))
        if advance.extras is not None:
            for letter in row.letters.values():
                letter.read = letter.read or letter.message.number in advance.extras.consumed

    def _extra_outcomes(self, extras: Extras, *, is_repeated: bool) -> tuple[Outcome, ...]:
        """Execute what else an Advance asks for; repeated, all but cancel requests are known by their ids."""
        known: list[Operation] = [*extras.starts, *extras.settles, *extras.sends]
        first = [self.execute(operation) for operation in known]
        cancels = [self._cancelled(cancel) if is_repeated else self.execute(cancel) for cancel in extras.cancels]
        return (*first, *cancels)

    def _cancelled(self, cancel: Cancel) -> Outcome:
        row = self._meant(cancel)
        return advances.cancelled_again(None if row is None else row.life.state)

    def _change_waits(self, row: Row, extras: Extras) -> None:
        for wait in extras.waits:
            row.waits[wait] = None
            self.tables.waiting.setdefault((row.app, wait.target), {})[row.key] = row
        self.forget(row, extras.unwaits)
        if any(wait in row.waits and self.tables.is_there(row, wait) for wait in extras.waits):
            self.wake(row)

    def _leave(self, row: Row, advance: Advance) -> bool:
        """Let the run go where its owner says; True if it stays because something has arrived."""
        then = advance.then
        is_there = isinstance(then, Suspend) and self.tables.is_anything_there(row)
        change, woken = advances.leave(row.life, then, advance.active_ms, self.now, is_there=is_there)
        if isinstance(then, Continue):
            row.journal.clear()
            row.epochs.clear()
        self.apply(row, change)
        return woken

    # Promises, messages, requests ------------------------------------------------------------------------------------

    def settle(self, settle: Settle) -> Outcome:
        """Settle a promise unless it is settled."""
        key = settle.app, settle.promise_id
        there = self.tables.promises.get(key)
        if there is None:
            record = PromiseRecord(settle.promise_id, self.now, settle.ok, settle.data)
            self.tables.promises[key] = Promise(record, settle.token)
            for row in self.tables.waiters(settle.app, f"p:{settle.promise_id}"):
                self.wake(row)
        return requests.answer_settle(settle.token, None if there is None else there.token)

    def _meant(self, operation: Send | Cancel | PauseRun | ResumeRun | Mend | Rewind) -> Row | None:
        row = self.tables.by_id.get((operation.app, operation.run_id))
        if row is not None and isinstance(operation, Cancel) and not requests.is_meant(operation, row.parent_id):
            return None
        return row

    def request(self, row: Row, operation: Send | Cancel | PauseRun | ResumeRun | Mend | Rewind) -> Outcome:
        """Execute an operation that names a run which is there."""
        if isinstance(operation, Send):
            return self._send(row, operation)
        decided = self._decide(row, operation)
        if decided.change is not None:
            if isinstance(operation, Rewind):
                self._drop(row, operation)
            self.apply(row, decided.change)
        return decided.answer

    def _decide(self, row: Row, operation: Cancel | PauseRun | ResumeRun | Mend | Rewind) -> Decided:
        match operation:
            case Cancel():
                return requests.cancel(row.life, operation.reason, self.now)
            case PauseRun():
                return requests.pause(row.life, self.now)
            case ResumeRun():
                return requests.resume(row.life, self.now)
            case Mend():
                return requests.mend(row.life, self.now)
            case Rewind():
                is_marked = row.journal.get(operation.mark.position) == operation.mark
                return requests.rewind(row.life, operation, self.now, is_marked=is_marked)
            case _:
                assert_never(operation)

    def _send(self, row: Row, send: Send) -> Outcome:
        """Append a message to a mailbox unless it is there."""
        refusal = requests.answer_send(row.life.state, is_known=send.message_id in row.letters)
        if refusal is not None:
            return refusal
        self.tables.last_message += 1
        row.letters[send.message_id] = Letter(Message(self.tables.last_message, send.name, send.data))
        if row.waits_for(f"m:{send.name}"):
            self.wake(row)
        return Done.DONE

    def _drop(self, row: Row, rewind: Rewind) -> None:
        """Delete what a rewind drops, and make unread what it had received."""
        for position in rewind.drop:
            row.journal.pop(position, None)
            row.epochs.pop(position, None)
        for letter in row.letters.values():
            letter.read = letter.read and letter.message.number not in rewind.unread


def _hold(row: Row, worker: WorkerId) -> advances.Hold:
    if row.worker != worker:
        return advances.Hold.NOTHING
    if row.life.state is RunState.RUNNING:
        return advances.Hold.OWNS
    return advances.Hold.LEFT if row.life.was_left else advances.Hold.NOTHING
