"""Where a branch of a body stands, for messages: the innermost line of the user's own code."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import FrameType
from typing import Any, Final

_FOREIGN: Final = (str(Path(asyncio.__file__).parent), str(Path(__file__).parent.parent))
"""Folders whose frames are not the user's: asyncio's and ours."""

_DEPTH_MAX: Final = 1_000


def place_of(task: asyncio.Task[Any]) -> str:
    """Return `file:line` of the innermost frame of a suspended branch that is the user's own."""
    found: FrameType | None = None
    awaited: Any = task.get_coro()
    for _ in range(_DEPTH_MAX):
        frame = _attribute(awaited, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None and not frame.f_code.co_filename.startswith(_FOREIGN):
            found = frame
        awaited = _attribute(awaited, "cr_await", "gi_yieldfrom", "ag_await")
        if awaited is None:
            break
    return f"{found.f_code.co_filename}:{found.f_lineno}" if found is not None else "not started"


def _attribute(value: Any, *names: str) -> Any:
    return next((getattr(value, name) for name in names if getattr(value, name, None) is not None), None)
