"""The small programs: each runs to its end, and a second time it only tells the result; killed, it goes on."""

import asyncio
import time

import pytest

from durable import Workflow
from tests.examples.support import load, until_state
from tests.support.clock import VirtualClock


def test_the_quick_start_goes_on_after_a_kill_in_its_sleep(start):
    first = start("quickstart.py")
    first.wait_for("charging 990 cents")

    async def sleeps() -> None:
        wf = Workflow("quickstart", db=start.folder / "durable.db")
        await until_state(wf, "order-42", "suspended")
        await wf.stop()

    asyncio.run(sleeps())
    first.kill()
    assert start("quickstart.py").output() == ["packing", "labelling", "receipt-42"]
    assert start("quickstart.py").output() == ["receipt-42"]


def test_the_pipeline_saves_only_what_was_not_saved_yet(start):
    first = start("pipeline.py", "users")
    first.wait_for("saved users 4")
    first.kill()
    second = start("pipeline.py", "users").output()
    assert "fetching users" not in second
    assert second[-1] == "12 rows, from row-0 to row-11"
    saved = start.lines_of("saved.txt")
    assert sorted(set(saved)) == sorted(f"users {n}" for n in range(12))
    assert len(saved) <= 13  # the one in work at the kill may have been saved and not yet recorded
    assert start("pipeline.py", "users").output() == second[-1:]


def test_another_source_is_another_run_of_the_pipeline(start):
    users, goods = start("pipeline.py", "users"), start("pipeline.py", "goods")
    assert "fetching users" in users.output()
    assert "fetching goods" in goods.output()
    assert len(set(start.lines_of("saved.txt"))) == 24


def test_an_hour_of_sleep_is_an_hour_over_a_kill(start, monkeypatch, capsys):
    first = start("sleeper.py")
    first.wait_for("before")
    sleeper = load("sleeper.py", monkeypatch, start.folder)
    asyncio.run(until_state(sleeper.wf, "sleeper-3600.0", "suspended"))
    first.kill()
    half_an_hour_later = VirtualClock(time.time_ns() // 1_000_000 + 1_800_000)
    sleeper.wf.clock = half_an_hour_later

    async def resume() -> float:
        try:
            return await sleeper.sleeper(3600.0)
        finally:
            await sleeper.wf.stop()

    with half_an_hour_later.runner() as runner:
        seconds = runner.run(resume())
    assert seconds == pytest.approx(3600, abs=1)
    assert "before" not in capsys.readouterr().out


def test_a_generator_workflow_goes_on_after_a_kill(start):
    first = start("generator.py")
    first.wait_for("squaring 1")

    async def sleeps() -> None:
        wf = Workflow("generators", db=start.folder / "durable.db")
        await until_state(wf, "squares-2", "suspended")
        await wf.stop()

    asyncio.run(sleeps())
    first.kill()
    *squared, result = start("generator.py").output()
    assert sorted(squared) == ["squaring 2", "squaring 3"]
    assert result == "14"
    assert start("generator.py").output() == ["14"]


def test_plain_functions_go_on_after_a_kill(start):
    for name, text in (("a.txt", "one two"), ("b.txt", "three")):
        (start.folder / name).write_text(text)
    first = start("plain.py", "a.txt", "b.txt")
    first.wait_for("reading b.txt")
    first.kill()
    *said, result = start("plain.py", "a.txt", "b.txt").output()
    assert "reading a.txt" not in said
    assert said[-1] == "publishing"
    assert result == "3 words"
    assert start("plain.py", "a.txt", "b.txt").output() == ["3 words"]
