"""Retries: how often, after which errors, after which waits; durable over crashes."""

from __future__ import annotations

import asyncio

import pytest

import durable
from durable import GiveUp, TaskTimedOut
from durable.backoff import constant, linear
from tests.runs.kit import Apps, Died, abandon, dies, eventually, flow, forward, live, state
from tests.support.clock import START_MS, VirtualClock


class Flaky(Exception):
    """What a task under test fails with."""


async def attempts_of(app, run_id: str) -> list[tuple[str, int]]:
    return [(e.status, e.attempt) for e in await app.runs.history(run_id) if e.kind == "task"]


@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_a_task_runs_at_most_once_more_than_its_retries(app, retries):
    tried = 0

    @app.task(retries=retries, backoff=constant(0))
    async def fails() -> None:
        nonlocal tried
        tried += 1
        raise Flaky(tried)

    @app.workflow(id="run")
    async def run() -> None:
        await fails()

    with pytest.raises(Flaky) as caught:
        await run()
    assert caught.value.args == (retries + 1,)
    assert tried == retries + 1
    wanted = [("retry", n) for n in range(1, retries + 1)]
    assert await attempts_of(app, "run") == [*wanted, ("error", retries + 1)]


async def test_defaults_of_the_application_hold_for_tasks_that_do_not_say(make_app: Apps):
    app = make_app(default_retries=2, default_backoff=constant(0))
    tried = {"default": 0, "own": 0, "once": 0}

    @app.task
    async def default() -> None:
        tried["default"] += 1
        raise Flaky

    @app.task(retries=1)
    async def own() -> None:
        tried["own"] += 1
        raise Flaky

    @app.task(at_most_once=True)
    async def once() -> None:
        tried["once"] += 1
        raise Flaky

    @app.workflow
    async def run() -> None:
        for task in (default, own, once):
            with pytest.raises(Flaky):
                await task()

    await run()
    assert tried == {"default": 3, "own": 2, "once": 1}


async def test_a_wait_over_a_second_suspends_the_run(make_app: Apps):
    clock = VirtualClock()
    app = make_app(clock=clock)
    tried: list[int] = []

    @app.task(retries=2, backoff=linear(start=60, step=60))
    async def fails_twice() -> str:
        tried.append(clock.now_ms() - START_MS)
        if len(tried) < 3:
            raise Flaky
        return "done"

    @app.workflow(id="run")
    async def run() -> str:
        return await fails_twice()

    async with app:
        handle = await run.start()
        for wait in (60, 120):
            await state(app, "run", "suspended")
            assert (await handle.record()).due_at == clock.now_ms() + wait * 1000
            await eventually(lambda: clock.next_at is not None)
            before = len(tried)
            forward(clock, wait)
            await eventually(lambda: len(tried) > before)  # noqa: B023
        assert await handle.result() == "done"
    assert tried == [0, 60_000, 180_000]


async def test_a_wait_under_a_second_keeps_the_run(app):
    tried = 0

    @app.task(retries=1, backoff=constant(0.05))
    async def fails_once() -> str:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise Flaky
        return "done"

    @app.workflow(id="run")
    async def run() -> str:
        return await fails_once()

    call = asyncio.create_task(run())
    await eventually(lambda: tried == 1)
    assert await state(app, "run", "running", "succeeded")
    assert await call == "done"
    assert (await app.runs.get("run")).epoch == 1


async def test_other_branches_go_on_while_one_waits_for_its_retry(app):
    tried = 0
    ran: list[int] = []

    @app.task(retries=1, backoff=constant(0.9))
    async def flaky() -> str:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise Flaky
        return "done"

    @app.task
    async def step(x: int) -> int:
        ran.append(x)
        return x

    @app.workflow
    async def run() -> tuple[str, int]:
        async def steps() -> int:
            for x in range(20):
                await step(x)
            return tried

        return tuple(await asyncio.gather(flaky(), steps()))

    assert await run() == ("done", 1)


def test_attempts_count_over_a_crash_and_the_wait_goes_on(make_app: Apps):
    """Covers: A15"""
    tried: list[str] = []
    clock = VirtualClock()

    def program(life: str, clock: VirtualClock):
        app = make_app(clock=clock)

        @app.task(retries=2, backoff=constant(60))
        async def fails() -> None:
            tried.append(f"{life} {clock.now_ms() - START_MS}")
            raise Flaky(life)

        @app.workflow(id="run")
        async def run() -> None:
            await fails()

        return app

    first = program("first", clock)

    async def until_it_waits() -> None:
        call = asyncio.create_task(flow(first, "run")())
        await state(first, "run", "suspended")
        call.cancel()

    live(first, until_it_waits)
    later = VirtualClock(START_MS + 20_000)
    second = program("second", later)

    async def to_the_end() -> None:
        call = asyncio.create_task(flow(second, "run")())
        for n in (1, 2):
            await eventually(lambda: later.next_at is not None)
            forward(later, 40 if n == 1 else 60)
            await eventually(lambda: len(tried) == 1 + n)  # noqa: B023
            if n == 1:
                await state(second, "run", "suspended")
        await call

    with pytest.raises(Flaky, match="second"):
        live(second, to_the_end)
    abandon(second)
    assert tried == ["first 0", "second 60000", "second 120000"]


