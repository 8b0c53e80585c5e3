"""The mark beside a database by which a log that was removed is noticed.

Theory of operation. Commits lie in SQLite's log (`x.db-wal`) until a checkpoint copies them into `x.db`. Who deletes
the log after a crash, or puts an older copy of `x.db` in its place, leaves a file that is sound but lacks the newest
commits, and SQLite cannot know. So the commits are counted in *generations*, which cost nothing per commit:

- The first commit of a process, and the first after each checkpoint of anybody, begins a generation: it also counts up
  one number in the database (`meta`, name `log`). That is one row in about 500 commits.
- When it is durable, the number is written into the lock file (`x.db.lock`) as a mark: "this file has been at
  generation n". It is not flushed: a process that dies leaves it behind, a loss of power may leave an older one.
- Before a checkpoint, the mark is set to *due*, which tells every process to begin a generation with its next commit.
  A commit finds out by one byte of the lock file, which it holds anyway.
- Whoever opens the file compares: a number in the database below that of the mark means that commits are missing. The
  number is read from database and log together, so it does not matter who copied the log, or whether there is one.

The mark never comes before the commit that it speaks of, so a crash at any point raises no false alarm; nor does a
program that opens the file with SQLite and copies the log. Each database has a number of its own (`meta`, name
`store`): a mark beside another database, or a new one, says nothing.

Not noticed: a log that is removed after a loss of power within the seconds in which the kernel had not written the
mark; a lock file that is removed together with the log; commits at `relaxed`, which promises nothing here; commits
since a checkpoint that a long reader kept from copying everything, until the next one; and what a checkpoint had copied
in part when its process died.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from typing import Final, NamedTuple

NOW: Final = b"+"
"""State of a mark that counts for the log as it is …"""

DUE: Final = b"-"
"""… and of one after which a generation is to be begun."""

WORKS: Final = hasattr(os, "pread") and hasattr(os, "pwrite")
"""Not on Windows, where a locked byte cannot be read by others."""

NUMBERS: Final = "SELECT (SELECT value FROM meta WHERE name = 'store'), (SELECT value FROM meta WHERE name = 'log')"

BEGIN_GENERATION: Final = """
    INSERT INTO meta(name, value) VALUES ('log', 1)
    ON CONFLICT(name) DO UPDATE SET value = value + 1
    RETURNING value, (SELECT value FROM meta WHERE name = 'store')
"""


class Numbers(NamedTuple):
    """Which database, and how far it has come."""

    store: int | None
    """None in a file that is new, or older than these numbers."""
    generation: int


class LogMark:
    """The mark in an open lock file, read and written while its lock is held."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._has_begun = False

    def is_due(self) -> bool:
        """Should the next commit begin a generation?"""
        return not self._has_begun or self._state() == DUE

    def begin(self, connection: sqlite3.Connection) -> Numbers:
        """Begin a generation in an open transaction and return it for `write`.

        Raises:
            sqlite3.Error: as any statement.
        """
        generation, store = connection.execute(BEGIN_GENERATION).fetchone()
        return Numbers(store, generation)

    def write(self, numbers: Numbers) -> None:
        """Note that this generation is durable. A mark that cannot be written is one that notices less."""
        self._has_begun = True
        if WORKS and numbers.store is not None:
            with suppress(OSError):
                os.pwrite(self._fd, b"%b %020d %020d\n" % (NOW, numbers.generation, numbers.store), 0)

    def let_begin(self) -> None:
        """Let the next commit of everybody begin a generation: the log is about to be copied."""
        if self._state() == NOW:
            with suppress(OSError):
                os.pwrite(self._fd, DUE, 0)

    def read(self) -> Numbers | None:
        """Return what the mark says, None if there is none, or none that can be read."""
        state, *numbers = self._start(64).split() or [b""]
        if state not in (NOW, DUE) or len(numbers) != 2 or not all(number.isdigit() for number in numbers):
            return None
        return Numbers(int(numbers[1]), int(numbers[0]))

    def clear(self) -> None:
        """Forget what the file has been."""
        os.ftruncate(self._fd, 0)

    def _state(self) -> bytes:
        return self._start(1)

    def _start(self, size: int) -> bytes:
        try:
            return os.pread(self._fd, size, 0) if WORKS else b""
        except OSError:
            return b""


def numbers_in(connection: sqlite3.Connection) -> Numbers:
    """Return the numbers of a database with tables, log included.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    store, generation = connection.execute(NUMBERS).fetchone()
    return Numbers(store, generation or 0)


def is_behind(mark: Numbers | None, found: Numbers) -> bool:
    """Has the database been further than it is now?"""
    return mark is not None and mark.store == found.store and found.generation < mark.generation
