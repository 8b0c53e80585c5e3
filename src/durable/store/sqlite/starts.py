"""Starts and claims: runs come into being, and find an owner."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from durable.core.decisions import starts as decide
from durable.core.decisions.standing import Standing, is_due
from durable.core.records import Pending, Reason, RunKey, RunRecord, RunState
from durable.store.operations import Answer, Claim, Claimed, Existing, Start, Started
from durable.store.sqlite import queries as q
from durable.store.sqlite.arrivals import NO_JOURNAL, pending_of, with_arrivals
from durable.store.sqlite.rows import ENTRY_COMMON, Unstorable, clean, entry_row, run_of
from durable.store.sqlite.schema import POSITIONS
from durable.store.sqlite.transaction import Transaction, keys_text


class New(NamedTuple):
    """A run that may come into being."""

    key: RunKey
    start: Start
    run: Standing


def start_runs(transaction: Transaction, starts: Sequence[Start]) -> list[Started | Existing]:
    """Insert runs with their start entries; those whose id is taken are reported as they are.

    Raises:
        ValueError: a start holds what no row can.
    """
    first = transaction.all(q.LAST_RUN)[0][0] + 1
    news = [_new(transaction, key, start) for key, start in enumerate(starts, first)]
    rows = [_run_row(transaction, new) for new in news]
    if transaction.many(q.ADD_RUN, rows).rowcount == len(rows):
        _complete(transaction, news)
        return [_started(transaction, new) for new in news]
    return _sorted_out(transaction, news, rows)


def _sorted_out(transaction: Transaction, news: list[New], rows: list[tuple[object, ...]]) -> list[Started | Existing]:
    there = [transaction.all(q.RUN_BY_ID, row[1], row[3])[0] for row in rows]
    is_new = [record[0] == new.key for record, new in zip(there, news, strict=True)]
    _complete(transaction, [new for new, inserted in zip(news, is_new, strict=True) if inserted])
    return [
        _started(transaction, new) if inserted else Existing(run_of(record, transaction.names))
        for new, record, inserted in zip(news, there, is_new, strict=True)
    ]


def _new(transaction: Transaction, key: RunKey, start: Start) -> New:
    worker_lives = transaction.living_worker(start.worker) is not None
    return New(key, start, decide.new_run(start, transaction.now, worker_lives=worker_lives))


def _run_row(transaction: Transaction, new: New) -> tuple[object, ...]:
    key, start, run = new
    names = transaction.names
    return (
        key,
        names.app_or_new(start.queue.app),
        names.queue_or_new(start.queue),
        start.run_id,
        int(run.state),
        run.epoch,
        transaction.living_worker(start.worker) if run.state is RunState.RUNNING else 0,
        run.due_at,
        transaction.now,
        run.started_at,
        run.moved_at,
        run.digest,
        clean(run.note),
        start.parent_id,
        start.deadline_at,
        json.dumps(dict(start.tags), ensure_ascii=False) if start.tags else "",
    )


def _complete(transaction: Transaction, news: Sequence[New]) -> None:
    """Add what belongs to new runs beside their own row."""
    now = transaction.now
    try:
        entries = [entry_row(key, 0, decide.start_entry(now, start))[:ENTRY_COMMON] for key, start, _ in news]
    except Unstorable as error:
        raise ValueError(f"a start cannot be stored: {error}") from error
    transaction.many(q.ADD_ENTRY, entries)
    tags = [(name, value, key) for key, start, _ in news for name, value in dict(start.tags).items()]
    if tags:
        transaction.many(q.ADD_TAG, tags)


def _started(transaction: Transaction, new: New) -> Started:
    key, start, run = new
    if is_due(run, transaction.now):
        transaction.due.add(key)
    return Started(
        RunRecord(
            key=key,
            run_id=start.run_id,
            queue=start.queue,
            state=run.state,
            epoch=run.epoch,
            owner=start.worker if run.state is RunState.RUNNING else None,
            due_at=run.due_at,
            created_at=transaction.now,
            started_at=run.started_at,
            finished_at=None,
            digest=run.digest,
            note=run.note,
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
        if place is None:
            transaction.set_aside(record.key, Reason.CORRUPT, NO_JOURNAL.format(record.key))
            continue
        pending: Pending | None = Pending(record.requests, cancel_reason)
        if record.key in arrivals:
            pending = pending_of(transaction, record.key, record.requests, cancel_reason)
        if pending is not None:
            claimed[record.key] = Claimed(record, (place & (POSITIONS - 1)) + 1, pending)
    return tuple(claimed[key] for key in keys if key in claimed)
