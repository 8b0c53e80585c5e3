"""Pausing, resuming and retrying runs, at every point of their life."""

from __future__ import annotations

import asyncio
import logging

import pytest

import durable
from durable import RunNotFound, RunNotOpen, UsageError
from tests.runs.kit import Apps, eventually, state


def two_steps(app):
    gate = asyncio.Event()
    ran: list[str] = []

    @app.task
    async def step(name: str) -> str:
        ran.append(name)
        if name == "first":
            await gate.wait()
        return name

    @app.workflow(id="two")
    async def two() -> list[str]:
        return [await step("first"), await step("second")]

    return two, gate, ran


async def test_a_running_run_is_paused_before_its_next_step(make_app: Apps):
    app = make_app()
    two, gate, ran = two_steps(app)
    async with app:
        handle = await two.start()
        await eventually(lambda: ran)
        assert await handle.pause()
        gate.set()
        await state(app, "two", "paused")
        assert ran == ["first"]
        assert await handle.resume()
        assert await handle.result() == ["first", "second"]
    assert ran == ["first", "second"]


async def test_a_queued_run_is_paused_and_not_taken(make_app: Apps):
    app = make_app()
    two, gate, ran = two_steps(app)
    gate.set()
    handle = await two.start()
    assert await handle.pause()
    async with app:
        await asyncio.sleep(0.05)
        assert await handle.status() == "paused"
        assert ran == []
        await handle.resume()
        assert await handle.result() == ["first", "second"]


async def test_a_suspended_run_is_paused_and_keeps_what_arrives(make_app: Apps):
    """Covers: F9"""
    app = make_app()

    @app.workflow(id="asks")
    async def asks() -> int:
        return await app.signal("answer")

    async with app:
        handle = await asks.start()
        await state(app, "asks", "suspended")
        assert await handle.pause()
        assert await handle.status() == "paused"
        assert await handle.signal("answer", 42)
        await asyncio.sleep(0.05)
        assert await handle.status() == "paused"
        await handle.resume()
        assert await handle.result() == 42


async def test_a_finished_run_is_neither_paused_nor_resumed_nor_cancelled(app):
    @app.workflow(id="done")
    async def done() -> int:
        return 1

    await done()
    assert not await app.runs.pause("done")
    assert not await app.runs.resume("done")
    assert not await app.runs.cancel("done")
    assert (await app.runs.get("done")).state.label == "succeeded"


async def test_requests_for_a_run_that_is_not_there_say_so(app):
    for ask in (app.runs.pause, app.runs.resume, app.runs.cancel, app.runs.retry, app.runs.plan_retry):
        with pytest.raises(RunNotFound, match="'nobody'"):
            await ask("nobody")


async def test_resuming_what_is_not_paused_changes_nothing(make_app: Apps):
    app = make_app()
    two, gate, ran = two_steps(app)
    async with app:
        handle = await two.start()
        await eventually(lambda: ran)
        assert not await handle.resume()
        gate.set()
        assert await handle.result() == ["first", "second"]


async def test_a_pause_may_be_taken_back_before_it_happens(make_app: Apps):
    """Covers: F9"""
    app = make_app()
    two, gate, ran = two_steps(app)
    async with app:
        handle = await two.start()
        await eventually(lambda: ran)
        assert await handle.pause()
        assert await handle.resume()
        gate.set()
        assert await handle.result() == ["first", "second"]


def chain(app):
    ran: list[str] = []

    @app.task(retries=0)
    async def step(name: str, fails: bool = False) -> str:
        ran.append(name)
        if fails and ran.count(name) == 1:
            raise OSError(name)
        return f"{name}{ran.count(name)}"

    @app.workflow(id="chain")
    async def chained() -> list[str]:
        return [await step("a"), await step("b"), await step("c", fails=True), await step("d")]

    return chained, ran


