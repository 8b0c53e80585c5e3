"""The workflows that are measured. Each function makes an application of its own, on a database of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import durable
from durable import Workflow
from durable.api.workflows import AsyncWorkflow

STEPS_A_RUN: Final = 5
"""Steps of a run in `throughput`."""

STEPS_A_CUT_RUN: Final = 10
"""Steps of each of many interrupted runs in `replay`."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Runs of small steps."""

    wf: Workflow
    many: AsyncWorkflow[[int, int], int]
    """(run, steps): one after the other."""
    one: AsyncWorkflow[[int], int]
    """(run): a single step."""


def steps(url: str) -> Steps:
    """Return an application whose tasks add one."""
    wf = Workflow("bench", db=url)

    @wf.task
    async def add(value: int) -> int:
        return value + 1

    @wf.workflow(id="many-{run}")
    async def many(run: int, steps: int) -> int:
        value = run
        for _ in range(steps):
            value = await add(value)
        return value

    @wf.workflow(id="one-{run}")
    async def one(run: int) -> int:
        return await add(run)

    return Steps(wf, many, one)


@dataclass(frozen=True, slots=True)
class Cut:
    """Runs that are interrupted in their last step."""

    wf: Workflow
    flow: AsyncWorkflow[[int, int], int]
    """(run, steps)."""


def cut(url: str, at_last_step: Callable[[], Awaitable[None]]) -> Cut:
    """Return an application whose runs call back from their last step."""
    wf = Workflow("bench", db=url)

    @wf.task
    async def add(value: int) -> int:
        return value + 1

    @wf.task
    async def last(value: int) -> int:
        await at_last_step()
        return value

    @wf.workflow(id="cut-{run}")
    async def flow(run: int, steps: int) -> int:
        value = run
        for _ in range(steps - 1):
            value = await add(value)
        return await last(value)

    return Cut(wf, flow)


@dataclass(frozen=True, slots=True)
class Signalled:
    """A run that waits for one signal after another."""

    wf: Workflow
    listener: AsyncWorkflow[[int], int]
    """(signals)."""


def signalled(url: str, resumed: Callable[[], None]) -> Signalled:
    """Return an application whose run calls back whenever it has resumed."""
    wf = Workflow("bench", db=url)

    @wf.workflow(id="listener")
    async def listener(signals: int) -> int:
        for number in range(signals):
            await wf.signal(f"s{number}")
            resumed()
        return signals

    return Signalled(wf, listener)


@dataclass(frozen=True, slots=True)
class Sleeping:
    """Runs that sleep until a moment."""

    wf: Workflow
    sleeper: AsyncWorkflow[[int, int], None]
    """(run, wake-up in milliseconds since the epoch)."""


def sleeping(url: str, tired: Callable[[], None], woken: Callable[[float], None]) -> Sleeping:
    """Return an application whose runs call back before they sleep, and with the seconds of their delay after it."""
    wf = Workflow("bench", db=url)

    @wf.workflow(id="sleeper-{run}")
    async def sleeper(run: int, due_ms: int) -> None:
        tired()
        await asyncio.sleep(due_ms / 1000 - durable.time())
        woken(time.time() - due_ms / 1000)

    return Sleeping(wf, sleeper)
