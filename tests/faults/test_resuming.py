"""T20 in short: how soon the runs of killed workers go on, and proof that a late or wrong takeover would be seen."""

from __future__ import annotations

import pytest

from tests.torture import resume
from tests.torture._lines import lines


def test_the_runs_of_killed_workers_go_on_with_the_step_they_were_at(tmp_path):
    """Covers: A2, A3"""
    killed = resume.kill_all(str(tmp_path / "x.db"), str(tmp_path / "ledger"), 5, seed=2)
    waits, wrong = resume.waits_ms(lines(str(tmp_path / "ledger")), killed)
    assert wrong == []
    # The machine may be busy with other tests: half of them must show how fast it is.
    assert resume.percentile(waits, 0.5) < 3 * resume.GOAL_MS


def test_runs_that_stand_still_for_too_long_or_go_on_otherwise_are_seen():
    words = [["0", label, "10", str(at)] for label, at in [("first", 1), ("second", 2), ("second", 5), ("third", 5)]]
    assert resume.waits_ms(words, {"0": 3.0}) == ([2000.0], [])
    assert resume.waits_ms(words[:2], {"0": 3.0}) == ([], ["run 0 executed first, second"])
    late = resume.judge([200.0] * 98 + [1500.0] * 2, [])
    assert late.violations == ["1 of 100 runs stood still for 1500 ms or longer"]
    assert late.facts == {"p50_ms": 200, "p99_ms": 1500, "max_ms": 1500}
    assert resume.judge([200.0] * 99 + [1500.0], []).violations == []


@pytest.mark.parametrize(("share", "value"), [(0.5, 5), (0.9, 9), (0.91, 10), (0.99, 10), (0.01, 1)])
def test_percentiles_are_values_that_were_measured(share: float, value: float):
    assert resume.percentile([float(number) for number in range(1, 11)], share) == value
