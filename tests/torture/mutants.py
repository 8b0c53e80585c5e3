"""Bugs on purpose: each of `tests/simulation/mutants.toml` has to be caught by a campaign, soon (T2).

`n` is how many schedules a campaign may take. What caught which mutant, and after how many schedules, is printed line
by line; one that survives is a violation.

`caught.txt` remembers which schedule caught each mutant, of those that a search from seed 0 plays. It is played first:
if it catches the mutant again, such a search needs no more schedules than that, whatever has changed since. If it does
not, the search begins afresh, and what it finds is remembered.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, NamedTuple

from tests.simulation.campaigns import CAMPAIGNS
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutating import Mutant
from tests.torture._outcome import Outcome
from tests.torture._processes import Found, chunks

N_DEFAULT: Final = 20_000

CAUGHT: Final = Path(__file__).parents[1] / "simulation" / "caught.txt"
"""A line a mutant: the schedule that caught it, and its name."""

DETAIL_CHARS: Final = 160


class Hunt(NamedTuple):
    """How a campaign did with a mutant."""

    schedules: int
    """How many a search from its first seed needs at most until it is caught, or tried in vain."""
    what: str
    """What was found wrong; nothing if it survived."""


def hunt(number: int, n: int, seed: int = 0) -> Hunt:
    """Let a campaign look for a mutant, in up to `n` schedules.

    A schedule that fails without the mutant, too, says nothing about it, and does not count as a catch.
    """
    mutant = MUTANTS[number]
    known = remembered().get(mutant.name, n + 1) - seed
    if 0 < known <= n:
        hunted = _search(mutant, known - 1, known, seed)
        if hunted.what:
            return hunted
    return _search(mutant, 0, n, seed)


def _search(mutant: Mutant, start: int, n: int, seed: int) -> Hunt:
    place = start
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


def remembered() -> dict[str, int]:
    """Return the schedule that caught each mutant: the number of its seed, from 1."""
    lines = CAUGHT.read_text().splitlines() if CAUGHT.exists() else []
    return {name: int(schedule) for schedule, name in (line.split(maxsplit=1) for line in lines)}


def remember(schedules: dict[str, int]) -> None:
    """Write down which schedules have caught mutants."""
    known = remembered() | schedules
    lines = [f"{known[mutant.name]:5} {mutant.name}" for mutant in MUTANTS if mutant.name in known]
    CAUGHT.write_text("\n".join(lines) + "\n")


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
                print(f"{line}: {mutant.caught_by}, schedule {schedules}: {detail}", file=sys.stderr, flush=True)
                found.counts[mutant.name] = self._seed + schedules
            else:
                found.violations.append(f"{line}: survived {schedules} schedules of {mutant.caught_by}")
        return found


def campaign(n: int, seed: int) -> Outcome:
    """Hunt every mutant."""
    violations: list[str] = []
    schedules: dict[str, int] = {}
    for part in chunks(_Hunting(n, seed), len(MUTANTS), 0, 1):
        schedules |= part.counts
        violations += part.violations
    if not seed and not schedules.items() <= remembered().items():
        remember(schedules)
    return Outcome(violations, {"caught": len(schedules), "schedules_max": n}, n=len(MUTANTS))
