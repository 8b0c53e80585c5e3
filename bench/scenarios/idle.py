"""A worker with nothing to do."""

from __future__ import annotations

import asyncio
from time import perf_counter, process_time

from bench import apps, machine
from bench.figures import Figure
from bench.settings import Settings

SETTLING_SECONDS = 1.5
"""Longer than the store takes to empty its log after the last commit."""


def measure(settings: Settings) -> list[Figure]:
    """Return what an idle worker costs; n: seconds."""
    return asyncio.run(_measure(settings))


async def _measure(settings: Settings) -> list[Figure]:
    app = apps.steps(settings.url())
    async with app.wf:
        await app.many(0, 1)
        await asyncio.sleep(SETTLING_SECONDS)
        began, cpu_began = perf_counter(), process_time()
        await asyncio.sleep(settings.n)
        share = (process_time() - cpu_began) / (perf_counter() - began)
        rss_mb = machine.rss_mb()
    return [
        Figure("idle", "share_of_core", share * 100, "%", settings.n),
        Figure("idle", "rss_mb", rss_mb, "MB", settings.n),
    ]
