"""A signal, from the call of `complete` to the workflow going on: from the same process and from another one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import perf_counter

from bench import apps
from bench.beside import durations_beside_raw, numbers_used
from bench.figures import Figure
from bench.helper import helper
from bench.raw import Raw, opened
from bench.settings import Settings
from bench.waiting import until

LOOK_SECONDS = 0.002
"""How often to look whether the run waits for its next signal."""

WAIT_SECONDS_MAX = 0.03
"""Longest wait between a run's suspension and its next signal."""


def measure(settings: Settings) -> list[Figure]:
    """Return the latency of signals; n: signals."""
    with opened(settings) as raw:
        return asyncio.run(_from_here(settings, raw)) + asyncio.run(_from_another_process(settings, raw))


async def _from_here(settings: Settings, raw: Raw) -> list[Figure]:
    async def complete(number: int) -> float:
        began = perf_counter()
        await listening.app.wf.complete("listener", f"s{number}", number)
        return began

    listening = Listening(settings.url("here"), complete)
    return await listening.figures("signal", settings.n, raw)


async def _from_another_process(settings: Settings, raw: Raw) -> list[Figure]:
    async def complete(number: int) -> float:
        return float(await asyncio.to_thread(other.ask, str(number)))

    listening = Listening(settings.url(), complete)
    with helper("complete", settings) as other:
        await asyncio.to_thread(other.hear)
        return await listening.figures("signal-other-process", settings.n, raw)


class Listening:
    """A worker with a run that waits for one signal after another.

    `complete` completes the signal of a number and returns when that was begun: processes share the clock.
    """

    def __init__(self, url: str, complete: Callable[[int], Awaitable[float]]) -> None:
        self.app = apps.signalled(url, self._resumed)
        self._complete = complete
        self._resumed_at = 0.0
        self._resumption = asyncio.Event()

    def _resumed(self) -> None:
        self._resumed_at = perf_counter()
        self._resumption.set()

    async def figures(self, scenario: str, signals: int, raw: Raw) -> list[Figure]:
        """Return the latency of so many signals."""
        async with self.app.wf:
            handle = await self.app.listener.start(numbers_used(signals))

            waits = random.Random(scenario)

            async def is_suspended() -> bool:
                return await handle.status() == "suspended"

            async def one(number: int) -> float:
                await until(is_suspended, LOOK_SECONDS)
                # Signals come at any time: without this they would keep step with the worker's own rhythm.
                await asyncio.sleep(waits.uniform(0, WAIT_SECONDS_MAX))
                self._resumption.clear()
                began = await self._complete(number)
                await self._resumption.wait()
                return self._resumed_at - began

            figures = await durations_beside_raw(scenario, signals, one, raw)
            await handle.result()
        return figures
