"""Time limits of tasks: `timeout` for one attempt, `deadline` for all together."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable import TaskTimedOut
from durable.backoff import constant
from tests.runs.kit import Apps, eventually, forward, state
from tests.support.clock import START_MS, VirtualClock


class Flaky(Exception):
    """What a task under test fails with."""


async def test_an_attempt_over_its_timeout_is_a_failure_that_is_retried(app):
    tried = 0
    cancelled = 0

    @app.task(retries=2, backoff=constant(0), timeout=timedelta(milliseconds=20))
    async def slow() -> str:
        nonlocal tried, cancelled
        tried += 1
        try:
            await asyncio.sleep(3600 if tried < 3 else 0)
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return f"attempt {tried}"

    @app.workflow(id="run")
    async def run() -> str:
        return await slow()

    assert await run() == "attempt 3"
    assert cancelled == 2
    errors = [e.error for e in await app.runs.history("run") if e.status == "retry"]
    assert [str(e) for e in errors] == ["task 'slow' ran into its timeout of 0.02 s"] * 2


async def test_a_task_over_its_timeout_for_good_raises_a_timeout_error(app):
    @app.task(retries=0, timeout=0.02)
    async def slow() -> None:
        await asyncio.sleep(3600)

    @app.workflow
    async def run() -> str:
        try:
            await slow()
        except TimeoutError as error:
            return f"{type(error).__name__}: {error}"
        return ""

    assert await run() == "TaskTimedOut: task 'slow' ran into its timeout of 0.02 s"
    assert issubclass(TaskTimedOut, TimeoutError)


async def test_a_plain_task_over_its_timeout_is_left_alone_and_its_result_ignored(app):
    """Covers: H16"""
    import threading

    release = threading.Event()

    @app.task(retries=0, timeout=0.02)
    def slow() -> str:
        release.wait(5)
        return "late"

    @app.workflow
    async def run() -> str:
        try:
            return await slow.aio()
        except TimeoutError:
            return "timed out"

    assert await run() == "timed out"
    release.set()


async def test_a_deadline_bounds_all_attempts_together(make_app: Apps):
    clock = VirtualClock()
    app = make_app(clock=clock)
    tried: list[int] = []

    @app.task(retries=100, backoff=constant(60), deadline=150)
    async def fails() -> None:
        tried.append((clock.now_ms() - START_MS) // 1000)
        raise Flaky(len(tried))

    @app.workflow(id="run")
    async def run() -> None:
        await fails()

    async with app:
        handle = await run.start()
        for n in (1, 2):
            await eventually(lambda: len(tried) == n)  # noqa: B023
            await state(app, "run", "suspended")
            await eventually(lambda: clock.next_at is not None)
            forward(clock, 60)
        with pytest.raises(Flaky, match="3"):
            await handle.result()
    assert tried == [0, 60, 120]


async def test_a_deadline_interrupts_the_attempt_that_runs_into_it(app):
    tried = 0

    @app.task(retries=5, backoff=constant(0), deadline=0.05)
    async def slow() -> None:
        nonlocal tried
        tried += 1
        await asyncio.sleep(3600)

    @app.workflow
    async def run() -> None:
        await slow()

    with pytest.raises(TaskTimedOut, match=r"deadline of 0\.05 s"):
        await run()
    assert tried == 1
