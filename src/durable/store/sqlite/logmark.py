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

Behind it the lock file tells two more things of the log, for `logcheck.py`: how much of which log a checkpoint has
copied, and whether a commit at `relaxed` was made since the last one at `full`. That is flushed before the commit: a
loss of power may tear several of those, and nobody should take it for damage.

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

from durable.store.sqlite.logcheck import Copied, Known, LogDamage, find_damage, is_to_be_recovered

NOW: Final = b"+"
"""State of a mark that counts for the log as it is …"""

DUE: Final = b"-"
"""… and of one after which a generation is to be begun."""

LOCK_SUFFIX: Final = ".lock"

RELAXED: Final = b"r"
"""Commits that are not flushed were made since the last one that was."""

MARK_BYTES: Final = 44
RELAXED_AT: Final = 64
COPIED_AT: Final = 72
COPIED_BYTES: Final = 28
"""Places in the lock file. All lie in its first sector, so a loss of power tears nothing."""

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
        start = self._read(0, RELAXED_AT + 1)
        return not self._has_begun or start[:1] == DUE or start[RELAXED_AT:] == RELAXED

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
                if self._read(RELAXED_AT, 1) == RELAXED:
                    os.pwrite(self._fd, b"\0", RELAXED_AT)

    def let_begin(self) -> None:
        """Let the next commit of everybody begin a generation: the log is about to be copied."""
        if self._read(0, 1) == NOW:
            with suppress(OSError):
                os.pwrite(self._fd, DUE, 0)

    def read(self) -> Numbers | None:
        """Return what the mark says, None if there is none, or none that can be read."""
        state, *numbers = self._read(0, MARK_BYTES).split() or [b""]
        if state not in (NOW, DUE) or len(numbers) != 2 or not all(number.isdigit() for number in numbers):
            return None
        return Numbers(int(numbers[1]), int(numbers[0]))

    def clear(self) -> None:
        """Forget what the file has been, but not that commits were not flushed."""
        is_flushed = self.known().is_flushed
        os.ftruncate(self._fd, 0)
        if not is_flushed:
            self.expect_relaxed()

    def expect_relaxed(self) -> None:
        """Note that the next commits may not be flushed. It is flushed itself, unless it was noted already."""
        if WORKS and self._read(RELAXED_AT, 1) != RELAXED:
            with suppress(OSError):
                os.pwrite(self._fd, RELAXED, RELAXED_AT)
                os.fsync(self._fd)

    def note_copied(self, copied: Copied) -> None:
        """Note how much of the log the database has now."""
        if WORKS:
            with suppress(OSError):
                os.pwrite(self._fd, b"%s %010d\n" % (copied.salts.hex().encode(), copied.frames), COPIED_AT)

    def known(self) -> Known:
        """Return what is noted of the log."""
        return known_of(self._read(0, COPIED_AT + COPIED_BYTES))

    def _read(self, place: int, size: int) -> bytes:
        try:
            return os.pread(self._fd, size, place) if WORKS else b""
        except OSError:
            return b""


def known_of(text: bytes) -> Known:
    """Return what a lock file notes of the log."""
    salts, _, frames = text[COPIED_AT : COPIED_AT + COPIED_BYTES].strip().partition(b" ")
    is_flushed = WORKS and text[RELAXED_AT : RELAXED_AT + 1] != RELAXED
    try:
        return Known(Copied(bytes.fromhex(salts.decode("ascii")), int(frames)), is_flushed)
    except ValueError:
        return Known(None, is_flushed)


def find_log_damage(path: str) -> LogDamage | None:
    """Return the damage in the log of a database that nobody has open, for those who only look at it."""
    if not is_to_be_recovered(path):
        return None
    try:
        with open(path + LOCK_SUFFIX, "rb") as file:
            known = known_of(file.read(COPIED_AT + COPIED_BYTES))
    except OSError:
        known = known_of(b"")
    return find_damage(path, known)


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
