"""Rows of section H: what Python itself does to a worker, and what users' functions do to Python."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from typing import Any

import pytest

from durable import TaskError
from durable.backoff import constant
from tests.runs.kit import Apps, Child, notes

# Cancelled callers ---------------------------------------------------------------------------------------------------


async def test_a_caller_cancelled_at_any_moment_finds_the_run_where_it_is(make_app: Apps):
    """Covers: H1"""
    app = make_app()
    ran: list[tuple[int, int]] = []

    @app.task
    async def step(n: int, number: int) -> int:
        ran.append((n, number))
        await asyncio.sleep(0)
        return number

    @app.workflow(id="run-{n}")
    async def run(n: int) -> int:
        return sum([await step(n, number) for number in range(4)])

    source = random.Random(1)
    cancelled = 0
    for n in range(40):
        call = asyncio.ensure_future(run(n))
        for _ in range(n):
            await asyncio.sleep(0)
        await asyncio.sleep(source.choice((0, 0, 0.001, 0.003)))
        call.cancel()
        try:
            assert await call == 6
        except asyncio.CancelledError:
            cancelled += 1
        assert await run(n) == 6
    assert cancelled > 5
    assert sorted(ran) == [(n, number) for n in range(40) for number in range(4)], "each step once"
    for n in range(40):
        assert [event.name for event in await app.runs.history(f"run-{n}")] == ["start", *["step"] * 4, "finish"]


# Forks ---------------------------------------------------------------------------------------------------------------

FORKS = """
    import multiprocessing, warnings

    warnings.simplefilter("ignore", DeprecationWarning)
    wf = Workflow("app", db=DB)

    @wf.task
    async def step(n: int) -> int:
        note(f"{n} {os.getpid()}")
        return n

    @wf.workflow(id="run-{n}")
    async def run(n: int) -> int:
        return await step(n)

    def in_child():
        asyncio.events._set_running_loop(None)  # the parent's, which the child has inherited
        say(f"child {asyncio.run(run(2))} {asyncio.run(run(1))}")

    async def main():
        async with wf:
            await run(1)
            child = multiprocessing.get_context("fork").Process(target=in_child)
            child.start()
            while child.is_alive():
                await asyncio.sleep(0.01)
            say(f"ended {child.exitcode}")
            say(f"parent {await run(3)} {await run(2)} {await (await run.start(4)).result()}")

    asyncio.run(main())
"""


def test_a_forked_child_is_a_worker_of_its_own_and_leaves_its_parent_alone(file):
    """Covers: H10"""
    with Child(FORKS, file) as parent:
        assert parent.line() == "child 2 1"
        assert parent.line() == "ended 0"
        assert parent.line() == "parent 3 2 4"
        assert parent.ended() == 0
        assert "died" not in parent.errors
    lines = [line.split() for line in notes(file)]
    assert [n for n, _ in lines] == ["1", "2", "3", "4"], "each is executed once"
    assert len({pid for _, pid in lines}) == 2


# What tasks raise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "plain"])
@pytest.mark.parametrize(
    ("raised", "seen", "attempts"),
    [
        (RecursionError, "RecursionError: odd", 2),
        (MemoryError, "MemoryError: odd", 2),
        (StopIteration, "RuntimeError: ", 2),
        (StopAsyncIteration, "StopAsyncIteration: odd", 2),
        (EOFError, "EOFError: odd", 2),
        (GeneratorExit, "TaskError: GeneratorExit: odd", 1),
        (asyncio.CancelledError, "CancelledError: odd", 1),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_odd_exceptions_of_a_task_are_failures_like_others(make_app: Apps, kind, raised, seen, attempts):
    """Covers: H12"""
    app = make_app()
    tried: list[int] = []

    @app.task(retries=1, backoff=constant(0))
    async def asynchronous() -> None:
        tried.append(1)
        raise raised("odd")

    @app.task(retries=1, backoff=constant(0))
    def plain() -> None:
        tried.append(1)
        raise raised("odd")

    @app.workflow(id="run")
    async def run() -> str:
        try:
            await (asynchronous() if kind == "async" else plain.aio())
        except (Exception, asyncio.CancelledError, TaskError) as error:
            return f"{type(error).__name__}: {error}"
        return "nothing"

    assert (await run()).startswith(seen)
    assert len(tried) == attempts
    assert (await run()).startswith(seen), "and they stay what they are"
    assert len(tried) == attempts


# Threads -------------------------------------------------------------------------------------------------------------


async def test_the_wait_for_a_thread_is_not_time_of_the_task(make_app: Apps):
    """Tasks that waited for a thread timed out without having been executed.

    Covers: H16
    """
    app = make_app(task_threads=2)
    ran: list[int] = []

    @app.task(retries=0, timeout=0.5)
    def work(n: int) -> int:
        ran.append(n)
        time.sleep(0.15)
        return n

    @app.workflow(id="run")
    async def run() -> list[int]:
        return await asyncio.gather(*(work.aio(n) for n in range(10)))

    assert await run() == list(range(10))
    assert sorted(ran) == list(range(10))


async def test_plain_tasks_that_never_end_do_not_stop_the_others(make_app: Apps):
    """Their threads were never replaced: after a few of them the worker executed no plain task any more, silently.

    Covers: H16
    """
    app = make_app(task_threads=2)
    release = threading.Event()

    @app.task(retries=0, timeout=0.05)
    def stuck() -> None:
        release.wait(20)

    @app.task
    def quick() -> str:
        return "executed"

    @app.workflow(id="run")
    async def run() -> str:
        for _ in range(4):
            try:
                await stuck.aio()
            except TimeoutError:
                continue
        return await quick.aio()

    try:
        assert await asyncio.wait_for(run(), 5) == "executed"
    finally:
        release.set()


# Memory --------------------------------------------------------------------------------------------------------------


async def test_a_worker_keeps_nothing_of_the_runs_that_have_ended(tmp_path):
    """Covers: H14"""
    apps = Apps(f"sqlite:///{tmp_path}/x.db?durability=relaxed")
    app = apps(default_retries=0)

    @app.task
    async def step(n: int) -> int:
        if n % 10 == 3:
            raise ValueError(n)
        return n

    @app.workflow
    async def child(n: int) -> int:
        return await step(n)

    @app.workflow(id="run-{n}")
    async def run(n: int) -> Any:
        await app.complete(f"run-{n}", "go", n)
        try:
            return [await step(n), await child(n), await app.signal("go")]
        except ValueError:
            return "failed"

    async def wave(number: int) -> int:
        handles = [await run.start(n) for n in range(number * 100, number * 100 + 100)]
        await asyncio.gather(*(handle.result() for handle in handles))
        del handles
        gc.collect()
        return sum(str(type(item).__module__).partition(".")[0] == "durable" for item in gc.get_objects())

    try:
        async with app:
            sizes = [await wave(number) for number in range(4)]
            engine = await app._engine()
            assert engine.active == {}
    finally:
        await apps.stop()
    assert sizes[3] - sizes[1] < 50, "an object kept of each run would be 200 more"
