"""An event loop whose time is that of a virtual clock, and that moves the clock where it would wait.

Any loop of asyncio's own can be followed, also one that runs already: its selector, which it asks to wait, is wrapped,
and its `time` replaced. The loop keeps its own timers; it says itself, with the time-out it gives to its selector, when
the first of them is due.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from durable.errors import UsageError

if TYPE_CHECKING:
    from durable.testing.clock import VirtualClock

LOOKS_MAX: Final = 5
"""Rounds of looks between two jumps, each after one that found something: workers may set each other going."""

RESOLUTION_S: Final = 1e-6
"""What a loop's time, a float, tells apart at least."""

HELD_S: Final = 0.05
"""How often to ask again whether something still holds the clock; most of it wakes the loop when it is done."""


class Look(Protocol):
    """A look that was asked for."""

    def cancel(self) -> None:
        """Do not look."""


class PendingLook:
    """A look at what others did."""

    __slots__ = ("at", "look")

    def __init__(self, at: float, look: Callable[[], object]) -> None:
        self.at = at
        """When it is made at the latest, in real time."""
        self.look: Callable[[], object] | None = look

    def cancel(self) -> None:
        """Do not look."""
        self.look = None


class FollowedLoop:
    """What a clock knows of a loop, and does to it.

    Args:
        loop: A loop of asyncio's own.
        clock: The clock that follows it.
        timers: Are the loop's own timers on the clock's time? Otherwise they stay on real time.

    Raises:
        UsageError: the loop is another one, or follows a clock that is in use.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: VirtualClock, *, timers: bool = True) -> None:
        selector = getattr(loop, "_selector", None)
        if selector is None or not hasattr(selector, "select"):
            raise UsageError(
                f"a virtual clock cannot follow {type(loop).__module__}.{type(loop).__name__}: it needs asyncio's own "
                "event loop (uvloop has no place for it); use that in tests"
            )
        if isinstance(selector, _IdleSelector):
            selector.followed.make_room_for(clock)
            selector = loop._selector  # type: ignore[attr-defined]
        self._loop = loop
        self._clock = clock
        self._timers = timers
        self._began = loop.time()
        self._began_ns = clock.elapsed_ns
        self._in_threads = 0
        self._looks: list[PendingLook] = []
        self._rounds = 0
        self._wants_round = True
        self._in_round = False
        self._idle_since: float | None = None
        self._files = selector
        self._own_files = set(selector.get_map()) if hasattr(selector, "get_map") else set()
        self._install()

    # Taking a loop, and giving it back ------------------------------------------------------------------------------

    def _install(self) -> None:
        loop: Any = self._loop
        loop._selector = _IdleSelector(self, self._files)
        self._run_in_executor = loop.run_in_executor
        loop.run_in_executor = self._run_in_thread
        if self._timers:
            loop.time = self._time
            # A timer is due at `time() + resolution`. After some virtual years a float has no place for a nanosecond,
            # and a timer that is due exactly now would never be.
            loop._clock_resolution = RESOLUTION_S

    def let_go(self) -> None:
        """Give the loop back; its time goes on from where it is."""
        loop: Any = self._loop
        if not isinstance(loop._selector, _IdleSelector) or loop._selector.followed is not self:
            return
        loop._selector = self._files
        del loop.run_in_executor
        if self._timers:
            ahead = self._time() - monotonic()
            loop.time = lambda: monotonic() + ahead
        for look in self._looks:
            if look.look is not None and not loop.is_closed():
                loop.call_later(max(0.0, look.at - monotonic()), self._look, [look])
        self._looks = []

    def make_room_for(self, clock: VirtualClock) -> None:
        """Let another clock follow the loop, if nothing waits for this one.

        Raises:
            UsageError: something does.
        """
        if self._clock is not clock and self._clock.follows(self._loop):
            raise UsageError(
                f"this event loop follows {self._clock!r} already, and something waits for that: give all applications "
                "of a test one clock, or close the old one"
            )
        self.let_go()

    def _time(self) -> float:
        return self._began + (self._clock.elapsed_ns - self._began_ns) / 1e9

    def _run_in_thread(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._left_thread)
        return future

    def _left_thread(self, future: asyncio.Future[Any]) -> None:
        self._in_threads -= 1

    # Looks ----------------------------------------------------------------------------------------------------------

    def look_later(self, seconds: float, look: Callable[[], object]) -> PendingLook:
        """Call `look` before the next jump, and after `seconds` of real time."""
        pending = PendingLook(monotonic() + seconds, look)
        self._looks.append(pending)
        return pending

    def _look(self, looks: list[PendingLook]) -> None:
        for pending in looks:
            look, pending.look = pending.look, None
            if look is not None and look():
                self._wants_round = True

    def _make_looks(self, due: Callable[[PendingLook], bool]) -> bool:
        chosen = [look for look in self._looks if look.look is not None and due(look)]
        self._looks = [look for look in self._looks if look.look is not None and look not in chosen]
        if chosen:
            self._loop.call_soon(self._look, chosen)
        return bool(chosen)

    # Where the loop would wait --------------------------------------------------------------------------------------

    def idle(self, timeout: float | None) -> list[Any]:
        """Move the clock, or wait for what it cannot hasten; return the files that are ready."""
        if self._wants_round and self._rounds < LOOKS_MAX:
            self._rounds += 1
            self._wants_round = False
            if self._make_looks(lambda _: True):
                self._in_round = True
                return []
        now = monotonic()
        if self._idle_since is None:
            self._idle_since = now
        if not self._is_held(now - self._idle_since):
            self._in_round = False
            if self._clock.jump_within(_ns(timeout) if self._timers else None):
                self._rounds = 0
                self.stir()
                return []
            if self._clock.on_stuck is not None and self._clock.next_at is None and timeout is None:
                self._loop.call_soon(self._clock.on_stuck)
                return []
        return self._wait(timeout, now)

    def stir(self) -> None:
        """Something happens: be patient again, and look once more before the next jump, unless it comes of a look."""
        self._idle_since = None
        self._wants_round = self._wants_round or not self._in_round

    def _is_held(self, idle_s: float) -> bool:
        if self._clock.is_held:
            return True
        return idle_s < self._clock.patience and bool(self._in_threads or self._awaits_files())

    def _awaits_files(self) -> bool:
        """Does the loop watch files or sockets other than its own?"""
        get_map = getattr(self._files, "get_map", None)
        return get_map is not None and bool(get_map().keys() - self._own_files)

    def _wait(self, timeout: float | None, now: float) -> list[Any]:
        """Wait in real time, as the loop wanted to."""
        limits = [max(0.0, look.at - now) for look in self._looks if look.look is not None]
        if not self._timers and timeout is not None:
            limits.append(timeout)
        if self._clock.next_at is not None or timeout is not None:
            limits.append(HELD_S)
        ready: list[Any] = self._files.select(min(limits, default=None))
        if ready:
            self.stir()
        else:
            now = monotonic()
            self._make_looks(lambda look: look.at <= now)
        return ready


def _ns(timeout: float | None) -> int | None:
    """Return seconds as nanoseconds, up to the next of those that a loop's time tells apart."""
    return None if timeout is None else ceil(timeout / RESOLUTION_S) * 1_000


class _IdleSelector(selectors.BaseSelector):
    """A selector that asks before it waits."""

    def __init__(self, followed: FollowedLoop, files: Any) -> None:
        self.followed = followed
        self._files = files

    def select(self, timeout: float | None = None) -> list[Any]:
        ready: list[Any] = self._files.select(0)
        if ready:
            self.followed.stir()
        if ready or (timeout is not None and timeout <= 0):
            return ready
        return self.followed.idle(timeout)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.register(fileobj, events, data)  # type: ignore[no-any-return]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._files.unregister(fileobj)  # type: ignore[no-any-return]

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.modify(fileobj, events, data)  # type: ignore[no-any-return]

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._files.get_key(fileobj)  # type: ignore[no-any-return]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._files.get_map()  # type: ignore[no-any-return]

    def close(self) -> None:
        self._files.close()
