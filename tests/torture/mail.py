"""Messages with crashes on both sides: each received exactly once, in the order of the acknowledgements (T13).

One in eight is sent again although it was acknowledged, and whoever gets no answer sends again, from any process.
Schedules are played until `n` messages have been received.

Covers: A12, F5, F21
"""

from __future__ import annotations

from typing import Final

from tests.simulation.playing import Theatre
from tests.simulation.schedule import MAIL
from tests.torture._outcome import Outcome
from tests.torture._processes import Found, spread_until
from tests.torture.simulation import take_in

N_DEFAULT: Final = 100_000
CHUNK: Final = 50


def work(first: int, count: int) -> Found:
    """Play a range of seeds."""
    found = Found()
    with Theatre() as theatre:
        for seed in range(first, first + count):
            report = theatre.play(seed, MAIL)
            take_in(found, report)
            found.counts["received"] += report.received
    return found


def campaign(n: int, seed: int) -> Outcome:
    """Play schedules until `n` messages were received."""
    found, schedules = spread_until("received", n, work, seed, CHUNK)
    return Outcome(found.violations, {"schedules": schedules}, n=found.counts["received"])