def test_an_attempt_that_was_interrupted_is_not_a_failed_one(make_app: Apps):
    ran: list[str] = []

    def program(life: str, deadly: bool):
        app = make_app()

        @app.task(retries=1, backoff=constant(0))
        async def work() -> str:
            ran.append(life)
            if deadly:
                raise Died
            if ran.count(life) == 1:
                raise Flaky
            return life

        @app.workflow(id="run")
        async def run() -> str:
            return await work()

        return app

    for life in ("first", "second"):
        program_of_life = program(life, True)
        dies(program_of_life, flow(program_of_life, "run"))
    last = program("last", False)
    assert live(last, flow(last, "run")) == "last"
    abandon(last)
    assert ran == ["first", "second", "last", "last"]


@pytest.mark.parametrize(
    ("options", "error", "attempts"),
    [
        ({"retry_on": OSError}, OSError("x"), 3),
        ({"retry_on": OSError}, ConnectionError("x"), 3),
        ({"retry_on": OSError}, ValueError("x"), 1),
        ({"retry_on": (OSError, KeyError)}, KeyError("x"), 3),
        ({"give_up_on": ValueError}, ValueError("x"), 1),
        ({"give_up_on": ValueError}, OSError("x"), 3),
        ({"retry_on": OSError, "give_up_on": ConnectionError}, ConnectionError("x"), 1),
        ({"retry_on": OSError, "give_up_on": ConnectionError}, FileNotFoundError("x"), 3),
        ({}, GiveUp("at once"), 1),
        ({"retry_on": Exception}, GiveUp("at once"), 1),
        ({}, Flaky("x"), 3),
    ],
    ids=repr,
)
async def test_which_errors_are_tried_again(app, options, error, attempts):
    tried = 0

    @app.task(retries=2, backoff=constant(0), **options)
    async def fails() -> None:
        nonlocal tried
        tried += 1
        raise error

    @app.workflow
    async def run() -> None:
        await fails()

    with pytest.raises(type(error)) as caught:
        await run()
    assert str(caught.value) == str(error)
    assert tried == attempts


async def test_options_may_be_changed_for_one_call(app):
    tried = 0

    @app.task(retries=5, backoff=constant(0))
    async def fails() -> None:
        nonlocal tried
        tried += 1
        raise Flaky

    @app.task
    async def slow() -> None:
        await asyncio.sleep(3600)

    @app.workflow
    async def run() -> None:
        with pytest.raises(Flaky):
            await fails.with_options(retries=0)()
        with pytest.raises(Flaky):
            await fails.with_options(retries=2)()
        with pytest.raises(TaskTimedOut):
            await slow.with_options(timeout=0.01, retries=0)()
        with pytest.raises(Flaky):
            await fails()

    await run()
    assert tried == 1 + 3 + 6


async def test_results_are_not_confused_by_many_retrying_branches(app):
    tried: dict[int, int] = {}

    @app.task(retries=3, backoff=constant(0.001))
    async def flaky(x: int) -> int:
        tried[x] = tried.get(x, 0) + 1
        if tried[x] <= x % 4:
            raise Flaky(x)
        return x * x

    @app.workflow
    async def run() -> list[int]:
        return await asyncio.gather(*(flaky(x) for x in range(40)))

    assert await run() == [x * x for x in range(40)]
    assert tried == {x: x % 4 + 1 for x in range(40)}
    assert durable.constant is constant


@pytest.mark.parametrize("colour", ["async", "plain"])
async def test_a_call_that_does_not_fit_the_function_is_not_tried_again(app, colour):
    async def asynchronous(x: int) -> int:
        return x

    def plain(x: int) -> int:
        return x

    task = app.task(retries=5, backoff=constant(3600), name="job")(asynchronous if colour == "async" else plain)

    @app.workflow(id="run")
    async def run() -> None:
        await task.aio(1, 2)

    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        await run()
    assert await attempts_of(app, "run") == [("error", 1)]


async def test_a_type_error_from_within_the_function_is_tried_again(app):
    tried = 0

    @app.task(retries=1, backoff=constant(0))
    async def job() -> int:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise TypeError("a bad moment")
        return tried

    @app.workflow(id="run")
    async def run() -> int:
        return await job()

    assert await run() == 2
