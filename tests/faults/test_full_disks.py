"""B2, B3, B5, B7 and B22 in short: a disk that is full for a while, and proof that what must not be is seen."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture import diskfull
from tests.torture._application import flow


def test_work_pauses_on_a_full_disk_and_goes_on_when_there_is_space():
    """Covers: B2, B3, B5, B7, B22"""
    outcome = diskfull.fill(4, 1, 1.0, 1.5)
    assert outcome.violations == []
    ways = [outcome.facts.get(way, 0) for way in diskfull.WAYS]
    assert ways == ([1, 1, 1, 1] if diskfull.can_mount() else [0, 2, 1, 1])


# What the judge sees -------------------------------------------------------------------------------------------------


def test_the_judge_sees_a_process_that_keeps_the_processor_busy():
    loops = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    waits = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=subprocess.PIPE)
    try:
        for process in (loops, waits):
            assert process.stdout is not None
            process.stdout.readline()
        assert diskfull.busy(loops.pid, 0.5) > 0.02
        assert diskfull.busy(waits.pid, 0.2) < 0.02
    finally:
        for process in (loops, waits):
            process.kill()
            process.communicate()


def test_how_much_of_a_processor_may_be_used_and_how_soon_work_goes_on():
    assert diskfull.too_busy(0.1, 1.0) == []
    assert diskfull.too_busy(0.11, 1.0) == ["while the disk was full, 0.11 s of 1.00 s of a processor were used"]
    assert diskfull.too_slow(9.9) == []
    assert diskfull.too_slow(10.1) == ["work went on 10.1 s after there was space"]
    assert diskfull.too_slow(0.0) == ["work did not go on"]


def test_the_judge_sees_recorded_entries_that_change_or_go():
    before = {"r": ["start", "step"]}
    assert diskfull.changed(before, {"r": ["start", "step", "another"]}) == []
    for after in ({"r": ["start", "other"]}, {"r": ["start"]}, {}):
        assert diskfull.changed(before, after) == ["r: what was recorded before the disk was full has changed"]


def test_the_judge_sees_a_read_that_is_refused_without_need():
    allowed = ["refused", "a commit failed (full); it may or may not have been written"]
    assert diskfull.wrong_reads([["read", "3"], allowed]) == []
    assert diskfull.wrong_reads([["refused", "no"]]) == ["a read was refused: no"]


STEPS = "grows-0\t0\ngrows-0\t1\n"


@pytest.mark.parametrize(
    ("ledger", "acks", "found"),
    [
        (STEPS, "started\tgrows-0\nresult\tgrows-0\t2\nstopped\t\n", []),
        (STEPS, "started\tgrows-0\n", ["the process ended early"]),
        (STEPS + "grows-0\t1\n", "stopped\t\n", ["grows-0: step 1 was executed 2 times"]),
        (STEPS, "result\tgrows-0\t1\nstopped\t\n", ["grows-0: gave 1 and is succeeded, and 2 steps were executed"]),
        (STEPS, "started\tgrows-7\nstopped\t\n", ["grows-7: started was acknowledged and is lost"]),
    ],
)
def test_the_judge_sees_what_is_lost_or_executed_twice(tmp_path: Path, ledger, acks, found):
    db = str(tmp_path / "x.db")

    async def once() -> None:
        async with diskfull.make_app(db, os.devnull, str(tmp_path)) as app:  # it is enough at once
            await flow(app, "grows")(0)

    asyncio.run(once())
    (tmp_path / "ledger").write_text(ledger)
    (tmp_path / "ledger.acks").write_text(acks)
    wrong = asyncio.run(diskfull.judge(db, str(tmp_path / "ledger")))
    assert wrong == found
