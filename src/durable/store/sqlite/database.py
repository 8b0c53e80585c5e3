"""One open database file: its connections, its lock, and how a transaction ends.

Used by one thread at a time: whoever calls holds the mutex of the `Writer`. The order of locks is: that mutex, the file
lock, SQLite's own. What a failure means is decided here:

- before COMMIT: rolled back, nothing was written, `StoreUnavailable` (or another error of the contract);
- at COMMIT: nobody knows. The store has failed until it is opened again, which checkpoints the whole log first, so that
  what is read back afterwards is on disk and not only in a cache whose flush had failed.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final, TypeVar

from durable.errors import OutcomeUnknown, StoreCorrupt, StoreError, StoreUnavailable, StoreUnusable
from durable.store.base import Clock
from durable.store.drivers import run_blocking
from durable.store.sqlite import place
from durable.store.sqlite.connection import connect, is_damage, primary_code, runner, translated, use_wal
from durable.store.sqlite.faults import fault
from durable.store.sqlite.filelock import FileLock
from durable.store.sqlite.logcheck import Copied, LogDamage, find_damage, is_to_be_recovered, salts_of
from durable.store.sqlite.logmark import LOCK_SUFFIX, LogMark, is_behind, numbers_in
from durable.store.sqlite.names import Names
from durable.store.sqlite.schema import check_version, migrate
from durable.store.sqlite.transaction import Transaction
from durable.store.sqlite.url import Durability

T = TypeVar("T")

BUSY_MS: Final = 5_000
"""Wait for programs that use SQLite's locks and not ours: a shell, a backup."""

IDENTITY_EVERY_S: Final = 1.0
"""How often a write looks whether the file is still there under its name."""

CHECKPOINT_CHANGES: Final = 8_000
"""Changed rows after which the log is copied into the database: about 8 MB of log with small values."""

CHECKPOINT_COMMITS: Final = 500
"""Commits after which it is, since each writes at least one page.

Once it is copied, SQLite writes the log from its beginning again, over blocks that the file has already, and a flush
takes half the time of one that makes the file grow (8,000 commits a second against 4,500). So the log is copied often
and cut seldom.
"""

LOG_BYTES_KEPT: Final = 16 << 20
"""A log larger than this, as a long reader makes it, is cut to nothing when the store is idle."""

INTERRUPT_EVERY_S: Final = 0.02

LOST: Final = (
    "{0!r} lacks commits that it once had: its log {1!r} was removed, or an older copy was put in its place. Put the "
    "log back, or go on without what was recorded since, with 'durable doctor --accept-loss --db {0}'"
)


