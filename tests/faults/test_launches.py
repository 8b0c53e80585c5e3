"""T11 in short: processes that start beside a healthy one, and proof that a repeated step would be seen."""

from __future__ import annotations

from tests.torture import launches
from tests.torture._launches_program import STEPS


def test_processes_that_start_beside_a_healthy_one_execute_nothing_of_its_runs():
    """Covers: E9"""
    outcome = launches.campaign(12, seed=1)
    assert outcome.violations == []
    assert outcome.facts["steps"] != 0


def test_a_step_that_another_process_executed_is_seen():
    words = [["1", str(step), "10"] for step in range(STEPS)]
    assert launches.judge(words, 10) == []
    assert launches.judge([*words, ["1", "3", "11"]], 10) == [
        "step 3 of run 1 was executed by 11",
        "step 3 of run 1 was executed 2 times",
    ]
    assert launches.judge(words[1:], 10) == [f"run 1 executed {STEPS - 1} of its steps"]
