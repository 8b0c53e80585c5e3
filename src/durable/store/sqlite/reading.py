"""A SQLite store to look at: it creates, migrates, locks and writes nothing, and registers nobody.

The connection is opened read-only, so it works beside the workers that use the file, on a copy of the file (with its
`-wal` beside it, if there was one), and without the right to write. Each read is one statement, and so sees one moment.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar
from urllib.parse import quote

from durable.core.records import Entry, Inbox, Queue, RunKey, RunRecord, RunState, Wait
from durable.errors import StoreCorrupt, StoreUnusable
from durable.store.base import JOURNAL_PAGE_MAX, RunFilter
from durable.store.drivers import run_blocking
from durable.store.sqlite import place
from durable.store.sqlite.connection import check_version_of_library, runner, translated
from durable.store.sqlite.logmark import find_log_damage
from durable.store.sqlite.reads import Reader
from durable.store.sqlite.schema import SCHEMA_VERSION, check_version

T = TypeVar("T")

BUSY_S: Final = 5.0
"""Wait for whoever recovers the log after a crash."""


class SQLiteReading:
    """The reads of a `RunStore`, and nothing else; made by `reading`."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self._path = path
        self._reader = Reader(connection)

    def _read(self, read: Callable[[Reader], T]) -> T:
        try:
            return read(self._reader)
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    async def run(self, app: str, run_id: str) -> RunRecord | None:
        """Return one run, by its id."""
        return self._read(lambda reader: reader.run(app, run_id))

    async def run_by_key(self, key: RunKey) -> RunRecord | None:
        """Return one run, by the store's own key."""
        return self._read(lambda reader: reader.run_by_key(key))

    async def runs(self, where: RunFilter, *, limit: int = 100, before: RunKey | None = None) -> list[RunRecord]:
        """Return runs, newest first."""
        return self._read(lambda reader: reader.runs(where, limit, before))

    async def count(self, where: RunFilter) -> dict[RunState, int]:
        """Return how many runs are in each state."""
        return self._read(lambda reader: reader.count(where))

    async def tally(self, where: RunFilter) -> dict[Queue, dict[RunState, int]]:
        """Return how many runs are in each state, queue by queue."""
        return self._read(lambda reader: reader.tally(where))

    async def journal(self, run: RunKey, start: int = 0, limit: int = JOURNAL_PAGE_MAX) -> list[Entry]:
        """Return entries from a position on, in order."""
        return self._read(lambda reader: reader.journal(run, start, limit))

    async def last_entry(self, run: RunKey) -> Entry | None:
        """Return the newest entry of a run."""
        return self._read(lambda reader: reader.last_entry(run))

    async def waits(self, run: RunKey) -> list[Wait]:
        """Return what a run is registered for."""
        return self._read(lambda reader: reader.waits(run))

    async def inbox(self, run: RunKey) -> Inbox:
        """Return what was delivered to a run."""
        return self._read(lambda reader: reader.inbox(run))


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[SQLiteReading]:
    """Open a file to look at it.

    Raises:
        StoreUnusable: it is no store, or one of another version of durable.
        StoreUnavailable: it cannot be read now.
        StoreCorrupt: it is damaged.
    """
    check_version_of_library(sqlite3.sqlite_version_info)
    full = place.resolve(os.fspath(path))
    if (damage := find_log_damage(full)) is not None:
        raise StoreCorrupt(damage.told(full))
    try:
        connection = _connect(full)
    except sqlite3.Error as error:
        raise translated(error, full, opening=True) from error
    try:
        yield SQLiteReading(full, connection)
    finally:
        connection.close()


def _connect(path: str) -> sqlite3.Connection:
    try:
        return _checked(path, "mode=ro")
    except sqlite3.OperationalError:
        # In a directory that cannot be written there is no room for the index of a log. Where there is no log either,
        # none is needed, and nobody can write.
        if os.access(os.path.dirname(path), os.W_OK) or os.path.exists(f"{path}-wal"):
            raise
        return _checked(path, "immutable=1")


def _checked(path: str, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(path)}?{mode}", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        version = run_blocking(check_version(path), runner(connection))
    except BaseException:
        connection.close()
        raise
    if version != SCHEMA_VERSION:
        connection.close()
        have = f"schema {version}" if version else "no tables"
        raise StoreUnusable(
            f"{path!r} has {have}, and this version of durable reads schema {SCHEMA_VERSION}; a worker brings it up to "
            "date when it starts: try a copy, with 'durable doctor --db COPY'"
        )
    return connection
