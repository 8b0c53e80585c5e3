"""Figures: what a repetition measures, and the line that is printed of all of them."""

from __future__ import annotations

import json
import platform
import sqlite3
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from statistics import median
from typing import NamedTuple


class Figure(NamedTuple):
    """One number that a scenario measured."""

    scenario: str
    figure: str
    value: float
    unit: str
    n: int


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-len(ordered) * share // 1) - 1))]


def percentiles_ms(scenario: str, seconds: Sequence[float]) -> list[Figure]:
    """Return the median and the 99th percentile of durations given in seconds."""
    return [
        Figure(scenario, name, percentile(seconds, share) * 1000, "ms", len(seconds))
        for name, share in (("p50_ms", 0.50), ("p99_ms", 0.99))
    ]


def medians(repetitions: Iterable[Iterable[Figure]]) -> list[Figure]:
    """Return the median of each figure over the repetitions, in the order of the first one."""
    values: dict[tuple[str, str, str, int], list[float]] = {}
    for figures in repetitions:
        for scenario, figure, value, unit, n in figures:
            values.setdefault((scenario, figure, unit, n), []).append(value)
    return [Figure(scenario, figure, median(found), unit, n) for (scenario, figure, unit, n), found in values.items()]


def json_line(figure: Figure, *, store: str, durability: str) -> str:
    """Return a figure as the line that is printed."""
    line = {
        "scenario": figure.scenario,
        "figure": figure.figure,
        "value": _rounded(figure.value),
        "unit": figure.unit,
        "store": store,
        "n": figure.n,
        "durability": durability,
        "versions": versions(),
    }
    return json.dumps(line)


def versions() -> dict[str, str]:
    """Return the versions that a figure depends on."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "durable": version("durable"),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
