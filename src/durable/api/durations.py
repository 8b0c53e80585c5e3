"""Durations and times as users give them."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final, TypeAlias

Duration: TypeAlias = float | int | timedelta
"""Seconds, or a timedelta."""

MS_MAX: Final = 253_402_300_799_000
"""The last millisecond of year 9999; a longer duration is cut to it, since nothing can be due later."""


def to_ms(value: Duration, name: str = "duration") -> int:
    """Return milliseconds, rounded up, 0 for what is negative.

    Raises:
        TypeError: neither a number nor a timedelta.
        ValueError: NaN or infinite.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}: expected seconds as a number, or a timedelta")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}={value!r}: expected a finite number of seconds")
    return min(math.ceil(max(value, 0) * 1000), MS_MAX)


def optional_ms(value: Duration | None, name: str) -> int | None:
    """Return milliseconds, None for None.

    Raises:
        ValueError: not positive; a limit of nothing would fail every call.
    """
    if value is None:
        return None
    milliseconds = to_ms(value, name)
    if milliseconds <= 0:
        raise ValueError(f"{name}={value!r}: expected more than 0 seconds, or None for no limit")
    return milliseconds


def moment_ms(at: datetime, name: str = "at") -> int:
    """Return milliseconds since the epoch.

    Raises:
        TypeError: not a datetime.
        ValueError: without a time zone, which would mean another moment on another machine.
    """
    if not isinstance(at, datetime):
        raise TypeError(f"{name}={at!r} is a {type(at).__name__}: expected a datetime with a time zone")
    if at.utcoffset() is None:
        raise ValueError(f"{name}={at!r} has no time zone: pass datetime.now(timezone.utc) + … or set tzinfo")
    return min(math.ceil(at.timestamp() * 1000), MS_MAX)


def from_now_ms(now: int, duration_ms: int) -> int:
    """Return the moment that long from now, in milliseconds; the last second of year 9999 at most."""
    return min(now + duration_ms, MS_MAX)
