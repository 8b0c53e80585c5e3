"""The SQLite store keeps the contract of stores, and answers as the memory store does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from durable.testing.contract import StoreContract, differential
from tests.support.suites import OneByOne, SQLiteSuite


class TestSQLiteStore(SQLiteSuite, StoreContract):
    @pytest.fixture(autouse=True)
    def _in_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path


_folder = Path(tempfile.mkdtemp(prefix="durable-histories-"))


@pytest.fixture(scope="module", autouse=True)
def _tidy():
    yield
    shutil.rmtree(_folder)


TestSQLiteAnswersAsMemoryDoes = differential(OneByOne(_folder))
