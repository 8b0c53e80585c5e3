"""Waits between the attempts of a task.

    from durable.backoff import constant, exponential, linear

    exponential(base=2, max=60)   # 2, 4, 8, 16, 32, 60, 60, …
    linear(start=2, step=3)       # 2, 5, 8, …
    constant(5)                   # 5, 5, 5, …

A strategy is any callable that takes the number of waits before this one (0 for the first) and returns seconds; one
of your own works as well as these. `jitter` spreads the waits of many runs that failed together.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias

BackoffStrategy: TypeAlias = Callable[[int], float]
"""Takes the number of earlier waits, from 0; returns seconds to wait, 0 or more."""

BASE_MAX = 1e9
"""Largest base of `exponential`: over thirty years for the first wait."""

__all__ = ["BackoffStrategy", "constant", "exponential", "linear"]


def exponential(base: float = 2.0, max: float | timedelta = 60.0, *, jitter: float = 0.0) -> BackoffStrategy:
    """Return a strategy that waits `base`, `base`², `base`³, … seconds.

    Args:
        base: Growth from wait to wait and first wait in seconds; a finite number of at least 1.
        max: Longest wait, in seconds or as timedelta; 0 or more.
        jitter: Share of each wait, from 0 to 1, that is drawn at random: with 0.5 a wait of 8 s lasts 4 to 8 s.

    Raises:
        ValueError: an argument is out of its bounds.
    """
    _check("base", base, 1.0, BASE_MAX)
    longest = _seconds("max", max)
    _check("jitter", jitter, 0.0, 1.0)

    def wait(attempt: int) -> float:
        try:
            seconds = min(base ** (attempt + 1), longest)
        except OverflowError:
            seconds = longest
        return _spread(seconds, jitter)

    return wait


def linear(
    start: float | timedelta = 1.0,
    step: float | timedelta = 1.0,
    *,
    max: float | timedelta = float("inf"),
    jitter: float = 0.0,
) -> BackoffStrategy:
    """Return a strategy that waits `start`, `start + step`, `start + 2 * step`, … seconds, at most `max`.

    Args:
        start: First wait, in seconds or as timedelta; 0 or more.
        step: Growth from wait to wait, likewise.
        max: Longest wait, likewise; infinite for no bound.
        jitter: As for `exponential`.

    Raises:
        ValueError: an argument is out of its bounds.
    """
    first, growth = _seconds("start", start, finite=True), _seconds("step", step, finite=True)
    longest = _seconds("max", max)
    _check("jitter", jitter, 0.0, 1.0)
    return lambda attempt: _spread(min(first + growth * attempt, longest), jitter)


def constant(seconds: float | timedelta, *, jitter: float = 0.0) -> BackoffStrategy:
    """Return a strategy that always waits the same.

    Args:
        seconds: The wait, a number or a timedelta; 0 or more.
        jitter: As for `exponential`.

    Raises:
        ValueError: an argument is out of its bounds.
    """
    wait = _seconds("seconds", seconds, finite=True)
    _check("jitter", jitter, 0.0, 1.0)
    return lambda attempt: _spread(wait, jitter)


def _spread(seconds: float, jitter: float) -> float:
    return seconds * (1.0 - jitter * random.random()) if jitter else seconds


def _seconds(name: str, value: float | timedelta, *, finite: bool = False) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    _check(name, seconds, 0.0)
    if finite and seconds == float("inf"):
        raise ValueError(f"{name}={value!r}: expected a finite number of seconds")
    return seconds


def _check(name: str, value: float, least: float, most: float = float("inf")) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}: expected a number")
    if not least <= value <= most:
        bounds = f"at least {least:g}" if most == float("inf") else f"from {least:g} to {most:g}"
        raise ValueError(f"{name}={value!r}: expected {bounds}")
