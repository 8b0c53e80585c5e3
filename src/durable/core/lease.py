"""What the death of an owner means for its runs."""

from __future__ import annotations

from typing import Final, NamedTuple

DEATHS_MAX: Final = 5
"""Owners that may die in a row over one run without a new entry before it is set aside as poisoned."""

DELAYS_MS: Final = (0, 500, 1_000, 4_000)
"""Wait before the run is due again, by deaths so far.

The first takeover is immediate. Later ones wait, each for a different time (`spread`), so that a run that kills its
worker and the runs that merely shared its process come due apart, and the innocent ones get their next entry recorded.
"""


class Takeover(NamedTuple):
    """What becomes of a run whose owner died."""

    deaths: int
    delay_ms: int
    poisoned: bool


def after_death(deaths: int, *, spread: float) -> Takeover:
    """Decide what becomes of a run whose owner died.

    Args:
        deaths: Owners lost before, without a new entry since.
        spread: Number in [0, 1), different for each run, drawn by the caller.
    """
    deaths += 1
    if deaths >= DEATHS_MAX:
        return Takeover(deaths, 0, poisoned=True)
    return Takeover(deaths, int(DELAYS_MS[deaths - 1] * (0.5 + spread)), poisoned=False)
