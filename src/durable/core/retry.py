"""What follows a failed attempt: another one after a wait, or the end of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

RETRIES_MAX: Final = 1_000_000
WAIT_MS_MAX: Final = 10 * 365 * 86_400_000
"""Longest wait between two attempts: ten years."""


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How a task is executed; times in milliseconds."""

    retries: int
    backoff: Callable[[int], float]
    """Seconds before the next attempt, from the number of earlier waits (0 for the first)."""
    timeout_ms: int | None = None
    """Longest time of one attempt."""
    deadline_ms: int | None = None
    """Longest time of all attempts and the waits between them, from the call."""
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()
    at_most_once: bool = False
    check_args: bool = True


def next_attempt_at(
    options: TaskOptions, failures: int, error: BaseException, *, now: int, called_at: int
) -> int | None:
    """Return when the next attempt starts, None if the step has failed for good.

    Args:
        options: The task's options.
        failures: Failed attempts so far, this one included, from 1.
        error: What the attempt raised.
        now: Time of the failure, in milliseconds.
        called_at: Time of the call, in milliseconds.
    """
    if failures > options.retries or isinstance(error, options.give_up_on) or not isinstance(error, options.retry_on):
        return None
    due_at = now + _wait_ms(options.backoff, failures - 1)
    if options.deadline_ms is not None and due_at >= called_at + options.deadline_ms:
        return None
    return due_at


def _wait_ms(backoff: Callable[[int], float], earlier: int) -> int:
    seconds = backoff(earlier)
    if math.isnan(seconds) or seconds <= 0:
        return 0
    return min(math.ceil(min(seconds, 1e12) * 1000), WAIT_MS_MAX)
