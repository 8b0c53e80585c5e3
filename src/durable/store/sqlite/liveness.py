"""Who lives: each worker of this store holds a lock on a file of its own for as long as it does.

The kernel frees the lock when the process ends, however it ends, so a free lock is proof of death, whatever a blocked
loop, a held GIL or a wrong clock do. A held lock means life, with exceptions that this process must have watched
itself: the worker's process was stopped (state T) or its file taken away for the lease time, or it made no progress
(`beat`) for `hang_timeout`. Process ids mean something only within one boot and pid namespace, so the file names its
process with both (`durable.store.processes`).

`Observer` watches and decides, `WorkerLocks` holds; neither touches the database.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from time import monotonic
from typing import Final, NamedTuple

from durable.core.records import WorkerId
from durable.errors import StoreUnavailable
from durable.store.processes import ProcessName, is_stopped, process_name
from durable.store.sqlite.filelock import FileLock

FOLDER_SUFFIX: Final = ".workers"


class Sign(Enum):
    """What a look at a worker's lock file shows."""

    FREE = "free"
    """Nobody holds its lock."""
    GONE = "gone"
    """Its lock file was taken away. A living worker makes a new one with its next `beat`."""
    STOPPED = "stopped"
    ALIVE = "alive"


class Look(NamedTuple):
    """One look at one worker."""

    sign: Sign
    beat: int = 0
    """When it last said that it makes progress, by the file's own clock: only compared for equality."""


@dataclass(slots=True)
class _Watched:
    """Since when, on our clock, a worker has been as it is."""

    beat: int
    beat_since: float
    sign: Sign
    sign_since: float


class Observer:
    """Watches workers of other processes over time, and decides which are dead."""

    def __init__(self, stopped_s: float, hang_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._stopped_s, self._hang_s, self._clock = stopped_s, hang_s, clock
        self._watched: dict[WorkerId, _Watched] = {}

    def is_dead(self, worker: WorkerId, look: Look) -> bool:
        """Is this worker dead, by this look and those before it?"""
        if look.sign is Sign.FREE:
            return True
        now = self._clock()
        watched = self._watched.setdefault(worker, _Watched(look.beat, now, look.sign, now))
        if watched.beat != look.beat:
            watched.beat, watched.beat_since = look.beat, now
        if watched.sign is not look.sign:
            watched.sign, watched.sign_since = look.sign, now
        for_s = now - watched.sign_since
        return (look.sign in (Sign.STOPPED, Sign.GONE) and for_s >= self._stopped_s) or (
            now - watched.beat_since >= self._hang_s
        )

    def forget_all_but(self, workers: Iterable[WorkerId]) -> None:
        """Drop what is known of workers that are no longer registered."""
        self._watched = {worker: self._watched[worker] for worker in workers if worker in self._watched}


class WorkerLocks:
    """The lock files of one database's workers."""

    def __init__(self, path: str) -> None:
        self.folder = path + FOLDER_SUFFIX
        self._held: dict[WorkerId, FileLock] = {}

    def path_of(self, worker: WorkerId) -> str:
        """Return the lock file of a worker; ids may hold what a file name may not."""
        return os.path.join(self.folder, blake2b(worker.encode(), digest_size=16).hexdigest() + ".lock")

    def holds(self, worker: WorkerId) -> bool:
        """Is this one of our own workers?"""
        return worker in self._held

    def hold(self, worker: WorkerId) -> None:
        """Take a worker's lock, and keep it until `let_go`.

        Raises:
            StoreUnavailable: somebody else has it, or the file cannot be made.
        """
        if worker in self._held:
            return
        try:
            os.makedirs(self.folder, exist_ok=True)
            lock = self._locked(self.path_of(worker))
            text = json.dumps(process_name(os.getpid())).encode()
            os.pwrite(lock.fd, text, 0) if hasattr(os, "pwrite") else os.write(lock.fd, text)
            os.truncate(lock.fd, len(text))
        except OSError as error:
            raise StoreUnavailable(f"the lock file of worker {worker!r} cannot be written: {error}") from error
        self._held[worker] = lock

    def _locked(self, path: str) -> FileLock:
        for _ in range(3):
            lock = FileLock(path)
            if not lock.try_acquire():
                lock.close()
                break
            if not lock.is_stale():
                return lock
            # Whoever tidied up took the file away between our opening and locking it.
            lock.close()
        raise StoreUnavailable(f"{path!r} is locked: another process uses the same worker id; ids must be unique")

    def let_go(self, worker: WorkerId) -> None:
        """Give up the lock of a worker that ends, and remove its file. Idempotent."""
        if (lock := self._held.pop(worker, None)) is not None:
            with suppress(OSError):
                os.unlink(lock.path)
            lock.close()

    def close(self) -> None:
        """Give up all locks; the files stay, so that others see who died. In a forked child the parent keeps them."""
        held, self._held = self._held, {}
        for lock in held.values():
            lock.close()

    def beat(self) -> None:
        """Say that our workers make progress."""
        for worker, lock in list(self._held.items()):
            with suppress(OSError, StoreUnavailable):
                os.utime(lock.path)
                continue
            # The file was taken away: others would take this worker for dead after a while.
            with suppress(StoreUnavailable):
                del self._held[worker]
                self.hold(worker)
                lock.close()

    def look(self, worker: WorkerId) -> tuple[Look, FileLock | None]:
        """Look at a worker; the lock of one whose lock is free is held by the caller now, so that it is found once."""
        path = self.path_of(worker)
        if not os.path.exists(path):
            return Look(Sign.GONE), None
        try:
            lock = FileLock(path)
        except OSError:
            return Look(Sign.ALIVE), None
        if lock.try_acquire():
            return Look(Sign.FREE), lock
        sign = Sign.STOPPED if _is_stopped(lock.fd) else Sign.ALIVE
        beat = os.fstat(lock.fd).st_mtime_ns
        lock.close()
        return Look(sign, beat), None

    def is_still_so(self, worker: WorkerId, look: Look) -> bool:
        """Does a worker look as it did? What was free is held by whoever found it so, and stays dead."""
        if look.sign is Sign.FREE:
            return True
        again, lock = self.look(worker)
        if lock is not None:
            lock.close()  # it has died meanwhile; the next look at all of them will find it so
        return again == look

    def tidy(self, workers: Iterable[WorkerId]) -> None:
        """Remove files that belong to no registered worker and that nobody holds."""
        known = {os.path.basename(self.path_of(worker)) for worker in workers}
        try:
            names = set(os.listdir(self.folder)) - known
        except OSError:
            return
        for name in names:
            remove_if_free(os.path.join(self.folder, name))


def remove_if_free(path: str) -> None:
    """Remove a lock file that nobody holds."""
    with suppress(OSError):
        lock = FileLock(path)
        if lock.try_acquire():
            os.unlink(path)
        lock.close()


def _is_stopped(fd: int) -> bool:
    """Is the process that wrote this file stopped, for certain?"""
    try:
        pid, started, world = json.loads(os.read(fd, 1024))
    except (OSError, ValueError):
        return False
    return is_stopped(ProcessName(pid, started, world))
