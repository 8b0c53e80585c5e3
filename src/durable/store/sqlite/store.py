"""`SQLiteRunStore`: the contract of stores on one SQLite file. `DESIGN.md` tells how it works."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

from durable.core.decisions.arrivals import was_missed
from durable.core.decisions.standing import woken
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
)
from durable.errors import Bug, StoreCorrupt, StoreUnavailable, StoreUnusable
from durable.store.base import JOURNAL_PAGE_MAX, Clock, Expired, RunFilter, StoreStatus
from durable.store.drivers import Op, run_blocking
from durable.store.operations import Committed, Operation
from durable.store.sqlite import place, upkeep
from durable.store.sqlite import queries as q
from durable.store.sqlite.arrivals import is_anything_there, tell
from durable.store.sqlite.batch import check, execute_batch
from durable.store.sqlite.connection import check_version_of_library, is_damage, runner, translated, version_notes
from durable.store.sqlite.database import Database
from durable.store.sqlite.filelock import FileLock
from durable.store.sqlite.forks import Inherited, leak
from durable.store.sqlite.liveness import Look, Observer, WorkerLocks, remove_if_free
from durable.store.sqlite.reads import Reader
from durable.store.sqlite.schema import SCHEMA_VERSION
from durable.store.sqlite.transaction import Transaction
from durable.store.sqlite.url import Durability, checked_durability
from durable.store.sqlite.writer import Writer
from durable.store.threads import DaemonPool

T = TypeVar("T")

INLINE_ENTRIES: Final = 256
"""Entries that `journal` reads on the calling thread; more are read in another one, so that the loop is not held up."""


LOG_BYTES_WARN: Final = 256 << 20
"""Size of the log from which on an operator should look who reads for so long."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds in seconds that an operator may want otherwise."""

    lock_wait_s: float = 10.0
    """Longest wait for another process's write."""
    stopped_s: float = 30.0
    """How long a worker may be stopped before it is taken for dead."""
    hang_s: float = 600.0
    """How long its loop may make no progress."""


