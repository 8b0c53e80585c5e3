"""Time limits of runs: `timeout` counts active time only, `deadline` counts all."""

from __future__ import annotations

import asyncio

import pytest

import durable
from durable import RunTimedOut
from tests.runs.kit import Apps, eventually, forward, state
from tests.support.clock import VirtualClock


async def test_a_run_that_is_active_for_too_long_times_out_and_compensates(make_app: Apps):
    clock = VirtualClock()
    app = make_app(clock=clock)
    ran: list[str] = []

    @app.task
    async def forever() -> None:
        ran.append("forever")
        await asyncio.Event().wait()

    @app.task
    async def undo() -> None:
        ran.append("undo")

    @app.workflow(id="run", timeout=60)
    async def run() -> None:
        try:
            await forever()
        finally:
            await undo()

    async with app:
        handle = await run.start()
        await eventually(lambda: ran)
        forward(clock, 59.9)
        await asyncio.sleep(0.02)
        assert await handle.status() == "running"
        forward(clock, 0.2)
        with pytest.raises(RunTimedOut, match="'run' ran into its timeout of 60 s of active time"):
            await handle.result()
        assert await handle.status() == "failed"
    assert ran == ["forever", "undo"]


async def test_suspended_time_does_not_count_for_the_timeout(make_app: Apps):
    clock = VirtualClock()
    app = make_app(clock=clock)

    @app.task
    async def work() -> str:
        return "worked"

    @app.workflow(id="run", timeout=60)
    async def run() -> str:
        await durable.sleep(3600)
        await app.signal("go")
        await durable.sleep(3600)
        return await work()

    async with app:
        handle = await run.start()
        for _ in range(2):
            await eventually(lambda: clock.next_at is not None)
            await state(app, "run", "suspended")
            forward(clock, 3600)
            await handle.signal("go")
        assert await handle.result() == "worked"


@pytest.mark.parametrize("given", ["workflow", "start"])
async def test_a_deadline_counts_suspended_time(make_app: Apps, given):
    clock = VirtualClock()
    app = make_app(clock=clock)

    @app.workflow(id="run", deadline=60 if given == "workflow" else None)
    async def run() -> None:
        await app.signal("never")

    async with app:
        handle = await (run.start() if given == "workflow" else run.start(deadline=60))
        await state(app, "run", "suspended")
        forward(clock, 59)
        await asyncio.sleep(0.02)
        assert await handle.status() == "suspended"
        forward(clock, 1)
        with pytest.raises(RunTimedOut, match="'run' ran into its deadline of 60 s from its start"):
            await handle.result()


async def test_a_deadline_of_a_direct_call_holds(make_app: Apps):
    clock = VirtualClock()
    app = make_app(clock=clock)

    @app.workflow(id="run")
    async def run() -> None:
        await app.signal("never")

    call = asyncio.create_task(run.options(deadline=60)())
    await state(app, "run", "suspended")
    forward(clock, 61)
    with pytest.raises(RunTimedOut, match="deadline"):
        async with asyncio.timeout(5):
            await call


async def test_a_run_within_its_limits_is_not_touched(make_app: Apps):
    app = make_app()

    @app.workflow(timeout=3600, deadline=3600)
    async def run() -> int:
        await durable.sleep(0.01)
        return 1

    assert await run() == 1


@pytest.mark.parametrize("limit", ["timeout", "deadline"])
def test_limits_that_cannot_be_are_refused(app, limit):
    for value, kind in ((0, ValueError), (-1, ValueError), (float("inf"), ValueError), ("1", TypeError)):
        with pytest.raises(kind):
            app.workflow(**{limit: value})(lambda: None)


async def test_asyncio_timeouts_in_a_body_are_durable(make_app: Apps):
    """Covers: H4"""
    clock = VirtualClock()
    app = make_app(clock=clock)

    @app.workflow(id="run")
    async def run() -> str:
        try:
            async with asyncio.timeout(60):
                await app.signal("never")
        except TimeoutError:
            return "timed out"
        return "signalled"

    async with app:
        handle = await run.start()
        await state(app, "run", "suspended")
        forward(clock, 60)
        assert await handle.result() == "timed out"
