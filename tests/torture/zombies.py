"""Workers that were taken for dead and write on: not one of their writes may be stored (T10).

Schedules are played until `n` such writes have reached the store after another worker, or nobody, owned the run. Each
has to be refused, change nothing, and start no task; the model of the simulation sees to that.

Covers: E1, E6, E7, E14, E17
"""

from __future__ import annotations

from typing import Final

from tests.simulation.playing import Theatre
from tests.simulation.schedule import ZOMBIE_WRITES
from tests.torture._outcome import Outcome
from tests.torture._processes import Found, spread_until
from tests.torture.simulation import take_in

N_DEFAULT: Final = 10_000
CHUNK: Final = 250


def work(first: int, count: int) -> Found:
    """Play a range of seeds."""
    found = Found()
    with Theatre() as theatre:
        for seed in range(first, first + count):
            take_in(found, theatre.play(seed, ZOMBIE_WRITES))
    return found


def campaign(n: int, seed: int) -> Outcome:
    """Play schedules until `n` writes of zombies have come."""
    found, schedules = spread_until("zombie_writes", n, work, seed, CHUNK)
    return Outcome(found.violations, {"schedules": schedules}, n=found.counts["zombie_writes"])
