"""Named places where a test may let something go wrong; idle unless armed.

`arm("commit", error)` makes the next passage of `fault("commit")` raise. The names are those in `NAMES`. State is a
module's because faults are armed from outside of the store; nothing arms them in production.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

NAMES: Final = ("before-begin", "before-commit", "commit", "committed", "before-mark", "before-checkpoint", "locked")

_armed: dict[str, Callable[[], None]] = {}


def fault(name: str) -> None:
    """Do what was armed for this place, usually nothing."""
    if _armed and (action := _armed.pop(name, None)) is not None:
        action()


def arm(name: str, action: Callable[[], None]) -> None:
    """Let `action` (which may raise) happen at the next passage of a place.

    Raises:
        ValueError: there is no such place.
    """
    if name not in NAMES:
        raise ValueError(f"there is no fault {name!r}; there are: {', '.join(NAMES)}")
    _armed[name] = action


def disarm() -> None:
    """Let everything pass again."""
    _armed.clear()
