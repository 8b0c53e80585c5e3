"""The SQLite store answers as its specification does, and the campaign sees it when it does not."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS
from tests.torture import differential
from tests.torture._processes import Found


def test_both_stores_answer_the_same():
    """Covers: A8, A17, F11"""
    found = differential.work(0, 5)
    assert found.violations == []
    assert found.counts["operations"] > 800


@pytest.mark.parametrize("name", ["SQLite: told without end", "SQLite: rewind not recognised"])
def test_a_store_that_answers_otherwise_is_seen(name):
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    with mutant.applied():
        assert any(differential.work(seed, 1).violations for seed in range(30))


def test_an_answer_that_nobody_got_is_a_violation():
    found = Found()
    found.counts.update(f"{call} -> {answer}" for call, answers in differential.REACHABLE.items() for answer in answers)
    assert differential.missed(found) == []
    del found.counts["Mend -> queued"]
    found.counts["Mend -> suspended"] += 1
    assert differential.missed(found) == [
        "never reached: Mend -> queued", "no such answer is expected: Mend -> suspended",
    ]  # fmt: skip


def test_a_small_campaign_need_not_reach_everything():
    outcome = differential.campaign(200, 3)
    assert outcome.violations == []
    assert 100 < (outcome.n or 0) < 1_000
