"""Plays schedules, one after another, in one real process.

    with Theatre() as theatre:
        report = theatre.play(seed)

Garbage is collected between schedules only: what is left of one must not come to life within another.
"""

from __future__ import annotations

import gc
import logging
import random
import sys
import warnings
from collections.abc import Callable
from typing import Final, Self, TypeVar

from durable import Workflow
from tests.simulation.bodies import Stage, build
from tests.simulation.faults import Faults
from tests.simulation.limits import Limits
from tests.simulation.races import Race, race_of
from tests.simulation.schedule import ANYTHING, Report, Schedule, Setting
from tests.simulation.world import SLOTS, World

T = TypeVar("T")

EXPECTED: Final = ("%s: the store cannot be used any more: %s",)
"""What engines complain of rightly."""

COLLECT_EVERY: Final = 60
"""Schedules between two collections of garbage."""


class Theatre(logging.Handler):
    """Where schedules are played: the applications, and an ear for what the engines complain about."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._apps: list[tuple[Workflow, Stage]] = []
        self._world: World | None = None
        self._played = 0
        self._warnings = warnings.catch_warnings()
        self._logger = logging.getLogger("durable")
        self._before = self._logger.level, self._logger.propagate

    def __enter__(self) -> Self:
        for _ in range(SLOTS):
            stage = Stage()
            self._apps.append((build(stage), stage))
        self._warnings.__enter__()
        # Coroutines of processes that crashed were never awaited, and never will be.
        warnings.simplefilter("ignore", RuntimeWarning)
        # What is closed at last may want to await something in its `finally`; nobody is there to answer.
        self._hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        self._logger.addHandler(self)
        self._logger.setLevel(logging.ERROR)
        self._logger.propagate = False
        gc.collect()
        gc.freeze()
        gc.disable()
        return self

    def __exit__(self, *_: object) -> None:
        gc.collect()
        gc.enable()
        gc.unfreeze()
        sys.unraisablehook = self._hook
        self._logger.removeHandler(self)
        level, self._logger.propagate = self._before
        self._logger.setLevel(level)
        self._warnings.__exit__(None, None, None)

    def emit(self, record: logging.LogRecord) -> None:
        """Take an error that an engine logs for what it is: something that must not happen."""
        if self._world is not None and not self._world.is_over and record.msg not in EXPECTED:
            self._world.violate(f"an engine complained: {self.format(record)}")

    def play(self, seed: int, setting: Setting = ANYTHING, *, records: bool = False) -> Report:
        """Play the schedule of a seed."""
        schedule = Schedule(seed, self._apps, setting, records=records)
        return self._listen(schedule.world, schedule.play)

    def race(self, number: int, *, records: bool = False) -> list[str]:
        """Play a race; return what was wrong."""
        race = Race(*race_of(number), self._apps, records=records)
        return self._listen(race.world, race.play)

    def new_world(self, source: random.Random, limits: Limits, faults: Faults) -> World:
        """Return a world whose engines are listened to until `tidy`."""
        self._world = World(source, self._apps, limits, faults)
        return self._world

    def tidy(self) -> None:
        """Collect the garbage of what was played, now and then."""
        self._world = None
        self._played += 1
        if self._played % COLLECT_EVERY == 0:
            gc.collect()

    def _listen(self, world: World, play: Callable[[], T]) -> T:
        self._world = world
        try:
            return play()
        finally:
            self.tidy()
