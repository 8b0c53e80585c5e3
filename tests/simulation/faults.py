"""What goes wrong in a schedule, and when: all drawn from the schedule's seed.

Calls of the store fail by chance, each for itself, as long as faults last. Processes are hit at chosen moments: when
the n-th call of the store is made, between its effect and its answer, or some callbacks later. So most blows fall where
something is under way. When the last one has fallen, or enough calls have been made, it is *calm*: nothing fails any
more, whatever stood still goes on, and everything has to come to its end.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Final

from durable.store.operations import Advance, Operation
from tests.simulation.store import Fate


class Blow(Enum):
    """What hits a process."""

    CRASH = "crash"
    PAUSE = "pause"
    """It stands still for a while, and goes on as if nothing had happened."""
    BURY = "bury"
    """It is taken for dead while it lives."""
    FREEZE = "freeze"
    """It stands still until after it was taken for dead: a zombie."""
    LATE = "late"
    """It is taken for dead, and what it has just asked for arrives long after that, as if it had waited for a lock."""
    JUMP = "jump"
    """Its clock is set forward or back."""
    LOSE = "lose"
    """Its store turns out to be beyond use; somebody ends it after a while."""
    STOP = "stop"
    """It is asked to end, and does."""


class Moment(Enum):
    """When, relative to the n-th call of the store."""

    ASKED = "asked"
    WRITTEN = "written"
    LATER = "later"


BLOWS: Final = (
    Blow.CRASH, Blow.CRASH, Blow.CRASH, Blow.PAUSE, Blow.BURY, Blow.FREEZE, Blow.FREEZE, Blow.LATE, Blow.JUMP,
    Blow.STOP, Blow.LOSE,
)  # fmt: skip

ZOMBIES: Final = (Blow.LATE, Blow.LATE, Blow.LATE, Blow.FREEZE, Blow.BURY)
"""What makes workers write runs that they have lost."""

AIMS: Final = (
    "", "", "", "registered", "register", "unregister", "journal", "last_entry", "run_by_key", "owned", "Claim",
    "Start", "Suspend",
)  # fmt: skip
"""What blows may be aimed at: calls of the store, operations of a batch, what an Advance leads to; or nothing."""

AIMING_MAX: Final = 40
"""Calls of the store that a blow waits for one that it is aimed at."""

SLOW_US: Final = 400_000
"""Longest time that a slow call is on its way, one way."""

JUMPS_MS: Final = (-20_000, -1_500, -40, 40, 1_500, 20_000)


class Faults:
    """Draws what goes wrong.

    Args:
        source: Draws all choices.
        blows: What may hit processes; empty for none.
        errs: May calls of the store fail?
    """

    def __init__(self, source: random.Random, blows: tuple[Blow, ...] = BLOWS, *, errs: bool = True) -> None:
        self._draw = source.random
        self._source = source
        self.blows = blows
        many = (1, 1, 2, 3, 4, 6, 9) if blows is not ZOMBIES else (9, 12)
        self.left = source.choice(many) if blows else 0
        """Blows to come."""
        self.count = 0
        """What has gone wrong so far."""
        self.is_calm = False
        self.fates: deque[Fate] = deque()
        """What becomes of the next writes, before chance decides."""
        self._error_rate = source.choice((0.0, 0.0, 0.02, 0.06, 0.2)) if errs else 0.0
        self._again_rate = max(self._error_rate, source.choice((0.0, 0.6))) if self._error_rate else 0.0
        self._has_failed = False
        self._read_error_rate = source.choice((0.0, 0.02, 0.3)) if self._error_rate else 0.0
        self._latency_us = source.choice((20, 200, 2_000))
        self._late_rate = source.choice((0.0, 0.05))
        self._detour_rate = source.choice((0.0, 0.1, 0.6))
        self._slow_rate = source.choice((0.0, 0.0, 0.1, 0.5)) if blows else 0.0
        self._in_the_way_rate = source.choice((0.1, 0.6))
        self._gap = source.choice((4, 10, 25))
        self._aim = source.choice(AIMS)
        self.next_at = 1 + self._drawn_gap()
        """Number of the call of the store at which the next blow falls."""

    def _drawn_gap(self) -> int:
        return 1 + int(self._draw() * 2 * self._gap)

    def calm_down(self) -> None:
        """Let nothing go wrong any more."""
        self.is_calm = True
        self.left = 0
        self._error_rate = self._again_rate = self._read_error_rate = 0.0
        self._late_rate = self._slow_rate = 0.0

    def make_prompt(self) -> None:
        """Let nothing take time that need not."""
        self._latency_us, self._late_rate, self._detour_rate, self._slow_rate = 1, 0.0, 0.0, 0.0

    # Calls of the store ---------------------------------------------------------------------------------------------

    def fate(self) -> Fate:
        """Return what becomes of a write."""
        if self.fates:
            return self.fates.popleft()
        rate = self._again_rate if self._has_failed else self._error_rate
        self._has_failed = bool(rate) and self._draw() < rate
        if not self._has_failed:
            return Fate.DONE
        self.count += 1
        return self._source.choice((Fate.FAILED, Fate.LOST, Fate.UNANSWERED))

    def read_fails(self) -> bool:
        """Does a read fail?"""
        if not self._read_error_rate or self._draw() >= self._read_error_rate:
            return False
        self.count += 1
        return True

    def latency_us(self) -> int:
        """Return how long a batch, or its answer, is on its way."""
        us = 1 + int(self._draw() * self._latency_us)
        return us * 500 if self._late_rate and self._draw() < self._late_rate else us

    def detour_us(self) -> int:
        """Return how long another call, or its answer, is on its way; 0 for at once."""
        if self._slow_rate and self._draw() < self._slow_rate:
            return 1 + int(self._draw() * SLOW_US)
        return 1 + int(self._draw() * self._latency_us) if self._draw() < self._detour_rate else 0

    def is_in_the_way(self) -> bool:
        """Does something keep a batch from being executed at once?"""
        return self._draw() < self._in_the_way_rate

    # Blows ----------------------------------------------------------------------------------------------------------

    def strikes(self, calls: int, what: str, batch: Sequence[Operation]) -> bool:
        """Does a blow fall with this call of the store, the `calls`-th?"""
        if calls < self.next_at or not self.left:
            return False
        return not self._aim or calls >= self.next_at + AIMING_MAX or self._aim in _names(what, batch)

    def blow(self) -> tuple[Blow, Moment]:
        """Return the blow that falls now, and draw when the next one does."""
        self.left -= 1
        self.count += 1
        self.next_at += self._drawn_gap()
        return self._source.choice(self.blows), self._source.choice(tuple(Moment))


def _names(what: str, batch: Sequence[Operation]) -> list[str]:
    """Return what a call of the store may be aimed at for."""
    leads = (type(one.then).__name__ for one in batch if isinstance(one, Advance))
    return [what.split(maxsplit=1)[0], *(type(one).__name__ for one in batch), *leads]
