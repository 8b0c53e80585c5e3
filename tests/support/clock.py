"""A clock that stands still until it is moved, and an event loop that moves it when nothing else is left to do.

    clock = VirtualClock()
    with clock.runner() as runner:
        runner.run(main(clock))          # an hour's sleep of a workflow takes no time

Theory of operation. An asyncio loop that has nothing ready asks its selector to wait. `_IdleSelector` is asked there,
and if no file is ready either, the clock jumps to its earliest alarm and rings that one alone. Whatever it sets going
runs to its end before the loop is idle again, so simultaneous alarms are as ordered as all others: by time, by rank,
by the order in which they were set. The loop's own timers (`loop.call_later`) stay on real time: they are housekeeping.

Threads are not seen by a selector. Work given to `run_in_executor` keeps the clock from jumping until it is done, and
so does whatever `busy` reports.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any, Final

START_MS: Final = 1_700_000_000_000
"""Where a virtual clock begins unless told otherwise: in November 2023."""


class VirtualAlarm:
    """A callback that a clock calls when its time has come."""

    __slots__ = ("at_ms", "callback", "loop")

    def __init__(self, at_ms: int, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        self.at_ms = at_ms
        self.loop = loop
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Do not ring."""
        self.callback = None

    @property
    def is_wanted(self) -> bool:
        """Would anybody hear it?"""
        return self.callback is not None and not self.loop.is_closed()

    def ring(self) -> None:
        """Call back in the next iteration of the loop on which the alarm was set, once."""
        callback, self.callback = self.callback, None
        if callback is not None:
            self.loop.call_soon_threadsafe(callback)


class VirtualClock:
    """A `durable.runtime.clock.Clock` under the control of a test.

    Args:
        start_ms: The time at which it begins, in milliseconds since the epoch.
    """

    def __init__(self, start_ms: int = START_MS) -> None:
        self._now_ms = start_ms
        self._alarms: list[tuple[int, int, int, VirtualAlarm]] = []
        self._numbers = itertools.count()
        self.busy: Callable[[], bool] = lambda: False
        """Says whether a thread is at work that the loop cannot see; the clock does not jump meanwhile."""

    # What a clock does ----------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return self._now_ms

    def has_come(self, at_ms: int) -> bool:
        return self._now_ms >= at_ms

    def ring_at(self, at_ms: int, callback: Callable[[], object], *, rank: int = 0) -> VirtualAlarm:
        """Call back on the running loop once the clock has come to `at_ms`.

        Args:
            at_ms: A time; one that has passed rings as soon as the loop is idle.
            callback: What to call.
            rank: Order among alarms for the same time.
        """
        alarm = VirtualAlarm(at_ms, callback, asyncio.get_running_loop())
        heapq.heappush(self._alarms, (at_ms, rank, next(self._numbers), alarm))
        return alarm

    async def sleep(self, delay: float | timedelta, *, rank: int = 0) -> None:
        """Wait on this clock's time; what tasks under test do instead of `asyncio.sleep`."""
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        await self.sleep_until(self._now_ms + round(seconds * 1000), rank=rank)

    async def sleep_until(self, at_ms: int, *, rank: int = 0) -> None:
        """Wait until this clock shows `at_ms`."""
        come = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not come.done():
                come.set_result(None)

        alarm = self.ring_at(at_ms, wake, rank=rank)
        try:
            await come
        finally:
            alarm.cancel()

    # Moving it ------------------------------------------------------------------------------------------------------

    @property
    def next_at(self) -> int | None:
        """When the next alarm rings, None if there is none."""
        while self._alarms and not self._alarms[0][-1].is_wanted:
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    def set_forward(self, to_ms: int) -> None:
        """Show a later time, as a machine does that was asleep; alarms ring when the loop is idle next."""
        self._now_ms = max(self._now_ms, to_ms)

    def jump(self) -> bool:
        """Go to the next alarm and ring that one; False if there is none."""
        at_ms = self.next_at
        if at_ms is None:
            return False
        self.set_forward(at_ms)
        heapq.heappop(self._alarms)[-1].ring()
        return True

    # Loops that move it ---------------------------------------------------------------------------------------------

    def make_loop(self) -> VirtualLoop:
        """Return an event loop that lets this clock jump whenever it is idle."""
        return VirtualLoop(self)

    def runner(self) -> asyncio.Runner:
        """Return a runner whose loop lets this clock jump whenever it is idle."""
        return asyncio.Runner(loop_factory=self.make_loop)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that, when it is idle, lets a virtual clock jump instead of waiting."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._in_threads = 0
        super().__init__(_IdleSelector(self._idle))

    def _idle(self) -> bool:
        return not self._in_threads and not self._clock.busy() and self._clock.jump()

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._left_thread)
        return future

    def _left_thread(self, future: asyncio.Future[Any]) -> None:
        self._in_threads -= 1


class _IdleSelector(selectors.BaseSelector):
    """A selector that asks before it waits: `on_idle` returns True if it found something to do."""

    def __init__(self, on_idle: Callable[[], bool]) -> None:
        self._on_idle = on_idle
        self._files = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._files.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        return [] if self._on_idle() else self._files.select(timeout)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._files.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._files.get_map()

    def close(self) -> None:
        self._files.close()
        super().close()
