"""Durations of single operations beside those of raw commits, in turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from statistics import mean
from typing import Final

from bench.figures import Figure, percentiles_ms
from bench.raw import Raw

TURNS: Final = 10
"""Turns, so that a neighbour on the machine hinders both alike."""

WARM_UP: Final = 5


async def durations_beside_raw(
    scenario: str, n: int, measure: Callable[[int], Awaitable[float]], raw: Raw
) -> list[Figure]:
    """Return percentiles of `n` durations, in seconds, and how many raw commits fit into the median."""
    each = max(1, n // TURNS)
    for number in range(WARM_UP):
        await measure(number)
        raw.one_row_each(1)
    durations: list[float] = []
    raw_durations: list[float] = []
    for turn in range(TURNS):
        raw_durations += [raw.one_row_each(1) for _ in range(each)]
        first = WARM_UP + turn * each
        durations += [await measure(number) for number in range(first, first + each)]
    p50, p99 = percentiles_ms(scenario, durations)
    commit_ms = percentiles_ms(scenario, raw_durations)[0].value
    return [
        p50,
        p99,
        Figure(scenario, "raw_commits_per_s", 1 / mean(raw_durations), "commits/s", p50.n),
        Figure(scenario, "p50_in_raw_commits", p50.value / commit_ms, "commits", p50.n),
    ]


def numbers_used(n: int) -> int:
    """Return how many durations `durations_beside_raw` measures, warm-up included."""
    return WARM_UP + max(1, n // TURNS) * TURNS
