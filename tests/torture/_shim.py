"""Drives `_shim.c`, which stands between a process and the system calls that it makes on one database's files.

environment = preloaded()                     # for a new process: the shim is compiled when it is first needed
…                                             # in that process:
shim = Shim(path)                             # watch the files of this database
shim.arm(Fault(Action.FAIL, Op.SYNC, nth=3, argument=errno.EIO))
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Final

from tests.torture import _tools

SOURCE: Final = Path(__file__).with_name("_shim.c")
VARIABLE: Final = "LD_PRELOAD"


class Op(IntEnum):
    """Kinds of system calls, in the order of `_shim.c`."""

    OPEN = 0
    READ = 1
    WRITE = 2
    SYNC = 3
    TRUNCATE = 4
    UNLINK = 5
    LOCK = 6
    """SQLite's own locks (fcntl)."""
    FLOCK = 7
    MAP = 8
    STAT = 9
    THREAD = 10
    """Starting a thread: concerns no file."""


class File(IntEnum):
    """The files of a database, in the order of `_shim.c`."""

    OTHER = 0
    DATABASE = 1
    LOG = 2
    INDEX = 3
    """SQLite's `-shm`."""
    JOURNAL = 4
    GUARD = 5
    """The lock file around every write."""
    WORKER = 6
    FOLDER = 7


class Action(Enum):
    """What happens to a call."""

    KILL = 1
    """The process dies before it."""
    KILL_HALFWAY = 2
    """The process dies when half of the bytes are written; of a call that writes nothing, after it."""
    FAIL = 3
    """It does nothing and fails with the error number `argument`."""
    FAIL_AFTER = 4
    """It does its work and says that it failed."""
    SHORT = 5
    """It reads or writes half of the bytes, and says so."""
    DELAY = 6
    """It takes `argument` milliseconds longer."""


ALL_FILES: Final = tuple(File)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and when."""

    action: Action
    ops: Op | tuple[Op, ...]
    nth: int = 1
    """The first call that it hits, among those it could, counted from 1."""
    argument: int = 0
    times: int = 1
    """How many calls it hits; negative: all from then on."""
    files: tuple[File, ...] = ALL_FILES


class Shim:
    """The shim of this process, which was started with `preloaded()`.

    Args:
        path: The database file; its companions are watched, too.
        shared: Steer the children that are forked from now on with it.

    Raises:
        RuntimeError: the process was started without.
    """

    def __init__(self, path: str, *, shared: bool = False) -> None:
        self._library = ctypes.CDLL(None)
        if not hasattr(self._library, "shim_arm"):
            raise RuntimeError("this process was started without the shim: see preloaded()")
        for name in ("shim_fired", "shim_matched", "shim_refused", "shim_calls"):
            getattr(self._library, name).restype = ctypes.c_long
        self._library.shim_watch(os.path.realpath(path).encode())
        if shared and self._library.shim_share() != 0:
            raise OSError("no memory could be shared")

    def arm(self, fault: Fault) -> None:
        """Let this fault happen; it replaces the one before."""
        ops = fault.ops if isinstance(fault.ops, tuple) else (fault.ops,)
        self._library.shim_arm(
            ctypes.c_int(fault.action.value),
            ctypes.c_uint(sum(1 << op for op in ops)),
            ctypes.c_uint(sum(1 << file for file in fault.files)),
            ctypes.c_int(fault.argument),
            ctypes.c_long(fault.nth),
            ctypes.c_long(fault.times),
        )

    def disarm(self) -> None:
        """Let everything pass again."""
        self._library.shim_disarm()

    def set_full(self, is_full: bool) -> None:
        """Let no file grow, or let them grow again."""
        self._library.shim_full(int(is_full))

    @property
    def fired(self) -> int:
        """Faults since `arm`."""
        return int(self._library.shim_fired())

    @property
    def hit(self) -> str:
        """The call that the last fault hit, in words."""
        op, file = divmod(int(self._library.shim_hit()), len(File))
        return f"{Op(op).name.lower()} of {File(file).name.lower()}"

    @property
    def matched(self) -> int:
        """Calls since `arm` that the fault could have hit."""
        return int(self._library.shim_matched())

    @property
    def refused(self) -> int:
        """Calls that were refused because the disk was said to be full."""
        return int(self._library.shim_refused())

    def calls(self, op: Op) -> int:
        """Return how many watched calls of a kind there were."""
        return int(self._library.shim_calls(int(op)))

    def log_to(self, path: str) -> None:
        """Write a record for each call that changes what is on disk, until the process ends."""
        self._library.shim_log(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))

    def mark(self, text: str) -> None:
        """Put a remark into the log: what was acknowledged by now."""
        self._library.shim_mark(text.encode())


def preloaded() -> dict[str, str]:
    """Return the variables of the environment with which a process has the shim.

    Raises:
        ToolMissing: there is no compiler.
    """
    before = os.environ.get(VARIABLE)
    return {**os.environ, VARIABLE: f"{compiled()}{os.pathsep + before if before else ''}"}


def compiled() -> Path:
    """Return the compiled shim; it is made once for each version of its source."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    library = _tools.folder() / f"shim-{digest}.so"
    if not library.exists():
        compiler = _tools.need_command("gcc", "gcc", "libc6-dev")
        made = library.with_name(f"{library.name}.{os.getpid()}")
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, "-o", str(made), str(SOURCE), "-ldl", "-pthread"], check=True)
        made.replace(library)
    return library