async def test_a_failed_run_is_retried_from_the_step_that_failed(make_app: Apps):
    app = make_app()
    chained, ran = chain(app)
    async with app:
        handle = await chained.start()
        with pytest.raises(OSError, match="c"):
            await handle.result()
        plan = await app.runs.plan_retry("chain")
        assert plan.repeats == ()
        assert await app.runs.retry("chain") == plan
        assert await handle.result() == ["a1", "b1", "c2", "d1"]
    assert ran == ["a", "b", "c", "c", "d"]


async def test_a_failed_run_is_retried_from_a_position_and_the_plan_says_what_repeats(make_app: Apps):
    app = make_app()
    chained, ran = chain(app)
    async with app:
        handle = await chained.start()
        with pytest.raises(OSError, match="c"):
            await handle.result()
        plan = await app.runs.plan_retry("chain", position=2)
        assert plan.repeats == ("step (2)",)
        assert plan.drop == (2, 3, 4)
        await app.runs.retry("chain", position=2)
        assert await handle.result() == ["a1", "b2", "c2", "d1"]
    assert ran == ["a", "b", "c", "b", "c", "d"]


async def test_what_was_retried_twice_looks_whole_to_the_doctor(make_app: Apps):
    """A second retry, from a position up to the mark of the first, dropped that mark, and `check` missed entries.

    The mark lists what the first retry had dropped, from before that position. Two stores with the same random history
    found it.
    """
    app = make_app()

    @app.task(retries=0)
    async def step(name: str) -> None:
        raise OSError(name)

    @app.workflow(id="run")
    async def run() -> None:
        await step("a")

    async with app:
        handle = await run.start()
        for position in (None, 3):
            with pytest.raises(OSError, match="a"):
                await handle.result()
            await app.runs.retry("run", position=position)
        with pytest.raises(OSError, match="a"):
            await handle.result()
        assert await (await app._engine()).store.check() == []
        history = await app.runs.history("run")
        assert [event.position for event in history if event.name == "retry"] == [3, 6]


@pytest.mark.parametrize("position", [0, -1, 99])
async def test_a_position_outside_the_journal_is_refused(app, position):
    chained, _ = chain(app)
    with pytest.raises(OSError, match="c"):
        await chained()
    with pytest.raises(UsageError, match="position"):
        await app.runs.retry("chain", position=position)


async def test_only_what_failed_or_was_set_aside_is_retried(make_app: Apps):
    app = make_app()
    two, gate, _ = two_steps(app)
    handle = await two.start()
    with pytest.raises(RunNotOpen, match="'two' is queued"):
        await app.runs.retry("two")
    async with app:
        gate.set()
        await handle.result()
    with pytest.raises(RunNotOpen, match="'two' has succeeded"):
        await app.runs.retry("two")


async def test_a_run_that_was_set_aside_is_retried_with_its_whole_journal(make_app: Apps):
    app = make_app()
    ran: list[int] = []
    stuck = True

    @app.task
    async def step() -> int:
        ran.append(1)
        return len(ran)

    @app.workflow(id="stuck")
    async def gets_stuck() -> int:
        value = await step()
        if stuck:
            await asyncio.Event().wait()
        return value

    async with app:
        handle = await gets_stuck.start()
        with pytest.raises(durable.RunSetAside, match=r"'stuck' is set aside \(deadlock\)"):
            await handle.result()
        stuck = False
        assert (await app.runs.retry("stuck")).drop == ()
        assert await handle.result() == 1
    assert ran == [1]


async def test_a_run_that_failed_and_that_nobody_awaits_is_logged(make_app: Apps, caplog):
    caplog.set_level(logging.WARNING, "durable")
    app = make_app()

    @app.workflow(id="run")
    async def run() -> None:
        raise LookupError("no such order")

    async with app:
        _ = await run.start()
        await state(app, "run", "failed")
    assert "run 'run' of app failed: LookupError: no such order" in caplog.text


async def test_a_run_that_failed_and_that_somebody_awaits_is_told_to_them_alone(make_app: Apps, caplog):
    app = make_app()

    @app.workflow(id="run")
    async def run() -> None:
        raise LookupError("no such order")

    async with app:
        with pytest.raises(LookupError):
            await run()
    assert "failed" not in caplog.text
