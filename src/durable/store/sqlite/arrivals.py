"""What has arrived for runs: the answer to `may it be suspended?`, and what owners are told."""

from __future__ import annotations

from collections.abc import Sequence

from durable.core.records import Message, Pending, Reason, Requests, RunKey, RunState, Settled, WorkerId
from durable.errors import StoreCorrupt
from durable.store.sqlite import queries as q
from durable.store.sqlite.rows import data_crc, entry_of, places_of
from durable.store.sqlite.transaction import Transaction, keys_text

PROMISE_PLACE = -1
"""Stands for the position in the checksum of a promise; `MESSAGE_PLACE` in that of a message."""

MESSAGE_PLACE = -2


def with_arrivals(transaction: Transaction, runs: Sequence[RunKey]) -> set[RunKey]:
    """Return those of these runs for which something may have arrived: waits or unread messages."""
    text = keys_text(runs)
    return {run for sql in (q.WITH_WAITS, q.WITH_UNREAD) for (run,) in transaction.all(sql, text)}


def has_arrived(transaction: Transaction, run: RunKey) -> bool:
    """Is there anything that keeps the run from being suspended?"""
    return transaction.one(q.HAS_ARRIVED, run) is not None


def tell(transaction: Transaction, worker: WorkerId) -> tuple[tuple[RunKey, Pending], ...]:
    """Return what has arrived for the runs of a worker since it was last told, and note that it was told."""
    # A worker that was found dead owns nothing, so whether it lives need not be asked.
    owner = transaction.worker(worker)
    rows = transaction.all(q.NOTICED, owner) if owner else []
    if not rows:
        return ()
    transaction.execute(q.FORGET_NOTICES, (owner,))
    pending = ((key, pending_of(transaction, key, Requests(asked), reason)) for key, asked, reason in rows)
    return tuple((key, told) for key, told in pending if told is not None and told != Pending())


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
    settled.sort(key=lambda found: (found[0], found[1].seq))
    return Pending(requests, reason, tuple(item for _, item in settled), _unread(transaction, run))


def _settled_promises(transaction: Transaction, run: RunKey) -> list[tuple[int, Settled]]:
    found = []
    for at, seq, target, ok, data, number, check in transaction.all(q.ARRIVED_PROMISES, run):
        check_data("promise", number, PROMISE_PLACE, data, check, target[2:])
        found.append((at, Settled(seq, target, bool(ok), data)))
    return found


def _ended_runs(transaction: Transaction, run: RunKey) -> list[tuple[int, Settled]]:
    found = []
    for at, seq, target, key, state in transaction.all(q.ARRIVED_RUNS, run):
        if key is None:
            found.append((0, Settled(seq, target, ok=False, data=b"", missing=True)))
        else:
            last = entry_of(transaction.all(q.LAST_ENTRY, *places_of(key))[0])
            found.append((at, Settled(seq, target, state == RunState.SUCCEEDED, last.data)))
    return found


def _unread(transaction: Transaction, run: RunKey) -> tuple[Message, ...]:
    messages = []
    for number, name, data, check in transaction.all(q.UNREAD, run):
        check_data("message", run, MESSAGE_PLACE, data, check, name)
        messages.append(Message(number, name, data))
    return tuple(messages)


def check_data(what: str, key: int, place: int, data: bytes, check: int, name: str) -> None:
    """Refuse bytes that do not match their checksum.

    Raises:
        StoreCorrupt: they do not.
    """
    if data_crc(key, place, 0, data) != check:
        raise StoreCorrupt(f"{what} {name!r} does not match its checksum: its bytes were changed on disk")
