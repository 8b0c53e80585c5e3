"""Steps of undecorated functions, and many calls with a bound."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

import durable
from durable import UsageError


async def test_an_undecorated_function_becomes_a_step(app):
    ran: list[str] = []

    async def fetch(name: str, *, size: int = 1) -> str:
        ran.append(name)
        return name * size

    def count(text: str) -> int:
        ran.append("count")
        return len(text)

    @app.workflow(id="run")
    async def run() -> list[Any]:
        text = await app.step("fetch it", fetch, "ab", size=2)
        return [text, await app.step("count it", count, text), await app.step("lambda", functools.partial(fetch, "x"))]

    assert await run() == ["abab", 4, "x"]
    assert await run() == ["abab", 4, "x"]
    assert ran == ["ab", "count", "x"]
    assert [e.name for e in await app.runs.history("run") if e.kind == "task"] == ["fetch it", "count it", "lambda"]


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_map_keeps_order_and_its_bound(app, limit):
    running = most = 0

    @app.task
    async def work(x: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (x % 3))
        running -= 1
        return x * x

    @app.workflow
    async def run() -> list[int]:
        return await durable.map(work, range(30), limit=limit)

    assert await run() == [x * x for x in range(30)]
    assert most <= limit
    assert most >= min(limit, 2)


async def test_map_takes_plain_tasks_children_and_plain_workflows(app):
    @app.task
    def plain(x: int) -> int:
        return x + 1

    @app.workflow
    async def child(x: int) -> int:
        return x + 2

    @app.workflow
    async def run() -> list[Any]:
        return [await durable.map(plain, [1, 2]), await durable.map(child, [1, 2]), await durable.map(plain, [])]

    @app.workflow
    def plainly() -> list[int]:
        return durable.map(plain, [1, 2, 3], limit=2)

    assert await run() == [[2, 3], [3, 4], []]
    assert await plainly.aio() == [2, 3, 4]


async def test_the_first_failure_of_a_map_is_raised_and_stops_it(app):
    ran: list[int] = []

    @app.task(retries=0)
    async def work(x: int) -> int:
        ran.append(x)
        if x == 3:
            raise KeyError(x)
        return x

    @app.workflow
    async def run() -> list[int]:
        return await durable.map(work, range(100), limit=2)

    with pytest.raises(KeyError, match="3"):
        await run()
    assert len(ran) < 20


async def test_what_map_cannot_do_is_refused(app):
    @app.task
    async def work(x: int) -> int:
        return x

    @app.workflow
    async def run(which: str) -> None:
        match which:
            case "set":
                await durable.map(work, {1, 2})
            case "limit":
                await durable.map(work, [1], limit=0)

    with pytest.raises(UsageError, match="sorted"):
        await run("set")
    with pytest.raises(UsageError, match="limit=0"):
        await run("limit")
    with pytest.raises(UsageError, match="outside a workflow"):
        await durable.map(work, [1])
