"""Connections: how they are set up, and what an error of SQLite means in the words of the contract."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from durable.errors import StoreCorrupt, StoreError, StoreUnavailable, StoreUnusable
from durable.store.drivers import Result, Statement
from durable.store.sqlite.url import Durability

VERSION_MIN: Final = (3, 40, 0)
"""The first SQLite with all that the statements use, and the one of Debian 12."""

VERSION_SAFE: Final = (3, 51, 3)
"""The first SQLite without the WAL-reset bug; 3.44.6 and 3.50.7 have the fix too."""

BACKPORTS: Final = ((3, 44, 6), (3, 50, 7))

CACHED_STATEMENTS: Final = 256
CACHE_KIB: Final = 16_000

_SYNCHRONOUS: Final = {"full": "PRAGMA synchronous = FULL", "relaxed": "PRAGMA synchronous = NORMAL"}

_SETTINGS: Final = (
    # Checkpoints are ours: under the file lock, which also closes the WAL-reset race of older versions.
    "PRAGMA wal_autocheckpoint = 0",
    # Mapped memory turns I/O errors into signals.
    "PRAGMA mmap_size = 0",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA recursive_triggers = OFF",
    # Zeroing what is deleted costs writes and promises a secrecy that the log does not keep.
    "PRAGMA secure_delete = OFF",
    "PRAGMA temp_store = MEMORY",
    f"PRAGMA cache_size = -{CACHE_KIB}",
)

_HINTS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space, and work goes on by itself",
    sqlite3.SQLITE_BUSY: "another program holds it locked; end that program or wait",
    sqlite3.SQLITE_LOCKED: "another connection holds it locked",
    sqlite3.SQLITE_IOERR: "reading or writing failed; look at the disk, its free space and file size limits",
    sqlite3.SQLITE_READONLY: "it cannot be written; give this user the right to write the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; look at the rights of the file and its directory",
    sqlite3.SQLITE_PERM: "this user may not use it",
    sqlite3.SQLITE_INTERRUPT: "the store was closed or connected anew meanwhile",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_PROTOCOL: "its locks are not free; try again",
}
"""What the operator can do about errors that may pass."""


def connect(path: str, *, durability: Durability, busy_ms: int, create: bool, writes: bool) -> sqlite3.Connection:
    """Return a connection with our settings; the caller serialises its use between threads.

    Raises:
        sqlite3.Error: the file cannot be opened; `translated` says what that means.
    """
    mode = "rwc" if create else "rw"
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode={mode}",
        uri=True,
        timeout=busy_ms / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    try:
        for setting in (*_SETTINGS, _SYNCHRONOUS[durability]):
            connection.execute(setting)
        if not writes:
            connection.execute("PRAGMA query_only = ON")
    except UnicodeDecodeError as error:
        # SQLite quotes what it has found in a damaged schema, and Python cannot read its message.
        connection.close()
        damage = sqlite3.DatabaseError("malformed database schema")
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage from error
    except BaseException:
        connection.close()
        raise
    return connection


def use_wal(connection: sqlite3.Connection, path: str) -> None:
    """Turn the write-ahead log on.

    Raises:
        StoreUnusable: this file system cannot carry one.
    """
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnusable(
            f"{path!r}: SQLite cannot keep a write-ahead log there (journal mode {mode!r}); use a local disk"
        )


def runner(connection: sqlite3.Connection) -> Callable[[Statement], Result]:
    """Return what executes the statements of an operation on this connection."""

    def execute(statement: Statement) -> Result:
        cursor = connection.execute(statement.sql, statement.values)
        return Result(cursor.fetchall(), cursor.rowcount)

    return execute


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, 0 if the error did not come from SQLite itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_damage(error: sqlite3.Error) -> bool:
    """Does the error say that the file is no sound database?"""
    return primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def translated(error: sqlite3.Error, path: str, *, opening: bool = False) -> StoreError:
    """Return the error of the contract for an error of SQLite before a commit: nothing was written.

    Args:
        opening: Is the file being opened? What may pass later then says that the file cannot serve.
    """
    code = primary_code(error)
    if code == sqlite3.SQLITE_NOTADB:
        return StoreUnusable(f"{path!r} is not a SQLite database, or it is encrypted; name another file")
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreCorrupt(
            f"{path!r} is damaged ({error}); stop, keep a copy, and restore a backup or run 'durable doctor'"
        )
    if opening and code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StoreUnusable(f"{path!r}: {_HINTS[code]}")
    if code in _HINTS:
        return StoreUnavailable(f"{path!r}: {_HINTS[code]} ({error})")
    return StoreError(f"{path!r}: SQLite refused a statement ({error}); was the file changed by another program?")


def version_notes(version: tuple[int, ...]) -> tuple[str, ...]:
    """Return what an operator should know about this version of SQLite.

    Source: the SQLite documentation of write-ahead logging, "The WAL-Reset Bug".
    """
    has_fix = version >= VERSION_SAFE or any(version[:2] == fixed[:2] and version >= fixed for fixed in BACKPORTS)
    if has_fix:
        return ()
    text, safe = ".".join(map(str, version)), ".".join(map(str, VERSION_SAFE))
    note = (
        f"SQLite {text} has a rare bug in which a checkpoint races a commit (fixed in {safe}): durable keeps its own "
        "processes apart with a lock, so open this file with no other program that writes"
    )
    return (note,)


def check_version_of_library(version: tuple[int, ...]) -> None:
    """Refuse a SQLite that is too old.

    Raises:
        StoreUnusable: names the version there is and the one it takes.
    """
    if version < VERSION_MIN:
        have, need = ".".join(map(str, version)), ".".join(map(str, VERSION_MIN))
        raise StoreUnusable(f"this Python has SQLite {have}, durable needs {need} or newer; use another Python")
