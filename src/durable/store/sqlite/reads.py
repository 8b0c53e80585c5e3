"""Plain reads, as functions of a connection: one snapshot each."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from durable.core.records import (
    Entry,
    Inbox,
    Message,
    PromiseRecord,
    Queue,
    RunKey,
    RunRecord,
    RunState,
    Wait,
    WorkerId,
    WorkerRecord,
)
from durable.errors import StoreCorrupt
from durable.store.base import JOURNAL_PAGE_MAX, LIST_PAGE_MAX, RunFilter
from durable.store.sqlite import queries as q
from durable.store.sqlite.arrivals import MESSAGE_PLACE, PROMISE_PLACE, check_data
from durable.store.sqlite.names import Names
from durable.store.sqlite.rows import entry_of, place_of, places_of, run_of, worker_of
from durable.store.sqlite.schema import POSITIONS
from durable.store.sqlite.transaction import keys_text

TALLY = "SELECT r.queue, r.state, count(*) FROM runs AS r"

ID_OF_RUN = "SELECT id FROM runs WHERE key = ?"

WAITS_OF_RUN = "SELECT seq, target FROM waits WHERE run = ?"

COUNT = "SELECT r.state, count(*) FROM runs AS r"


class Reader:
    """A connection to read from, and what it knows of names."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.names = Names(connection)

    def _all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, values).fetchall()

    def run(self, app: str, run_id: str) -> RunRecord | None:
        """Return one run, by its id."""
        number = self.names.app(app)
        found = None if number is None else self._first(self._all(q.RUN_BY_ID, number, run_id))
        # What was found took the id from the index; the table says whose row it is.
        if found is not None and self._all(ID_OF_RUN, found.key) != [(run_id,)]:
            raise StoreCorrupt(f"run {run_id!r}: the index of ids is damaged and leads to another run")
        return found

    def run_by_key(self, key: RunKey) -> RunRecord | None:
        """Return one run, by its key."""
        return self._first(self._all(q.RUN_BY_KEY, key))

    def _first(self, rows: list[tuple[Any, ...]]) -> RunRecord | None:
        return run_of(rows[0], self.names) if rows else None

    def owned(self, worker: WorkerId) -> list[RunRecord]:
        """Return the runs that a worker owns, oldest first."""
        number = self.names.living_worker(worker)
        return [] if number is None else [run_of(row, self.names) for row in self._all(q.RUNS_OF_WORKER, number)]

    def runs(self, where: RunFilter, limit: int, before: RunKey | None) -> list[RunRecord]:
        """Return runs, newest first."""
        conditions, values = conditions_of(where)
        if before is not None:
            conditions.append("r.key < ?")
            values.append(before)
        sql = " ".join((q.SELECT_RUN, _where(conditions), "ORDER BY r.key DESC LIMIT ?"))
        return [run_of(row, self.names) for row in self._all(sql, *values, min(max(0, limit), LIST_PAGE_MAX))]

    def count(self, where: RunFilter) -> dict[RunState, int]:
        """Return how many runs are in each state."""
        conditions, values = conditions_of(where)
        sql = " ".join((COUNT, _where(conditions), "GROUP BY r.state"))
        return {RunState(state): number for state, number in self._all(sql, *values)}

    def tally(self, where: RunFilter) -> dict[Queue, dict[RunState, int]]:
        """Return how many runs are in each state, queue by queue."""
        conditions, values = conditions_of(where)
        tally: dict[Queue, dict[RunState, int]] = {}
        sql = " ".join((TALLY, _where(conditions), "GROUP BY r.queue, r.state"))
        for queue, state, number in self._all(sql, *values):
            tally.setdefault(self.names.queue_name(queue), {})[RunState(state)] = number
        return tally

    def waits(self, run: RunKey) -> list[Wait]:
        """Return what a run is registered for."""
        return [Wait(seq, target) for seq, target in self._all(WAITS_OF_RUN, run)]

    def inbox(self, run: RunKey) -> Inbox:
        """Return what was delivered to a run."""
        signals, messages = [], []
        for promise_id, settled_at, ok, data, number, check in self._all(q.SIGNALS, run):
            check_data("promise", number, PROMISE_PLACE, promise_id, data, check, ok=bool(ok))
            signals.append(PromiseRecord(promise_id, settled_at, bool(ok), data))
        for number, name, data, check in self._all(q.UNREAD, run):
            check_data("message", run, MESSAGE_PLACE, name, data, check)
            messages.append(Message(number, name, data))
        return Inbox(tuple(signals), tuple(messages))

    def journal(self, run: RunKey, start: int, limit: int) -> list[Entry]:
        """Return entries from a position on, in order."""
        first, end = place_of(run, min(max(0, start), POSITIONS)), place_of(run + 1, 0)
        rows = self._all(q.ENTRIES, first, end, min(max(0, limit), JOURNAL_PAGE_MAX))
        with collection_paused():
            return [entry_of(row) for row in rows]

    def last_entry(self, run: RunKey) -> Entry | None:
        """Return the newest entry of a run."""
        rows = self._all(q.LAST_ENTRY, *places_of(run))
        return entry_of(rows[0]) if rows else None

    def promise(self, app: str, promise_id: str) -> PromiseRecord | None:
        """Return a promise that was settled."""
        number = self.names.app(app)
        rows = [] if number is None else self._all(q.PROMISE, number, promise_id)
        if not rows:
            return None
        key, ok, settled_at, _, data, check = rows[0]
        check_data("promise", key, PROMISE_PLACE, promise_id, data, check, ok=bool(ok))
        return PromiseRecord(promise_id, settled_at, bool(ok), data)

    def next_due(self, queues: Sequence[Queue], runs: Sequence[RunKey]) -> int | None:
        """Return when the earliest of these runs may be claimed."""
        found: list[int | None] = []
        for queue in dict.fromkeys(queues):
            if (number := self.names.queue(queue)) is not None:
                found += self._all(q.NEXT_DUE, number)[0]
        if runs:
            found += self._all(q.NEXT_DUE_AMONG, keys_text(runs))[0]
        return min((due_at for due_at in found if due_at is not None), default=None)

    def missed(self) -> list[RunKey]:
        """Return suspended runs that something has reached."""
        return [key for (key,) in self._all(q.MISSED)]

    def registered(self, worker: WorkerId) -> bool:
        """Is the worker still known?"""
        return self.names.living_worker(worker) is not None

    def workers(self) -> list[WorkerRecord]:
        """Return all registered workers, in order of registration."""
        return [worker_of(row) for row in self._all(q.WORKERS)]


