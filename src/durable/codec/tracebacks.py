"""The traceback of an exception as text: the frames that say where it happened, as if nothing of ours lay between."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Final

from durable.errors import DurableError

TRACEBACK: Final = "__durable_traceback__"
"""The attribute with the recorded text of an exception that was rebuilt."""

FRAMES_MAX: Final = 20
_PACKAGE: Final = __name__.partition(".")[0]


def traceback_text(error: BaseException) -> str:
    """Return the traceback of an exception; of one that was rebuilt, the frames since, then those recorded before.

    That is the order of calls: it was rebuilt where somebody waited for what had raised it.
    """
    before = vars(error).get(TRACEBACK, "")
    before = before if isinstance(before, str) else ""
    try:
        frames = list(_frames_of(error.__traceback__))
        shown = _telling(frames, is_recorded=bool(before), is_known=bool(before) or _is_meant(error))
        # Frame by frame: a summary of several that keeps the columns can only be made of frames in a row.
        lines = [line for frame in shown[-FRAMES_MAX:] for line in traceback.extract_tb(frame, limit=1)]
        text = "".join(traceback.StackSummary.from_list(lines).format())
    except Exception:  # noqa: BLE001 - it reads source files, and a loader may raise anything
        text = ""
    return text + before


def _frames_of(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _telling(frames: list[TracebackType], *, is_recorded: bool, is_known: bool) -> list[TracebackType]:
    """Return the frames of others, or all if there are none and none were recorded.

    Our own behind the last of the others stay as well if nothing is known of the error: it may be a mistake of ours.
    """
    others = [index for index, frame in enumerate(frames) if not _is_own(frame)]
    if not others:
        return [] if is_recorded else frames
    tail = [] if is_known else frames[others[-1] + 1 :]
    return [*(frames[index] for index in others), *tail]


def _is_own(frame: TracebackType) -> bool:
    return str(frame.tb_frame.f_globals.get("__name__")).partition(".")[0] == _PACKAGE


def _is_meant(error: BaseException) -> bool:
    """Is it one of ours, or a cancellation, which passes through our frames on its way to who awaits?"""
    cancelled = getattr(sys.modules.get("asyncio.exceptions"), "CancelledError", DurableError)
    return isinstance(error, DurableError | cancelled)
