"""What interrupts a body: cancellations and the limits of its run's time."""

from __future__ import annotations

import sys
from typing import Final

from durable.core.records import RunRecord
from durable.runtime.arrivals import CANCEL, LIMITS
from durable.runtime.scope import handles_cancellation

ONCE_MORE: Final = "once more"
"""Reason of the second cancellation, of a body that swallowed the first."""


CLEANED_UP: Final = 1
"""`attempt` in the entry of a cancellation that was asked for while the body cleans up after one: nothing is raised."""


class Interruptions:
    """Counts the interruptions that were applied to the body of one activation."""

    __slots__ = (
        "_counts", "_passed", "_undurable_at", "cancel_reason", "compensates", "limited", "swallowed", "timeout_ms",
    )  # fmt: skip

    def __init__(self, run: RunRecord, timeout_ms: int | None) -> None:
        self.timeout_ms = timeout_ms
        """Longest active time of the run."""
        self.limited = timeout_ms is not None or run.deadline_at is not None
        """Is the run's time limited at all?"""
        self.cancel_reason = ""
        self.compensates = False
        """A plain or generator body asks from within the `except` or `finally` of its cancellation, as it told us."""
        self.swallowed = False
        """The body went on after its cancellation, and is to get it once more."""
        self._counts: dict[str, int] = {}
        self._passed: frozenset[str] = frozenset()
        """Limits that are in the line of arrivals, or were."""
        self._undurable_at = 0
        """Position of a cancellation that is not durable yet."""

    def __bool__(self) -> bool:
        return bool(self._counts)

    def may_come(self, name: str) -> bool:
        """May this interruption still be applied? A limit passes once."""
        return name == CANCEL or name not in self._counts

    def passes(self, name: str) -> bool:
        """A limit of the run's time has passed: is that news?"""
        if name in self._passed or name in self._counts:
            return False
        self._passed |= {name}
        return True

    def came(self, name: str, reason: str) -> None:
        """An interruption is applied."""
        self._counts[name] = self._counts.get(name, 0) + 1
        if name == CANCEL and reason != ONCE_MORE:
            self.cancel_reason = reason
        self.swallowed = False

    def recorded_at(self, position: int) -> None:
        """A cancellation was recorded live."""
        self._undurable_at = position

    def became_durable(self, before: int) -> bool:
        """Everything before a position is durable: is that news of a cancellation?"""
        if not 0 < self._undurable_at < before:
            return False
        self._undurable_at = 0
        return True

    @property
    def cleans_up(self) -> bool:
        """Was the body cancelled once, and has not been seen to go on as if nothing had happened?

        Whoever asks again now, out of impatience or because an answer was lost, must not end the compensation.
        """
        return self._counts.get(CANCEL) == 1 and not self.swallowed

    @property
    def cancelled(self) -> bool:
        """Was a cancellation applied?"""
        return CANCEL in self._counts

    @property
    def passed_limit(self) -> str | None:
        """Which limit of the run has passed, if one has."""
        return next((name for name in LIMITS if name in self._counts), None)

    def swallows_now(self) -> bool:
        """Does the body, which asks for more, go on as if nothing had happened? Called by the root branch.

        Inside `except` and `finally` the cancellation is still the current exception: that is compensation, and runs.
        """
        if self.swallowed or self._counts.get(CANCEL) != 1 or self.compensates:
            return False
        self.swallowed = not handles_cancellation(sys.exception())
        return self.swallowed

    def next_limit_at(self, run: RunRecord, active_since: int, *, active: bool) -> int | None:
        """Return when the next of the run's limits passes, in milliseconds; None if none will."""
        over = self._passed | self._counts.keys()
        deadline_at = run.deadline_at if "deadline" not in over else None
        if self.timeout_ms is None or not active or "timeout" in over:
            return deadline_at
        timeout_at = active_since + self.timeout_ms - run.active_ms
        return timeout_at if deadline_at is None else min(timeout_at, deadline_at)