@contextmanager
def collection_paused() -> Iterator[None]:
    """Make many records at once, none of which can be garbage, without the collector's looking at them each time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _where(conditions: list[str]) -> str:
    return " ".join(("WHERE", " AND ".join(conditions))) if conditions else ""


IN_QUEUES = {
    "workflow": "r.queue IN (SELECT queue FROM queues WHERE workflow = ?)",
    "group": "r.queue IN (SELECT queue FROM queues WHERE grp = ?)",
}

WITH_TAG = "r.key IN (SELECT run FROM tags WHERE name = ? AND value = ?)"


def conditions_of(where: RunFilter) -> tuple[list[str], list[object]]:
    """Return a filter as conditions on `runs AS r`, all of them constants, and their values."""
    found: list[tuple[str, tuple[object, ...]]] = []
    if where.app is not None:
        found.append(("r.app = (SELECT app FROM apps WHERE name = ?)", (where.app,)))
    if where.workflow is not None:
        found.append((IN_QUEUES["workflow"], (where.workflow,)))
    if where.group is not None:
        found.append((IN_QUEUES["group"], (where.group,)))
    if where.states:
        found.append(("r.state IN (SELECT value FROM json_each(?))", (keys_text(map(int, where.states)),)))
    if where.id_prefix is not None:
        # The range serves the index, the second condition is exact for every text.
        found.append(("r.id >= ? AND substr(r.id, 1, ?) = ?", (where.id_prefix, len(where.id_prefix), where.id_prefix)))
    found += [(WITH_TAG, (name, value)) for name, value in where.tags.items()]
    plain = (
        ("r.created_at >= ?", where.created_from),
        ("r.created_at < ?", where.created_before),
        ("r.state >= 6 AND r.moved_at < ?", where.finished_before),
        ("r.parent_id = ?", where.parent_id),
        ("r.reason = ?", where.reason),
    )
    found += [(condition, (value,)) for condition, value in plain if value is not None]
    return [condition for condition, _ in found], [value for _, values in found for value in values]
