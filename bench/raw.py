"""The physical limit: what `sqlite3` itself commits, with the store's settings, row size and checkpoints."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from bench.settings import Settings
from durable.store.sqlite.connection import connect, use_wal
from durable.store.sqlite.database import BUSY_MS, CHECKPOINT_CHANGES, CHECKPOINT_COMMITS

ROWS_MAX: Final = 1_000
"""Rows of a large transaction, as many as the runtime's group commit takes."""

BLOB_BYTES: Final = 40
"""Makes a row as large as the journal's of the step of `sequential` and `throughput`; a test compares them."""

_INSERT: Final = "INSERT INTO raw(row) VALUES (?)"


class Raw:
    """A table of its own, written by nothing but `sqlite3`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._row = (bytes(BLOB_BYTES),)
        self._commits = self._commits_copied = self._changes_copied = 0
        connection.execute("CREATE TABLE raw(place INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT")

    def one_row_each(self, commits: int) -> float:
        """Commit that many transactions of one row; return the seconds that it took."""
        execute = self._connection.execute
        began = perf_counter()
        for _ in range(commits):
            execute("BEGIN IMMEDIATE")
            execute(_INSERT, self._row)
            execute("COMMIT")
            self._committed()
        return perf_counter() - began

    def many_rows_each(self, commits: int) -> float:
        """Commit that many transactions of `ROWS_MAX` rows; return the seconds that it took."""
        rows = [self._row] * ROWS_MAX
        began = perf_counter()
        for _ in range(commits):
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_INSERT, rows)
            self._connection.execute("COMMIT")
            self._committed()
        return perf_counter() - began

    def _committed(self) -> None:
        # The store's own policy: the log is copied after so many rows or commits, without waiting for readers.
        self._commits += 1
        changes = self._connection.total_changes
        commits_due = self._commits - self._commits_copied >= CHECKPOINT_COMMITS
        if commits_due or changes - self._changes_copied >= CHECKPOINT_CHANGES:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._commits_copied, self._changes_copied = self._commits, changes


@contextmanager
def opened(settings: Settings) -> Iterator[Raw]:
    """Open a file of its own beside the one that is measured."""
    path = settings.path("raw")
    connection = connect(path, durability=settings.durability, busy_ms=BUSY_MS, create=True, writes=True)
    try:
        use_wal(connection, path)
        yield Raw(connection)
    finally:
        connection.close()
