"""Cancelling runs: in every state, with compensation, with children, and against the end of the run."""

from __future__ import annotations

import asyncio

import pytest

import durable
from durable import RunCancelled
from durable.backoff import constant
from tests.runs.kit import Apps, abandon, eventually, flow, job, live, state


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.fixture
def worker(make_app: Apps, ran: list[str]):
    """An application with a task that takes for ever, and one that undoes it."""
    app = make_app()

    @app.task
    async def forever(name: str = "forever") -> None:
        ran.append(name)
        try:
            await asyncio.Event().wait()
        finally:
            ran.append(f"{name} stopped")

    @app.task
    async def undo(name: str = "undo") -> str:
        ran.append(name)
        return name

    return app


async def test_a_running_run_gets_cancelled_error_at_its_await(worker, ran):
    forever = job(worker, "forever")

    @worker.workflow(id="run")
    async def run() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            ran.append("told")
            raise

    async with worker:
        handle = await run.start()
        await eventually(lambda: ran)
        assert await handle.cancel("no longer wanted")
        with pytest.raises(RunCancelled, match="'run' was cancelled"):
            await handle.result()
        assert await handle.status() == "cancelled"
    assert sorted(ran) == ["forever", "forever stopped", "told"]


async def test_the_reason_of_a_cancellation_is_in_the_history(worker, ran):
    forever = job(worker, "forever")

    @worker.workflow(id="run")
    async def run() -> None:
        await forever()

    async with worker:
        handle = await run.start()
        await eventually(lambda: ran)
        await worker.runs.cancel("run", reason="no longer wanted")
        with pytest.raises(RunCancelled):
            await handle.result()
        history = await worker.runs.history("run")
    assert [(e.name, e.arguments) for e in history if e.kind == "run"][1] == ("cancel", "no longer wanted")


@pytest.mark.parametrize("where", ["except", "finally"])
async def test_compensation_runs_in_except_and_in_finally(worker, ran, where):
    forever, undo = job(worker, "forever"), job(worker, "undo")

    @worker.workflow(id="run")
    async def run() -> None:
        if where == "finally":
            try:
                await forever()
            finally:
                await undo("one")
                await undo("two")
        try:
            await forever()
        except asyncio.CancelledError:
            await undo("one")
            await undo("two")
            raise

    async with worker:
        handle = await run.start()
        await eventually(lambda: ran)
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
    assert ran[:1] == ["forever"]
    assert [name for name in ran if name in ("one", "two")] == ["one", "two"]


async def test_a_queued_run_is_cancelled_without_running(worker, ran):
    undo = job(worker, "undo")

    @worker.workflow(id="run")
    async def run() -> None:
        await undo()

    handle = await run.start()
    assert await handle.cancel()
    async with worker:
        with pytest.raises(RunCancelled):
            await handle.result()
    assert ran == []
    assert await handle.status() == "cancelled"


@pytest.mark.parametrize("waits_for", ["sleep", "signal", "message", "retry"])
async def test_a_suspended_run_is_cancelled(worker, ran, waits_for):
    @worker.task(retries=3, backoff=constant(3600))
    async def fails() -> None:
        raise OSError("no")

    @worker.workflow(id="run")
    async def run() -> None:
        match waits_for:
            case "sleep":
                await durable.sleep(3600)
            case "signal":
                await worker.signal("never")
            case "message":
                await worker.receive("never")
            case "retry":
                await fails()

    async with worker:
        handle = await run.start()
        await state(worker, "run", "suspended")
        assert await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
    assert await handle.status() == "cancelled"


async def test_a_suspended_run_compensates(worker, ran):
    undo = job(worker, "undo")

    @worker.workflow(id="run")
    async def run() -> None:
        try:
            await durable.sleep(3600)
        finally:
            await undo()

    async with worker:
        handle = await run.start()
        await state(worker, "run", "suspended")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
    assert ran == ["undo"]


async def test_a_paused_run_is_cancelled(worker, ran):
    @worker.workflow(id="run")
    async def run() -> None:
        await durable.sleep(3600)

    async with worker:
        handle = await run.start()
        await state(worker, "run", "suspended")
        await handle.pause()
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()


async def test_a_run_that_was_set_aside_is_cancelled(worker, ran):
    @worker.workflow(id="run")
    async def run() -> None:
        await asyncio.Event().wait()

    async with worker:
        handle = await run.start()
        await state(worker, "run", "set aside")
        assert await handle.cancel()
        assert await state(worker, "run", "cancelled")


async def test_no_step_starts_once_a_cancellation_was_acknowledged(make_app: Apps):
    """Covers: F7"""
    app = make_app()
    started = 0

    @app.task
    async def step() -> None:
        nonlocal started
        started += 1

    @app.workflow(id="run-{x}")
    async def run(x: int) -> None:
        while True:
            await step()

    async with app:
        for x in range(10):
            handle = await run.start(x)
            before = started
            await eventually(lambda: started > before + x)  # noqa: B023
            assert await handle.cancel()
            acknowledged = started
            with pytest.raises(RunCancelled):
                await handle.result()
            assert started == acknowledged


