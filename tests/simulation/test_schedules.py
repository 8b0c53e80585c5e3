"""Schedules of the simulation, short: the campaigns `simulation`, `zombies` and `mail` play many more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation import schedule as settings
from tests.simulation.playing import Theatre
from tests.simulation.schedule import MAIL, ZOMBIE_WRITES, Report

CORPUS = [
    line.split(maxsplit=2)
    for line in (Path(__file__).parent / "corpus.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    with Theatre() as opened:
        yield opened


def right(report: Report) -> Report:
    assert not report.violations, (
        f"{report.violations[0]}\nrepeat it with: ./dev torture simulation -n 1 --seed {report.seed}"
    )
    return report


def test_nothing_is_lost_repeated_or_stuck_whatever_goes_wrong(theatre):
    """Covers: A1, A11, B1"""
    reports = [right(theatre.play(seed)) for seed in range(120)]
    assert all(report.is_whole for report in reports)
    assert sum(report.executions for report in reports) > 800
    assert sum(report.faults for report in reports) > 400


@pytest.mark.parametrize(("setting", "seed"), [(setting, int(seed)) for setting, seed, _ in CORPUS])
def test_what_has_failed_once_is_mended(theatre, setting, seed):
    right(theatre.play(seed, getattr(settings, setting.upper())))


def test_no_write_of_a_worker_that_lost_its_run_is_stored(theatre):
    """Covers: E1, E6, E7, E14, E17"""
    reports = [right(theatre.play(seed, ZOMBIE_WRITES)) for seed in range(40)]
    assert sum(report.zombie_writes for report in reports) > 20


def test_every_message_is_received_once_and_in_order(theatre):
    """Covers: A12, F5"""
    reports = [right(theatre.play(seed, MAIL)) for seed in range(8)]
    assert sum(report.received for report in reports) > 200
