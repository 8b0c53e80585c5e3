"""Processes: what names one for ever, and what the system says of it.

A process id means something only within one boot and one pid namespace (`world`), and is used again: so a process is
named by all three, with its start time. Used for the ids of workers and by stores that must know who lives; nobody else
reads /proc for that. Where there is no /proc, `world` is empty and nothing is ever said of another process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

STOPPED: Final = frozenset("Tt")
"""States of a process that is stopped by a signal or a debugger."""


class ProcessName(NamedTuple):
    """What names one process for ever."""

    pid: int
    started: int
    """Start time in clock ticks since the boot, 0 if unknown."""
    world: str
    """Boot and pid namespace in which the two mean something; empty if unknown."""


def process_name(pid: int) -> ProcessName:
    """Return the name of a process of this machine, as far as the system tells."""
    return ProcessName(pid, _stat(pid)[1], world())


def is_stopped(name: ProcessName) -> bool:
    """Is this process stopped, for certain? Not if it cannot be known from here."""
    if not name.world or name.world != world():
        return False
    state, started = _stat(name.pid)
    return started == name.started and state in STOPPED


def world() -> str:
    """Return what identifies the boot and the pid namespace of this process, without a colon; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    return f"{boot}-{space.strip('pid:[]')}"


def _stat(pid: int) -> tuple[str, int]:
    """Return state and start time of a process, empty and 0 if there is none.

    Source: proc_pid_stat(5), fields 3 and 22; the name in parentheses may hold anything.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return "", 0
