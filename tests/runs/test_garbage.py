"""Runs that have ended are freed at once: in cycles they cost the garbage collector an eighth of a short run's time."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import durable
from durable import Workflow
from durable.backoff import constant
from tests.runs.kit import Apps

RUNS = 3


def every_kind(app: Workflow) -> dict[str, Any]:
    """Return workflows of every kind, by name; each takes a number."""
    return {kind.name: kind for kind in (*_coroutines(app), *_others(app))}


def _coroutines(app: Workflow) -> tuple[Any, ...]:
    @app.task
    async def work(x: int) -> int:
        return x

    @app.task(retries=1, backoff=constant(0))
    async def fails(x: int) -> int:
        raise ValueError(x)

    @app.workflow
    async def steps(n: int) -> list[int]:
        return [await work(i) for i in range(n)]

    @app.workflow
    async def branches(n: int) -> list[int]:
        async with asyncio.TaskGroup() as group:
            group.create_task(work(n))
        return await asyncio.gather(*(work(i) for i in range(n)))

    @app.workflow
    async def waits(n: int) -> None:
        async with asyncio.timeout(5):
            await work(n)
        await durable.sleep.aio(0.001)
        await app.signal("go")

    @app.workflow
    async def caught(n: int) -> None:
        try:
            await fails(n)
        except ValueError:
            """The traceback ends here; what keeps it would keep this frame."""

    @app.workflow
    async def children(n: int) -> list[int]:
        return await steps(n)

    return steps, branches, waits, caught, children


def _others(app: Workflow) -> tuple[Any, ...]:
    @app.task
    def plain(x: int) -> int:
        return x

    @app.workflow
    async def in_threads(n: int) -> int:
        return await plain.aio(n)

    @app.workflow
    def plain_body(n: int) -> int:
        return plain(n)

    @app.workflow
    def generator(ctx: Any, n: int) -> Any:
        return (yield ctx.run(plain, n))

    @app.workflow
    async def generates(n: int) -> int:
        async def numbers() -> AsyncIterator[int]:
            for i in range(n):
                yield await plain.aio(i)

        return sum([x async for x in numbers()])

    return in_threads, plain_body, generator, generates


@contextmanager
def garbage() -> Iterator[list[Any]]:
    """Collect what only the garbage collector could free."""
    found: list[Any] = []
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("kind", sorted(every_kind(Workflow("kinds"))))
async def test_a_run_that_has_ended_leaves_nothing_to_the_garbage_collector(make_app: Apps, kind: str):
    app = make_app()
    flow = every_kind(app)[kind]

    async def run(n: int) -> None:
        handle = await flow.start(n)
        if kind == "waits":
            await app.complete(handle.id, "go", 1)
        await handle.result()

    async with app:
        await run(1)  # what is made once
        with garbage() as found:
            for n in range(2, 2 + RUNS):
                await run(n)
            await asyncio.sleep(0.05)
    ours = Counter(type(one).__name__ for one in found if type(one).__module__.startswith("durable."))
    assert not ours
