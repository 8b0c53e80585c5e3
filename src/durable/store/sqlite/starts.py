"""Starts and claims: runs come into being, and find an owner."""

from __future__ import annotations

import json
from collections.abc import Sequence

from durable.core.records import Entry, Kind, Pending, RunKey, RunRecord, RunState, Status
from durable.store.operations import Answer, Claim, Claimed, Continue, Existing, Start, Started
from durable.store.sqlite import queries as q
from durable.store.sqlite.arrivals import pending_of, with_arrivals
from durable.store.sqlite.rows import ENTRY_COMMON, Unstorable, clean, entry_row, run_of
from durable.store.sqlite.schema import POSITIONS
from durable.store.sqlite.transaction import Transaction, keys_text

__all__ = ["claim", "start_entry", "start_runs"]


def start_entry(at: int, start: Start | Continue) -> Entry:
    """Return the entry that opens a journal."""
    return Entry(0, at, Kind.RUN, Status.OK, name="start", digest=start.digest, note=start.note, data=start.input)


def start_runs(transaction: Transaction, starts: Sequence[Start]) -> list[Started | Existing]:
    """Insert runs with their start entries; those whose id is taken are reported as they are.

    Raises:
        ValueError: a start holds what no row can.
    """
    first = transaction.all(q.LAST_RUN)[0][0] + 1
    numbered = list(enumerate(starts, first))
    rows = [_run_row(transaction, key, start) for key, start in numbered]
    if transaction.many(q.ADD_RUN, rows).rowcount == len(rows):
        _complete(transaction, numbered)
        return [_started(transaction, key, start, row) for (key, start), row in zip(numbered, rows, strict=True)]
    return _sorted_out(transaction, numbered, rows)


def _sorted_out(
    transaction: Transaction, numbered: list[tuple[RunKey, Start]], rows: list[tuple[object, ...]]
) -> list[Started | Existing]:
    found = [transaction.all(q.RUN_BY_ID, row[1], row[3])[0] for row in rows]
    is_new = [record[0] == key for record, (key, _) in zip(found, numbered, strict=True)]
    _complete(transaction, [pair for pair, new in zip(numbered, is_new, strict=True) if new])
    outcomes: list[Started | Existing] = []
    for (key, start), row, there, new in zip(numbered, rows, found, is_new, strict=True):
        if new:
            outcomes.append(_started(transaction, key, start, row))
        else:
            record = run_of(there, transaction.names)
            outcomes.append(Started(record) if _is_repeated(transaction, start, record) else Existing(record))
    return outcomes


def _is_repeated(transaction: Transaction, start: Start, record: RunRecord) -> bool:
    """Is this the Start that made the run, executed again because its answer was lost?"""
    if start.worker is None or (record.owner, record.epoch) != (start.worker, 1):
        return False
    run = transaction.one_run(start.queue.app, start.run_id)
    return run is not None and run.next_position == 1


def _run_row(transaction: Transaction, key: RunKey, start: Start) -> tuple[object, ...]:
    now, names = transaction.now, transaction.names
    due_at = now if start.due_at is None else start.due_at
    owner = transaction.living_worker(start.worker) if due_at <= now else None
    state, epoch = (RunState.QUEUED, 0) if owner is None else (RunState.RUNNING, 1)
    return (
        key,
        names.app_or_new(start.queue.app),
        names.queue_or_new(start.queue),
        start.run_id,
        int(state),
        epoch,
        owner or 0,
        due_at if owner is None else None,
        now,
        None if owner is None else now,
        now,
        start.digest,
        clean(start.note),
        start.parent_id,
        start.deadline_at,
        json.dumps(dict(start.tags), ensure_ascii=False) if start.tags else "",
    )


def _complete(transaction: Transaction, numbered: list[tuple[RunKey, Start]]) -> None:
    """Add what belongs to new runs beside their own row."""
    try:
        entries = [entry_row(key, 0, start_entry(transaction.now, start))[:ENTRY_COMMON] for key, start in numbered]
    except Unstorable as error:
        raise ValueError(f"a start cannot be stored: {error}") from error
    transaction.many(q.ADD_ENTRY, entries)
    tags = [(name, value, key) for key, start in numbered for name, value in dict(start.tags).items()]
    if tags:
        transaction.many(q.ADD_TAG, tags)


def _started(transaction: Transaction, key: RunKey, start: Start, row: tuple[object, ...]) -> Started:
    owned = bool(row[6])
    now, due_at = transaction.now, row[7]
    if not owned and isinstance(due_at, int) and due_at <= now:
        transaction.due.add(key)
    return Started(
        RunRecord(
            key=key,
            run_id=start.run_id,
            queue=start.queue,
            state=RunState.RUNNING if owned else RunState.QUEUED,
            epoch=1 if owned else 0,
            owner=start.worker if owned else None,
            due_at=due_at if isinstance(due_at, int) else None,
            created_at=now,
            started_at=now if owned else None,
            finished_at=None,
            digest=start.digest,
            note=start.note,
            parent_id=start.parent_id,
            deadline_at=start.deadline_at,
            tags=dict(start.tags),
        )
    )


def claim(transaction: Transaction, operation: Claim) -> Answer:
    """Give due runs to a worker, earliest first."""
    owner = transaction.living_worker(operation.worker)
    limit = max(0, operation.limit)
    if owner is None or not limit:
        return Answer(())
    found = set[tuple[int, RunKey]]()
    for queue in dict.fromkeys(operation.queues):
        if (number := transaction.names.queue(queue)) is not None:
            found.update(transaction.all(q.DUE_IN_QUEUE, number, transaction.now, limit))
    if operation.runs:
        found.update(transaction.all(q.DUE_AMONG, keys_text(operation.runs), transaction.now))
    keys = [key for _, key in sorted(found)[:limit]]
    if not keys:
        return Answer(())
    transaction.many(q.TAKE, [(owner, transaction.now, transaction.now, key) for key in keys])
    transaction.due.difference_update(keys)
    return Answer(_claimed(transaction, keys))


def _claimed(transaction: Transaction, keys: list[RunKey]) -> tuple[Claimed, ...]:
    arrivals = with_arrivals(transaction, keys)
    claimed = {}
    for *columns, cancel_reason, place in transaction.all(q.TAKEN, keys_text(keys)):
        record = run_of(tuple(columns), transaction.names)
        pending: Pending | None = Pending(record.requests, cancel_reason)
        if record.key in arrivals:
            pending = pending_of(transaction, record.key, record.requests, cancel_reason)
        if pending is not None:
            claimed[record.key] = Claimed(record, (place & (POSITIONS - 1)) + 1, pending)
    return tuple(claimed[key] for key in keys if key in claimed)
