"""Kills a process at every system call that its store makes, and checks what it leaves behind (T4).

The reference workload is executed again and again. The first time its process dies before its first call of the store
that could matter, the second time before the second one, and so on to the last. Writes are also cut in half. After each
death another process recovers the database and finishes the work; `_witness.py` says what must hold.

Every k is played; `-n` bounds how many of each way are, and then the seed chooses them.

Covers: A5, A8, A13, B24
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Any, Final

from tests.torture import _reference
from tests.torture._outcome import Outcome
from tests.torture._rounds import exit_code, fork, scratch
from tests.torture._shim import Action, Fault, Op, Shim
from tests.torture._sweep import sweep

N_DEFAULT: Final = 100_000
"""More than there are: all."""

WAYS: Final = {
    "before": (Action.KILL, (Op.OPEN, Op.WRITE, Op.SYNC, Op.TRUNCATE, Op.UNLINK, Op.FLOCK, Op.MAP)),
    "halfway": (Action.KILL_HALFWAY, (Op.WRITE,)),
}
"""How a process dies, and at which calls. Opening and locking change nothing on disk, but what others may do."""

JOBS: Final = 16
"""Rounds at a time: they mostly wait for timers."""

PATIENCE_S: Final = 60.0


def campaign(n: int, seed: int) -> Outcome:
    """Play all k, at most n of each way."""
    return sweep("tests.torture.syscalls:one_round", WAYS, n, seed, jobs=JOBS, patience_s=PATIENCE_S)


def one_round(way: str, k: int) -> dict[str, Any]:
    """Let a process die at its k-th call, and judge what is left. Runs in a process with the shim."""
    logging.getLogger("durable").setLevel(logging.CRITICAL)
    action, ops = WAYS[way]
    with scratch("syscalls") as folder:
        db, ledger = str(folder / "x.db"), str(folder / "ledger")
        shim = Shim(db, shared=True)
        shim.arm(Fault(action, ops, nth=k))
        pid = fork(lambda: asyncio.run(_reference.act(db, ledger)))
        status = exit_code(pid)
        fired, matched, hit = shim.fired, shim.matched, shim.hit
        shim.disarm()
        violations = verdict(status, bool(fired), _reference.acknowledged(ledger))
        violations += _reference.judge(db, ledger, {pid})
        return {"fired": fired, "matched": matched, "hit": hit, "violations": violations}


def verdict(status: int | None, was_killed: bool, acks: list[list[str]]) -> list[str]:
    """Return what is wrong with how the process ended.

    Args:
        status: Its exit code; None if it did not end.
        was_killed: Did the fault come?
        acks: What was acknowledged to it.
    """
    if status is None:
        return ["the process is stuck"]
    if status != (-signal.SIGKILL if was_killed else 0):
        return [f"the process ended with code {status}"]
    if not was_killed and ["stopped"] not in acks:
        return ["the process ended early"]
    return []
