"""Calls that a body made and never awaited: a step that was forgotten, most likely."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Coroutine
from pathlib import Path
from types import CodeType
from typing import Any, Final, NamedTuple

_OURS: Final = str(Path(__file__).parent.parent)

_PRUNE_AT: Final = 64
"""Calls that are kept before those that were awaited meanwhile are forgotten."""


class _Call(NamedTuple):
    coro: Any
    name: str
    code: CodeType
    instruction: int

    @property
    def never_awaited(self) -> bool:
        return inspect.getcoroutinestate(self.coro) == inspect.CORO_CREATED

    @property
    def place(self) -> str:
        # Instructions take two bytes each; the line is looked up only for the few calls that are told of.
        line = list(self.code.co_positions())[self.instruction // 2][0]
        return f"{self.name} ({self.code.co_filename}:{line})"


class Unawaited:
    """Remembers what the body of one activation called, until it is awaited."""

    __slots__ = ("_calls", "_last", "_prune_at")

    def __init__(self) -> None:
        self._last: _Call | None = None
        self._calls: list[_Call] = []
        """Calls before the last one that had not ended when the next one was made."""
        self._prune_at = _PRUNE_AT

    def called(self, coro: Coroutine[Any, Any, Any], name: str) -> None:
        """Remember a coroutine of ours, and the line of the user's code that asked for it.

        Most have ended before the next one is made, and are forgotten then: what lives long costs the collector.
        """
        last = self._last
        if last is not None and last.coro.cr_frame is not None:
            self._keep(last)
        frame = sys._getframe(2)
        while frame.f_code.co_filename.startswith(_OURS) and frame.f_back is not None:
            frame = frame.f_back
        self._last = tuple.__new__(_Call, (coro, name, frame.f_code, frame.f_lasti))

    def _keep(self, call: _Call) -> None:
        if len(self._calls) >= self._prune_at:
            self._calls = [call for call in self._calls if call.never_awaited]
            self._prune_at = max(_PRUNE_AT, 2 * len(self._calls))
        self._calls.append(call)

    def take_places(self) -> list[str]:
        """Return `name (file:line)` of the calls that were never awaited, and forget them.

        They are closed, so that Python does not tell of them again, at a line of ours.
        """
        if self._last is None:
            return []
        left = [call for call in (*self._calls, self._last) if call.never_awaited]
        self._calls, self._last = [], None
        for call in left:
            call.coro.close()
        return [call.place for call in left]