class SQLiteRunStore(Inherited):
    """A `RunStore` in one SQLite file, shared by any number of processes of one machine.

    Args:
        path: The database file; it is created, its directory is not.
        durability: `full` survives power loss, `relaxed` the death of the process only.
        limits: Bounds on waiting.
    """

    remembers = True

    def __init__(self, path: str | os.PathLike[str], *, durability: Durability = "full", limits: Limits | None = None):
        super().__init__()
        self._limits = limits = limits or Limits()
        self._path = place.resolve(os.fspath(path))
        self._database = Database(self._path, checked_durability(durability, os.fspath(path)))
        self._writer = Writer(self._database, limits.lock_wait_s)
        self._locks = WorkerLocks(self._path)
        self._observer = Observer(limits.stopped_s, limits.hang_s)
        self._readers: dict[bool, Reader] = {}
        self._pool: DaemonPool | None = None
        self._clock: Clock | None = None
        self._seen_version = 0
        self._told: set[WorkerId] = set()
        self._forked_from = 0
        self._finalizer = weakref.finalize(self, _close_all, self._writer, self._locks)
        self._finalizer.atexit = False

    @property
    def path(self) -> str:
        """The file, by its one absolute name."""
        return self._path

    @property
    def at_work(self) -> bool:
        """Is the writer's thread doing something that somebody waits for?"""
        return self._writer.is_busy

    def peer(self) -> SQLiteRunStore:
        """Return another, unopened store on the same file: each event loop needs one of its own."""
        return SQLiteRunStore(self._path, durability=self._database.durability, limits=self._limits)

    # Life ------------------------------------------------------------------------------------------------------------

    async def open(self, clock: Clock) -> None:
        """Connect, create or migrate the schema, and check that this can serve as a store."""
        self._check_fork()
        if self._clock is not None:
            self._clock = clock
            return
        check_version_of_library(sqlite3.sqlite_version_info)
        self._seen_version = await self._writer.submit(partial(self._connect, clock, again=False))
        self._clock = clock
        self._finalizer.atexit = True

    def _connect(self, clock: Clock, *, again: bool) -> int:
        with self._writer.locked():
            if again:
                self._database.reopen(clock)
            elif self._database.writing is None:
                connection = self._opened(clock)
                try:
                    workers = Reader(connection).workers()
                except sqlite3.Error as error:
                    self._database.disconnect()
                    raise translated(error, self._path, opening=True) from error
                self._locks.tidy(worker.worker_id for worker in workers)
            return self._database.data_version()

    def _opened(self, clock: Clock) -> sqlite3.Connection:
        try:
            return self._database.open(clock)
        except StoreUnusable:
            self._database.take_lock_away()
            raise

    async def reopen(self) -> None:
        """Drop all connections and connect again, after an unknown outcome."""
        self._check_open()
        assert self._clock is not None
        await self._writer.submit(partial(self._connect, self._clock, again=True))
        await self._write(self._tell_again)

    def _tell_again(self, transaction: Transaction) -> None:
        """What was told in an answer that was lost is told again."""
        transaction.many(q.NOTICE_AGAIN, [(worker,) for worker in self._told])

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""
        if self._clock is not None and not self._forked_from:
            self._clock = None
            await self._writer.finish()
        self.close_now()

    def close_now(self) -> None:
        """As `close`, from plain code and without the loop."""
        if self._forked_from:
            return
        self._clock = None
        self._finalizer.atexit = False
        _close_all(self._writer, self._locks)
        self._readers.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def after_fork_in_child(self) -> None:
        """Let go of the parent's locks without unlocking them, and refuse to serve."""
        if self._clock is None:
            return
        self._forked_from = os.getppid()
        self._finalizer.detach()
        database = self._database
        leak((database.writing, database.reading, database.browsing, self._readers))
        self._locks.close()
        if self._database.lock is not None:
            self._database.lock.close()

    # Writing ---------------------------------------------------------------------------------------------------------

    def execute(self, batch: Sequence[Operation], worker: WorkerId | None = None) -> Awaitable[Committed]:
        """Execute the operations as one transaction, durable when the awaitable is done."""
        self._check_open()
        try:
            check(batch)
        except ValueError as error:
            return _failed(error)
        if worker is not None:
            self._told.add(worker)
        return self._write(partial(execute_batch, batch=tuple(batch), worker=worker))

    def execute_now(self, batch: Sequence[Operation], worker: WorkerId | None = None) -> Committed | None:
        """As `execute`, at once on the calling thread, if that needs no waiting; None, and nothing done, if it does.

        It blocks for the time of one commit, and saves two changes of thread.
        """
        self._check_open()
        check(batch)
        if worker is not None:
            self._told.add(worker)
        answer = self._writer.run_now(partial(execute_batch, batch=batch, worker=worker))
        return None if answer is None else answer[0]

    def _write(self, work: Callable[[Transaction], T]) -> asyncio.Future[T]:
        self._check_open()
        return self._writer.submit(partial(self._writer.transact, work))

    def changed(self) -> bool:
        """May anybody else have committed since the last call?"""
        version = self._writer.data_version()
        if not version or version == self._seen_version:
            return False
        self._seen_version = version
        return True

    async def collect(self, worker: WorkerId) -> Committed:
        """Return what has arrived for runs that `worker` owns."""
        self._told.add(worker)
        pending = await self._write(partial(tell, worker=worker))
        return Committed([], (), pending)

    async def sweep(self) -> tuple[RunKey, ...]:
        """Make due every suspended run that something has reached without waking it."""
        found = await self._read(lambda reader: reader.missed())
        return await self._write(partial(_wake_missed, runs=found)) if found else ()

    async def prune(self, where: RunFilter, *, finished_before: int, limit: int) -> int:
        """Delete ended runs, oldest end first."""
        return await self._write(lambda transaction: _run_op(transaction, upkeep.prune(where, finished_before, limit)))

    # Workers ---------------------------------------------------------------------------------------------------------

    async def register(self, worker: WorkerRecord) -> None:
        """Say that a worker lives: its lock file is held until `unregister` or `close`."""
        self._check_open()
        self._locks.hold(worker.worker_id)
        queues = json.dumps(worker.queues, ensure_ascii=False)
        values = (worker.worker_id, worker.pid, worker.host, worker.boot_id, worker.started_at, queues)
        self._told.add(worker.worker_id)
        await self._write(lambda transaction: transaction.execute(q.ADD_WORKER, values))

    async def unregister(self, worker: WorkerId) -> None:
        """Say that a worker ends; runs that it still owns become due at once."""
        await self._write(partial(_unregister, worker=worker))
        self._told.discard(worker)
        self._locks.let_go(worker)

    def beat(self) -> None:
        """Say that the registered worker makes progress."""
        self._locks.beat()

    async def expire(self) -> Expired:
        """Take back the runs of workers that are dead, and forget those workers."""
        others = [worker.worker_id for worker in await self.workers() if not self._locks.holds(worker.worker_id)]
        self._observer.forget_all_but(others)
        locks: list[FileLock] = []
        try:
            looks = {worker: self._look(worker, locks) for worker in sorted(others)}
            dead = {worker: look for worker, look in looks.items() if self._observer.is_dead(worker, look)}
            if not dead:
                return Expired()
            expired = await self._write(partial(_bury, dead=dead, locks=self._locks))
        finally:
            for lock in locks:
                lock.close()
        for worker in expired.workers:
            remove_if_free(self._locks.path_of(worker))
        return expired

    def _look(self, worker: WorkerId, locks: list[FileLock]) -> Look:
        look, lock = self._locks.look(worker)
        if lock is not None:
            locks.append(lock)
        return look

    async def registered(self, worker: WorkerId) -> bool:
        """Is the worker still known?"""
        return self._read_now(lambda reader: reader.registered(worker))

    async def workers(self) -> list[WorkerRecord]:
        """Return all registered workers that have not been found dead."""
        return self._read_now(lambda reader: reader.workers())

    # Reading ---------------------------------------------------------------------------------------------------------

    async def next_due(self, queues: Sequence[Queue], runs: Sequence[RunKey] = ()) -> int | None:
        """Return when the earliest of these runs may be claimed."""
        return self._read_now(lambda reader: reader.next_due(queues, runs))

    async def run(self, app: str, run_id: str) -> RunRecord | None:
        """Return one run, by its id."""
        return self._read_now(lambda reader: reader.run(app, run_id))

    async def run_by_key(self, key: RunKey) -> RunRecord | None:
        """Return one run, by its key."""
        return self._read_now(lambda reader: reader.run_by_key(key))

    async def runs(self, where: RunFilter, *, limit: int = 100, before: RunKey | None = None) -> list[RunRecord]:
        """Return runs, newest first."""
        return await self._read(lambda reader: reader.runs(where, limit, before))

    async def count(self, where: RunFilter) -> dict[RunState, int]:
        """Return how many runs are in each state."""
        return await self._read(lambda reader: reader.count(where))

    async def tally(self, where: RunFilter) -> dict[Queue, dict[RunState, int]]:
        """Return how many runs are in each state, queue by queue."""
        return await self._read(lambda reader: reader.tally(where))

    async def waits(self, run: RunKey) -> list[Wait]:
        """Return what a run is registered for."""
        return await self._read(lambda reader: reader.waits(run))

    async def inbox(self, run: RunKey) -> Inbox:
        """Return what was delivered to a run."""
        return await self._read(lambda reader: reader.inbox(run))

    async def owned(self, worker: WorkerId) -> list[RunRecord]:
        """Return the runs that `worker` owns."""
        return await self._read(lambda reader: reader.owned(worker))

    async def journal(self, run: RunKey, start: int = 0, limit: int = JOURNAL_PAGE_MAX) -> list[Entry]:
        """Return entries from position `start` on, in order."""
        limit = min(max(0, limit), JOURNAL_PAGE_MAX)
        first = min(limit, INLINE_ENTRIES)
        entries = self._read_now(lambda reader: reader.journal(run, start, first))
        if len(entries) < first or first == limit:
            return entries
        after, rest = entries[-1].position + 1, limit - len(entries)
        return entries + await self._read(lambda reader: reader.journal(run, after, rest))

    async def last_entry(self, run: RunKey) -> Entry | None:
        """Return the newest entry of a run."""
        return self._read_now(lambda reader: reader.last_entry(run))

    async def promise(self, app: str, promise_id: str) -> PromiseRecord | None:
        """Return a promise, None if nobody has settled it."""
        return self._read_now(lambda reader: reader.promise(app, promise_id))

    async def status(self) -> StoreStatus:
        """Return what an operator should know."""
        self._check_open()
        notes = list(version_notes(sqlite3.sqlite_version_info))
        if self._database.durability == "relaxed":
            notes.append("durability is relaxed: a power failure may lose the newest commits")
        if place.has_hard_links(self._path):
            notes.append(f"{self._path!r} has several hard links: use one name everywhere, or the file will be damaged")
        if (size := self._database.log_bytes()) > LOG_BYTES_WARN:
            notes.append(
                f"the log has grown to {size >> 20} MiB: a program that reads for long keeps it from being emptied"
            )
        if self._database.failed:
            notes.append(self._database.failed)
        return StoreStatus(self._path, "sqlite", self._database.durability, SCHEMA_VERSION, tuple(notes))

    async def check(self) -> list[str]:
        """Look for damage (checksums, gaps in journals, orphans); return one sentence for each finding."""
        try:
            return await self._read(lambda reader: run_blocking(upkeep.check(), runner(reader.connection)))
        except StoreCorrupt as error:
            # Some damage keeps SQLite from looking for damage.
            return [str(error)]

    # Helpers ---------------------------------------------------------------------------------------------------------

    def _read_now(self, read: Callable[[Reader], T]) -> T:
        """Read on the calling thread: for what takes microseconds."""
        self._check_open()
        with self._database.read_mutex:
            return self._surely(read, is_long=False)

    async def _read(self, read: Callable[[Reader], T]) -> T:
        """Read in a thread and on a connection for that: for what may take longer than a loop should wait."""
        self._check_open()
        if self._pool is None:
            self._pool = DaemonPool(1, "durable-sqlite-read")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._browse, read)

    def _browse(self, read: Callable[[Reader], T]) -> T:
        with self._database.browse_mutex:
            return self._surely(read, is_long=True)

    def _surely(self, read: Callable[[Reader], T], *, is_long: bool) -> T:
        """Read; what looks like damage is read a second time, by a new connection.

        SQLite calls a read that failed once (EIO) damage, too, and nobody should give up a run or a store for that.
        """
        database = self._database
        try:
            try:
                return self._read_from(database.reader(is_long=is_long), read, is_long=is_long)
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
            return self._read_from(database.reader(is_long=is_long, anew=True), read, is_long=is_long)
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    def _read_from(self, connection: sqlite3.Connection | None, read: Callable[[Reader], T], *, is_long: bool) -> T:
        if connection is None:
            raise StoreUnavailable(self._database.failed or f"{self._path!r} is not connected now; try again")
        reader = self._readers.get(is_long)
        if reader is None or reader.connection is not connection:
            reader = self._readers[is_long] = Reader(connection)
        return read(reader)

    def _check_open(self) -> None:
        if self._clock is None or self._forked_from:
            self._refuse()

    def _refuse(self) -> NoReturn:
        self._check_fork()
        raise Bug("the store is used before open or after close")

    def _check_fork(self) -> None:
        if self._forked_from:
            raise StoreUnusable(
                f"{self._path!r} was opened by process {self._forked_from}, this is its forked child {os.getpid()}: "
                "make a new store (a new Workflow) in the child"
            )


