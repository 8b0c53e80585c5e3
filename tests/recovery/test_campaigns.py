"""Short forms of the campaigns `kill` and `starts`, and proof that their checkers see what they look for."""

from __future__ import annotations

from pathlib import Path

import pytest

from durable.core.records import Entry, Kind, Status
from tests.torture import kill, starts
from tests.torture._application import Ledger, flow, make_app
from tests.torture._witness import Watched, Witness


def test_random_kills_lose_and_repeat_nothing():
    """Covers: A25"""
    assert kill.campaign(15, seed=7) == 0


def test_two_processes_that_start_one_id_at_once_share_one_execution():
    """Covers: F1"""
    assert starts.campaign(25, seed=3) == 0


STEP = ("steps-1", "s0", 1)


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    ledger = str(tmp_path / "ledger")
    return Witness(make_app(str(tmp_path / "x.db"), Ledger(ledger)), ledger)


def ledger(witness: Witness, *lines: tuple[object, ...]) -> list[str]:
    Path(witness.ledger).write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    witness.check_ledger()
    return witness.violations


def test_the_witness_accepts_a_repetition_after_a_kill(witness):
    witness.killed = {10}
    assert ledger(witness, (*STEP, 10), (*STEP, 11)) == []
    assert witness.repeated == 1


def test_the_witness_sees_a_repetition_without_a_kill(witness):
    assert ledger(witness, (*STEP, 10), (*STEP, 11)) == [
        "steps-1: s0 was executed by 10, which was not killed, and again by 11"
    ]


def test_the_witness_sees_the_repetition_of_a_recorded_step(witness):
    witness.killed = {10}
    witness.recorded[STEP] = len("steps-1\ts0\t1\t10\n")
    assert ledger(witness, (*STEP, 10), (*STEP, 11)) == ["steps-1: s0 was recorded, and executed again by 11"]


def test_the_witness_sees_the_repetition_of_an_at_most_once_task(witness):
    witness.killed = {10}
    once = ("at_most_once-1", "o0", 1)
    assert ledger(witness, (*once, 10), (*once, 11)) == ["at_most_once-1: o0 is at-most-once, and was executed twice"]


def test_the_witness_sees_what_happens_after_an_end_and_after_a_cancellation(witness):
    witness.watch("steps-1", "steps", 1).ended_from = 0
    witness.watch("doomed-1", "doomed", 1).quiet_from = 0
    assert ledger(witness, (*STEP, 10), ("doomed-1", "d1", 1, 10), ("doomed-1", "undo 0", 1, 10)) == [
        "steps-1: s0 was executed after its end",
        "doomed-1: d1 was executed after its cancellation was acknowledged",
    ]


async def test_the_witness_sees_a_lost_run_a_wrong_result_and_a_changed_entry(witness):
    try:
        async with witness.app:
            assert await (await flow(witness.app, "rounds").start(1, id="rounds-1")).result() == "end"
        witness.runs["lost"] = Watched("rounds", 1)
        entry = Entry(0, 0, Kind.RUN, Status.OK, name="start")
        witness.runs["rounds-1"] = Watched("rounds", 1, entries=[entry])
        await witness.check({("rounds", 1): "other"}, {"rounds-1": "third"})
    finally:
        await witness.app.stop()
    assert [violation.partition(" ")[0] for violation in witness.violations] == ["lost:"] + ["rounds-1:"] * 3


async def test_the_witness_sees_an_older_epoch_that_wrote_after_a_newer_one(witness):
    try:
        async with witness.app:
            await (await flow(witness.app, "rounds").start(1, id="rounds-1")).result()
            await (await flow(witness.app, "steps").start(1, id="steps-1")).result()
        store = (await witness.app._engine()).store
        store._database.writing.execute("UPDATE journal SET epoch = 7 WHERE place & 16777215 = 2")
        witness._check_epochs(store)
    finally:
        await witness.app.stop()
    assert witness.violations == ["run number 2: epoch 1 wrote after epoch 7"]


def test_the_checker_of_races_sees_a_body_that_ran_twice_and_results_that_differ(tmp_path):
    path = str(tmp_path / "ledger")
    Path(path).write_text("0\t10\n1\t10\n1\t11\n")
    Path(path + ".0").write_text('0\t"a"\n1\t"b"\n')
    Path(path + ".1").write_text('0\t"a"\n1\t"c"\n')
    assert starts._check(path, 3) == [
        "run 1 was executed 2 times",
        "run 1 gave ['b', 'c']",
        "run 2 was executed 0 times",
        "run 2 gave [None, None]",
    ]
