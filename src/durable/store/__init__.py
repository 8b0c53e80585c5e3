"""Durable homes of journals, timers and queues, behind one contract.

What lives here: the contract (`base`, `operations`), the memory store that specifies it, and one folder for each
database. Who calls it: the runtime, which knows the contract only, and `api`, which picks a store by its URL. What it
may not know: loops of workflows, tasks, codecs of values (they are bytes here). One concrete store never imports
another, and importing the contract imports no database.
"""

from typing import TYPE_CHECKING, Any

from durable.store.base import RunFilter, RunStore, StoreStatus
from durable.store.memory import MemoryStore as InMemoryStore
from durable.store.step_store import RunContext, Store

if TYPE_CHECKING:
    from durable.store.sqlite.store import SQLiteRunStore as SQLiteStore

__all__ = ["InMemoryStore", "RunContext", "RunFilter", "RunStore", "SQLiteStore", "Store", "StoreStatus"]


def __getattr__(name: str) -> Any:
    # A database is imported when it is used.
    if name != "SQLiteStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from durable.store.sqlite.store import SQLiteRunStore  # noqa: PLC0415

    return SQLiteRunStore
