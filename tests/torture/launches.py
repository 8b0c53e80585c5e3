"""Processes that start beside a healthy one execute nothing of what it is at (T11).

A worker executes eight runs side by side, without a pause. Others are launched beside it, some at a time: workers that
would take over the runs of a dead one, and callers of the very runs that it executes. Each stays for up to a second
and ends. Every step is executed once, by the process that was there first.

Covers: E9
"""

from __future__ import annotations

import time
from collections import Counter, deque
from pathlib import Path
from typing import Final

from tests.torture._launches_program import AT_ONCE, STEPS
from tests.torture._lines import lines, wait_for
from tests.torture._nursery import Nursery, is_alive
from tests.torture._outcome import Outcome
from tests.torture._rounds import scratch

N_DEFAULT: Final = 500

BESIDE: Final = 6
"""Launched processes at a time."""

PATIENCE_S: Final = 60.0


def _launch(db: str, ledger: str, n: int) -> tuple[int, list[str]]:
    """Launch n processes beside a healthy one; return that one, and what went wrong."""
    ends = f"{ledger}.ends"
    with Nursery("tests.torture._launches_program", db, ledger) as nursery:
        healthy = nursery.spawn("healthy", ends)
        assert wait_for(ledger, lambda words: len(words) >= AT_ONCE, PATIENCE_S), "the healthy worker does not work"
        beside: deque[int] = deque()
        for number in range(n):
            while len(beside) >= BESIDE:
                _ended(beside.popleft())
            newest = max((int(run) for run, _, _ in lines(ledger)[-AT_ONCE:]), default=0)
            beside.append(nursery.spawn("worker" if number % 2 else "caller", str(newest)))
        stuck = [pid for pid in beside if not _ended(pid)]
        wrong = [f"{pid} was launched, and does not end" for pid in stuck]
        if not is_alive(healthy):
            wrong.append("the healthy worker ended by itself")
        Path(ends).touch()
        if not _ended(healthy):
            wrong.append("the healthy worker does not end")
    return healthy, wrong


def _ended(pid: int) -> bool:
    limit = time.monotonic() + PATIENCE_S
    while is_alive(pid):
        if time.monotonic() > limit:
            return False
        time.sleep(0.002)
    return True


def judge(words: list[list[str]], healthy: int) -> list[str]:
    """Return which steps were not executed once, by the healthy worker."""
    wrong = [f"step {step} of run {run} was executed by {pid}" for run, step, pid in words if pid != str(healthy)]
    executed = Counter((run, step) for run, step, _ in words)
    for (run, step), times in executed.items():
        if times > 1:
            wrong.append(f"step {step} of run {run} was executed {times} times")
    for run, steps in Counter(run for run, _ in executed).items():
        if steps != STEPS:
            wrong.append(f"run {run} executed {steps} of its steps")
    return wrong


def campaign(n: int, seed: int) -> Outcome:
    """Launch n processes. The processes themselves draw how long they stay: the seed is for the line."""
    with scratch("launches") as folder:
        ledger = str(folder / "ledger")
        healthy, wrong = _launch(str(folder / "durable.db"), ledger, n)
        words = lines(ledger)
    return Outcome(wrong + judge(words, healthy), {"runs": len({word[0] for word in words}), "steps": len(words)})