async def test_a_cancellation_reaches_the_children(worker, ran):
    forever, undo = job(worker, "forever"), job(worker, "undo")

    @worker.workflow
    async def grandchild(name: str) -> None:
        try:
            await forever(name)
        finally:
            await undo(f"undo {name}")

    @worker.workflow
    async def child(name: str) -> None:
        await grandchild(name)

    @worker.workflow(id="run")
    async def run() -> None:
        await asyncio.gather(child("a"), child("b"))

    async with worker:
        handle = await run.start()
        await eventually(lambda: {"a", "b"} <= set(ran))
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        for record in await worker.runs.list():
            await state(worker, record.run_id, "cancelled")
        assert len(await worker.runs.list()) == 5
    assert {"undo a", "undo b"} <= set(ran)


async def test_a_run_that_was_only_started_is_not_cancelled_with_its_starter(worker, ran):
    forever, undo = job(worker, "forever"), job(worker, "undo")

    @worker.workflow
    async def other() -> str:
        await worker.signal("go")
        return await undo("other")

    @worker.workflow(id="run")
    async def run() -> None:
        await other.start(id="other")
        await forever()

    async with worker:
        handle = await run.start()
        await eventually(lambda: "forever" in ran)
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        await worker.complete("other", "go")
        assert await worker.handle("other").result() == "other"


async def test_a_swallowed_cancellation_is_delivered_once_more_and_then_the_run_goes_on(worker, ran):
    """Covers: H5"""
    forever, undo = job(worker, "forever"), job(worker, "undo")

    @worker.workflow(id="run")
    async def stubborn() -> list[str]:
        told = []
        for turn in range(2):
            try:
                await forever(f"turn {turn}")
            except asyncio.CancelledError:
                told.append(f"told {turn}")
        told.append(await undo("last"))
        return told

    async with worker:
        handle = await stubborn.start()
        await eventually(lambda: ran)
        await handle.cancel()
        assert await handle.result() == ["told 0", "told 1", "last"]


async def test_a_cancelled_run_stays_cancelled(worker, ran):
    @worker.workflow(id="run")
    async def run() -> None:
        await durable.sleep(3600)

    async with worker:
        handle = await run.start()
        await state(worker, "run", "suspended")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
    for call in (run(), (await run.start()).result()):
        with pytest.raises(RunCancelled):
            await call


async def test_a_cancellation_and_the_end_of_the_run_race_to_one_outcome(make_app: Apps):
    """Covers: F6"""
    app = make_app()

    @app.task
    async def step() -> int:
        return 1

    @app.workflow(id="run-{x}")
    async def run(x: int) -> int:
        for _ in range(x % 4):
            await step()
        return x

    outcomes = {"cancelled": 0, "succeeded": 0}
    async with app:
        for x in range(40):
            handle = await run.start(x)
            for _ in range(x):
                await asyncio.sleep(0)
            acknowledged = await handle.cancel()
            try:
                assert await handle.result() == x
                outcome = "succeeded"
            except RunCancelled:
                outcome = "cancelled"
                assert acknowledged
            assert await handle.status() == outcome
            finishes = [e for e in await app.runs.history(f"run-{x}") if e.name == "finish"]
            assert len(finishes) <= 1
            outcomes[outcome] += 1
    assert outcomes["cancelled"] > 0


def test_compensation_goes_on_after_a_crash_and_is_not_repeated(make_app: Apps):
    """Covers: A14"""
    ran: list[str] = []

    def program(hangs_in: str):
        app = make_app()

        @app.task
        async def step(name: str) -> None:
            if name == hangs_in:
                ran.append(f"hangs in {name}")
                await asyncio.Event().wait()
            ran.append(name)

        @app.workflow(id="run")
        async def run() -> None:
            try:
                await step("work")
                await durable.sleep(3600)
            finally:
                await step("undo 1")
                await step("undo 2")

        return app

    first = program("undo 2")

    async def until_it_hangs() -> None:
        call = asyncio.create_task(flow(first, "run")())
        await state(first, "run", "suspended")
        await first.runs.cancel("run")
        await eventually(lambda: "hangs in undo 2" in ran)
        call.cancel()

    live(first, until_it_hangs)
    second = program("")
    with pytest.raises(RunCancelled):
        live(second, flow(second, "run"))
    abandon(second)
    assert ran == ["work", "undo 1", "hangs in undo 2", "undo 2"]


async def test_cancelling_the_caller_of_a_direct_call_does_not_cancel_the_run(make_app: Apps):
    """Covers: H1"""
    app = make_app()
    release = asyncio.Event()

    @app.task
    async def waits() -> str:
        await release.wait()
        return "done"

    @app.workflow(id="run")
    async def run() -> str:
        return await waits()

    call = asyncio.create_task(run())
    await state(app, "run", "running")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    release.set()
    assert await run() == "done"
