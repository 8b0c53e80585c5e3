"""One seed is one schedule, byte for byte, in every process; and a violation tells how to play it again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.playing import Theatre
from tests.torture import simulation

ROOT = Path(__file__).parents[2]
SEEDS = (3, 11, 42, 235, 369)

PROGRAM = f"""
from tests.simulation.playing import Theatre
with Theatre() as theatre:
    print(*(theatre.play(seed, records=True).digest for seed in {SEEDS}))
"""


def digests(theatre: Theatre, seeds: tuple[int, ...]) -> dict[int, str]:
    return {seed: theatre.play(seed, records=True).digest for seed in seeds}


def test_a_seed_plays_the_same_schedule_again_whatever_was_played_before():
    with Theatre() as theatre:
        first = digests(theatre, SEEDS)
        assert digests(theatre, SEEDS[::-1]) == first
        assert len(set(first.values())) == len(SEEDS)


def test_a_seed_plays_the_same_schedule_in_another_process_with_other_hashes():
    with Theatre() as theatre:
        here = " ".join(digests(theatre, SEEDS).values())
    for hash_seed in ("1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == here


@pytest.fixture
def broken():
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "last settle wins")
    with mutant.applied():
        yield


def test_a_violation_is_told_with_its_seed_and_played_again_event_by_event(broken, capsys):
    violations = simulation.work(0, 200).violations
    seed = int(violations[0].partition(":")[0].removeprefix("seed "))
    outcome = simulation.campaign(1, seed)
    assert outcome.violations[0] in violations[0]
    log = capsys.readouterr().err
    assert "begins as worker" in log
    assert "VIOLATION" in log.splitlines()[-1]
