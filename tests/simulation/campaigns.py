"""The campaigns that catch mutants: each plays the schedule of a seed and tells what was wrong.

- `simulation`: schedules of this folder, with several workers, faults, and O1 to O6;
- `trees`: random programs, cut after every entry and played on (`tests.torture.trees`);
- `differential`: random batches against the SQLite store and the memory store at once (`durable.testing.contract`).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import hypothesis

from durable.core.records import WorkerId
from durable.store.base import RunStore
from durable.store.sqlite import SQLiteRunStore
from durable.testing.contract import differential
from durable.testing.contract.histories import Machine
from tests.simulation.playing import Theatre
from tests.support.comparing import Difference
from tests.torture import trees

Play: TypeAlias = Callable[[int], str]
"""Plays the schedule of a seed; returns what was wrong, nothing if all was well."""


@contextmanager
def simulation() -> Iterator[Play]:
    """Play schedules of the simulation."""
    with Theatre() as theatre:
        yield lambda seed: "\n".join(theatre.play(seed).violations)


@contextmanager
def cut_trees() -> Iterator[Play]:
    """Play trees and cut them."""

    def play(seed: int) -> str:
        try:
            trees.check(seed)
        except Difference as difference:
            return str(difference)
        return ""

    logger = logging.getLogger("durable")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield play
    finally:
        logger.setLevel(level)


class _Suite:
    """How to make a SQLite store in a folder, and let its workers die."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def make_store(self) -> RunStore:
        for old in self.folder.iterdir():
            shutil.rmtree(old)
        return SQLiteRunStore(Path(tempfile.mkdtemp(dir=self.folder)) / "durable.db", durability="relaxed")

    async def make_peer(self, store: RunStore) -> RunStore:
        assert isinstance(store, SQLiteRunStore)
        return SQLiteRunStore(store.path, durability="relaxed")

    async def kill_worker(self, store: RunStore, worker: WorkerId) -> None:
        assert isinstance(store, SQLiteRunStore)
        store._locks._held.pop(worker).close()


@contextmanager
def differences() -> Iterator[Play]:
    """Play half a dozen histories of 30 batches against both stores."""
    with tempfile.TemporaryDirectory(prefix="durable-differential-", ignore_cleanup_errors=True) as folder:
        suite = _Suite(Path(folder))

        def play(seed: int) -> str:
            # The first history that hypothesis makes is always the simplest one.
            case = differential(suite, examples=6, steps=30)
            settings = hypothesis.settings(case.settings, database=None)  # type: ignore[attr-defined]
            case.settings = settings  # type: ignore[attr-defined]
            hypothesis.seed(seed)(Machine)
            try:
                case("runTest").debug()
            except Exception as error:  # whatever it is: a wrong store may raise anything
                return f"{type(error).__name__}: {error}"
            return ""

        yield play


CAMPAIGNS: Final[dict[str, Callable[[], AbstractContextManager[Play]]]] = {
    "simulation": simulation, "trees": cut_trees, "differential": differences,
}  # fmt: skip
"""By name."""
