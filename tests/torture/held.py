"""Workers that cannot say that they live for 60 seconds, and keep their runs (T12).

In each round one worker executes a run in which a task holds the GIL from C code, blocks the event loop, or has taken
all threads, each for a minute. A second worker on the same file looks for dead ones all the while, and works. The run
has to stay with its owner: one epoch, no death, each step executed once, by one process.

The lock by which a worker lives is the kernel's, so no heartbeat can be late; a worker is taken for dead only when its
loop has made no progress for ten minutes. A GIL that is taken while another thread of the process commits keeps the
write lock with it: then writes beside it wait. `gil busy` provokes that, and `beside_gap_s` says how long they waited.

Covers: E2, E3
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from durable import RunSetAside
from durable.core.records import RunRecord
from tests.torture._application import APP, Ledger
from tests.torture._held_application import RUN, make_app, work
from tests.torture._lines import lines, wait_for
from tests.torture._outcome import Outcome
from tests.torture._rounds import fork, play, scratch

N_DEFAULT: Final = 5
"""Rounds of each kind."""

KINDS: Final = ("gil", "gil busy", "loop", "threads")

HOLD_S: Final = 60.0
HANG_S: Final = 600.0
"""What a store has unless an operator says otherwise."""

PATIENCE_S: Final = 60.0
"""Longest time for everything but the holding itself."""

LABELS: Final = {"threads": ["before", "hold 0", "hold 1", "hold 2", "after", "end"]}
"""Steps of the run, where they are not the usual ones."""

USUAL: Final = ["before", "hold", "after", "end"]


@dataclass(frozen=True)
class Seen:
    """What became of a run that was held up."""

    owner: int
    """The process that began it."""
    lines: list[list[str]]
    """What was executed: label, process."""
    run: RunRecord
    result: list[str] | str
    """What it gave, or why it gave nothing."""


def judge(kind: str, seen: Seen) -> list[str]:
    """Return what is wrong: the run has to be as if nothing had held it up."""
    labels = LABELS.get(kind, USUAL)
    wrong = []
    for label, times in (Counter(labels) + Counter(label for label, _ in seen.lines)).items():
        if times != 2:  # once wanted, once executed
            wrong.append(f"{label} was executed {times - 1} times")
    if others := {pid for _, pid in seen.lines if pid != str(seen.owner)}:
        wrong.append(f"the run of {seen.owner} was taken over by {', '.join(sorted(others))}")
    if (seen.run.epoch, seen.run.deaths) != (1, 0):
        wrong.append(f"the run has epoch {seen.run.epoch} after {seen.run.deaths} deaths")
    if seen.result != labels:
        wrong.append(f"the run gave {seen.result}")
    return wrong


def one_round(kind: str, hold_s: float, hang_s: float) -> dict[str, Any]:
    """Hold up a run beside a healthy worker; `killed` ends its owner instead, as a control."""
    workers: list[int] = []
    # On a real disk: commits take long enough for the GIL to be taken in the middle of one.
    with scratch("held", fast=False) as folder:
        db, ledger = str(folder / "durable.db"), str(folder / "ledger")

        def begin(kind: str, hold_s: float) -> int:
            workers.append(fork(lambda: work(kind, db, ledger, hold_s, hang_s)))
            return workers[-1]

        try:
            beside = begin("beside", 0.0)
            assert wait_for(ledger, bool, PATIENCE_S), "nobody works beside"
            owner = begin("gil" if kind == "killed" else kind, hold_s)
            assert wait_for(ledger, lambda words: _has(words, "hold"), PATIENCE_S), "nothing was held up"
            if kind == "killed":
                os.kill(owner, signal.SIGKILL)
            wait_for(ledger, lambda words: _has(words, "end"), hold_s + PATIENCE_S)
            seen = asyncio.run(_look(db, ledger, owner))
            return {"violations": judge(kind, seen), "beside_gap_s": _gap(lines(ledger), beside)}
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _has(words: list[list[str]], label: str) -> bool:
    return any(line[0] == RUN and line[1].startswith(label) for line in words)


def _gap(words: list[list[str]], beside: int) -> float:
    """Return the longest time without a step in the process beside, once the run was held up."""
    held_at = min(float(at) for run, label, _, at in words if run == RUN and label.startswith("hold"))
    after = [float(at) for _, _, pid, at in words if pid == str(beside) and float(at) >= held_at]
    return round(max((b - a for a, b in zip([held_at, *after], after, strict=False)), default=0.0), 3)


async def _look(db: str, ledger: str, owner: int) -> Seen:
    app = make_app(db, Ledger(os.devnull), "gil", 0.0)
    try:
        try:
            result: list[str] | str = await app.handle(RUN).result(timeout=PATIENCE_S)
        except (RunSetAside, TimeoutError) as error:
            result = str(error)
        run = await (await app._engine()).store.run(APP, RUN)
    finally:
        await app.stop()
    assert run is not None
    return Seen(owner, [line[1:3] for line in lines(ledger) if line[0] == RUN], run, result)


def campaign(n: int, seed: int, *, hold_s: float = HOLD_S, hang_s: float = HANG_S) -> Outcome:
    """Play n rounds of each kind, all at once. There is no chance in them: the seed is for the line."""
    rounds = [(kind, hold_s, hang_s) for kind in KINDS for _ in range(n)]
    outcome = Outcome(facts={"hold_s": hold_s, "kept": 0}, n=len(rounds))
    gaps: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    kept = 0
    patience_s = hold_s + 4 * PATIENCE_S
    for played in play("tests.torture.held:one_round", rounds, jobs=len(rounds), patience_s=patience_s):
        kind = played.arguments[0]
        if played.failure:
            outcome.violations.append(f"{kind}: the round {played.failure}")
            continue
        outcome.violations += [f"{kind}: {wrong}" for wrong in played.result["violations"]]
        kept += not played.result["violations"]
        gaps[kind] = max(gaps[kind], played.result["beside_gap_s"])
    outcome.facts.update(kept=kept, beside_gap_s=gaps)
    return outcome
