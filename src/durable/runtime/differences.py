"""Where the arguments of two calls differ, in words short enough for a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

NAMED_MAX: Final = 3
"""Arguments that are named, if more differ."""

VALUE_CHARS: Final = 60
LEAD_CHARS: Final = 20
"""Characters that are shown of a value, and how many of them lie before the first that differs."""

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


def differing(found: Arguments, wanted: Arguments) -> tuple[str, str]:
    """Return what differs as each of two calls has it: `cents=990` and `cents=100`; empty texts if nothing shows."""
    one, other = _named(found), _named(wanted)
    names = [name for name in one | other if one.get(name) != other.get(name)]
    pairs = [_pair(name, one.get(name), other.get(name)) for name in names[:NAMED_MAX]]
    more = [f"and {len(names) - NAMED_MAX} more"] if len(names) > NAMED_MAX else []
    return ", ".join([*(pair[0] for pair in pairs), *more]), ", ".join([*(pair[1] for pair in pairs), *more])


def apart(one: str, other: str) -> tuple[str, str]:
    """Return two texts cut to the part in which they differ."""
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return _window(one, same), _window(other, same)


def _window(text: str, middle: int) -> str:
    begin = max(min(middle - LEAD_CHARS, len(text) - VALUE_CHARS), 0)
    if begin <= 1:
        begin = 0
    shown = text[begin : begin + VALUE_CHARS]
    return f"{'…' if begin else ''}{shown}{'…' if begin + VALUE_CHARS < len(text) else ''}"


def _named(call: Arguments) -> dict[str, str]:
    args, kwargs = call
    values = {str(index): value for index, value in enumerate(args, 1)} | dict(kwargs)
    return {name: _repr(value) for name, value in values.items()}


def _pair(name: str, one: str | None, other: str | None) -> tuple[str, str]:
    label = f"argument {name}" if name.isdigit() else name
    if one is None or other is None:
        # A canonical call leaves out what equals its default.
        return tuple(  # type: ignore[return-value]
            f"{label} left out" if text is None else f"{label}={apart(text, '')[0]}" for text in (one, other)
        )
    here, there = apart(one, other)
    return f"{label}={here}", f"{label}={there}"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a repr is the user's code
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
