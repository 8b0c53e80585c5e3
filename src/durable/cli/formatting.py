"""Values, times and durations as text, safe for a terminal and for JSON."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")

# C0 and C1 controls drive terminals; the marks that reverse the direction of text make it lie about its order.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str, *, lines: bool = False) -> str:
    """Return text in which nothing drives the terminal: control characters are shown escaped.

    Args:
        text: Any text, also one that a stranger wrote.
        lines: Keep line ends and tabs.
    """
    return _CONTROLS.sub(lambda found: found[0] if lines and found[0] in "\n\t" else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def cut(text: str, width: int) -> str:
    """Return text in one line of at most `width` characters."""
    text = plain(" ".join(text.split()))
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}…"


def parse_duration(text: str) -> timedelta:
    """Return the duration that a text such as `30d`, `12h` or `1h30m` names.

    Raises:
        ValueError: it names none.
    """
    whole = text.strip()
    parts = _DURATION.findall(whole)
    if not parts or "".join(number + unit for number, unit in parts) != whole:
        raise ValueError(
            f"{text!r} is no duration: expected a number with a unit (ms, s, m, h, d or w), such as 30d or 1h30m"
        )
    try:
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError(f"{text!r} is too long a duration") from None


def parse_moment(text: str, now: datetime) -> datetime:
    """Return the moment that a text names: a date, a time in ISO form (local without a zone), or a duration ago (`2h`).

    Raises:
        ValueError: it names none.
    """
    try:
        return now - parse_duration(text)
    except OverflowError:
        raise ValueError(f"{text!r} lies before all time") from None
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone()
    except OverflowError:
        raise ValueError(f"{text!r} lies outside of the years 1 to 9999 in local time") from None
    except ValueError:
        raise ValueError(
            f"{text!r} is no moment: expected 2026-11-21 or 2026-11-21T14:30 (a zone may follow), or how long ago: 2h"
        ) from None


def duration(seconds: float) -> str:
    """Return a duration for people: `12 ms`, `3.4 s`, `2 m 05 s`, `3 h 20 m`, `4 d 02 h`."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, first, small, second in ((60, "m", 1, "s"), (3_600, "h", 60, "m"), (86_400, "d", 3_600, "h")):
        if whole < size * (60 if size < 3_600 else 24) or size == 86_400:
            return f"{whole // size} {first} {whole % size // small:02d} {second}"
    return f"{whole} s"


def moment(at_ms: int | None) -> str:
    """Return a time as people read it, in the local zone: `2026-11-21 14:30:05`; a dash for none."""
    if at_ms is None:
        return "-"
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short_moment(at_ms: int, now_ms: int) -> str:
    """Return a time in a narrow column: `14:30:05` today, `2026-11-20` before, in the local zone."""
    at, now = (datetime.fromtimestamp(ms / 1000, UTC).astimezone() for ms in (at_ms, now_ms))
    return at.strftime("%H:%M:%S" if at.date() == now.date() else "%Y-%m-%d")


def iso(at_ms: int | None) -> str | None:
    """Return a time for programs: ISO 8601, UTC."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def ago(at_ms: int, now_ms: int) -> str:
    """Return how far a time lies from now: `3 m 20 s ago`, `in 2 h 00 m`."""
    seconds = (now_ms - at_ms) / 1000
    return f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"


def as_json(value: object) -> Any:
    """Return a value as JSON can hold it: classes as objects, what has no form as its `repr`."""
    try:
        made = msgspec.to_builtins(value, enc_hook=_foreign, str_keys=True)
        return _finite(made)
    except Exception:  # noqa: BLE001 - a repr or a model's dump is the user's code
        return safe_repr(value)


def _foreign(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dump(mode="json")
    return safe_repr(value)


def safe_repr(value: object) -> str:
    """Return the `repr` of a value, also of one whose class has a broken one."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a repr is the user's code
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value


def json_line(value: object) -> str:
    """Return one line of JSON; lone surrogates are escaped, so that any stream can hold it."""
    text = json.dumps(as_json(value), ensure_ascii=False, separators=(", ", ": "), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(as_json(value), allow_nan=False)
    return text