class Database:
    """Connections to one file. Not for two threads at once."""

    def __init__(self, path: str, durability: Durability) -> None:
        self.path, self.durability = path, durability
        self.lock: FileLock | None = None
        self._mark: LogMark | None = None
        self.writing: sqlite3.Connection | None = None
        self.reading: sqlite3.Connection | None = None
        """For reads of a few rows, whoever holds `read_mutex`."""
        self.browsing: sqlite3.Connection | None = None
        """For long reads, whoever holds `browse_mutex`; connected by the first one."""
        self.read_mutex = threading.Lock()
        self.browse_mutex = threading.Lock()
        self.failed = ""
        """Why the outcome of a commit is unknown; nothing is served before `reopen`."""
        self._clock: Clock | None = None
        self._names: Names | None = None
        self._identity: place.Identity | None = None
        self._lost = ""
        """Why the file is no longer ours to write: it is not there under its name any more."""
        self._looked_at = 0.0
        self._in_doubt = False
        """Was a page found damaged since the last commit?"""
        self.commits = 0
        """Transactions committed since it was opened."""
        self._commits_copied = self._changes_copied = 0
        """What the last checkpoint covered."""
        self._log_is_copied = False

    # Opening and closing ---------------------------------------------------------------------------------------------

    def file_lock(self) -> FileLock:
        """Return the lock that every write and checkpoint happens under. Opens its file, again if it was replaced.

        Raises:
            StoreUnusable: the place cannot hold a store.
        """
        if self.lock is not None and not self._is_time_to_look():
            return self.lock
        if self.lock is None:
            place.check_place(self.path)
        elif self.lock.is_stale():
            self.drop_lock()
        if self.lock is None:
            try:
                self.lock = FileLock(self.path + LOCK_SUFFIX)
            except OSError as error:
                raise StoreUnusable(f"{self.path!r}: the lock file cannot be opened ({error})") from error
            self._mark = LogMark(self.lock.fd)
        return self.lock

    def drop_lock(self) -> None:
        """Close the lock file; the next use opens it again."""
        lock, self.lock, self._mark = self.lock, None, None
        if lock is not None:
            lock.close()

    def take_lock_away(self) -> None:
        """Remove the lock file if it was made by us, since what lies beside it is no store. Call it under the lock."""
        if self.lock is not None and self.lock.is_new:
            with suppress(OSError):
                os.unlink(self.lock.path)

    def _is_time_to_look(self) -> bool:
        return monotonic() - self._looked_at >= IDENTITY_EVERY_S

    def open(self, clock: Clock) -> sqlite3.Connection:
        """Connect, and create or migrate the tables; return the connection. Call it under the file lock.

        Raises:
            StoreUnusable: the file cannot serve as a store.
            StoreUnavailable: it cannot now.
            StoreCorrupt: it is damaged.
        """
        try:
            return self._open(clock)
        except sqlite3.Error as error:
            self.disconnect()
            raise self._translated(error, opening=self._identity is None) from error
        except BaseException:
            self.disconnect()
            raise

    def _translated(self, error: sqlite3.Error, *, opening: bool = False) -> StoreError:
        """Return the error of the contract. Damage must be met twice: SQLite calls a read that failed once damage, too.

        A file that is opened for the first time is believed at once: nobody waits for it yet.
        """
        if is_damage(error) and not opening and not self._in_doubt:
            self._in_doubt = True
            return StoreUnavailable(f"{self.path!r}: a page is damaged or was not read; it is read once more ({error})")
        return translated(error, self.path, opening=opening)

    def _open(self, clock: Clock) -> sqlite3.Connection:
        is_first = self._identity is None
        if not is_first:
            self._check_identity()
        is_empty = place.is_empty(self.path)
        is_recovered = is_to_be_recovered(self.path)
        if is_recovered:
            self._check_log()
        self.writing = connect(self.path, durability=self.durability, busy_ms=BUSY_MS, create=is_first, writes=True)
        version = run_blocking(check_version(self.path), runner(self.writing))
        use_wal(self.writing, self.path)
        self._check_mark(self.writing, version, is_empty=is_empty)
        if is_recovered:
            # What was recovered may never have been flushed, and a torn tail may lie behind it. Nothing should be built
            # on the one or mixed with the other.
            self._cut(self.writing)
        if self._mark is not None and self.durability == "relaxed":
            self._mark.expect_relaxed()
        run_blocking(migrate(self.path, clock.now_ms()), runner(self.writing))
        if self.reading is None:
            self.reading = self.connect_reader()
        self._names, self._clock = Names(self.writing), clock
        self._identity = place.identity(self.path)
        self.commits = self._commits_copied = 0
        self._changes_copied, self._log_is_copied = self.writing.total_changes, False
        self.failed = ""
        return self.writing

    def _check_log(self) -> None:
        """Refuse a log with commits behind damage, before SQLite recovers it.

        Raises:
            StoreCorrupt: there are some.
        """
        if self._mark is None:
            return
        known = self._mark.known()
        if self.durability == "relaxed":
            known = known._replace(is_flushed=False)  # Whoever opens it so would not mind a loss.
        damage = find_damage(self.path, known)
        if damage is not None:
            raise StoreCorrupt(damage.told(self.path))

    def _check_mark(self, connection: sqlite3.Connection, version: int, *, is_empty: bool) -> None:
        """Refuse a file that lacks commits which it once had.

        Raises:
            StoreUnusable: it does.
        """
        mark = None if self._mark is None else self._mark.read()
        if mark is None or self._mark is None:
            return
        if version == 0 and is_empty:
            self._mark.clear()  # The database that it spoke of was deleted.
        elif version == 0 or is_behind(mark, numbers_in(connection)):
            raise StoreUnusable(LOST.format(self.path, place.wal_of(self.path)))

    def connect_reader(self) -> sqlite3.Connection:
        """Return one more connection, that cannot write.

        Raises:
            sqlite3.Error: it cannot be had.
        """
        connection = connect(self.path, durability=self.durability, busy_ms=BUSY_MS, create=False, writes=False)
        connection.execute("SELECT value FROM meta LIMIT 1").fetchall()
        return connection

    def reader(self, *, is_long: bool, anew: bool = False) -> sqlite3.Connection | None:
        """Return the connection for short or long reads, None while there is none; call it under its mutex.

        Args:
            is_long: The one for long reads, which is connected when it is first needed.
            anew: Make another one: what this one has read may be wrong.

        Raises:
            sqlite3.Error: it cannot be had; the one before stays.
        """
        if self.reading is None:
            return None
        old = self.browsing if is_long else self.reading
        if old is not None and not anew:
            return old
        connection = self.connect_reader()
        if is_long:
            self.browsing = connection
        else:
            self.reading = connection
        if old is not None:
            with suppress(sqlite3.Error):
                old.close()
        return connection

    def reopen(self, clock: Clock) -> None:
        """Connect again after an unknown outcome. Call it under the file lock.

        Raises:
            StoreUnavailable: the log cannot be brought into the database now, so nothing can be read back yet.
        """
        if self._lost:
            raise StoreUnusable(self._lost)
        failed = self.failed
        self.disconnect()
        self.open(clock)
        self.failed = failed
        try:
            done = self._checkpoint("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            self.disconnect()
            raise self._translated(error) from error
        if not done:
            self.disconnect()
            raise StoreUnavailable(f"{self.path!r}: a reader keeps the log from being checked; end it, or wait")
        self.failed = ""

    def recover(self) -> None:
        """Reopen with the clock that it was opened with. Call it under the file lock. Raises as `reopen`."""
        assert self._clock is not None
        self.reopen(self._clock)

    def close(self) -> None:
        """Close everything; the last one to do so lets SQLite copy and remove the log. Idempotent."""
        self.disconnect()
        self.drop_lock()
        self._identity, self._lost = None, ""

    def disconnect(self) -> None:
        """Close the connections; an open transaction is rolled back. Idempotent."""
        self._disconnect_browsing()
        with self.read_mutex:
            reading, self.reading = self.reading, None
            if reading is not None:
                with suppress(sqlite3.Error):
                    reading.close()
        self._disconnect_writing()

    def _disconnect_writing(self) -> None:
        writing, self.writing = self.writing, None
        if writing is not None:
            with suppress(sqlite3.Error):
                writing.close()

    def _disconnect_browsing(self) -> None:
        """Close the connection of the long reads; one that is under way is interrupted, statement by statement."""
        while not self.browse_mutex.acquire(timeout=INTERRUPT_EVERY_S):
            if (browsing := self.browsing) is not None:
                with suppress(sqlite3.Error):
                    browsing.interrupt()
        try:
            browsing, self.browsing = self.browsing, None
            if browsing is not None:
                with suppress(sqlite3.Error):
                    browsing.close()
        finally:
            self.browse_mutex.release()

    # Transactions ----------------------------------------------------------------------------------------------------

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a write transaction and commit. Call it under the file lock.

        Raises:
            StoreUnavailable: nothing was written.
            OutcomeUnknown: the commit raised; `reopen` comes next.
            StoreError: the store cannot serve any more.
            Exception: what `work` raised; nothing was written.
        """
        connection = self._ready()
        assert self._names is not None
        assert self._clock is not None
        mark, generation = self._mark, None
        try:
            fault("before-begin")
            connection.execute("BEGIN IMMEDIATE")
            result = work(Transaction(connection, self._names, self._clock.now_ms()))
            if mark is not None and self.durability == "relaxed":
                mark.expect_relaxed()
            elif mark is not None and mark.is_due():
                generation = mark.begin(connection)
            fault("before-commit")
        except BaseException as error:
            self._roll_back(connection)
            if isinstance(error, sqlite3.Error):
                raise self._before_commit(error) from error
            raise
        self._commit(connection)
        if mark is not None and generation is not None:
            fault("before-mark")
            mark.write(generation)
        return result

    def _ready(self) -> sqlite3.Connection:
        if self._lost:
            raise StoreUnusable(self._lost)
        if self.failed:
            raise OutcomeUnknown(self.failed)
        if self.writing is None:
            assert self._clock is not None
            return self.open(self._clock)
        if self._is_time_to_look():
            self._looked_at = monotonic()
            self._check_identity()
        return self.writing

    def _check_identity(self) -> None:
        """Refuse to go on, for ever, with a file that was deleted or replaced.

        Raises:
            StoreUnusable: it was.
        """
        if self._identity is None:
            return
        try:
            place.check_identity(self.path, self._identity)
        except StoreUnusable as error:
            self._lost = str(error)
            self.disconnect()
            raise

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        assert self._names is not None
        self._names.forget()
        # After an error such as a full disk SQLite has rolled back by itself, and another ROLLBACK would raise.
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:
                self._disconnect_writing()

    def _before_commit(self, error: sqlite3.Error) -> StoreError:
        if primary_code(error) in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM) or is_damage(error):
            # What the connection has cached may be half of a change; the next transaction connects anew. Reads go on.
            self._disconnect_writing()
        return self._translated(error)

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            fault("commit")
            connection.execute("COMMIT")
            fault("committed")
        except sqlite3.Error as error:
            if primary_code(error) == sqlite3.SQLITE_BUSY and connection.in_transaction:
                self._roll_back(connection)
                raise translated(error, self.path) from error
            self.failed = f"{self.path!r}: a commit failed ({error}); it may or may not have been written"
            self.disconnect()
            raise OutcomeUnknown(self.failed) from error
        self.commits += 1
        self._log_is_copied = self._in_doubt = False

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def wants_checkpoint(self) -> bool:
        """Has the log grown enough to be copied into the database?"""
        if self.writing is None:
            return False
        changes = self.writing.total_changes - self._changes_copied
        return changes >= CHECKPOINT_CHANGES or self.commits - self._commits_copied >= CHECKPOINT_COMMITS

    def wants_rest(self) -> bool:
        """Is there anything in the log that an idle time should bring into the database?"""
        return self.writing is not None and not self._log_is_copied

    def checkpoint(self) -> bool:
        """Copy what can be copied without waiting for readers; say whether that was all. Call it under the file lock.

        Failures are left to the next commit to meet: the log is as good a place for what it holds.
        """
        try:
            fault("before-checkpoint")
            return self._checkpoint("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error:
            return False

    def rest(self) -> bool:
        """Copy the log unless the file lock is held, cut it if it is long, and say whether all was done."""
        if self.writing is None or self.lock is None or not self.lock.try_acquire():
            return False
        try:
            if not self.checkpoint():
                return False
            return self.log_bytes() <= LOG_BYTES_KEPT or self._cut(self.writing)
        finally:
            self.lock.release()

    def _cut(self, connection: sqlite3.Connection) -> bool:
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            return self._checkpoint("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            return False
        finally:
            with suppress(sqlite3.Error):
                connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")

    def _checkpoint(self, pragma: str) -> bool:
        assert self.writing is not None
        if self._mark is not None:
            self._mark.let_begin()
        salts = salts_of(self.path)
        busy, pages, copied = self.writing.execute(pragma).fetchone()
        self._commits_copied, self._changes_copied = self.commits, self.writing.total_changes
        self._log_is_copied = not busy and pages == copied
        if self._mark is not None and self._log_is_copied and pages > 0 and salts and salts == salts_of(self.path):
            self._mark.note_copied(Copied(salts, pages))
        return self._log_is_copied

    def data_version(self) -> int:
        """Return a number that changes when another connection has committed."""
        if self.writing is None:
            return 0
        return int(self.writing.execute("PRAGMA data_version").fetchone()[0])

    def log_bytes(self) -> int:
        """Return the size of the log file."""
        try:
            return os.stat(self.path + "-wal").st_size
        except OSError:
            return 0


def accept_loss(path: str) -> str | None:
    """Let a file that lacks commits serve as it is: forget that it had them, and cut a damaged log before the damage.

    Returns:
        The copy of the log as it was, None if nothing was cut.

    Raises:
        StoreUnusable: the place cannot hold a store.
        StoreUnavailable: a process writes it at this moment.
    """
    place.check_place(path)
    lock = FileLock(path + LOCK_SUFFIX)
    try:
        if not lock.try_acquire():
            raise StoreUnavailable(f"{path!r} is being written by another process; end it first")
        mark = LogMark(lock.fd)
        damage = find_damage(path, mark.known()) if is_to_be_recovered(path) else None
        kept = None if damage is None else _cut_before(damage, place.wal_of(path))
        mark.clear()
        return kept
    finally:
        lock.close()


def _cut_before(damage: LogDamage, log: str) -> str:
    """Cut a log to what may serve, and return the name of a copy of what it was."""
    kept = next(name for number in itertools.count(1) if not os.path.lexists(name := f"{log}.damaged-{number}"))
    with open(log, "r+b") as file, open(kept, "xb") as copy:
        shutil.copyfileobj(file, copy)
        copy.flush()
        os.fsync(copy.fileno())
        file.truncate(damage.sound_bytes)
        os.fsync(file.fileno())
    return kept
