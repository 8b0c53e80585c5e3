"""The campaigns see what they look for: a handful of mutants, and every positive control.

`./dev torture mutants` hunts all of them.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import pytest

from tests.simulation.campaigns import CAMPAIGNS
from tests.simulation.controls import CONTROLS
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutating import Edit, Mutant
from tests.torture import controls, mutants
from tests.torture._processes import Found

HANDFUL = (
    "claim keeps the epoch", "second start inserts", "signal wakes nobody", "messages consumed twice",
    "commands before the commit", "interrupted attempts repeated", "unknown treated as failed", "retry counter lost",
    "timers fire early", "completions replayed by number",
)  # fmt: skip
SCHEDULES_MAX = 1_000  # a change of the product changes what a seed plays
HARMLESS = Mutant("harmless", "nothing", (Edit("core.ids:derived_id", "016x", "016X"),))


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
    monkeypatch.setattr(mutants, "MUTANTS", (HARMLESS,))
    outcome = mutants.campaign(3, 0)
    assert outcome.violations == ["harmless (nothing): survived 3 schedules of simulation"]


def test_a_schedule_that_fails_without_the_mutant_is_no_catch(monkeypatch):
    monkeypatch.setattr(mutants, "MUTANTS", (HARMLESS,))
    monkeypatch.setitem(CAMPAIGNS, "simulation", lambda: nullcontext(lambda seed: "wrong" if seed == 1 else ""))
    assert mutants.hunt(0, 3) == mutants.Hunt(3, "")


def test_a_schedule_that_is_remembered_is_played_first_and_must_catch_again(monkeypatch, tmp_path):
    monkeypatch.setattr(mutants, "CAUGHT", tmp_path / "caught.txt")
    monkeypatch.setattr(mutants, "MUTANTS", (HARMLESS,))
    played: list[int] = []
    failing = {3, 7}

    def play(seed: int) -> str:
        played.append(seed)
        # With the mutant and without it, in turns.
        return "wrong" if seed in failing and played.count(seed) % 2 else ""

    monkeypatch.setitem(CAMPAIGNS, "simulation", lambda: nullcontext(play))
    assert mutants.hunt(0, 20) == mutants.Hunt(4, "wrong")
    mutants.remember({"harmless": 8})
    played.clear()
    assert mutants.hunt(0, 20) == mutants.Hunt(8, "wrong")
    assert played == [7, 7]
    failing.remove(7)
    assert mutants.hunt(0, 20) == mutants.Hunt(4, "wrong")
    assert mutants.hunt(0, 2, seed=10) == mutants.Hunt(2, "")


def test_only_what_a_search_from_the_first_seed_has_found_is_remembered(monkeypatch, tmp_path):
    monkeypatch.setattr(mutants, "CAUGHT", tmp_path / "caught.txt")
    monkeypatch.setattr(mutants, "MUTANTS", (HARMLESS,))
    monkeypatch.setattr(mutants, "chunks", lambda *_: [Found(counts=Counter({"harmless": 5}))])
    mutants.campaign(9, 1)
    assert mutants.remembered() == {}
    assert mutants.campaign(9, 0).facts["caught"] == 1
    assert mutants.remembered() == {"harmless": 5}


def test_a_mutant_that_fits_no_more_says_so():
    lost = Mutant("lost", "nothing", (Edit("core.ids:derived_id", "no such text", ""),))
    with pytest.raises(LookupError, match="0 times, expected once"), lost.applied():
        """Not reached."""
