"""Short forms of the campaigns `kill` and `starts`, and proof that their checkers see what they look for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import _kill_program, kill, starts


def test_random_kills_lose_and_repeat_nothing():
    assert kill.campaign(15, seed=7) == 0


def test_two_processes_that_start_one_id_at_once_share_one_execution():
    assert starts.campaign(25, seed=3) == 0


STEP = ("steps-1", "s0", 1)


@pytest.fixture
def campaign(tmp_path: Path) -> kill.Campaign:
    return kill.Campaign(str(tmp_path), 1, seed=0)


def ledger(campaign: kill.Campaign, *lines: tuple[object, ...]) -> list[str]:
    Path(campaign.ledger).write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    campaign._check_ledger()
    return campaign.violations


def test_the_checker_accepts_a_repetition_after_a_kill(campaign):
    campaign.killed = {10}
    assert ledger(campaign, (*STEP, 10), (*STEP, 11)) == []
    assert campaign.repeated == 1


def test_the_checker_sees_a_repetition_without_a_kill(campaign):
    assert ledger(campaign, (*STEP, 10), (*STEP, 11)) == [
        "steps-1: s0 was executed by 10, which was not killed, and again by 11"
    ]


def test_the_checker_sees_the_repetition_of_a_recorded_step(campaign):
    campaign.killed = {10}
    campaign.recorded[STEP] = len("steps-1\ts0\t1\t10\n")
    assert ledger(campaign, (*STEP, 10), (*STEP, 11)) == ["steps-1: s0 was recorded, and executed again by 11"]


def test_the_checker_sees_the_repetition_of_an_at_most_once_task(campaign):
    campaign.killed = {10}
    once = ("at_most_once-1", "o0", 1)
    assert ledger(campaign, (*once, 10), (*once, 11)) == ["at_most_once-1: o0 is at-most-once, and was executed twice"]


async def test_the_checker_sees_a_lost_run_a_wrong_result_and_a_changed_entry(campaign):
    from durable.core.records import Entry, Kind, Status

    app = campaign.app
    try:
        async with app:
            assert await (await _kill_program.flow(app, "rounds").start(1, id="rounds-1")).result() == "end"
        campaign.runs["lost"] = kill.Watched("rounds", 1)
        entry = Entry(0, 0, Kind.RUN, Status.OK, name="start")
        campaign.runs["rounds-1"] = kill.Watched("rounds", 1, entries=[entry])
        await campaign._check_run("lost", campaign.runs["lost"], "end", None)
        await campaign._check_run("rounds-1", campaign.runs["rounds-1"], "other", "third")
    finally:
        await app.stop()
    assert [violation.partition(" ")[0] for violation in campaign.violations] == ["lost:"] + ["rounds-1:"] * 3


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
