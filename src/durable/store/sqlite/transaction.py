"""One write transaction: the connection, the time, and what it has made due.

Everything in it happens at one time. `BEGIN IMMEDIATE` is the fence: what a statement has read stays true until the
commit, so operations read first, decide in Python, and then write.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from durable.core.records import Reason, RunKey, RunRecord, RunState, WorkerId
from durable.store.sqlite import queries as q
from durable.store.sqlite.names import Names
from durable.store.sqlite.rows import clean, run_of
from durable.store.sqlite.schema import POSITIONS


class OneRun(NamedTuple):
    """What operations on one run decide by."""

    key: RunKey
    state: RunState
    epoch: int
    due_at: int | None
    requests: int
    next_position: int


def keys_text(keys: Iterable[RunKey]) -> str:
    """Return a set of keys as statements take it."""
    return f"[{','.join(map(str, keys))}]"


class Transaction:
    """What the functions of this package work on while a transaction is open."""

    def __init__(self, connection: sqlite3.Connection, names: Names, now: int) -> None:
        self.connection, self.names, self.now = connection, names, now
        self.execute = connection.execute
        self.many = connection.executemany
        self.due: set[RunKey] = set()
        """Runs that were made due now; some may have been taken since."""
        self.recheck_due = False
        """Was there an operation after which a run in `due` may be due no more?"""
        self._living: dict[WorkerId, int | None] = {}
        self._workers: dict[WorkerId, int] = {}

    def all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return all rows of a statement."""
        return self.execute(sql, values).fetchall()

    def one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        """Return the first row of a statement."""
        return self.execute(sql, values).fetchone()  # type: ignore[no-any-return]

    def living_worker(self, worker: WorkerId | None) -> int | None:
        """Return the number of a worker if it is registered; asked once a transaction."""
        if worker is None:
            return None
        if worker not in self._living:
            self._living[worker] = self.names.living_worker(worker)
        return self._living[worker]

    def worker(self, worker: WorkerId) -> int:
        """Return the number of a worker, living or not; 0 if nobody knows it."""
        if (number := self._workers.get(worker)) is None:
            # Numbers are never given again, so one that was seen stays true, whether its worker lives or not.
            number = self._workers[worker] = self.names.known_worker(worker) or self.living_worker(worker) or 0
        return number

    def one_run(self, app: str, run_id: str) -> OneRun | None:
        """Return what an operation must know of a run, None if it is not there."""
        number = self.names.app(app)
        row = None if number is None else self.one(q.ONE_RUN, number, run_id)
        if row is None:
            return None
        key, state, epoch, due_at, requests, place = row
        return OneRun(key, RunState(state), epoch, due_at, requests, (place & (POSITIONS - 1)) + 1)

    def record(self, key: RunKey) -> RunRecord:
        """Return the record of a run that is there."""
        row = self.one(q.RUN_BY_KEY, key)
        assert row is not None
        return run_of(row, self.names)

    def wake(self, runs: Sequence[RunKey]) -> None:
        """Let runs hear that something has arrived: the owner of each, or the one who claims it next."""
        for key in runs:
            if self.execute(q.NOTICE, (key,)).rowcount:
                continue
            if self.execute(q.WAKE, (self.now, self.now, self.now, key)).rowcount:
                self.due.add(key)

    def wake_waiters(self, app: int, target: str) -> None:
        """Wake everybody who waits for a promise or a run."""
        self.wake([run for (run,) in self.all(q.WAITERS, app, target)])

    def wake_waiters_of_runs(self, runs: Sequence[RunKey]) -> None:
        """Wake everybody who waits for the end of any of these runs."""
        ids: dict[int, list[str]] = {}
        for app, run_id in self.all(q.RUN_IDS, keys_text(runs)):
            ids.setdefault(app, []).append(run_id)
        for app, names in ids.items():
            self.wake([run for (run,) in self.all(q.WAITERS_OF_RUNS, json.dumps(names), app)])

    def queue_for_cancel(self, run: RunKey) -> None:
        """Make a run due that nobody owns and that should cancel."""
        self.execute(q.QUEUE_FOR_CANCEL, (self.now, self.now, self.now, run))
        self.due.add(run)

    def set_aside(self, run: RunKey, reason: Reason, detail: str) -> None:
        """Take a run that cannot go on from its owner."""
        self.execute(q.SET_ASIDE, (self.now, str(reason), clean(detail), run))

    def made_due(self) -> tuple[RunKey, ...]:
        """Return the runs that this transaction made due now and nobody owns."""
        if self.due and self.recheck_due:
            return tuple(sorted(key for _, key in self.all(q.DUE_AMONG, keys_text(self.due), self.now)))
        return tuple(sorted(self.due))
