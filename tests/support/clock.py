"""The clock of these tests: the public one, moved only where a test says so, and leaving the timers of loops alone.

On a loop that it has not made it is moved by hand. On its own loops (`runner`) it jumps, and the loops' own timers stay
on real time: here they are limits of patience, and what the runtime does beside its work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from durable.testing import clock as public
from durable.testing.clock import START_MS, VirtualAlarm
from durable.testing.loops import FollowedLoop

__all__ = ["START_MS", "VirtualAlarm", "VirtualClock"]


class VirtualClock(public.VirtualClock):
    """A `durable.runtime.clock.Clock` under the control of a test.

    Args:
        start_ms: The time at which it begins, in milliseconds since the epoch.
    """

    def __init__(self, start_ms: int = START_MS) -> None:
        super().__init__(start_ms, patience=3_600.0)
        self.busy: Callable[[], bool] = lambda: False
        """Says whether a thread is at work that the loop cannot see; the clock does not jump meanwhile."""

    def follow(self, loop: asyncio.AbstractEventLoop) -> FollowedLoop | None:
        return self._followed.get(loop)

    def make_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.SelectorEventLoop()
        self._followed[loop] = FollowedLoop(loop, self, timers=False)
        return loop

    def look_later(self, seconds: float, look: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, look)

    @property
    def is_held(self) -> bool:
        return self.busy() or super().is_held
