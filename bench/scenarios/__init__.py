"""The scenarios, by name, with their sizes.

A scenario is a function that takes the settings of one repetition and returns figures. What each counts as `n`, and
how it measures, is told in ../README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from bench.figures import Figure
from bench.scenarios import idle, imports, latency, raw, replay, sequential, signal, sleepers, throughput
from bench.settings import Settings


class Scenario(NamedTuple):
    """What to measure, how much of it, and how to say so."""

    measure: Callable[[Settings], list[Figure]]
    n: int
    n_quick: int
    words: str
    flushes: bool = True
    """Does it write, so that slower flushes matter?"""


# fmt: off
SCENARIOS: Final[dict[str, Scenario]] = {
    "raw": Scenario(raw.measure, 2_000, 40, "{n} commits of one row by sqlite3 itself, and some of 1,000 rows"),
    "sequential": Scenario(sequential.measure, 2_000, 40, "{n} steps, one after the other"),
    "throughput": Scenario(throughput.measure, 5_000, 40, "{n} runs of 5 steps, 100 at once, in one process"),
    "replay": Scenario(replay.measure, 10_000, 100, "a run of {n} steps, and a tenth as many of 10, killed"),
    "latency": Scenario(latency.measure, 1_000, 20, "{n} runs of one task, one after the other"),
    "signal": Scenario(signal.measure, 500, 10, "{n} signals, one after the other, from here and from another process"),
    "sleepers": Scenario(sleepers.measure, 100_000, 100, "{n} runs asleep, and a tenth as many that wake"),
    "import": Scenario(imports.measure, 9, 2, "{n} interpreters", flushes=False),
    "idle": Scenario(idle.measure, 10, 1, "a worker with nothing to do, for {n} s", flushes=False),
}
# fmt: on
