"""The only sources of time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from durable.store.base import Clock as StoreClock

RECHECK_MS: Final = 1_000
"""Longest time to trust the monotonic clock; after it, a timer looks at the wall clock, which may have jumped."""


def elapsed_ms(began_ms: int, now_ms: int) -> int:
    """Return how long something has taken, in milliseconds: 0 if the clock was set back to before it began."""
    return max(now_ms - began_ms, 0)


class Alarm(Protocol):
    """Something that will ring."""

    def cancel(self) -> None:
        """Do not ring."""


class Clock(StoreClock, Protocol):
    """Tells the time and rings when a time has come."""

    def has_come(self, at_ms: int) -> bool:
        """Has the millisecond `at_ms` passed? A timer that was set within one must not end early by its rest."""

    def ring_at(self, at_ms: int, callback: Callable[[], object]) -> Alarm:
        """Call `callback` on the running loop at `at_ms` or earlier: the callee looks at the clock again."""

    def look_later(self, seconds: float, look: Callable[[], object]) -> Alarm:
        """Call `look` on the running loop after about `seconds`: it looks whether others did something.

        Nobody waits for that time, so a clock that jumps does not jump to it. A look that returns True found something.
        """

    def hold_while(self, at_work: Callable[[], bool]) -> None:
        """Take note of a method that knows whether something goes on that the running loop cannot see (threads).

        A clock that jumps when nothing is left to do does not jump while it returns True.
        """


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def has_come(self, at_ms: int) -> bool:
        return time.time_ns() // 1_000_000 > at_ms

    def ring_at(self, at_ms: int, callback: Callable[[], object]) -> Alarm:
        delay_s = min(max(at_ms + 1.05 - time.time() * 1000, 0), RECHECK_MS) / 1000
        return asyncio.get_running_loop().call_later(delay_s, callback)

    def look_later(self, seconds: float, look: Callable[[], object]) -> Alarm:
        return asyncio.get_running_loop().call_later(seconds, look)

    def hold_while(self, at_work: Callable[[], bool]) -> None:
        """Do nothing: this clock waits for nobody."""
