"""Strict mode: files, sockets and processes are refused while a workflow body is pumped.

A body that opens a file gets another one on replay, perhaps; the loop cannot see it, but Python's audit events can. The
hook is installed once a process, when the first strict engine opens, and cannot be removed; it costs one comparison an
event outside bodies.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

from durable.errors import ForbiddenInWorkflow

_FORBIDDEN: Final = frozenset(
    (
        "open", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.system", "os.exec",
        "os.fork", "os.posix_spawn", "os.spawn", "shutil.copyfile", "shutil.rmtree", "socket.bind", "socket.connect",
        "socket.getaddrinfo", "socket.sendto", "sqlite3.connect", "subprocess.Popen", "tempfile.mkstemp",
    )
)  # fmt: skip

_TOLERATED: Final = ("importlib", "linecache", "tokenize", "zipimport", "encodings", "logging", "warnings", "traceback")
"""Modules whose files may be opened: an import in a body, or a traceback that is printed, reads source files."""

_FRAMES_MAX: Final = 30

_state = threading.local()
_installed = False


def install() -> None:
    """Install the audit hook. Idempotent."""
    global _installed  # noqa: PLW0603 - audit hooks are global and permanent
    if not _installed:
        _installed = True
        sys.addaudithook(_audit)


class Watch:
    """Context in which this thread runs a body's code."""

    __slots__ = ("_forbid", "run_id")

    def __init__(self, run_id: str, forbid: Callable[[ForbiddenInWorkflow], None]) -> None:
        self.run_id = run_id
        self._forbid = forbid

    def __enter__(self) -> None:
        _state.watch = self

    def __exit__(self, *_: object) -> None:
        _state.watch = None

    def refuse(self, what: str) -> None:
        """Refuse what the body did; it sticks to the run even if a library swallows the error."""
        error = ForbiddenInWorkflow(
            f"run {self.run_id!r}: the workflow body did {what}, which another replay may answer otherwise; do this in "
            "a @task (or build the application with strict=False)"
        )
        self._forbid(error)
        raise error


def _audit(event: str, args: tuple[object, ...]) -> None:
    if event not in _FORBIDDEN:
        return
    watch: Watch | None = getattr(_state, "watch", None)
    if watch is not None and not _is_tolerated(sys._getframe(1)):
        watch.refuse(f"{event}({args[0]!r})" if args else event)


def _is_tolerated(frame: FrameType | None) -> bool:
    for _ in range(_FRAMES_MAX):
        if frame is None:
            return False
        name = frame.f_globals.get("__name__", "")
        if name.startswith(_TOLERATED) or frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        if name.startswith("durable.runtime"):
            return False
        frame = frame.f_back
    return False
