"""A memory store that remembers how it came about, so that any moment of its past can be made again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeAlias

from durable.core.records import Entry, WorkerId, WorkerRecord
from durable.store.base import Expired
from durable.store.memory import MemoryStore
from durable.store.operations import Committed, Operation


class Commit(NamedTuple):
    """A transaction that the store executed."""

    now: int
    batch: tuple[Operation, ...]
    worker: WorkerId | None
    jobs: int
    """Jobs that the outside world had begun by then."""


class Change(NamedTuple):
    """Something else that changed the store: workers died, were found dead, or left."""

    now: int
    what: str
    worker: WorkerId = ""


LogItem: TypeAlias = Commit | Change | WorkerRecord

DIED: Final = "all workers died"
EXPIRED: Final = "dead workers were found"
LEFT: Final = "a worker left"


class _Moment:
    """A clock that shows one time."""

    def __init__(self, now: int) -> None:
        self._now = now

    def now_ms(self) -> int:
        return self._now


class LoggingStore(MemoryStore):
    """A memory store that keeps a log of everything that changes it."""

    def __init__(self) -> None:
        # Takeovers are immediate, also the second one without a new entry: half of the delay less half of the delay.
        super().__init__(spread=lambda: -0.5)
        self.log: list[LogItem] = []
        self.jobs: Callable[[], int] = lambda: 0
        """Asked at each commit how many jobs have begun."""

    @classmethod
    def again(cls, log: Iterable[LogItem]) -> LoggingStore:
        """Return a store to which everything in a log has happened."""
        store = cls()
        for item in log:
            store._repeat(item)
        store._clock = None
        return store

    def _repeat(self, item: LogItem) -> None:
        match item:
            case WorkerRecord():
                self.log.append(item)
                self._tables.workers[item.worker_id] = item
            case Commit():
                self._clock = _Moment(item.now)
                self.jobs = lambda: item.jobs
                self._commit(item.batch, item.worker)
            case Change(now, what, worker):
                self._clock = _Moment(now)
                if what == DIED:
                    self.die()
                else:
                    # These coroutines of the memory store await nothing.
                    coro = self.expire() if what == EXPIRED else self.unregister(worker)
                    with contextlib.suppress(StopIteration):
                        coro.send(None)

    def peer(self) -> MemoryStore:
        return self

    def _commit(self, batch: tuple[Operation, ...], worker: WorkerId | None) -> Committed:
        self.log.append(Commit(self._now(), batch, worker, self.jobs()))
        return super()._commit(batch, worker)

    async def register(self, worker: WorkerRecord) -> None:
        self.log.append(worker)
        await super().register(worker)

    async def unregister(self, worker: WorkerId) -> None:
        self.log.append(Change(self._now(), LEFT, worker))
        await super().unregister(worker)

    async def expire(self) -> Expired:
        if self._tables.dead:
            self.log.append(Change(self._now(), EXPIRED))
        return await super().expire()

    def die(self) -> None:
        """Let all workers be dead."""
        self.log.append(Change(0 if self._clock is None else self._now(), DIED))
        for worker in list(self._tables.workers):
            self.bury(worker)

    def journals(self) -> dict[str, list[Entry]]:
        """Return the journals of all runs, by run id."""
        return {row.run_id: list(row.journal.values()) for row in self._tables.runs.values()}