def _close_all(writer: Writer, locks: WorkerLocks) -> None:
    writer.stop()
    locks.close()


def _failed(error: Exception) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


def _run_op(transaction: Transaction, op: Op[T]) -> T:
    return run_blocking(op, runner(transaction.connection))


def _wake_missed(transaction: Transaction, runs: Sequence[RunKey]) -> tuple[RunKey, ...]:
    """Wake those of these runs for which something is there still."""
    for key in runs:
        found = transaction.found_by_key(key)
        if found is not None and was_missed(found.run, is_there=is_anything_there(transaction, key)):
            transaction.put(found, woken(found.run, transaction.now))
    return transaction.made_due()


def _unregister(transaction: Transaction, worker: WorkerId) -> None:
    if (number := transaction.living_worker(worker)) is not None:
        transaction.execute(q.HAND_BACK, (transaction.now, transaction.now, number))
        transaction.execute(q.DELETE_WORKER, (number,))


def _bury(transaction: Transaction, dead: dict[WorkerId, Look], locks: WorkerLocks) -> Expired:
    """Take back the runs of the dead, but for those that have come back to life while this waited for its turn."""
    workers = tuple(worker for worker, look in dead.items() if locks.is_still_so(worker, look))
    runs: list[RunKey] = []
    for worker in workers:
        if (number := transaction.living_worker(worker)) is not None:
            runs += _run_op(transaction, upkeep.bury(number, transaction.now))
    return Expired(workers, tuple(runs))
