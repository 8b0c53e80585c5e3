"""Exclusive locks on files, that the operating system frees when the process ends however it ends.

On Linux and macOS it is `flock`: it belongs to the open file, so two stores in one process exclude each other, and a
forked child shares its parent's lock until it closes the file. Elsewhere (Windows) `msvcrt.locking` on the first byte
stands in, **untested**. Callers: the writer (one lock a database) and the liveness of workers (one lock a worker).
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

BUSY: Final = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""How a lock that somebody else holds is reported, by one system or another."""

if sys.platform == "win32":  # pragma: no cover - untested, see the module's docstring
    import msvcrt
    import time

    POLL_S: Final = 0.005
    """Windows offers no wait without a limit of its own."""

    def _lock(fd: int, *, wait: bool) -> None:
        os.lseek(fd, 0, os.SEEK_SET)
        while True:
            try:
                return msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            except OSError as error:
                if error.errno not in BUSY or not wait:
                    raise
            time.sleep(POLL_S)

    def _unlock(fd: int) -> None:
        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(fd: int, *, wait: bool) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _opened(path: str) -> tuple[int, bool]:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(path, flags | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(path, flags, 0o666), False


class FileLock:
    """An exclusive lock on one file. Not for two threads at once: its owner brings a mutex of its own."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd, self.is_new = _opened(path)
        """`is_new`: did this lock make the file?"""

    def acquire(self) -> None:
        """Wait for the lock, in the order of arrival (the kernel keeps the queue)."""
        _lock(self.fd, wait=True)

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        try:
            _lock(self.fd, wait=False)
        except OSError as error:
            if error.errno in BUSY:
                return False
            raise
        return True

    def release(self) -> None:
        """Free the lock."""
        _unlock(self.fd)

    def is_stale(self) -> bool:
        """Has the file been deleted or replaced? Others then lock another file than this one."""
        try:
            here, there = os.fstat(self.fd), os.stat(self.path)
        except OSError:
            return True
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)

    def close(self) -> None:
        """Close the file; a lock that is held goes with it. Idempotent.

        In a forked child this leaves the parent's lock alone, since nothing is unlocked there.
        """
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)


def holder_pid(path: str) -> int | None:
    """Return the process that holds the lock on `path`, None where nobody does or the system does not say (Linux does).

    Source: proc(5), /proc/locks; lines of waiting processes carry an arrow.
    """
    try:
        found = os.stat(path)
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    inode = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in lines:
        fields = line.split()
        if "->" not in fields and len(fields) > 5 and fields[5] == inode and int(fields[4]) > 0:
            return int(fields[4])
    return None
