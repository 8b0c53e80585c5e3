"""Schedules of the simulation: several workers on one store, everything that can go wrong, O1 to O6 after every event.

`tests/simulation/DESIGN.md` tells how it works. A violation is printed with its seed, and
`python -m tests.torture simulation -n 1 --seed S` repeats it, with everything that happened, event by event.

Covers: A1, A11, B1, E6, E17, F12
"""

from __future__ import annotations

import sys
from typing import Final

from tests.simulation.playing import Theatre
from tests.simulation.schedule import Report
from tests.torture._outcome import Outcome
from tests.torture._processes import Found, spread

N_DEFAULT: Final = 45_000
CHUNK: Final = 500
SHOWN_CHARS: Final = 2_000


def work(first: int, count: int) -> Found:
    """Play a range of seeds."""
    found = Found()
    with Theatre() as theatre:
        for seed in range(first, first + count):
            take_in(found, theatre.play(seed))
    return found


def take_in(found: Found, report: Report) -> None:
    """Count what happened in a schedule."""
    found.violations += [f"seed {report.seed}: {text[:SHOWN_CHARS]}" for text in report.violations[:1]]
    found.counts.update(
        calls=report.calls, callbacks=report.callbacks, faults=report.faults, runs=report.runs,
        executions=report.executions, zombie_writes=report.zombie_writes,
    )  # fmt: skip
    found.counts["small"] += not report.is_whole


def show(seed: int) -> list[str]:
    """Play one schedule, print all of it if something was wrong, and return what."""
    with Theatre() as theatre:
        report = theatre.play(seed, records=True)
    if report.violations:
        print("\n".join(report.log), file=sys.stderr)
    return report.violations


def campaign(n: int, seed: int) -> Outcome:
    """Play `n` schedules."""
    if n == 1:
        return Outcome(show(seed), {})
    found = spread(work, n, seed, CHUNK)
    counts = found.counts
    if counts["small"]:
        found.violations.append(f"{counts['small']} schedules had too few workers, runs, calls or faults to count")
    return Outcome(found.violations, dict(counts))
