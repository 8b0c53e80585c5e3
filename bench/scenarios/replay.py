"""Runs of a process that was killed, brought back to the step that it was killed in."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from time import perf_counter

from bench import apps
from bench.figures import Figure
from bench.helper import helper
from bench.settings import Settings
from bench.waiting import until

LOOK_SECONDS = 0.01
"""How often to look whether the run of the dead process has been taken back."""


def measure(settings: Settings) -> list[Figure]:
    """Return the speed of replay; n: steps of the long run, and ten times the number of short ones."""
    steps, runs = settings.n, max(1, settings.n // 10)
    for_one, for_many = _in_folder(settings, "one"), _in_folder(settings, "many")
    _interrupt(for_one, 1, steps)
    _interrupt(for_many, runs, apps.STEPS_A_CUT_RUN)
    one_s = asyncio.run(_replay_one(for_one, steps))
    many_s = asyncio.run(_replay_many(for_many, runs))
    return [
        Figure("replay", "entries_per_s", (steps - 1) / one_s, "entries/s", steps),
        Figure("replay-many", "seconds", many_s, "s", runs),
    ]


def _in_folder(settings: Settings, name: str) -> Settings:
    folder = os.path.join(settings.folder, name)
    os.mkdir(folder)
    return replace(settings, folder=folder)


def _interrupt(settings: Settings, runs: int, steps: int) -> None:
    with helper("be_cut", settings, runs, steps) as other:
        other.hear()


async def _replay_one(settings: Settings, steps: int) -> float:
    """Return the seconds from the direct call of a run that nobody owns to its last step."""
    last_steps = LastSteps(1)
    app = apps.cut(settings.url(), last_steps.arrive)

    async def is_free() -> bool:
        # The engine, open since the first look, finds the former owner dead.
        return (await app.wf.runs.get("cut-0")).state.label == "queued"

    await until(is_free, LOOK_SECONDS)
    began = perf_counter()
    await app.flow(0, steps)
    await app.wf.stop()
    return last_steps.arrived_at - began


async def _replay_many(settings: Settings, runs: int) -> float:
    """Return the seconds from the start of a worker to the last step of the last run."""
    last_steps = LastSteps(runs)
    app = apps.cut(settings.url(), last_steps.arrive)
    began = perf_counter()
    async with app.wf:
        await last_steps.arrival.wait()
    return last_steps.arrived_at - began


class LastSteps:
    """Tells when so many runs have arrived in their last step, and keeps them there until then."""

    def __init__(self, runs: int) -> None:
        self._missing = runs
        self.arrival = asyncio.Event()
        self.arrived_at = 0.0

    async def arrive(self) -> None:
        """Be in a last step."""
        self._missing -= 1
        if not self._missing:
            self.arrived_at = perf_counter()
            self.arrival.set()
        await self.arrival.wait()
