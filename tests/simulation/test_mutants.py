"""The campaigns see what they look for: a handful of mutants, and every positive control.

`./dev torture mutants` hunts all of them.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tests.simulation.campaigns import CAMPAIGNS
from tests.simulation.controls import CONTROLS
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutating import Edit, Mutant
from tests.torture import controls, mutants

HANDFUL = (
    "claim keeps the epoch", "second start inserts", "signal wakes nobody", "messages consumed twice",
    "commands before the commit", "interrupted attempts repeated", "unknown treated as failed", "retry counter lost",
    "timers fire early", "completions replayed by number",
)  # fmt: skip
SCHEDULES_MAX = 150


def test_there_are_sixty_mutants_and_each_says_what_it_breaks():
    assert len(MUTANTS) >= 60
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.breaks for mutant in MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_the_product_as_it_is_and_leaves_it_as_it_was(mutant):
    with mutant.applied():
        """Every piece of source that it replaces is there."""
    with mutant.applied():
        """And is there again."""


@pytest.mark.parametrize("name", HANDFUL)
def test_a_mutant_is_caught(name):
    number = next(number for number, mutant in enumerate(MUTANTS) if mutant.name == name)
    assert mutants.hunt(number, SCHEDULES_MAX).what


def test_a_wrong_store_is_found_wrong():
    """T32: an unfenced store, one that looks before it writes, one that swallows failures."""
    assert len(CONTROLS) >= 3
    assert controls.campaign(500, 0).violations == []


def test_the_campaign_tells_of_mutants_that_survive(monkeypatch):
    harmless = Mutant("harmless", "nothing", (Edit("core.ids:derived_id", "016x", "016X"),))
    monkeypatch.setattr(mutants, "MUTANTS", (harmless,))
    outcome = mutants.campaign(3, 0)
    assert outcome.violations == ["harmless (nothing): survived 3 schedules of simulation"]


def test_a_schedule_that_fails_without_the_mutant_is_no_catch(monkeypatch):
    harmless = Mutant("harmless", "nothing", (Edit("core.ids:derived_id", "016x", "016X"),))
    monkeypatch.setattr(mutants, "MUTANTS", (harmless,))
    monkeypatch.setitem(CAMPAIGNS, "simulation", lambda: nullcontext(lambda seed: "wrong" if seed == 1 else ""))
    assert mutants.hunt(0, 3) == mutants.Hunt(3, "")


def test_a_mutant_that_fits_no_more_says_so():
    lost = Mutant("lost", "nothing", (Edit("core.ids:derived_id", "no such text", ""),))
    with pytest.raises(LookupError, match="0 times, expected once"), lost.applied():
        """Not reached."""
