"""A store at work, whose system calls are recorded: what it acknowledges, and what its database says after each batch.

`Recorder` executes random batches through the store's public methods; between them it lets the store checkpoint, cut
its log, reopen, close and open. After each batch it takes a digest of everything that can be read. A database that
recovers from a power loss must be one of those, and none from before what was acknowledged.
"""

from __future__ import annotations

import marshal
import random
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Final

from durable.core.records import Entry, Kind, Queue, RunRecord, RunState, Status, Wait, WorkerRecord
from durable.store.base import RunFilter
from durable.store.operations import Advance, Extras, Finish, GoOn, Operation, Send, Settle, Start, Started, Suspend
from durable.store.sqlite import SQLiteRunStore
from durable.store.sqlite.url import Durability

APP: Final = "app"
QUEUE: Final = Queue(APP, "flow", "1", "group")
WORKER: Final = "boot:1:0:recorder"
PROMISES: Final = tuple(f"promise-{number}" for number in range(8))

RUNS_OPEN_MAX: Final = 8

SIZES: Final = (0, 5, 60, 300, 300, 5_000)
"""Bytes of values: from none to several pages."""


EMPTY: Final = "empty"

MARSHAL_VERSION: Final = 2
"""The last one that writes equal values equally: later ones look at reference counts."""


class StillClock:
    """Stands where it is put."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.now


def digest(store: SQLiteRunStore) -> str:
    """Return a digest of every row of every table; of a database in which nothing has happened, always the same."""
    reading = store._database.reading
    assert reading is not None
    if not any(reading.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in ("runs", "workers")):
        return EMPTY
    names = reading.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    rows = [reading.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names]  # names are the schema's own
    return blake2b(marshal.dumps(rows, MARSHAL_VERSION), digest_size=12).hexdigest()


class Recorder:
    """Executes random batches on one database.

    Args:
        path: The database.
        durability: As for the store.
        seed: Decides on everything.
        tell: Called with a remark as soon as something is acknowledged.
    """

    def __init__(self, path: Path, durability: Durability, seed: int, tell: Callable[[str], None]) -> None:
        self._path, self._durability, self._tell = path, durability, tell
        self._random = random.Random(seed)
        self._clock = StillClock()
        self._runs: dict[str, tuple[RunRecord, int]] = {}
        """Open runs and their next positions."""
        self._started = 0
        self._messages = 0
        self._store = SQLiteRunStore(path, durability=durability)
        self.digests: list[str] = []
        """What the database says after each acknowledged transaction, the first of which is the creation of a run."""

    async def record(self, batches: int) -> None:
        """Open, execute so many batches, and close."""
        await self._open()
        for _ in range(batches):
            await self._batch()
            await self._something_between()
        await self._store.close()

    async def _open(self) -> None:
        await self._store.open(self._clock)
        await self._acknowledged()
        # A worker says that it lives: one transaction.
        await self._store.register(WorkerRecord(WORKER, 1, "host", "boot", self._clock.now, (QUEUE,)))
        await self._acknowledged()

    async def _acknowledged(self) -> None:
        self._tell(str(len(self.digests)))
        self.digests.append(digest(self._store))

    async def _batch(self) -> None:
        self._clock.now += self._random.choice((0, 1, 50))
        batch: list[Operation] = [self._advance(run_id) for run_id in list(self._runs) if self._random.random() < 0.4]
        starts = self._random.choice((0, 0, 1, 3)) if len(self._runs) < RUNS_OPEN_MAX else 0
        batch += [self._start() for _ in range(starts)]
        if self._random.random() < 0.3:
            batch.append(Settle(APP, self._random.choice(PROMISES), True, self._value(), "token"))
        if self._runs and self._random.random() < 0.3:
            self._messages += 1
            run_id = self._random.choice(list(self._runs))
            batch.append(Send(APP, run_id, f"message-{self._messages}", "news", self._value()))
        if not batch:
            batch = [self._start()]
        committed = await self._store.execute(batch, WORKER)
        for outcome in committed.outcomes:
            if isinstance(outcome, Started):
                self._runs[outcome.record.run_id] = outcome.record, 1
        await self._acknowledged()

    def _value(self) -> bytes:
        return self._random.randbytes(self._random.choice(SIZES))

    def _start(self) -> Start:
        self._started += 1
        return Start(QUEUE, f"run-{self._started}", self._value(), 7, worker=WORKER)

    def _advance(self, run_id: str) -> Advance:
        run, position = self._runs[run_id]
        count = self._random.choice((1, 1, 2, 5))
        now = self._clock.now
        entries = [
            Entry(position + i, now, Kind.TASK, Status.OK, seq=position + i, name="task", data=self._value())
            for i in range(count)
        ]
        ends = self._random.random() < 0.25
        if ends:
            entries.append(Entry(position + count, now, Kind.RUN, Status.OK, name="finish", data=self._value()))
            del self._runs[run_id]
        else:
            self._runs[run_id] = run, position + count
        waits = () if ends or self._random.random() < 0.7 else (Wait(position, f"p:{self._random.choice(PROMISES)}"),)
        then: Finish | Suspend | GoOn = Finish(RunState.SUCCEEDED) if ends else GoOn()
        if not ends and self._random.random() < 0.1:
            # It waits for a time and is not claimed again: rows move between indexes.
            then = Suspend(now + 1_000_000)
            del self._runs[run_id]
        return Advance(run.key, WORKER, run.epoch, tuple(entries), then, Extras(waits=waits) if waits else None)

    async def _something_between(self) -> None:
        """Now and then, do what stores do between batches."""
        draw = self._random.random()
        if draw < 0.10:
            await self._store._writer.submit(self._store._database.rest)
        elif draw < 0.13:
            # After an unknown outcome: a checkpoint that cuts the log.
            await self._store.reopen()
            await self._acknowledged()
        elif draw < 0.25:
            prune = partial(self._store.prune, RunFilter(), finished_before=self._clock.now + 1, limit=5)
            await prune()
            await self._acknowledged()
        elif draw < 0.27:
            await self._close_and_open()

    async def _close_and_open(self) -> None:
        """Close in peace: the log is copied and removed."""
        await self._store.close()
        self._store = SQLiteRunStore(self._path, durability=self._durability)
        await self._open()
