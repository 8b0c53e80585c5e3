"""Two direct calls of one run."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

import durable
from durable import Workflow


@pytest.mark.parametrize("turns", range(8))
async def test_a_second_call_in_the_batch_with_which_the_run_ends_executes_nothing_again(turns: int):
    """A Start of a run that the same batch ended was answered as if the run were still ours and unexecuted.

    So it was executed a second time, from its beginning, under the epoch that it had given up.

    Covers: B1
    """
    app = Workflow("app", db=durable.InMemoryStore())
    effects: list[int] = []
    calls: list[asyncio.Task[object]] = []
    outside = contextvars.copy_context()

    async def complete() -> object:
        return await app.complete("other", "signal", 1)

    async def call() -> object:
        return await once.options(id="r")()

    @app.task
    async def work() -> int:
        effects.append(1)
        if not calls:
            # Something else is on its way, so that the second call waits for the batch that ends the run.
            calls.append(asyncio.create_task(complete(), context=outside))
            for _ in range(turns):
                await asyncio.sleep(0)
            calls.append(asyncio.create_task(call(), context=outside))
            await asyncio.sleep(0)
        return 7

    @app.workflow
    async def once() -> int:
        return await work()

    try:
        assert await once.options(id="r")() == 7
        assert await calls[1] == 7
        await calls[0]
        for _ in range(20):
            await asyncio.sleep(0)
        assert effects == [1]
    finally:
        await app.stop()
