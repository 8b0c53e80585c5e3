"""From what an application is told to keep its runs in to a store."""

from __future__ import annotations

import os
from collections.abc import Callable

from durable.codec.base import Codec
from durable.errors import UsageError
from durable.store.base import RunStore
from durable.store.memory import MemoryStore
from durable.store.step_store import StepStoreRunStore, Store


def store_maker(db: object, codec: Codec) -> Callable[[], RunStore]:
    """Return a function that makes a store for each engine.

    Raises:
        UsageError: `db` is nothing that can be a store.
    """
    if isinstance(db, (str, os.PathLike)):
        return _sqlite_maker(os.fspath(db))
    if isinstance(db, MemoryStore):
        return db.peer
    if isinstance(db, Store):
        return StepStoreRunStore(db, codec).peer
    if callable(getattr(db, "peer", None)):
        return db.peer  # type: ignore[attr-defined, no-any-return]
    if all(hasattr(db, method) for method in ("execute", "journal", "register", "expire")):
        return lambda: db  # type: ignore[return-value]
    raise UsageError(f"db={db!r}: expected a path, a URL such as sqlite:///x.db, or a store")


def _sqlite_maker(url: str) -> Callable[[], RunStore]:
    # Imported only here: an application on another store needs no SQLite.
    from durable.store.sqlite.store import SQLiteRunStore  # noqa: PLC0415
    from durable.store.sqlite.url import parse_url  # noqa: PLC0415

    if not url.isprintable():
        raise UsageError(f"db={url!r}: a path with control characters or lone surrogates names no file")
    location = parse_url(url)
    found: list[str] = []

    def make() -> RunStore:
        # One file for the life of the application, whatever becomes of the working directory.
        if not found:
            found.append(os.path.abspath(location.path))
        return SQLiteRunStore(found[0], durability=location.durability)

    return make
