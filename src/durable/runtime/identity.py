"""Who a worker is: unique for ever, and checkable by other processes of the same boot."""

from __future__ import annotations

import functools
import os
import secrets
import socket
from pathlib import Path

from durable.core.records import WorkerRecord


def new_worker(now_ms: int) -> WorkerRecord:
    """Return the identity of a new worker in this process: `boot:pid:start:nonce` (reliability: E8, E10, E11)."""
    pid = os.getpid()
    boot = boot_id()
    worker_id = f"{boot}:{pid}:{start_ticks(pid)}:{secrets.token_hex(4)}"
    return WorkerRecord(worker_id, pid, socket.gethostname(), boot, now_ms)


@functools.cache
def boot_id() -> str:
    """Return what identifies the boot and the pid namespace in which process ids mean something."""
    boot = _read("/proc/sys/kernel/random/boot_id").strip()[:8]
    try:
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        space = ""
    return f"{boot}-{space}"


def start_ticks(pid: int) -> str:
    """Return when a process began, in clock ticks since boot; a reused process id has another one."""
    stat = _read(f"/proc/{pid}/stat")
    # The second field is the command in parentheses and may hold anything; start time is the 20th field after it.
    fields = stat.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
