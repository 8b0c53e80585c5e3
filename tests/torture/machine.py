"""A hypothesis state machine over the client's API: clients, faults and time in any order, against real engines (T17).

`n` counts rules. A failure is shrunk, and printed as a program of rules; `python -m tests.torture machine -n 2000
--seed S` repeats the examples of a seed.
"""

from __future__ import annotations

import contextlib
import io
from typing import Final

from tests.simulation.machine import machine_case
from tests.simulation.playing import Theatre
from tests.torture._outcome import Outcome
from tests.torture._processes import Found, spread

N_DEFAULT: Final = 200_000
RULES: Final = 50
"""Rules of an example, at most."""
CHUNK: Final = 2_000
"""Rules for one seed, about."""


def work(first: int, count: int) -> Found:
    """Play the examples of some seeds."""
    found = Found()
    for seed in range(first, first + count):
        with Theatre() as theatre:
            case, played = machine_case(theatre, examples=CHUNK // 40, steps=RULES, seed_number=seed, shrinks=True)
            told = io.StringIO()
            try:
                with contextlib.redirect_stdout(told):
                    case("runTest").debug()
            except Exception as error:  # whatever the rules raised
                notes = "\n".join(getattr(error, "__notes__", ()))
                found.violations.append(f"seed {seed}: {type(error).__name__}: {error}\n{notes}\n{told.getvalue()}")
            found.counts["rules"] += played.steps
    return found


def campaign(n: int, seed: int) -> Outcome:
    """Play about `n` rules."""
    seeds = max(1, n // CHUNK)
    found = spread(work, seeds, seed, max(1, seeds // 20))
    return Outcome(found.violations, {"seeds_played": seeds}, n=found.counts["rules"])
