"""Many runs asleep: what they keep in memory, and how late they wake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from time import perf_counter
from typing import Final

from bench import apps, machine
from bench.figures import Figure, percentiles_ms
from bench.helper import helper
from bench.settings import Settings
from bench.waiting import until

WAKE_UPS_A_SECOND: Final = 1_000

STARTS_AT_ONCE: Final = 100

HOUR_MS: Final = 3_600_000

IDLE_SECONDS: Final = 0.5
"""Time that a worker gets to settle before its memory is looked at."""

LOOK_SECONDS: Final = 0.05


def measure(settings: Settings) -> list[Figure]:
    """Return memory and lateness; n: sleeping runs, and ten times the number of those that wake."""
    return asyncio.run(_measure(settings))


async def _measure(settings: Settings) -> list[Figure]:
    idle_mb = await _rss_of_an_idle_worker(settings)
    started_s = await asyncio.to_thread(_start_in_another_process, settings)
    lateness: list[float] = []
    bodies = Bodies()
    app = apps.sleeping(settings.url(), bodies.count, lateness.append)
    began = perf_counter()
    async with app.wf:
        await _until_all_sleep(app, bodies, settings.n)
        asleep_s = perf_counter() - began
        await asyncio.sleep(IDLE_SECONDS)
        rss_mb = machine.rss_mb() - idle_mb
        stored = machine.files_bytes(settings.path()) / settings.n
        wakers = max(1, settings.n // 10)
        await _wake(app, settings.n, wakers, expected_s=wakers * (started_s + asleep_s) / settings.n)

        async def all_woke() -> bool:
            return len(lateness) == wakers

        await until(all_woke, LOOK_SECONDS)
    return [
        Figure("sleepers", "starts_per_s", settings.n / started_s, "runs/s", settings.n),
        Figure("sleepers", "seconds", asleep_s, "s", settings.n),
        Figure("sleepers", "rss_mb", rss_mb, "MB", settings.n),
        Figure("sleepers", "bytes_per_run", stored, "bytes", settings.n),
        *percentiles_ms("sleepers", lateness),
    ]


class Bodies:
    """Counts bodies that go to sleep."""

    def __init__(self) -> None:
        self.counted = 0

    def count(self) -> None:
        """One more."""
        self.counted += 1


async def _rss_of_an_idle_worker(settings: Settings) -> float:
    app = apps.sleeping(settings.url("idle"), lambda: None, lambda late: None)
    async with app.wf:
        await asyncio.sleep(IDLE_SECONDS)
        return machine.rss_mb()


def _start_in_another_process(settings: Settings) -> float:
    # So that the worker's memory is that of a worker only.
    due_ms = time.time_ns() // 1_000_000 + HOUR_MS
    with helper("start_sleepers", settings, settings.n, due_ms) as other:
        return float(other.hear())


async def _until_all_sleep(app: apps.Sleeping, bodies: Bodies, runs: int) -> None:
    # Counting in the database takes a while and would hinder the worker: only when all have been seen going to sleep.
    async def all_are_tired() -> bool:
        return bodies.counted >= runs

    await until(all_are_tired, LOOK_SECONDS)

    async def all_sleep() -> bool:
        return (await app.wf.runs.count()).get("suspended", 0) == runs

    await until(all_sleep, LOOK_SECONDS)


async def _wake(app: apps.Sleeping, first: int, wakers: int, expected_s: float) -> None:
    """Start runs that wake one a millisecond, as soon as all of them should be asleep."""
    first_due_ms = time.time_ns() // 1_000_000 + round((1 + 2 * expected_s) * 1000)
    each_ms = 1000 / WAKE_UPS_A_SECOND

    async def start(numbers: Iterator[int]) -> None:
        for number in numbers:
            _ = await app.sleeper.start(first + number, first_due_ms + round(number * each_ms))

    numbers = iter(range(wakers))
    async with asyncio.TaskGroup() as group:
        for _ in range(min(STARTS_AT_ONCE, wakers)):
            group.create_task(start(numbers))
