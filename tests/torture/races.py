"""Signal, time limit, cancellation, pause and end of a run against each other, in every order of their writes (T14).

Two actors make six writes each, which gives 924 orders for each of the scripts in `tests/simulation/races.py`; by
default, all are played.

Covers: F4, F5, F6, F7, F9, F12
"""

from __future__ import annotations

from typing import Final

from tests.simulation.playing import Theatre
from tests.simulation.races import COUNT, race_of
from tests.torture._outcome import Outcome
from tests.torture._processes import Found, spread

N_DEFAULT: Final = COUNT
CHUNK: Final = 462


def work(first: int, count: int) -> Found:
    """Play a range of races."""
    found = Found()
    with Theatre() as theatre:
        for number in range(first, first + count):
            found.violations += [f"race {number}, {race_of(number)}: {text}" for text in theatre.race(number)[:1]]
    return found


def campaign(n: int, seed: int) -> Outcome:
    """Play `n` races."""
    return Outcome(spread(work, n, seed, CHUNK).violations)
