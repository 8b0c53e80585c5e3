"""Kills a process at every passage of every named place in its store, and checks what it leaves behind (T3).

The places are those of `durable.store.sqlite.faults`: before and after a transaction is begun, committed, marked in the
log. The first time the process dies at its first passage of a place, the second time at the second one, and so on.
`syscalls` kills between the calls to the system, this between what the store means by them. The same on the store in
memory is `durable.testing.crash_matrix`.

Covers: A5, A8, A13
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import signal
from typing import Any, Final
from unittest import mock

from durable.store.sqlite import database, faults
from tests.torture import _reference
from tests.torture._outcome import Outcome
from tests.torture._rounds import exit_code, fork, scratch
from tests.torture._sweep import sweep
from tests.torture.syscalls import verdict

N_DEFAULT: Final = 100_000
"""More than there are: all."""

JOBS: Final = 16
"""Rounds at a time: they mostly wait for timers."""

PATIENCE_S: Final = 60.0

COMMITS_A_CHECKPOINT: Final = 5
"""The log is copied that often, so that the small workload comes by that, too."""


def campaign(n: int, seed: int) -> Outcome:
    """Play all passages, at most n of each place."""
    return sweep("tests.torture.points:one_round", faults.NAMES, n, seed, jobs=JOBS, patience_s=PATIENCE_S)


class Passages:
    """Counts the passages of a place in a forked process, and kills it at one of them."""

    def __init__(self, place: str, fatal: int) -> None:
        self._place = place
        self._fatal = fatal
        self._seen = mmap.mmap(-1, 8)  # shared with the process that is forked

    @property
    def seen(self) -> int:
        """Passages so far, the fatal one included."""
        return int.from_bytes(self._seen[:], "little")

    def watch(self) -> None:
        """Count, in this process, from now on."""
        faults.arm(self._place, self._pass)

    def _pass(self) -> None:
        self._seen[:] = (self.seen + 1).to_bytes(8, "little")
        if self.seen == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.watch()


def one_round(place: str, k: int) -> dict[str, Any]:
    """Let a process die at its k-th passage of a place, and judge what is left."""
    logging.getLogger("durable").setLevel(logging.CRITICAL)
    with scratch("points") as folder:
        db, ledger = str(folder / "x.db"), str(folder / "ledger")
        passages = Passages(place, k)

        def act() -> int:
            passages.watch()
            with mock.patch.object(database, "CHECKPOINT_COMMITS", COMMITS_A_CHECKPOINT):
                return asyncio.run(_reference.act(db, ledger))

        pid = fork(act)
        status = exit_code(pid)
        fired = passages.seen >= k
        violations = verdict(status, fired, _reference.acknowledged(ledger))
        violations += _reference.judge(db, ledger, {pid})
        return {"fired": int(fired), "matched": passages.seen, "hit": place, "violations": violations}
