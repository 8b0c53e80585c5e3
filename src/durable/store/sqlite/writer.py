"""The writer: one thread that executes transactions one after another, and the shortcut past it.

Callers on an event loop `submit` a job and await its future; the thread answers through `call_soon_threadsafe`. When
nothing is under way and the file lock is free, `run_now` does the same on the calling thread, which saves two changes
of thread.

Waiting for the file lock has a limit. The thread itself waits in the kernel, where the queue is fair and nothing can
call it back; so the callers' loop looks after it, takes back what has waited too long (`StoreUnavailable`, with the
process that holds the lock), and the thread skips what was taken back when it gets the lock at last.

Order of locks: `_mutex` (who uses the connection), the file lock, SQLite's. `_state` guards the small facts that loop
and thread share; nothing is done while it is held.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from functools import partial
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from durable.errors import OutcomeUnknown, StoreError, StoreUnavailable
from durable.store.sqlite.database import Database
from durable.store.sqlite.faults import fault
from durable.store.sqlite.filelock import FileLock, holder_pid
from durable.store.sqlite.transaction import Transaction

T = TypeVar("T")

REST_AFTER_S: Final = 1.0
"""Idle time after which the log is copied into the database."""

REST_AGAIN_S: Final = 30.0
"""Time to the next try when a reader or another process was in the way."""

LOCK_TRIES: Final = 10

CLOSE_WAIT_S: Final = 2.0
"""Longest wait for the thread at the end of the process."""


class Note(Enum):
    """What the thread is told beside jobs."""

    END = "end"
    LOOK_AFTER_LOG = "look after the log"


class Job(Generic[T]):
    """Something for the thread to do, and who waits for it."""

    __slots__ = ("asked_at", "future", "loop", "withdrawn", "work")

    def __init__(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self.work, self.loop = work, loop
        self.future: asyncio.Future[T] = loop.create_future()
        self.asked_at = monotonic()
        self.withdrawn = False


class Writer:
    """A thread and the database it writes."""

    def __init__(self, database: Database, lock_wait_s: float) -> None:
        self.database, self.lock_wait_s = database, lock_wait_s
        # Bounded by its users: the runtime has one batch under way, beside it come a few calls of its services.
        self._jobs: queue.SimpleQueue[Job[Any] | Note] = queue.SimpleQueue()
        self._open_jobs: deque[Job[Any]] = deque()
        self._state = threading.Lock()
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._current: Job[Any] | None = None
        self._watching: asyncio.AbstractEventLoop | None = None
        self._holds_lock = False
        self._free_since = 0.0
        self._idle_s: float | None = None
        self._commits_seen = -1
        self._proven: FileLock | None = None
        """The lock whose file was found in its place when it was first held."""

    # For the loop ----------------------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Is something under way that somebody waits for?"""
        return bool(self._open_jobs)

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Let the thread do `work`, which may call `locked` and `transact`; return the future of its answer."""
        loop = asyncio.get_running_loop()
        job = Job(work, loop)
        with self._state:
            self._open_jobs.append(job)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, args=(self._jobs,), name="durable-sqlite", daemon=True)
            self._thread.start()
        if self._watching is not loop:
            self._watching = loop
            self._watch(loop)
        self._jobs.put(job)
        return job.future

    async def finish(self) -> None:
        """Answer all that was submitted and close the database; `stop` ends the thread after that."""
        with suppress(StoreUnavailable):
            await self.submit(self.database.close)

    def run_now(self, work: Callable[[Transaction], T]) -> tuple[T] | None:
        """Commit on the calling thread if that needs no waiting; None, and nothing done, if it does.

        Raises:
            Exception: as `Database.transact`.
        """
        if self._open_jobs or not self._mutex.acquire(blocking=False):
            return None
        try:
            if self.database.writing is None or not (lock := self.database.file_lock()).try_acquire():
                return None
            try:
                answer = (self._transact_or_recover(work),)
            finally:
                lock.release()
        finally:
            self._mutex.release()
        if self._idle_s is None or self.database.wants_checkpoint():
            self._idle_s = REST_AFTER_S
            self._jobs.put(Note.LOOK_AFTER_LOG)
        return answer

    def data_version(self) -> int | None:
        """Return the database's number of foreign changes, None while the connection is in use."""
        if not self._mutex.acquire(blocking=False):
            return None
        try:
            return self.database.data_version()
        except sqlite3.Error:
            return None
        finally:
            self._mutex.release()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take back what has waited for the lock too long; look again as long as anything is under way."""
        if self._watching is not loop:
            return
        now = monotonic()
        with self._state:
            waiting = list(self._open_jobs)
            since = now if self._holds_lock else self._free_since
            late = [job for job in waiting if now - max(job.asked_at, since) >= self.lock_wait_s]
            for job in late:
                job.withdrawn = True
                self._open_jobs.remove(job)
        for job in late:
            _fail(job.future, self._lock_error())
        if not waiting:
            self._watching = None
            return
        next_at = min((job.asked_at + self.lock_wait_s for job in waiting if not job.withdrawn), default=now)
        loop.call_later(min(max(next_at - now, self.lock_wait_s / 20), 1.0), self._watch, loop)

    def _lock_error(self) -> StoreUnavailable:
        lock = self.database.lock
        pid = None if lock is None else holder_pid(lock.path)
        who = f"process {pid}" if pid else "another process"
        return StoreUnavailable(
            f"{self.database.path!r}: {who} has held its write lock for more than {self.lock_wait_s:g} s "
            "(stopped in a debugger, or on a disk that hangs?); let it go on, or end it"
        )

    # In the thread ---------------------------------------------------------------------------------------------------

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Do `work` in a transaction, under the file lock. For jobs.

        Raises:
            Exception: as `Database.transact`.
        """
        with self.locked():
            return self._transact_or_recover(work)

    def _transact_or_recover(self, work: Callable[[Transaction], T]) -> T:
        try:
            return self.database.transact(work)
        except OutcomeUnknown:
            # Before anybody else may write, what this commit left in the log should be on disk or gone. Should it
            # fail, the store stays as it is until `reopen`.
            with suppress(StoreError):
                self.database.recover()
            raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the file lock, or raise `Withdrawn` if the waiting job was taken back meanwhile. For jobs."""
        lock = self._lock()
        try:
            with self._state:
                if self._current is not None and self._current.withdrawn:
                    raise Withdrawn
                self._holds_lock = True
            fault("locked")
            yield
        finally:
            self._free_since, self._holds_lock = monotonic(), False
            lock.release()

    def _lock(self) -> FileLock:
        """Return the file lock, held: that of the file which is there under its name."""
        for _ in range(LOCK_TRIES):
            lock = self.database.file_lock()
            is_first_use = self._proven is not lock
            try:
                if not lock.try_acquire():
                    lock.acquire()
            except OSError as error:
                raise StoreUnavailable(f"{lock.path!r} cannot be locked: {error}") from error
            if not is_first_use or not lock.is_stale():
                self._proven = lock
                return lock
            # Whoever made it found no store beside it, and took it away before we had it.
            self.database.drop_lock()
        raise StoreUnavailable(f"{self.database.path!r}: its lock file is removed again and again; try again")

    def _run(self, jobs: queue.SimpleQueue[Job[Any] | Note]) -> None:
        while True:
            try:
                job = jobs.get(timeout=self._idle_s)
            except queue.Empty:
                self._look_after_idle_log()
                continue
            if job is Note.END:
                with self._mutex:
                    self.database.close()
                return
            answer: Callable[[], None] | None = None
            with self._mutex:
                if isinstance(job, Job):
                    answer = self._perform(job)
                if self.database.wants_checkpoint():
                    _call(answer)  # Nobody should wait for the checkpoint.
                    answer = None
                    with suppress(StoreError, OSError), self.locked():
                        self.database.checkpoint()
                self._idle_s = REST_AFTER_S if self.database.wants_rest() else None
            # Once the mutex is free, so that whoever gets the answer may commit at once.
            _call(answer)
            # While it waits, the thread keeps nothing alive of what it did last.
            del job, answer

    def _perform(self, job: Job[Any]) -> Callable[[], None] | None:
        """Do a job and return what answers it, None if nobody waits for it any more."""
        self._current = job
        try:
            return None if job.withdrawn else partial(self._end, job, _answer, job.work())
        except Withdrawn:
            return None
        except BaseException as error:  # noqa: BLE001 - whoever awaits the answer gets it
            return partial(self._end, job, _fail, error)
        finally:
            self._current = None

    def _end(self, job: Job[Any], how: Callable[..., None], what: object) -> None:
        with self._state, suppress(ValueError):
            self._open_jobs.remove(job)
        # The loop may be closed: then nobody waits any more.
        with suppress(RuntimeError):
            job.loop.call_soon_threadsafe(how, job.future, what)

    def _look_after_idle_log(self) -> None:
        """Let the log rest when nothing has been committed for a while; what is in the way is left alone."""
        with self._mutex:
            commits, self._commits_seen = self._commits_seen, self.database.commits
            if not self.database.wants_rest():
                self._idle_s = None
            elif commits != self._commits_seen:
                self._idle_s = REST_AFTER_S
            else:
                self._idle_s = None if self.database.rest() else REST_AGAIN_S

    # The end ---------------------------------------------------------------------------------------------------------

    def stop(self, wait_s: float = CLOSE_WAIT_S) -> None:
        """Finish what was submitted, close the database, and end the thread; what hangs is left behind. Idempotent."""
        thread, self._thread = self._thread, None
        jobs, self._jobs = self._jobs, queue.SimpleQueue()
        self._watching = None
        self._idle_s = None
        if thread is None or not thread.is_alive():
            with self._mutex:
                self.database.close()
            return
        jobs.put(Note.END)
        # The last reference to a store may be dropped by its own thread, when the last job is done.
        if thread is not threading.current_thread():
            thread.join(wait_s)


class Withdrawn(BaseException):
    """The job that waited for the lock was taken back."""


def _call(answer: Callable[[], None] | None) -> None:
    if answer is not None:
        answer()


def _answer(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
