"""A clock that stands still until it is moved, and that moves itself when nothing else is left to do.

    clock = VirtualClock()
    wf = Workflow("shop", db=InMemoryStore(), clock=clock)

Theory of operation. The clock attaches itself to each event loop on which it is used (`loops`). A loop that has nothing
ready would wait; instead the clock is asked, and jumps to whatever comes first: one of its alarms (sleeps, retries and
deadlines of runs) or a timer of the loop itself (`asyncio.sleep` in a task, the `timeout` of one, `asyncio.timeout` in
the test). Alarms ring one by one, and whatever one sets going runs to its end before the loop is idle again: so they
are ordered by time, by rank, by the order in which they were set.

What a loop cannot see holds the clock: threads, the writer of a store, files and sockets. Who knows of such work says
so with `hold_while`; work in executors and files are seen by the attachment, and hold it for `patience`, since they may
wait for a time themselves. Looks at what others did (`look_later`) are made before each jump, and move nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from durable.api.body import running_loop
from durable.api.durations import Duration, to_ms
from durable.errors import UsageError
from durable.testing.loops import FollowedLoop, Look

START_MS: Final = 1_700_000_000_000
"""Where a virtual clock begins unless told otherwise: in November 2023."""

PATIENCE_S: Final = 1.0
"""Real time for which threads and files hold the clock; most are done in milliseconds, and some wait for the clock."""

_NS: Final = 1_000_000
"""Nanoseconds of a millisecond."""


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
    """A clock for tests: `Workflow(..., clock=VirtualClock())`.

    It jumps by itself to the next moment at which something happens, as soon as everything is blocked. With
    `automatic=False` only `advance` moves it.

    Args:
        start: The time at which it begins: a datetime with a time zone, or milliseconds since the epoch.
        automatic: Jump when nothing else is left to do.
        patience: Real seconds for which work in threads, and files and sockets that are waited for, hold the clock.

    Raises:
        UsageError: `start` is neither.
    """

    def __init__(
        self, start: datetime | int = START_MS, *, automatic: bool = True, patience: float = PATIENCE_S
    ) -> None:
        self.automatic = automatic
        """Does it jump when nothing else is left to do?"""
        self.patience = patience
        self.on_stuck: Callable[[], object] | None = None
        """Called on a loop that is idle when the clock has nothing to jump to: nothing will ever happen by itself."""
        self._now_ns = _start_ms(start) * _NS
        self._alarms: list[tuple[int, int, int, VirtualAlarm]] = []
        self._numbers = itertools.count()
        self._targets: list[int] = []
        self._holders: list[tuple[asyncio.AbstractEventLoop | None, weakref.WeakMethod[Callable[[], bool]]]] = []
        self._lock = threading.RLock()
        self._followed: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, FollowedLoop] = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<virtual clock at {self.now:%Y-%m-%d %H:%M:%S.%f}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every event loop; their own time goes on from where it is. Idempotent."""
        for followed in list(self._followed.values()):
            followed.let_go()
        self._followed.clear()

    # What a clock does ----------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return self._now_ns // _NS

    @property
    def now(self) -> datetime:
        """The time as a datetime, UTC."""
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self._now_ns // 1_000)

    def has_come(self, at_ms: int) -> bool:
        """Has the clock come to `at_ms`?"""
        return self._now_ns >= at_ms * _NS

    def ring_at(self, at_ms: int, callback: Callable[[], object], *, rank: int = 0) -> VirtualAlarm:
        """Call back on the running loop once the clock has come to `at_ms`.

        Args:
            at_ms: A time; one that has passed rings as soon as the loop is idle.
            callback: What to call.
            rank: Order among alarms for the same time.
        """
        loop = asyncio.get_running_loop()
        self.follow(loop)
        alarm = VirtualAlarm(at_ms, callback, loop)
        with self._lock:
            heapq.heappush(self._alarms, (at_ms, rank, next(self._numbers), alarm))
        return alarm

    def look_later(self, seconds: float, look: Callable[[], object]) -> Look:
        """Call `look` on the running loop before the next jump, and after about `seconds` of real time."""
        loop = asyncio.get_running_loop()
        followed = self.follow(loop)
        if followed is None:
            return loop.call_later(seconds, look)
        return followed.look_later(seconds, look)

    def hold_while(self, at_work: Callable[[], bool]) -> None:
        """Do not jump while the method `at_work` returns True, as long as its object lives."""
        loop = running_loop()
        if loop is not None:  # else the clock follows when something asks for it on one
            self.follow(loop)
        self._holders.append((loop, weakref.WeakMethod(at_work)))

    # Moving it ------------------------------------------------------------------------------------------------------

    def advance(self, delta: Duration = 0, /, **parts: float) -> Any:
        """Move the clock: everything that is due meanwhile happens, each at its time, before this returns.

        In async code, `await` it. In plain code it blocks.

            await clock.advance(90)
            await clock.advance(timedelta(days=30))
            await clock.advance(days=30, hours=1)

        Args:
            delta: Seconds, or a timedelta.
            parts: What `timedelta` takes by name, added to it.

        Raises:
            UsageError: the clock would have to go back.
        """
        delay_ms = to_ms(delta, "delta") + to_ms(timedelta(**parts), "parts")
        if delay_ms < 0 or (isinstance(delta, (int, float)) and delta < 0):
            raise UsageError(f"clock.advance({delta!r}): time does not go back")
        return self._advance(self.now_ms() + delay_ms)

    def advance_to(self, moment: datetime) -> Any:
        """Move the clock to a moment; see `advance`.

        Args:
            moment: A datetime with a time zone.

        Raises:
            UsageError: it has passed, or has no time zone.
        """
        at_ms = _start_ms(moment)
        if at_ms < self.now_ms():
            raise UsageError(f"clock.advance_to({moment}): that has passed, it is {self.now}; time does not go back")
        return self._advance(at_ms)

    def _advance(self, target: int) -> Any:
        if running_loop() is None:
            self._advance_blocking(target)
            return None
        return self._come_to(target)

    async def _come_to(self, target: int) -> None:
        self._targets.append(target)
        try:
            # Behind all others: what is due at this very moment happens before.
            await self.sleep_until(target, rank=2**62)
        finally:
            self._targets.remove(target)

    def _advance_blocking(self, target: int) -> None:
        loops = [loop for loop in list(self._followed) if loop.is_running()]
        for waiting in [asyncio.run_coroutine_threadsafe(self._come_to(target), loop) for loop in loops]:
            waiting.result()
        self.set_forward(target)

    async def sleep(self, delay: Duration, *, rank: int = 0) -> None:
        """Wait on this clock's time, as `asyncio.sleep` does on loops that it follows."""
        await self.sleep_until(self.now_ms() + to_ms(delay, "delay"), rank=rank)

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

    @property
    def next_at(self) -> int | None:
        """When the next alarm rings, None if there is none."""
        with self._lock:
            while self._alarms and not self._alarms[0][-1].is_wanted:
                heapq.heappop(self._alarms)
            return self._alarms[0][0] if self._alarms else None

    def set_forward(self, to_ms: int) -> None:
        """Show a later time, as a machine does that was asleep; what is overdue then happens when the loop is idle."""
        self._now_ns = max(self._now_ns, to_ms * _NS)

    def jump(self) -> bool:
        """Go to the next alarm and ring that one; False if there is none."""
        with self._lock:
            at_ms = self.next_at
            if at_ms is None:
                return False
            self.set_forward(at_ms)
            heapq.heappop(self._alarms)[-1].ring()
            return True

    # Asked by the loops ---------------------------------------------------------------------------------------------

    @property
    def is_held(self) -> bool:
        """Is something at work that no loop can see?"""
        self._holders = [(loop, reference) for loop, reference in self._holders if reference() is not None]
        return any(at_work() for _, reference in self._holders if (at_work := reference()) is not None)

    def jump_within(self, timer_ns: int | None) -> bool:
        """Go to what comes first, an alarm or the timer of an idle loop; False if nothing may come now.

        Args:
            timer_ns: Nanoseconds until the loop's own first timer, None if it has none.
        """
        with self._lock:
            alarm_at = self.next_at
            timer_at = None if timer_ns is None else self._now_ns + timer_ns
            first = min((at for at in (timer_at, alarm_at and alarm_at * _NS) if at is not None), default=None)
            if first is None or not (self.automatic or first <= max(self._targets, default=-1) * _NS):
                return False
            if alarm_at is not None and alarm_at * _NS <= first:
                return self.jump()
            self._now_ns = max(self._now_ns, first)
            return True

    @property
    def elapsed_ns(self) -> int:
        """What the clock shows, in nanoseconds."""
        return self._now_ns

    # Loops that move it ---------------------------------------------------------------------------------------------

    def follow(self, loop: asyncio.AbstractEventLoop) -> FollowedLoop | None:
        """Move whenever this loop is idle, and be its time. Done by itself where the clock is used. Idempotent.

        Raises:
            UsageError: the loop is not asyncio's own, or another clock that is in use follows it.
        """
        followed = self._followed.get(loop)
        if followed is None:
            followed = self._followed[loop] = FollowedLoop(loop, self)
        return followed

    def forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Drop the alarms of a loop that will never run again, and what is at work for it."""
        with self._lock:
            self._holders = [(held, reference) for held, reference in self._holders if held is not loop]
            self._alarms = [item for item in self._alarms if item[-1].loop is not loop]
            heapq.heapify(self._alarms)
            self._followed.pop(loop, None)

    def follows(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Does anything wait on that loop for this clock?"""
        return any(alarm.loop is loop and alarm.is_wanted for *_, alarm in self._alarms)

    def make_loop(self) -> asyncio.AbstractEventLoop:
        """Return an event loop that this clock follows."""
        loop = asyncio.SelectorEventLoop()
        self.follow(loop)
        return loop

    def runner(self) -> asyncio.Runner:
        """Return a runner whose loop this clock follows: `with clock.runner() as runner: runner.run(main())`."""
        return asyncio.Runner(loop_factory=self.make_loop)


def _start_ms(start: datetime | int) -> int:
    if isinstance(start, int) and not isinstance(start, bool):
        return start
    if not isinstance(start, datetime) or start.tzinfo is None:
        raise UsageError(f"{start!r}: expected a datetime with a time zone, or milliseconds since the epoch")
    return (start - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
