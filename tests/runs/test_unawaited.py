"""Calls that a body makes and forgets to await: told with file and line when the run ends."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest

import durable


def line_here() -> int:
    return sys._getframe(1).f_lineno


@pytest.fixture
def told(caplog):
    """What was logged of unawaited calls."""

    def text() -> str:
        return "\n".join(r.getMessage() for r in caplog.records if "never awaited" in r.getMessage())

    caplog.set_level(logging.WARNING, "durable.workflow")
    return text


async def test_each_call_that_was_never_awaited_is_told_with_its_line(app, told):
    lines: dict[str, int] = {}

    @app.task
    async def charge(order: int) -> None: ...

    @app.workflow
    async def child() -> None: ...

    @app.workflow(id="run")
    async def run() -> int:
        lines["charge"] = line_here() + 1
        charge(1)
        lines["sleep"] = line_here() + 1
        durable.sleep.aio(5)  # type: ignore[unused-coroutine]
        lines["child"] = line_here() + 1
        forgotten = child()  # noqa: F841 - that is the mistake
        return 1

    assert await run() == 1
    assert "run 'run' has ended" in told()
    for name, what in (("charge", "charge"), ("sleep", "durable.sleep"), ("child", "child")):
        assert f"{what} ({__file__}:{lines[name]})" in told()


async def test_nothing_is_told_of_calls_that_were_awaited_however_many(app, told):
    @app.task
    async def add(value: int) -> int:
        return value + 1

    @app.workflow(id="run")
    async def run() -> int:
        late = add(0)
        for number in range(300):
            await add(number)
        await asyncio.gather(*(add(number) for number in range(100)))
        return await late

    assert await run() == 1
    assert told() == ""


async def test_a_call_made_long_ago_is_still_told(app, told):
    @app.task
    async def add(value: int) -> int:
        return value + 1

    @app.workflow(id="run")
    async def run() -> None:
        add(-1)
        for number in range(300):
            await add(number)

    await run()
    assert "add (" in told()


async def test_a_branch_that_was_cancelled_before_it_began_is_no_forgotten_call(app, told):
    @app.task
    async def add(value: int) -> int:
        return value + 1

    @app.workflow(id="run")
    async def run() -> None:
        branch = asyncio.create_task(add(1))
        branch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await branch

    await run()
    assert told() == ""
