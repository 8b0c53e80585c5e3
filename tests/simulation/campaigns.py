"""The campaigns that catch mutants: each plays the schedule of a seed and tells what was wrong.

- `simulation`: schedules of this folder, with several workers, faults, and O1 to O6;
- `trees`: random programs, cut after every entry and played on (`tests.torture.trees`);
- `differential`: random histories of the SQLite store and the memory store at once (`tests.torture.differential`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TypeAlias

from tests.simulation.playing import Theatre
from tests.support.comparing import Difference
from tests.torture import differential, trees

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


@contextmanager
def differences() -> Iterator[Play]:
    """Play histories against both stores."""
    yield lambda seed: "\n".join(differential.work(seed, 1).violations)


CAMPAIGNS: Final[dict[str, Callable[[], AbstractContextManager[Play]]]] = {
    "simulation": simulation, "trees": cut_trees, "differential": differences,
}  # fmt: skip
"""By name."""
