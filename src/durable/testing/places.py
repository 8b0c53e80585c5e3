"""Lines of the user's own code: from which one somebody calls us, and on which one a body stands."""

from __future__ import annotations

import asyncio
import linecache
import sys
import sysconfig
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

_DURABLE: Final = str(Path(__file__).parent.parent)
_STDLIB: Final = (sysconfig.get_path("stdlib"), str(Path(asyncio.__file__).parent.parent), "<frozen")
_INSTALLED: Final = ("site-packages", "dist-packages")

_DEPTH_MAX: Final = 1_000


class Place(NamedTuple):
    """A line of code."""

    file: str
    line: int
    function: str = ""

    @property
    def short(self) -> str:
        """File and line, the file without its folders."""
        return f"{Path(self.file).name}:{self.line}"

    @property
    def text(self) -> str:
        """The line itself, without its indentation."""
        return linecache.getline(self.file, self.line).strip()


def place_of_caller() -> Place | None:
    """Return the innermost line of the user's own code that leads here; None if only a body's or a task's frame does.

    Beyond the engine's frames is whoever runs the loop, who has nothing to do with it.
    """
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_DEPTH_MAX):
        if frame is None or _is_engine(frame):
            return None
        if _is_own(frame):
            return _place(frame)
        if (generator := _driven_generator(frame)) is not None:
            return _place_in_generator(generator)
        frame = frame.f_back
    return None


def thread_computes(name: str) -> bool:
    """Does a plain body's thread compute? Otherwise it waits for the outcome of a step, or has ended."""
    frame = _frame_in_thread(name)
    while frame is not None:
        if frame.f_code.co_name == "_exchange" and frame.f_code.co_filename.startswith(_DURABLE):
            return False
        if frame.f_back is None:
            return True
        frame = frame.f_back
    return False


def place_in_thread(name: str) -> Place | None:
    """Return the innermost line of the user's own code on which the thread of that name stands."""
    frame = _frame_in_thread(name)
    while frame is not None:
        if _is_own(frame):
            return _place(frame)
        frame = frame.f_back
    return None


def _frame_in_thread(name: str) -> FrameType | None:
    ident = next((thread.ident for thread in threading.enumerate() if thread.name == name), None)
    return sys._current_frames().get(ident) if ident is not None else None


def _place(frame: FrameType) -> Place:
    return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)


def _is_own(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    if file.startswith(_DURABLE):
        return False
    return not file.startswith(_STDLIB) or any(part in file for part in _INSTALLED)


def _is_engine(frame: FrameType) -> bool:
    """Is this where the engine calls into code of users: a body's pump, or the attempt of a task?"""
    code = frame.f_code
    return code.co_filename.startswith(_DURABLE) and code.co_name in ("pump", "_attempt", "_call_plain", "_run")


def _driven_generator(frame: FrameType) -> Any:
    """Return the generator that a body is, if this frame drives one: it stands at its `yield`, on no stack."""
    if frame.f_code.co_name == "_drive" and frame.f_code.co_filename.startswith(_DURABLE):
        return frame.f_locals.get("generator")
    return None


def _place_in_generator(generator: Any) -> Place | None:
    place: Place | None = None
    for _ in range(_DEPTH_MAX):
        frame: FrameType | None = getattr(generator, "gi_frame", None)
        if frame is None:
            break
        if _is_own(frame):
            place = _place(frame)
        generator = generator.gi_yieldfrom
    return place
