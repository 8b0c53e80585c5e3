"""What the machine says about a process, a file and itself."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def rss_mb() -> float:
    """Return the resident memory of this process now, in megabytes."""
    return _kib_of("/proc/self/status", "VmRSS:") / 1000 * 1.024


def files_bytes(path: str) -> int:
    """Return the size of a database with its log."""
    return sum(os.path.getsize(name) for name in (path, path + "-wal") if os.path.exists(name))


def filesystem_of(folder: str) -> str:
    """Return the type of the file system that a folder lies on, as the kernel names it."""
    place = os.path.realpath(folder)
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, kind = line.split()[:3]
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def described() -> str:
    """Return the machine in words."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    cores = len(os.sched_getaffinity(0))
    return f"{platform.system()} {platform.release()}, {platform.machine()}, {cores} cores, load {load}"


def _kib_of(path: str, name: str) -> int:
    for line in Path(path).read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise LookupError(f"{path} has no line {name!r}")
