"""The memory store: the contract of `durable.store.base` in its plainest form, and the store of quick tests.

It is the executable specification. Every other store must answer as this one does; where speed and clearness differ,
this one is clear. What it holds ends with the process.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence

from durable.core.decisions import arrivals, retention, standing, takeovers
from durable.core.records import (
    Entry,
    Inbox,
    PromiseRecord,
    Queue,
    RunKey,
    RunRecord,
    RunState,
    Wait,
    WorkerId,
    WorkerRecord,
    signal_id,
)
from durable.errors import Bug
from durable.store._memory_operations import Transaction, execute_batch
from durable.store._memory_tables import Row, Tables
from durable.store.base import JOURNAL_PAGE_MAX, LIST_PAGE_MAX, Clock, Expired, RunFilter, StoreStatus
from durable.store.checks import check_batch
from durable.store.operations import Committed, Operation


class MemoryStore:
    """A `RunStore` in the memory of this process.

    Workers that share one MemoryStore see each other. Closed and opened again, it still holds everything.

    Args:
        spread: Returns numbers in [0, 1) that set apart the runs of a dead worker.
    """

    remembers = False

    def __init__(self, *, spread: Callable[[], float] = random.random) -> None:
        self._tables = Tables()
        self._spread = spread
        self._clock: Clock | None = None
        self._asked: deque[tuple[asyncio.Future[Committed], tuple[Operation, ...], WorkerId | None]] = deque()
        self._lives: set[WorkerId] = set()
        self._seen = 0

    def peer(self) -> MemoryStore:
        """Return another store on the same data, as a second process would have on a database."""
        peer = MemoryStore(spread=self._spread)
        peer._tables = self._tables
        return peer

    def bury(self, worker: WorkerId) -> None:
        """Declare a worker dead, for tests: the next `expire` takes back its runs."""
        if worker in self._tables.workers:
            self._tables.dead.add(worker)

    # Life ------------------------------------------------------------------------------------------------------------

    async def open(self, clock: Clock) -> None:
        """Start to serve, with this clock."""
        self._clock = clock

    async def close(self) -> None:
        """Finish what was asked; workers that were not unregistered are dead from now on. The data stay."""
        loop = asyncio.get_running_loop()
        if futures := [future for future, _, _ in self._asked if future.get_loop() is loop]:
            await asyncio.wait(futures)
        self.close_now()

    def close_now(self) -> None:
        """As `close`, without the loop: what was asked is done, and nobody is told."""
        while self._asked:
            _, batch, worker = self._asked.popleft()
            self._commit(batch, worker)
        for worker_id in self._lives:
            self.bury(worker_id)
        self._lives.clear()
        self._clock = None

    async def reopen(self) -> None:
        """Tell again what was told: memory loses no answer, but whoever reopens a store believes that one was lost."""
        self._now()
        for worker in self._lives:
            for row in self._tables.owned_by(worker):
                row.life = standing.woken(row.life, self._now())

    # Writing ---------------------------------------------------------------------------------------------------------

    def execute(self, batch: Sequence[Operation], worker: WorkerId | None = None) -> Awaitable[Committed]:
        """Execute the operations as one transaction, in a later iteration of the loop."""
        self._now()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Committed] = loop.create_future()
        self._asked.append((future, tuple(batch), worker))
        loop.call_soon(self._commit_next)
        return future

    def _commit_next(self) -> None:
        if not self._asked:  # Closed meanwhile, and done by that.
            return
        future, batch, worker = self._asked.popleft()
        try:
            committed = self._commit(batch, worker)
        except Exception as error:  # noqa: BLE001 - whoever awaits the answer gets it
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(committed)

    def _commit(self, batch: tuple[Operation, ...], worker: WorkerId | None) -> Committed:
        check_batch(batch)
        self._tables.version += 1
        return execute_batch(self._tables, batch, worker, self._now())

    async def sweep(self) -> tuple[RunKey, ...]:
        """Wake the suspended runs that something has reached; there are none unless a wake-up was lost."""
        transaction = self._transaction()
        rows = self._tables.runs.values()
        found = [row for row in rows if arrivals.was_missed(row.life, is_there=self._tables.is_anything_there(row))]
        for row in found:
            transaction.wake(row)
        return tuple(row.key for row in found)

    async def collect(self, worker: WorkerId) -> Committed:
        """Tell a worker what has arrived for its runs."""
        return Committed([], (), self._transaction().tell(worker))

    async def prune(self, where: RunFilter, *, finished_before: int, limit: int) -> int:
        """Delete ended runs, oldest end first."""
        self._transaction()
        ended = [
            (row.life.finished_at, row.key, row)
            for row in self._tables.runs.values()
            if _matches(row, where) and self._may_go(row, finished_before)
        ]
        found = [row for _, _, row in sorted(ended)][: max(0, limit)]
        for row in found:
            self._delete(row)
        return len(found)

    def _may_go(self, row: Row, finished_before: int) -> bool:
        parent = self._tables.by_id.get((row.app, row.parent_id or ""))
        return retention.may_go(
            row.life.finished_at,
            finished_before,
            is_awaited=bool(self._tables.waiters(row.app, f"r:{row.run_id}")),
            parent=None if parent is None else parent.life.state,
        )

    def _delete(self, row: Row) -> None:
        del self._tables.runs[row.key], self._tables.by_id[row.app, row.run_id]
        signals = [key for key in self._tables.promises if key[0] == row.app and key[1].startswith(f"{row.run_id}\n")]
        for key in signals:
            del self._tables.promises[key]

    # Workers ---------------------------------------------------------------------------------------------------------

    async def register(self, worker: WorkerRecord) -> None:
        """Say that a worker lives, until it is buried or this store is closed."""
        self._transaction()
        self._tables.workers[worker.worker_id] = worker
        self._lives.add(worker.worker_id)

    async def unregister(self, worker: WorkerId) -> None:
        """Forget a worker and queue its runs."""
        transaction = self._transaction()
        for row in self._tables.owned_by(worker):
            transaction.put(row, takeovers.handed_back(row.life, transaction.now))
        self._drop_worker(worker)

    def beat(self) -> None:
        """Do nothing: workers here live until they are buried."""

    async def expire(self) -> Expired:
        """Take back the runs of buried workers."""
        transaction = self._transaction()
        dead, runs = sorted(self._tables.dead), list[RunKey]()
        for worker in dead:
            for row in self._tables.owned_by(worker):
                transaction.put(row, takeovers.taken_back(row.life, transaction.now, spread=self._spread()))
                runs.append(row.key)
            self._drop_worker(worker)
        return Expired(tuple(dead), tuple(runs))

    def _drop_worker(self, worker: WorkerId) -> None:
        self._tables.workers.pop(worker, None)
        self._tables.dead.discard(worker)
        self._lives.discard(worker)

    async def registered(self, worker: WorkerId) -> bool:
        """Is the worker still known?"""
        return worker in self._tables.workers

    async def workers(self) -> list[WorkerRecord]:
        """Return all workers that have not been found dead, in order of registration."""
        return list(self._tables.workers.values())

    # Reading ---------------------------------------------------------------------------------------------------------

    def changed(self) -> bool:
        """Has anybody committed since the last call?"""
        seen, self._seen = self._seen, self._tables.version
        return seen != self._seen

    async def next_due(self, queues: Sequence[Queue], runs: Sequence[RunKey] = ()) -> int | None:
        """Return when the earliest of these runs may be claimed."""
        rows = (row for row in self._tables.claimable.values() if row.queue in queues or row.key in runs)
        return min((row.life.due_at for row in rows if row.life.due_at is not None), default=None)

    async def run(self, app: str, run_id: str) -> RunRecord | None:
        """Return one run, by its id."""
        row = self._tables.by_id.get((app, run_id))
        return None if row is None else row.record()

    async def run_by_key(self, key: RunKey) -> RunRecord | None:
        """Return one run, by its key."""
        row = self._tables.runs.get(key)
        return None if row is None else row.record()

    async def runs(self, where: RunFilter, *, limit: int = 100, before: RunKey | None = None) -> list[RunRecord]:
        """Return runs, newest first."""
        rows = (row for row in reversed(self._tables.runs.values()) if before is None or row.key < before)
        found = [row.record() for row in rows if _matches(row, where)]
        return found[: min(max(0, limit), LIST_PAGE_MAX)]

    async def count(self, where: RunFilter) -> dict[RunState, int]:
        """Return how many runs are in each state."""
        return dict(Counter(row.life.state for row in self._tables.runs.values() if _matches(row, where)))

    async def tally(self, where: RunFilter) -> dict[Queue, dict[RunState, int]]:
        """Return how many runs are in each state, queue by queue."""
        tally: dict[Queue, Counter[RunState]] = {}
        for row in self._tables.runs.values():
            if _matches(row, where):
                tally.setdefault(row.queue, Counter())[row.life.state] += 1
        return {queue: dict(counts) for queue, counts in tally.items()}

    async def waits(self, run: RunKey) -> list[Wait]:
        """Return what a run is registered for."""
        row = self._tables.runs.get(run)
        return [] if row is None else list(row.waits)

    async def inbox(self, run: RunKey) -> Inbox:
        """Return what was delivered to a run."""
        row = self._tables.runs.get(run)
        if row is None:
            return Inbox()
        signals = [
            promise.record
            for (app, promise_id), promise in self._tables.promises.items()
            if app == row.app and promise_id.startswith(signal_id(row.run_id, ""))
        ]
        return Inbox(tuple(sorted(signals, key=lambda signal: signal.promise_id)), row.unread())

    async def owned(self, worker: WorkerId) -> list[RunRecord]:
        """Return the runs that a worker owns, oldest first."""
        return [row.record() for row in self._tables.owned_by(worker)]

    async def journal(self, run: RunKey, start: int = 0, limit: int = JOURNAL_PAGE_MAX) -> list[Entry]:
        """Return entries from a position on, in order."""
        row = self._tables.runs.get(run)
        entries = [] if row is None else [entry for entry in row.journal.values() if entry.position >= start]
        return entries[: min(max(0, limit), JOURNAL_PAGE_MAX)]

    async def last_entry(self, run: RunKey) -> Entry | None:
        """Return the newest entry of a run."""
        row = self._tables.runs.get(run)
        return None if row is None else row.last_entry()

    async def promise(self, app: str, promise_id: str) -> PromiseRecord | None:
        """Return a promise that was settled."""
        promise = self._tables.promises.get((app, promise_id))
        return None if promise is None else promise.record

    async def status(self) -> StoreStatus:
        """Return what an operator should know."""
        return StoreStatus("memory", "memory", "memory", 1, ("everything is lost when this process ends",))

    async def check(self) -> list[str]:
        """Return nothing: there are no stored bytes that could be damaged."""
        return []

    # Helpers ---------------------------------------------------------------------------------------------------------

    def _transaction(self) -> Transaction:
        transaction = Transaction(self._tables, self._now())
        self._tables.version += 1
        return transaction

    def _now(self) -> int:
        if self._clock is None:
            raise Bug("the store is used before open or after close")
        return self._clock.now_ms()


def _matches(row: Row, where: RunFilter) -> bool:
    wanted = (
        (where.app, row.app),
        (where.workflow, row.queue.workflow),
        (where.group, row.queue.group),
        (where.parent_id, row.parent_id),
        (where.reason, row.life.reason),
    )
    return (
        all(want is None or want == found for want, found in wanted)
        and (not where.states or row.life.state in where.states)
        and (where.id_prefix is None or row.run_id.startswith(where.id_prefix))
        and where.tags.items() <= row.tags.items()
        and (where.created_from is None or row.created_at >= where.created_from)
        and (where.created_before is None or row.created_at < where.created_before)
        and (where.finished_before is None or (row.life.finished_at or where.finished_before) < where.finished_before)
    )
