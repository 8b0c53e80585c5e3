"""Who a worker is: unique for ever, and checkable by other processes of the same boot."""

from __future__ import annotations

import os
import secrets
import socket

from durable.core.records import WorkerRecord
from durable.store.processes import process_name


def new_worker(now_ms: int) -> WorkerRecord:
    """Return the identity of a new worker in this process: `boot:pid:start:nonce` (reliability: E8, E10, E11)."""
    pid, started, world = process_name(os.getpid())
    worker_id = f"{world}:{pid}:{started}:{secrets.token_hex(8)}"
    return WorkerRecord(worker_id, pid, socket.gethostname(), world, now_ms)
