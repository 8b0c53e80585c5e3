"""Operations that anybody may ask for: cancel, pause, resume, mend, rewind; settle a promise, send a message."""

from __future__ import annotations

from typing import assert_never

from durable.core.records import Entry, Kind, Requests, RunKey, RunState, Status
from durable.store.operations import (
    Answer,
    Cancel,
    Done,
    Mend,
    NotFound,
    NotOpen,
    Outcome,
    PauseRun,
    ResumeRun,
    Rewind,
    Send,
    Settle,
)
from durable.store.sqlite import queries as q
from durable.store.sqlite.arrivals import MESSAGE_PLACE, PROMISE_PLACE
from durable.store.sqlite.rows import EntryRow, Unstorable, clean, data_crc, entry_row, place_of, places_of
from durable.store.sqlite.transaction import OneRun, Transaction, keys_text


def settle(transaction: Transaction, operation: Settle) -> Answer:
    """Settle a promise unless it is settled."""
    app = transaction.names.app_or_new(operation.app)
    if (there := transaction.one(q.PROMISE, app, operation.promise_id)) is not None:
        return Answer(there[3] == operation.token)
    number = transaction.all(q.LAST_PROMISE)[0][0] + 1
    check = data_crc(number, PROMISE_PLACE, 0, operation.data)
    transaction.execute(
        q.ADD_PROMISE,
        (number, app, operation.promise_id, int(operation.ok), transaction.now, operation.token, operation.data, check),
    )
    transaction.wake_waiters(app, f"p:{operation.promise_id}")
    return Answer(True)


def request(transaction: Transaction, operation: Send | Cancel | PauseRun | ResumeRun | Mend | Rewind) -> Outcome:
    """Execute an operation that names one run."""
    run = transaction.one_run(operation.app, operation.run_id)
    if run is None:
        return NotFound()
    match operation:
        case Send():
            return _send(transaction, run, operation)
        case Cancel():
            return _cancel(transaction, run, operation)
        case PauseRun():
            return _pause(transaction, run)
        case ResumeRun():
            return _resume(transaction, run)
        case Mend():
            return _mend(transaction, run)
        case Rewind():
            return _rewind(transaction, run, operation)
        case _:
            assert_never(operation)


def _send(transaction: Transaction, run: OneRun, send: Send) -> Outcome:
    if transaction.one(q.HAS_MESSAGE, run.key, send.message_id):
        return Done.DONE
    if run.state.is_final:
        return NotOpen(run.state)
    check = data_crc(run.key, MESSAGE_PLACE, 0, send.data)
    transaction.execute(q.ADD_MESSAGE, (run.key, send.message_id, send.name, send.data, check))
    if transaction.one(q.WAITS_FOR, transaction.names.app(send.app), f"m:{send.name}", run.key):
        transaction.wake([run.key])
    return Done.DONE


def _cancel(transaction: Transaction, run: OneRun, cancel: Cancel) -> Outcome:
    if run.state.is_final:
        return Answer(run.state) if run.state is RunState.CANCELLED else NotOpen(run.state)
    if run.epoch == 0:
        return _cancel_unclaimed(transaction, run, cancel)
    if not run.requests & Requests.CANCEL:
        transaction.execute(q.ASK_CANCEL, (clean(cancel.reason), run.key))
    if run.state is RunState.RUNNING:
        return Answer(run.state)
    transaction.queue_for_cancel(run.key)
    return Answer(RunState.QUEUED)


def _cancel_unclaimed(transaction: Transaction, run: OneRun, cancel: Cancel) -> Outcome:
    """End a run of which nothing has been executed."""
    append(
        transaction,
        run.key,
        0,
        Entry(
            run.next_position,
            max(transaction.now, last_at(transaction, run.key)),
            Kind.RUN,
            Status.ERROR,
            name="finish",
            note=cancel.reason,
        ),
    )
    transaction.execute(q.END_UNCLAIMED, (transaction.now, clean(cancel.reason), run.key))
    transaction.execute(q.FORGET_WAITS, (keys_text([run.key]),))
    transaction.wake_waiters_of_runs([run.key])
    transaction.recheck_due = True
    return Answer(RunState.CANCELLED)


def _pause(transaction: Transaction, run: OneRun) -> Outcome:
    match run.state:
        case RunState.RUNNING:
            transaction.execute(q.ASK_PAUSE, (run.key,))
            return Answer(run.state)
        case RunState.QUEUED | RunState.SUSPENDED:
            transaction.execute(q.PAUSE, (transaction.now, run.key))
            transaction.recheck_due = True
            return Answer(RunState.PAUSED)
        case RunState.PAUSED:
            return Answer(run.state)
        case _:
            return NotOpen(run.state)


def _resume(transaction: Transaction, run: OneRun) -> Outcome:
    if run.state is RunState.PAUSED:
        transaction.execute(q.RESUME, (transaction.now, transaction.now, run.key))
        if run.due_at is None or run.due_at <= transaction.now:
            transaction.due.add(run.key)
        return Answer(RunState.QUEUED)
    if not run.requests & Requests.PAUSE:
        return NotOpen(run.state)
    transaction.execute(q.WITHDRAW_PAUSE, (run.key,))
    return Answer(run.state)


def _mend(transaction: Transaction, run: OneRun) -> Outcome:
    if run.state is not RunState.SET_ASIDE:
        return NotOpen(run.state)
    _queue_again(transaction, run.key)
    return Answer(RunState.QUEUED)


def _queue_again(transaction: Transaction, run: RunKey) -> None:
    transaction.execute(q.QUEUE_AGAIN, (transaction.now, transaction.now, run))
    transaction.due.add(run)


def _rewind(transaction: Transaction, run: OneRun, rewind: Rewind) -> Outcome:
    mark = rewind.mark
    place = place_of(run.key, mark.position)
    row = _row(run.key, run.epoch, mark)
    there = transaction.one(q.ENTRIES, place, place + 1, 1)
    if there is not None and there[2:] == row[2:]:
        return Done.DONE
    if run.state not in (RunState.FAILED, RunState.SET_ASIDE) or mark.position != run.next_position:
        return NotOpen(run.state)
    transaction.many(q.DELETE_ENTRY, [(place_of(run.key, position),) for position in rewind.drop])
    transaction.many(q.UNREAD_AGAIN, [(number, run.key) for number in rewind.unread])
    transaction.execute(q.FORGET_WAITS, (keys_text([run.key]),))
    transaction.execute(q.ADD_FULL_ENTRY, row)
    _queue_again(transaction, run.key)
    return Done.DONE


def append(transaction: Transaction, run: RunKey, epoch: int, entry: Entry) -> None:
    """Add an entry that the store itself makes, or that no owner writes.

    Raises:
        ValueError: it holds what no row can.
    """
    transaction.execute(q.ADD_FULL_ENTRY, _row(run, epoch, entry))


def _row(run: RunKey, epoch: int, entry: Entry) -> EntryRow:
    try:
        return entry_row(run, epoch, entry)
    except Unstorable as error:
        raise ValueError(f"an entry cannot be stored: {error}") from error


def last_at(transaction: Transaction, run: RunKey) -> int:
    """Return the time of a run's newest entry."""
    return int(transaction.all(q.LAST_ENTRY, *places_of(run))[0][2])
