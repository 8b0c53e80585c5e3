"""T12 in short: workers that cannot say that they live, and proof that a takeover would be seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from durable.core.records import Queue, RunKey, RunRecord, RunState
from tests.torture import held
from tests.torture._rounds import play


def test_a_worker_that_cannot_say_that_it_lives_keeps_its_runs():
    """Two seconds are telling: the runs of one that was killed are taken over while they pass.

    Covers: E2, E3
    """
    outcome = held.campaign(1, seed=0, hold_s=2.0)
    assert outcome.violations == []
    assert outcome.facts["kept"] == len(held.KINDS)


@pytest.mark.parametrize(
    ("kind", "hang_s"),
    [pytest.param("killed", held.HANG_S, id="killed"), pytest.param("loop", 1.0, id="without-progress")],
)
def test_the_runs_of_a_worker_that_is_dead_or_makes_no_progress_are_taken_over(kind: str, hang_s: float):
    """Covers: A3, E4"""
    (played,) = play("tests.torture.held:one_round", [(kind, 4.0, hang_s)])
    again, by, epoch = played.result["violations"]
    assert again == "hold was executed 2 times"
    assert "was taken over by" in by
    assert epoch == "the run has epoch 2 after 0 deaths"


def seen(**changes: Any) -> held.Seen:
    queue = Queue("torture", "held", "", "")
    run = RunRecord(RunKey(1), "held", queue, RunState.SUCCEEDED, 1, None, None, 0, 0, 0, 0)
    return replace(held.Seen(10, [[label, "10"] for label in held.USUAL], run, held.USUAL), **changes)


def test_a_lost_step_a_death_and_a_wrong_result_are_seen():
    assert held.judge("gil", seen()) == []
    assert held.judge("gil", seen(lines=seen().lines[1:])) == ["before was executed 0 times"]
    assert held.judge("gil", seen(result="poisoned")) == ["the run gave poisoned"]
    died = seen(run=replace(seen().run, epoch=2, deaths=1))
    assert held.judge("gil", died) == ["the run has epoch 2 after 1 deaths"]
