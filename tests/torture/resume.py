"""How long after `kill -9` the next step of a run begins in another live worker of the machine (T20).

One worker lives; victims come one after another, each executes a run of its own and is killed in its second step, at a
random moment of the other's looks for dead workers. Measured is the time from before the kill to the beginning of that
step in the worker that is left; 99 of 100 have to be at most a second. The first step is not repeated, the second is
executed once more, the third once.

Covers: A2, A3
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Final

from tests.torture._lines import lines, wait_for
from tests.torture._nursery import Nursery
from tests.torture._outcome import Outcome
from tests.torture._rounds import scratch

N_DEFAULT: Final = 250
ALONE: Final = True

GOAL_MS: Final = 1_000
"""Bound of the 99th percentile."""

LOOKS_S: Final = 0.4
"""Time between two looks of a worker for dead ones; the moment of a kill is spread over it."""

PATIENCE_S: Final = 30.0

Lines = list[list[str]]


def kill_all(db: str, ledger: str, n: int, seed: int) -> dict[str, float]:
    """Kill n victims, and return when each was killed, by the number of its run."""
    chance = random.Random(seed)
    killed: dict[str, float] = {}
    with Nursery("tests.torture._resume_program", db, ledger) as nursery:
        nursery.spawn("survivor")
        assert wait_for(ledger, bool, PATIENCE_S), "the survivor does not come"
        for number in map(str, range(n)):
            victim = nursery.spawn(number)
            assert wait_for(ledger, _executes(number, "second"), PATIENCE_S), "it has not begun"
            time.sleep(chance.random() * LOOKS_S)
            killed[number] = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            # The next one would look for dead workers as soon as it begins.
            wait_for(ledger, _executes(number, "third"), PATIENCE_S)
    return killed


def _executes(number: str, label: str) -> Callable[[Lines], bool]:
    return lambda words: any(word[:2] == [number, label] for word in words)


def waits_ms(words: Lines, killed: dict[str, float]) -> tuple[list[float], list[str]]:
    """Return how long runs stood still, shortest first, and what else went wrong."""
    waits, wrong = [], []
    for number, killed_at in killed.items():
        steps = [(label, float(at)) for run, label, _, at in words if run == number]
        if [label for label, _ in steps] == ["first", "second", "second", "third"]:
            waits.append(1000 * (steps[2][1] - killed_at))
        else:
            wrong.append(f"run {number} executed {', '.join(label for label, _ in steps)}")
    return sorted(waits), wrong


def percentile(waits: list[float], share: float) -> float:
    """Return the smallest of the sorted values that this share of them does not exceed."""
    return waits[max(0, -int(-share * len(waits) // 1) - 1)]


def judge(waits: list[float], wrong: list[str]) -> Outcome:
    """Compare with what was promised."""
    outcome = Outcome(list(wrong))
    if waits:
        p50, p99 = (round(percentile(waits, share)) for share in (0.5, 0.99))
        outcome.facts.update(p50_ms=p50, p99_ms=p99, max_ms=round(waits[-1]))
        if p99 > GOAL_MS:
            outcome.violations.append(f"1 of 100 runs stood still for {p99} ms or longer")
    return outcome


def campaign(n: int, seed: int) -> Outcome:
    """Kill n workers."""
    # On a real disk: what is measured includes flushing.
    with scratch("resume", fast=False) as folder:
        ledger = str(folder / "ledger")
        killed = kill_all(str(folder / "durable.db"), ledger, n, seed)
        return judge(*waits_ms(lines(ledger), killed))
