"""Lets every system call of the store fail once, and checks that nobody is told a lie or left waiting (T7).

A part of the reference workload is executed again and again; each time another call fails, in one of the ways of
`WAYS`: with an I/O error, with a full disk, after it has done its work, by half, or late. The process must go on by
itself and finish. A fault that hits it while it opens the database may end it, with an error that says so. Then another
process looks: what was acknowledged must be there, results must be right, and nothing may have been executed twice,
since nobody died.

Every k is played; `-n` bounds how many of each way are, and then the seed chooses them.

Covers: B1, B2, B4, B6, B20
"""

from __future__ import annotations

import asyncio
import errno
import logging
from dataclasses import dataclass
from typing import Any, Final

from durable import StoreError
from tests.torture import _reference
from tests.torture._outcome import Outcome
from tests.torture._rounds import exit_code, fork, scratch
from tests.torture._shim import Action, Fault, Op, Shim
from tests.torture._sweep import sweep

N_DEFAULT: Final = 100_000
"""More than there are: all."""

RUNS: Final = (("steps", 1), ("approval", 1), ("mailbox", 1), ("doomed", 2), ("rounds", 1))

JOBS: Final = 8

PATIENCE_S: Final = 20.0
"""A single fault delays a process by a second or two; longer is stuck."""

CALLS_AGAIN_MAX: Final = 100

GAVE_UP: Final = 75
"""Exit code of a process that says it cannot go on."""


@dataclass(frozen=True)
class Way:
    """How a call goes wrong, and which ones."""

    action: Action
    ops: tuple[Op, ...]
    argument: int = 0

    def fault(self, k: int) -> Fault:
        """Return this fault for the k-th call."""
        return Fault(self.action, self.ops, nth=k, argument=self.argument)


ALL_OPS: Final = (
    Op.OPEN, Op.READ, Op.WRITE, Op.SYNC, Op.TRUNCATE, Op.UNLINK, Op.LOCK, Op.FLOCK, Op.MAP, Op.STAT,
)  # fmt: skip

WAYS: Final = {
    "EIO": Way(Action.FAIL, ALL_OPS, errno.EIO),
    "ENOSPC": Way(Action.FAIL, (Op.OPEN, Op.WRITE, Op.TRUNCATE), errno.ENOSPC),
    "EIO although done": Way(Action.FAIL_AFTER, (Op.WRITE, Op.SYNC, Op.TRUNCATE), errno.EIO),
    "short": Way(Action.SHORT, (Op.READ, Op.WRITE)),
    "late": Way(Action.DELAY, (Op.SYNC, Op.FLOCK), 100),
}


def campaign(n: int, seed: int) -> Outcome:
    """Play all ways and all k, at most n of each way."""
    return sweep("tests.torture.io:one_round", WAYS, n, seed, jobs=JOBS, patience_s=3 * PATIENCE_S)


def one_round(name: str, k: int) -> dict[str, Any]:
    """Let the k-th call of a workload fail, and judge. Runs in a process with the shim."""
    logging.getLogger("durable").setLevel(logging.CRITICAL)
    with scratch("io") as folder:
        db, ledger = str(folder / "x.db"), str(folder / "ledger")
        shim = Shim(db, shared=True)
        shim.arm(WAYS[name].fault(k))
        pid = fork(lambda: _act(db, ledger))
        status = exit_code(pid, PATIENCE_S)
        found: dict[str, Any] = {"fired": shim.fired, "matched": shim.matched, "hit": shim.hit}
        shim.disarm()
        if status is None:
            return {**found, "violations": [f"is stuck: {_reference.acknowledged(ledger)[-3:]}"]}
        gave_up = status == GAVE_UP
        violations = _reference.judge(db, ledger, {pid} if gave_up else set(), runs=RUNS, patience_s=PATIENCE_S)
        violations += verdict(status, _reference.acknowledged(ledger))
        return {**found, "violations": violations, "figures": {"ended while opening": int(gave_up)}}


def verdict(status: int, acks: list[list[str]]) -> list[str]:
    """Return what is wrong with how the process ended.

    Args:
        status: Its exit code.
        acks: What was acknowledged to it.
    """
    if status not in (0, GAVE_UP):
        return [f"the process ended with code {status}"]
    if status == GAVE_UP and acks:
        return [f"the process gave up after {acks[-1]}, although the fault had passed"]
    if status == 0 and ["stopped"] not in acks:
        return ["the process ended early"]
    return []


def _act(db: str, ledger: str) -> int:
    try:
        asyncio.run(_reference.act(db, ledger, runs=RUNS, patience=CALLS_AGAIN_MAX))
    except StoreError as error:
        logging.getLogger("tests.torture").info("gave up: %r", error)
        return GAVE_UP
    return 0
