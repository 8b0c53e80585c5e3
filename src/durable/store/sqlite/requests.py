"""Operations that anybody may ask for: cancel, pause, resume, mend, rewind; settle a promise, send a message."""

from __future__ import annotations

from typing import assert_never

from durable.core.decisions import requests as decide
from durable.core.decisions.standing import Decided
from durable.store.operations import (
    Answer,
    Cancel,
    Done,
    Mend,
    NotFound,
    Outcome,
    PauseRun,
    ResumeRun,
    Rewind,
    Send,
    Settle,
)
from durable.store.sqlite import queries as q
from durable.store.sqlite.arrivals import MESSAGE_PLACE, PROMISE_PLACE
from durable.store.sqlite.rows import Found, Unstorable, arrival_crc, entry_row, place_of
from durable.store.sqlite.transaction import Transaction


def settle(transaction: Transaction, operation: Settle) -> Answer:
    """Settle a promise unless it is settled."""
    app = transaction.names.app_or_new(operation.app)
    there = transaction.one(q.PROMISE, app, operation.promise_id)
    if there is None:
        _add_promise(transaction, app, operation)
    return decide.answer_settle(operation.token, None if there is None else there[3])


def _add_promise(transaction: Transaction, app: int, operation: Settle) -> None:
    number = transaction.all(q.LAST_PROMISE)[0][0] + 1
    check = arrival_crc(number, PROMISE_PLACE, operation.promise_id, operation.data, ok=operation.ok)
    transaction.execute(
        q.ADD_PROMISE,
        (number, app, operation.promise_id, int(operation.ok), transaction.now, operation.token, operation.data, check),
    )
    transaction.wake_waiters(app, f"p:{operation.promise_id}")


def request(transaction: Transaction, operation: Send | Cancel | PauseRun | ResumeRun | Mend | Rewind) -> Outcome:
    """Execute an operation that names one run.

    Raises:
        ValueError: it holds what no row can.
    """
    found = meant(transaction, operation)
    if found is None:
        return NotFound()
    if isinstance(operation, Send):
        return _send(transaction, found, operation)
    decided = _decide(transaction, found, operation)
    if decided.change is not None:
        if isinstance(operation, Rewind):
            _drop(transaction, found, operation)
        transaction.apply(found, decided.change)
    return decided.answer


def meant(transaction: Transaction, operation: Send | Cancel | PauseRun | ResumeRun | Mend | Rewind) -> Found | None:
    """Return the run that an operation names, None if there is none that it means."""
    found = transaction.found(operation.app, operation.run_id)
    if found is not None and isinstance(operation, Cancel) and not decide.is_meant(operation, found.parent_id):
        return None
    return found


def _decide(
    transaction: Transaction, found: Found, operation: Cancel | PauseRun | ResumeRun | Mend | Rewind
) -> Decided:
    run, now = found.run, transaction.now
    match operation:
        case Cancel():
            return decide.cancel(run, operation.reason, now)
        case PauseRun():
            return decide.pause(run, now)
        case ResumeRun():
            return decide.resume(run, now)
        case Mend():
            return decide.mend(run, now)
        case Rewind():
            return decide.rewind(run, operation, now, is_marked=_is_marked(transaction, found, operation))
        case _:
            assert_never(operation)


def _send(transaction: Transaction, found: Found, send: Send) -> Outcome:
    is_known = transaction.one(q.HAS_MESSAGE, found.key, send.message_id) is not None
    refusal = decide.answer_send(found.run.state, is_known=is_known)
    if refusal is not None:
        return refusal
    check = arrival_crc(found.key, MESSAGE_PLACE, send.name, send.data)
    transaction.execute(q.ADD_MESSAGE, (found.key, send.message_id, send.name, send.data, check))
    if transaction.one(q.WAITS_FOR, transaction.names.app(send.app), f"m:{send.name}", found.key):
        transaction.wake([found.key])
    return Done.DONE


def _is_marked(transaction: Transaction, found: Found, rewind: Rewind) -> bool:
    """Is the mark in the journal, whatever epoch it was written under?"""
    try:
        row = entry_row(found.key, found.run.epoch, rewind.mark)
    except Unstorable as error:
        raise ValueError(f"an entry cannot be stored: {error}") from error
    there = transaction.one(q.ENTRIES, row[0], row[0] + 1, 1)
    return there is not None and there[2:] == row[2:]


def _drop(transaction: Transaction, found: Found, rewind: Rewind) -> None:
    """Delete what a rewind drops, and make unread what it had received."""
    transaction.many(q.DELETE_ENTRY, [(place_of(found.key, position),) for position in rewind.drop])
    transaction.many(q.UNREAD_AGAIN, [(number, found.key) for number in rewind.unread])
