"""One run whose steps follow each other: each waits for its own commit."""

from __future__ import annotations

import asyncio
from time import perf_counter, process_time

from bench import apps, machine
from bench.figures import Figure
from bench.raw import opened
from bench.settings import Settings

TURNS = 8
"""The steps and the raw commits take turns, so that a neighbour on the machine hinders both alike."""

WARM_UP = 20


def measure(settings: Settings) -> list[Figure]:
    """Return steps a second beside raw commits a second; n: steps."""
    return asyncio.run(_measure(settings))


async def _measure(settings: Settings) -> list[Figure]:
    app = apps.steps(settings.url())
    await app.many(-1, WARM_UP)
    each = max(1, settings.n // TURNS)
    steps = each * TURNS
    seconds = cpu = raw_seconds = 0.0
    with opened(settings) as raw:
        raw.one_row_each(WARM_UP)
        for turn in range(TURNS):
            raw_seconds += raw.one_row_each(each)
            began, cpu_began = perf_counter(), process_time()
            await app.many(turn, each)
            seconds += perf_counter() - began
            cpu += process_time() - cpu_began
    await app.wf.stop()
    return [
        Figure("sequential", "steps_per_s", steps / seconds, "steps/s", steps),
        Figure("sequential", "raw_commits_per_s", steps / raw_seconds, "commits/s", steps),
        Figure("sequential", "share_of_raw", raw_seconds / seconds * 100, "%", steps),
        Figure("sequential", "cpu_us_per_step", cpu / steps * 1e6, "us", steps),
        Figure("sequential", "bytes_per_step", machine.files_bytes(settings.path()) / steps, "bytes", steps),
    ]
