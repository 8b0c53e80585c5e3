"""Bugs on purpose: each of `tests/simulation/mutants.py` has to be caught by a campaign, soon (T2).

`n` is how many schedules a campaign may take. What caught which mutant, and after how many schedules, is printed line
by line; one that survives is a violation.
"""

from __future__ import annotations

import sys
from typing import Final, NamedTuple

from tests.simulation.campaigns import CAMPAIGNS
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutating import Mutant
from tests.torture._outcome import Outcome
from tests.torture._processes import Found, chunks

N_DEFAULT: Final = 20_000

DETAIL_CHARS: Final = 160


class Hunt(NamedTuple):
    """How a campaign did with a mutant."""

    schedules: int
    """Until it was caught, or tried in vain."""
    what: str
    """What was found wrong; nothing if it survived."""


def hunt(number: int, n: int, seed: int = 0) -> Hunt:
    """Let a campaign look for a mutant, in up to `n` schedules.

    A schedule that fails without the mutant, too, says nothing about it, and does not count as a catch.
    """
    mutant = MUTANTS[number]
    place = 0
    while place < n:
        place, what = _first_failure(mutant, place, n, seed)
        if not what:
            break
        with CAMPAIGNS[mutant.caught_by]() as play:
            if not play(seed + place):
                return Hunt(place + 1, what)
        place += 1
    return Hunt(n, "")


def _first_failure(mutant: Mutant, start: int, n: int, seed: int) -> tuple[int, str]:
    with mutant.applied(), CAMPAIGNS[mutant.caught_by]() as play:
        for place in range(start, n):
            what = play(seed + place)
            if what:
                return place, what
    return n, ""


class _Hunting:
    """Hunts the mutants of a range of numbers; made here, called in other processes."""

    def __init__(self, n: int, seed: int) -> None:
        self._n = n
        self._seed = seed

    def __call__(self, first: int, count: int) -> Found:
        found = Found()
        for number in range(first, first + count):
            mutant = MUTANTS[number]
            schedules, what = hunt(number, self._n, self._seed)
            line = f"{mutant.name} ({mutant.breaks})"
            detail = " ".join(what.split())[:DETAIL_CHARS]
            if what:
                found.counts[f"{line}: {mutant.caught_by}, schedule {schedules}: {detail}"] += 1
            else:
                found.violations.append(f"{line}: survived {schedules} schedules of {mutant.caught_by}")
        return found


def campaign(n: int, seed: int) -> Outcome:
    """Hunt every mutant."""
    caught = 0
    violations: list[str] = []
    for part in chunks(_Hunting(n, seed), len(MUTANTS), 0, 1):
        for line in part.counts:
            print(line, file=sys.stderr, flush=True)
        caught += len(part.counts)
        violations += part.violations
    return Outcome(violations, {"caught": caught, "schedules_max": n}, n=len(MUTANTS))
