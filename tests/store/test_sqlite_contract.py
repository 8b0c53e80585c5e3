"""The SQLite store keeps the contract of stores, and answers as the memory store does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from durable.core.records import WorkerId
from durable.store.base import RunStore
from durable.store.sqlite import SQLiteRunStore
from durable.testing.contract import StoreContract, differential


class SQLiteSuite:
    """How to make a store on a file of its own, and let its workers die."""

    folder: Path

    async def make_store(self) -> RunStore:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        return SQLiteRunStore(folder / "durable.db", durability="relaxed")

    async def make_peer(self, store: RunStore) -> RunStore:
        assert isinstance(store, SQLiteRunStore)
        return SQLiteRunStore(store.path, durability="relaxed")

    async def kill_worker(self, store: RunStore, worker: WorkerId) -> None:
        assert isinstance(store, SQLiteRunStore)
        store._locks._held.pop(worker).close()


class Histories(SQLiteSuite):
    """A suite outside of pytest's fixtures, that keeps one folder at a time."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="durable-histories-"))

    async def make_store(self) -> RunStore:
        for old in self.folder.iterdir():
            shutil.rmtree(old)
        return await super().make_store()


class TestSQLiteStore(SQLiteSuite, StoreContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path


_histories = Histories()


@pytest.fixture(scope="module", autouse=True)
def _tidy():
    yield
    shutil.rmtree(_histories.folder)


TestSQLiteAnswersAsMemoryDoes = differential(_histories)
