"""The limits of a schedule: how large, how often, how long. Small ones bring rare paths to light.

Every schedule has its own, drawn from its seed. Those that are constants of modules are set for the time of the
schedule, and so is whatever would take something from the real world: time, identities, random numbers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Final

from durable.api import app, clock
from durable.core.records import WorkerRecord
from durable.runtime import activation, callers, claims, committer, identity, loop
from durable.runtime.engine import EngineOptions
from durable.store import memory

SECONDS_PER_LOOK: Final = 2e-6
"""What `perf_counter` advances by with each look at it."""


class Limits:
    """The limits of one schedule.

    Args:
        source: Draws them.
    """

    def __init__(self, source: random.Random) -> None:
        choose = source.choice
        self.callback_us: int = choose((0, 1, 15))
        """What a callback costs."""
        self.burst: int = choose((1, 5, 40))
        """Callbacks that a process runs before another one may."""
        self.calls_max: int = choose((40, 80, 160))
        """Calls of the store after which it is calm."""
        self.callbacks_max = 150_000
        self.inline: bool = choose((False, True))
        """May a batch be executed at once?"""
        self.options = EngineOptions(
            slots=choose((1_000, 1_000, 4, 2)), cache_runs=choose((1_000, 0, 1)), cache_ms=choose((60_000, 500)),
            poll_seconds=choose((0.02, 0.05, 0.5)), grace_ms=choose((5_000, 50)),
        )  # fmt: skip
        page: int = choose((10_000, 3))
        rest: float = choose((0.1, 0.6, 0.9))
        self.constants: list[tuple[Any, str, Any]] = [
            (activation, "PUMP_SECONDS", choose((0.005, 30.0, -1.0, 5e-6))),
            (activation, "SHORT_WAIT_MS", choose((1_000, 1_000, 100))),
            (activation, "UNCOMMITTED_MAX", choose((1_000, 4))),
            (claims, "CLAIM_MAX", choose((200, 1, 2))),
            (claims, "EXPIRE_SECONDS", choose((0.4, 1.5, 1.5))),
            (claims, "LOOK_SECONDS", choose((1.0, 0.3))),
            (claims, "REGISTRATION_SECONDS", choose((5.0, 1.0))),
            (claims, "REST_POLL_SECONDS", rest),
            (claims, "LIVELY_SECONDS", choose((0.3, 0.02))),
            (claims, "SWEEP_SECONDS", choose((10.0, 1.0))),
            (committer, "BATCH_MAX", choose((1_000, 1, 2))),
            (callers, "JOURNAL_PAGE_MAX", page),
            (memory, "JOURNAL_PAGE_MAX", page),
        ]
        self._random = random.Random(source.getrandbits(32))
        self._looks = 0

    def make_calm(self) -> None:
        """Take the limits that the product has, but look at the database less often when nothing happens."""
        self.callback_us, self.burst, self.inline = 0, 40, False
        self.options = EngineOptions(cache_runs=0, poll_seconds=0.3)
        self.constants = [(claims, "REST_POLL_SECONDS", 0.6)]

    def perf_counter(self) -> float:
        """Stand for `time.perf_counter`: pumps end by the number of looks at it, not by the speed of the machine."""
        self._looks += 1
        return self._looks * SECONDS_PER_LOOK

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let these limits hold."""
        replaced: list[tuple[Any, str, Any]] = [
            *self.constants,
            *((module, "perf_counter", self.perf_counter) for module in (activation, committer, loop)),
            (identity, "new_worker", _new_worker),
            (app, "secrets", SimpleNamespace(token_hex=lambda size: f"{self._random.getrandbits(8 * size):x}")),
            (clock, "random_module", self._random),
        ]
        before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
        for module, name, value in replaced:
            setattr(module, name, value)
        try:
            yield
        finally:
            for module, name, value in before:
                setattr(module, name, value)


def _new_worker(now_ms: int) -> WorkerRecord:
    return asyncio.get_running_loop().process.new_worker(now_ms)  # type: ignore[attr-defined]
