"""Rings activations when times have come that they wait for."""

from __future__ import annotations

import heapq
import itertools
import weakref
from typing import TYPE_CHECKING

from durable.runtime.clock import Alarm, Clock

if TYPE_CHECKING:
    from durable.runtime.activation import Activation


class Alarms:
    """One heap of times for all activations of an engine, and one alarm of the clock for the earliest.

    An activation has one alarm, its earliest. What it asked for before stays in the heap and is passed over when its
    time comes; the heap holds no activation alive.

    When the clock was set back, what was to come within moments may be hours away. Then all are rung, so that each
    decides anew whether it waits here, with a slot, or suspended.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, weakref.ref[Activation]]] = []
        self._numbers = itertools.count()
        self._alarm: tuple[int, Alarm] | None = None
        self._seen_at = 0
        """What the clock showed when the alarm was set."""

    def ring_at(self, at: int, act: Activation) -> None:
        """Ring an activation when `at` has come; it looks itself what is due."""
        if act.alarm_at is not None and act.alarm_at <= at:
            return
        act.alarm_at = at
        heapq.heappush(self._heap, (at, next(self._numbers), weakref.ref(act)))
        self._set()

    def stop(self) -> None:
        """Ring nobody any more."""
        self._heap.clear()
        if self._alarm is not None:
            self._alarm[1].cancel()
            self._alarm = None

    def _set(self) -> None:
        if not self._heap:
            return
        at = self._heap[0][0]
        if self._alarm is not None:
            if self._alarm[0] <= at:
                return
            self._alarm[1].cancel()
        self._seen_at = self._clock.now_ms()
        self._alarm = (at, self._clock.ring_at(at, self._rang))

    def _rang(self) -> None:
        self._alarm = None
        if self._clock.now_ms() < self._seen_at:
            heard, self._heap = self._heap, []
        else:
            heard = []
            while self._heap and self._clock.has_come(self._heap[0][0]):
                heard.append(heapq.heappop(self._heap))
        for at, _, reference in heard:
            act = reference()
            if act is not None and act.alarm_at == at:
                act.alarm_at = None
                act.host.guarded(act, act.ring)
        self._set()
