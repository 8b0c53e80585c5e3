"""How `durable.testing.contract` makes SQLite stores, and lets their workers die."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from durable.core.records import WorkerId
from durable.store.base import RunStore
from durable.store.sqlite import SQLiteRunStore


class SQLiteSuite:
    """Makes stores on files of their own."""

    folder: Path
    """Where; whoever sets it, removes it."""

    async def make_store(self) -> RunStore:
        return SQLiteRunStore(Path(tempfile.mkdtemp(dir=self.folder)) / "durable.db", durability="relaxed")

    async def make_peer(self, store: RunStore) -> RunStore:
        assert isinstance(store, SQLiteRunStore)
        return SQLiteRunStore(store.path, durability="relaxed")

    async def kill_worker(self, store: RunStore, worker: WorkerId) -> None:
        assert isinstance(store, SQLiteRunStore)
        store._locks._held.pop(worker).close()


class OneByOne(SQLiteSuite):
    """Keeps one file at a time, for thousands of histories.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def make_store(self) -> RunStore:
        for old in self.folder.iterdir():
            shutil.rmtree(old)
        return await super().make_store()
