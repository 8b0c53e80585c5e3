"""Many short runs at once in one process: commits are shared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import perf_counter, process_time

from bench import apps, machine
from bench.figures import Figure
from bench.raw import ROWS_MAX, opened
from bench.settings import Settings

AT_ONCE = 100

TURNS = 4
"""The runs and the raw commits take turns, so that a neighbour on the machine hinders both alike."""

WARM_UP = 100


def measure(settings: Settings) -> list[Figure]:
    """Return steps a second beside raw rows a second; n: runs."""
    return asyncio.run(_measure(settings))


async def _measure(settings: Settings) -> list[Figure]:
    app = apps.steps(settings.url())
    each = max(1, settings.n // TURNS)
    runs, steps = each * TURNS, each * TURNS * apps.STEPS_A_RUN
    blocks = max(1, 2 * each * apps.STEPS_A_RUN // ROWS_MAX)
    numbers = iter(range(WARM_UP + runs))
    await _run_all(app, numbers, WARM_UP)
    seconds = cpu = raw_seconds = 0.0
    with opened(settings) as raw:
        raw.many_rows_each(1)
        for _ in range(TURNS):
            raw_seconds += raw.many_rows_each(blocks)
            began, cpu_began = perf_counter(), process_time()
            await _run_all(app, numbers, each)
            seconds += perf_counter() - began
            cpu += process_time() - cpu_began
    rss_mb = machine.rss_mb()
    await app.wf.stop()
    raw_rows_per_s = TURNS * blocks * ROWS_MAX / raw_seconds
    stored = machine.files_bytes(settings.path()) * runs / (runs + WARM_UP)
    return [
        Figure("throughput", "steps_per_s", steps / seconds, "steps/s", runs),
        Figure("throughput", "raw_rows_per_s", raw_rows_per_s, "rows/s", TURNS * blocks * ROWS_MAX),
        Figure("throughput", "share_of_raw", steps / seconds / raw_rows_per_s * 100, "%", runs),
        Figure("throughput", "cpu_us_per_step", cpu / steps * 1e6, "us", runs),
        Figure("throughput", "bytes_per_step", stored / steps, "bytes", runs),
        Figure("throughput", "rss_mb", rss_mb, "MB", runs),
    ]


async def _run_all(app: apps.Steps, numbers: Iterator[int], runs: int) -> None:
    left = runs

    async def take_turns() -> None:
        nonlocal left
        while left:
            left -= 1
            await app.many(next(numbers), apps.STEPS_A_RUN)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, runs)):
            group.create_task(take_turns())
