"""One write transaction: the connection, the time, and what it has made due.

Everything in it happens at one time. `BEGIN IMMEDIATE` is the fence: what a statement has read stays true until the
commit, so operations read first, let `durable.core.decisions` decide, and then write.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from durable.core.decisions.standing import Change, Standing, became_due, is_due
from durable.core.records import Entry, Reason, RunKey, WorkerId
from durable.store.sqlite import queries as q
from durable.store.sqlite.names import Names
from durable.store.sqlite.rows import Found, Unstorable, clean, entry_row, found_of, standing_row


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
        """Runs that were made due now and that nobody has taken since."""
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

    def found(self, app: str, run_id: str) -> Found | None:
        """Return where a run stands, None if it is not there."""
        number = self.names.app(app)
        row = None if number is None else self.one(q.FOUND_BY_ID, number, run_id)
        return None if row is None else found_of(row)

    def found_by_key(self, key: RunKey) -> Found | None:
        """As `found`, by the run's key."""
        row = self.one(q.FOUND_BY_KEY, key)
        return None if row is None else found_of(row)

    def surely_found(self, key: RunKey) -> Found:
        """As `found_by_key`, for a run that this transaction has read already."""
        found = self.found_by_key(key)
        assert found is not None
        return found

    # Changes of runs -------------------------------------------------------------------------------------------------

    def apply(self, found: Found, change: Change) -> None:
        """Write what was decided about a run.

        Raises:
            ValueError: its entry holds what no row can.
        """
        if change.entry is not None:
            self.append(found.key, change.run.epoch, change.entry)
        self.put(found, change.run)
        if change.forgets_waits:
            self.execute(q.FORGET_WAITS, (keys_text([found.key]),))
        if change.has_ended:
            self.wake_waiters_of_runs([found.key])

    def put(self, found: Found, run: Standing) -> None:
        """Write where a run stands now."""
        if run == found.run:
            return
        self.execute(q.PUT, (*standing_row(run, found.worker), found.key))
        if became_due(found.run, run, self.now):
            self.due.add(found.key)
        elif not is_due(run, self.now):
            self.due.discard(found.key)

    def append(self, run: RunKey, epoch: int, entry: Entry) -> None:
        """Add an entry that the store itself makes, or that no owner writes.

        Raises:
            ValueError: it holds what no row can.
        """
        try:
            row = entry_row(run, epoch, entry)
        except Unstorable as error:
            raise ValueError(f"an entry cannot be stored: {error}") from error
        self.execute(q.ADD_FULL_ENTRY, row)

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

    def set_aside(self, run: RunKey, reason: Reason, detail: str) -> None:
        """Take a run whose bytes are damaged from its owner."""
        self.execute(q.SET_ASIDE, (self.now, str(reason), clean(detail), run))

    def made_due(self) -> tuple[RunKey, ...]:
        """Return the runs that this transaction made due now and nobody owns."""
        return tuple(sorted(self.due))
