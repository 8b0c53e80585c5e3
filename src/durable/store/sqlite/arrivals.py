"""What has arrived for runs: the answer to `may it be suspended?`, and what owners are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from durable.core.decisions import arrivals as decide
from durable.core.records import (
    Entry,
    Message,
    Pending,
    PromiseRecord,
    Reason,
    Requests,
    RunKey,
    RunState,
    Wait,
    WorkerId,
)
from durable.errors import StoreCorrupt
from durable.store.sqlite import queries as q
from durable.store.sqlite.rows import arrival_crc, entry_of, places_of
from durable.store.sqlite.transaction import Transaction, keys_text

PROMISE_PLACE = -1
"""Stands for the position in the checksum of a promise; `MESSAGE_PLACE` in that of a message."""

MESSAGE_PLACE = -2

NO_JOURNAL: Final = "run {} has no journal: its entries were deleted on disk"


def with_arrivals(transaction: Transaction, runs: Sequence[RunKey]) -> set[RunKey]:
    """Return those of these runs for which something may have arrived: waits or unread messages."""
    text = keys_text(runs)
    return {run for sql in (q.WITH_WAITS, q.WITH_UNREAD) for (run,) in transaction.all(sql, text)}


def is_anything_there(transaction: Transaction, run: RunKey) -> bool:
    """Has anything arrived that the run waits for?"""
    return transaction.one(q.ANYTHING_THERE, run) is not None


def tell(transaction: Transaction, worker: WorkerId) -> tuple[tuple[RunKey, Pending], ...]:
    """Return what has arrived for the runs of a worker since it was last told, and note that it was told."""
    # A worker that was found dead owns nothing, so whether it lives need not be asked.
    owner = transaction.worker(worker)
    rows = transaction.all(q.NOTICED, owner) if owner else []
    if not rows:
        return ()
    transaction.execute(q.FORGET_NOTICES, (owner,))
    pending = ((key, pending_of(transaction, key, Requests(asked), reason)) for key, asked, reason in rows)
    return tuple((key, told) for key, told in pending if told is not None and decide.is_worth_telling(told))


def pending_of(transaction: Transaction, run: RunKey, requests: Requests, reason: str) -> Pending | None:
    """Return everything that has arrived for a run and has not been consumed, oldest first.

    None if some of it is damaged: then the run is set aside, and its owner will be fenced. All others go on.
    """
    try:
        return _pending_of(transaction, run, requests, reason)
    except StoreCorrupt as error:
        transaction.set_aside(run, Reason.CORRUPT, str(error))
        return None


def _pending_of(transaction: Transaction, run: RunKey, requests: Requests, reason: str) -> Pending:
    settled = [*_settled_promises(transaction, run), *_ended_runs(transaction, run)]
    return decide.pending(requests, reason, settled, _unread(transaction, run))


def _settled_promises(transaction: Transaction, run: RunKey) -> list[decide.Timed]:
    found = []
    for at, seq, target, ok, data, number, check in transaction.all(q.ARRIVED_PROMISES, run):
        check_data("promise", number, PROMISE_PLACE, target[2:], data, check, ok=bool(ok))
        found.append(decide.of_promise(Wait(seq, target), PromiseRecord(target[2:], at, bool(ok), data)))
    return found


def _ended_runs(transaction: Transaction, run: RunKey) -> list[decide.Timed]:
    found = []
    for at, seq, target, key, state in transaction.all(q.ARRIVED_RUNS, run):
        result = b"" if key is None else _newest(transaction, key).data
        timed = decide.of_run(Wait(seq, target), None if key is None else RunState(state), at, result)
        found += [] if timed is None else [timed]
    return found


def _newest(transaction: Transaction, run: RunKey) -> Entry:
    row = transaction.one(q.LAST_ENTRY, *places_of(run))
    if row is None:
        raise StoreCorrupt(NO_JOURNAL.format(run))
    return entry_of(row)


def _unread(transaction: Transaction, run: RunKey) -> tuple[Message, ...]:
    messages = []
    for number, name, data, check in transaction.all(q.UNREAD, run):
        check_data("message", run, MESSAGE_PLACE, name, data, check)
        messages.append(Message(number, name, data))
    return tuple(messages)


def check_data(what: str, key: int, place: int, name: str, data: bytes, check: int, *, ok: bool = False) -> None:
    """Refuse bytes that do not match their checksum.

    Raises:
        StoreCorrupt: they do not.
    """
    if arrival_crc(key, place, name, data, ok=ok) != check:
        raise StoreCorrupt(f"{what} {name!r} does not match its checksum: its bytes were changed on disk")
