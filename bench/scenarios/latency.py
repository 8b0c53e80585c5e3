"""A run of one task, from its start to its result: called here, and queued for the worker of this process."""

from __future__ import annotations

import asyncio
from time import perf_counter

from bench import apps
from bench.beside import durations_beside_raw
from bench.figures import Figure
from bench.raw import opened
from bench.settings import Settings


def measure(settings: Settings) -> list[Figure]:
    """Return the latency of runs; n: runs."""
    return asyncio.run(_measure(settings))


async def _measure(settings: Settings) -> list[Figure]:
    app = apps.steps(settings.url())

    async def call(number: int) -> float:
        began = perf_counter()
        await app.one(number)
        return perf_counter() - began

    async def queue(number: int) -> float:
        began = perf_counter()
        handle = await app.one.start(-1 - number)
        await handle.result()
        return perf_counter() - began

    with opened(settings) as raw:
        figures = await durations_beside_raw("latency", settings.n, call, raw)
        async with app.wf:
            figures += await durations_beside_raw("latency-queued", settings.n, queue, raw)
    return figures
