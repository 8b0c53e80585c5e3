"""Plays the seeds of a campaign in several processes at once, chunk by chunk."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Final

PROCESSES_MAX: Final = 8


@dataclass
class Found:
    """What was found in a range of seeds."""

    violations: list[str] = field(default_factory=list)
    """One each, with its seed."""
    counts: Counter[str] = field(default_factory=Counter)
    """What there was, to be added up."""

    def add(self, other: Found) -> None:
        """Take in what was found elsewhere."""
        self.violations += other.violations
        self.counts.update(other.counts)


Work = Callable[[int, int], Found]
"""Plays `count` seeds from `first` on; a function of a module."""


def cores() -> int:
    """Return how many processes are worth it."""
    return min(len(os.sched_getaffinity(0)), PROCESSES_MAX)


def chunks(work: Work, n: int, seed: int, size: int) -> Iterator[Found]:
    """Yield what was found chunk by chunk, in the order of the seeds."""
    starts = range(seed, seed + n, size)
    counts = [min(size, seed + n - start) for start in starts]
    if len(counts) == 1 or cores() == 1:
        yield from map(work, starts, counts)
        return
    # A fresh interpreter each: what the parent has imported and patched stays there.
    with ProcessPoolExecutor(cores(), mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, starts, counts)


def spread(work: Work, n: int, seed: int, size: int) -> Found:
    """Return what was found in all seeds."""
    found = Found()
    for part in chunks(work, n, seed, size):
        found.add(part)
    return found


def spread_until(name: str, n: int, work: Work, seed: int, size: int) -> tuple[Found, int]:
    """Play seeds until `n` of what is counted as `name` have come, or a violation.

    Returns:
        What was found, and how many seeds that took.
    """
    found = Found()
    size = min(size, n)
    played = 0
    while found.counts[name] < n and not found.violations:
        found.add(spread(work, size * cores(), seed + played, size))
        played += size * cores()
    return found, played
