"""T3, T4 and T7 in short: deaths and failures of the store, wherever they come, and proof that they would be seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from durable.store.sqlite import faults
from tests.torture import _reference, io, points, syscalls
from tests.torture._application import Ledger
from tests.torture._rounds import play
from tests.torture._shim import Shim, preloaded
from tests.torture._sweep import NEVER, chosen

RUNS: _reference.Runs = (("steps", 1),)


def test_a_death_at_any_system_call_loses_and_repeats_nothing():
    """Covers: A5, A8"""
    outcome = syscalls.campaign(5, seed=1)
    assert outcome.violations == []
    assert outcome.n is not None
    assert outcome.n >= 8


def test_a_death_at_any_named_place_loses_and_repeats_nothing():
    """Covers: A5, A8, A13"""
    outcome = points.campaign(1, seed=1)
    assert outcome.violations == []
    assert outcome.n is not None
    assert outcome.n >= len(faults.NAMES) - 2  # no two executions pass each place as often


def test_a_system_call_that_fails_is_survived():
    """Covers: B1, B2, B4, B6"""
    outcome = io.campaign(5, seed=1)
    assert outcome.violations == []
    assert outcome.n is not None
    assert outcome.n >= 18


def test_a_fault_hits_the_call_it_is_meant_for():
    (played,) = play("tests.torture.io:one_round", [("EIO although done", NEVER)], environment=preloaded())
    assert played.result["violations"] == []
    assert played.result["fired"] == 0
    matched = played.result["matched"]
    assert matched > 100
    rounds = [("late", 1), ("EIO", 1)]
    hits = {
        tuple(played.arguments): played.result
        for played in play("tests.torture.io:one_round", rounds, environment=preloaded())
    }
    assert [result["fired"] for result in hits.values()] == [1, 1]
    assert hits["late", 1]["hit"] == "flock of guard"
    assert hits["EIO", 1]["hit"].startswith("open of")


def test_a_process_without_the_shim_is_told(tmp_path):
    with pytest.raises(RuntimeError, match="started without the shim"):
        Shim(str(tmp_path / "x.db"))


def test_all_calls_are_played_unless_fewer_are_wanted():
    assert chosen(10, 100, seed=0) == list(range(1, 12))
    assert len(chosen(10, 4, seed=0)) == 4
    assert set(chosen(10, 4, seed=0)) <= set(range(1, 11))
    assert chosen(1000, 4, seed=0) != chosen(1000, 4, seed=1)


def test_a_round_that_hangs_or_dies_is_reported():
    (hangs,) = play("time:sleep", [(60,)], patience_s=0.2)
    assert hangs.failure == "stuck for 0.2 s"
    (dies,) = play("sys:exit", [(3,)])
    assert dies.failure == "ended with code 1"


# What the judge sees -------------------------------------------------------------------------------------------------


@pytest.fixture
def acks(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path / "ledger.acks"))


def judged(tmp_path: Path) -> list[str]:
    return _reference.judge(str(tmp_path / "x.db"), str(tmp_path / "ledger"), set(), runs=RUNS, patience_s=1.0)


def test_the_judge_finishes_what_was_never_acknowledged(tmp_path):
    assert judged(tmp_path) == []


def test_the_judge_sees_a_start_that_was_acknowledged_and_lost(tmp_path, acks):
    acks.write("started", "steps-1")
    assert judged(tmp_path) == ["steps-1: started was acknowledged and is lost", "steps-1: is stuck: None"]


def test_the_judge_sees_a_result_that_was_acknowledged_and_lost_or_is_another(tmp_path, acks):
    acks.write("result", "steps-1", json.dumps("something else"))
    lost, other = judged(tmp_path)
    assert lost == 'steps-1: result "something else" was acknowledged and is lost'
    assert other.startswith("steps-1: its caller was told something else, expected ['s0'")


@pytest.mark.parametrize(
    ("status", "acks", "wrong"),
    [
        (0, [["stopped"]], []),
        (0, [["started", "r"]], ["the process ended early"]),
        (io.GAVE_UP, [], []),
        (io.GAVE_UP, [["started", "r"]], ["the process gave up after ['started', 'r'], although the fault had passed"]),
        (1, [], ["the process ended with code 1"]),
    ],
)
def test_how_a_process_may_end_whose_call_failed(status: int, acks: list[list[str]], wrong: list[str]):
    assert io.verdict(status, acks) == wrong


@pytest.mark.parametrize(
    ("status", "was_killed", "wrong"),
    [
        (-9, True, []),
        (0, True, ["the process ended with code 0"]),
        (None, True, ["the process is stuck"]),
        (-9, False, ["the process ended with code -9"]),
        (0, False, ["the process ended early"]),
    ],
)
def test_how_a_process_may_end_that_is_to_be_killed(status: int | None, was_killed: bool, wrong: list[str]):
    assert syscalls.verdict(status, was_killed, []) == wrong
