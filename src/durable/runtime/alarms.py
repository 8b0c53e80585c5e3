"""Rings activations when times have come that they wait for."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

from durable.runtime.clock import Alarm, Clock

if TYPE_CHECKING:
    from durable.runtime.activation import Activation


class Alarms:
    """One heap of times for all activations of an engine, and one alarm of the clock for the earliest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, Activation]] = []
        self._numbers = itertools.count()
        self._alarm: tuple[int, Alarm] | None = None

    def ring_at(self, at: int, act: Activation) -> None:
        """Ring an activation when `at` has come; it looks itself what is due."""
        heapq.heappush(self._heap, (at, next(self._numbers), act))
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
        self._alarm = (at, self._clock.ring_at(at, self._rang))

    def _rang(self) -> None:
        self._alarm = None
        while self._heap and self._clock.has_come(self._heap[0][0]):
            act = heapq.heappop(self._heap)[2]
            act.host.guarded(act, act.ring)
        self._set()
