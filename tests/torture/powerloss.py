"""Replays what a store wrote up to a power failure, and opens what may be left (T6, and its share of T32).

A store executes random batches while `_shim.c` records its system calls (`_recorder.py`). For each moment of the
record, several states of the disk are drawn that the failure may leave behind (`_disk.py`). Each is opened with the
product: it must say exactly what it said after some batch, and none from before the last one that was acknowledged.

Positive controls: the same with `durability=relaxed`, which must lose acknowledged batches but never be damaged, and
with SQLite's `synchronous=OFF`, which must lose or damage. If one of them finds nothing, the campaign fails.

Covers: A24, B10
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from durable import StoreError
from durable.store.sqlite import SQLiteRunStore, connection, database
from tests.torture._disk import Disk, Record, put, records
from tests.torture._outcome import Outcome
from tests.torture._recorder import Recorder, StillClock, digest
from tests.torture._rounds import exit_code, fork, play, scratch
from tests.torture._shim import Shim, preloaded

N_DEFAULT: Final = 20_000

POINTS: Final = 1_000
"""Power failures of one recording."""

BATCHES: Final = 60

CONTROLS: Final = {"relaxed": 1_000, "off": 1_000}
"""Power failures without the flushes that full durability makes."""

JOBS: Final = 2

GOOD: Final = "good"
LOST: Final = "lost"
DAMAGED: Final = "damaged"


def campaign(n: int, seed: int) -> Outcome:
    """Fail n times, POINTS of them on one recording; the seeds are those of the recordings."""
    outcome = Outcome(n=n)
    totals = {mode: Counter[str]() for mode in ("full", *CONTROLS)}
    for played in play("tests.torture.powerloss:one_round", _rounds(n, seed), jobs=JOBS, environment=preloaded()):
        mode, recording_seed, _ = played.arguments
        if played.failure:
            outcome.violations.append(f"{mode}, recording {recording_seed}: the round {played.failure}")
            continue
        totals[mode].update(played.result["verdicts"])
        findings = played.result["findings"]
        outcome.violations += [f"{mode}, recording {recording_seed}: {finding}" for finding in findings]
    outcome.facts["points"] = dict(totals["full"])
    outcome.facts["controls"] = {mode: dict(totals[mode]) for mode in CONTROLS}
    outcome.violations += judge_controls(totals["relaxed"], totals["off"])
    return outcome


def judge_controls(relaxed: Counter[str], off: Counter[str]) -> list[str]:
    """Return what is wrong with the positive controls: they must be caught."""
    wrong = []
    if not relaxed[LOST]:
        wrong.append("control: durability=relaxed lost nothing, so the campaign would not see a loss")
    if relaxed[DAMAGED]:
        wrong.append(f"durability=relaxed was damaged {relaxed[DAMAGED]} times: it may lose the newest commits only")
    if not off[LOST] + off[DAMAGED]:
        wrong.append("control: synchronous=OFF survived, so the campaign would not see damage")
    return wrong


def _rounds(n: int, seed: int) -> Iterator[tuple[str, int, int]]:
    for number, start in enumerate(range(0, n, POINTS)):
        yield "full", seed + number, min(POINTS, n - start)
    for mode, points in CONTROLS.items():
        yield mode, seed, min(points, n)


def one_round(mode: str, seed: int, points: int) -> dict[str, Any]:
    """Record a store at work, and examine power failures. Runs in a process with the shim."""
    logging.getLogger("durable").setLevel(logging.CRITICAL)
    with scratch("powerloss") as folder:
        log, digests = record(mode, seed, folder)
        return examine(log, digests, mode, seed, points, folder)


# Recording ------------------------------------------------------------------------------------------------------------


def record(mode: str, seed: int, folder: Path) -> tuple[list[Record], list[str]]:
    """Let a child work on a database, and return its system calls and what it said."""
    (folder / "origin").mkdir()
    status = exit_code(fork(lambda: _work(mode, seed, folder)))
    if status != 0:
        raise RuntimeError(f"the recorder ended with code {status}")
    return list(records(folder / "log")), json.loads((folder / "digests").read_text())


def _work(mode: str, seed: int, folder: Path) -> int:
    if mode == "off":
        connection._SYNCHRONOUS["relaxed"] = "PRAGMA synchronous = OFF"
    # Small limits, so that a short recording sees what a long one would.
    database.CHECKPOINT_COMMITS, database.LOG_BYTES_KEPT = 7, 60_000  # type: ignore[misc]
    path = folder / "origin" / "x.db"
    shim = Shim(str(path))
    shim.log_to(str(folder / "log"))
    recorder = Recorder(path, "full" if mode == "full" else "relaxed", seed, shim.mark)
    asyncio.run(recorder.record(BATCHES))
    (folder / "digests").write_text(json.dumps(recorder.digests))
    return 0


# Examining ------------------------------------------------------------------------------------------------------------


def examine(log: list[Record], digests: list[str], mode: str, seed: int, points: int, folder: Path) -> dict[str, Any]:
    """Fail at moments spread over the whole record, and return the verdicts, counted, and what was found."""
    source = random.Random(seed)
    moments = sorted(source.choices(range(1, len(log) + 1), k=points))
    numbers = {known: number for number, known in enumerate(digests)}
    verdicts: Counter[str] = Counter()
    findings: list[str] = []
    (folder / "left").mkdir()
    disk, played, acknowledged = Disk(), 0, -1
    with asyncio.Runner() as runner:
        for moment in moments:
            for call in log[played:moment]:
                disk.play(call)
                if call.kind == "m":
                    acknowledged = int(call.data)
            played = moment
            put(disk.after_power_loss(source), folder / "left")
            said = runner.run(recover(folder / "left" / "x.db"))
            verdict = judge(said, numbers, acknowledged)
            verdicts[verdict] += 1
            if (mode == "full" and verdict != GOOD) or not said.is_named:
                findings.append(
                    f"power failure after call {moment}: {verdict}: {said.text}, acknowledged {acknowledged}"
                )
    return {"verdicts": verdicts, "findings": findings}


class Said(NamedTuple):
    """What a database says after a power failure."""

    text: str
    """A digest of its rows, or what is wrong with it."""
    is_sound: bool
    is_named: bool = True
    """Is what is wrong said in the words of the contract?"""


async def recover(path: Path) -> Said:
    """Open what is left with the product, and return what it says."""
    store = SQLiteRunStore(path)
    try:
        await store.open(StillClock())
        findings = await store.check()
        return Said(findings[0], is_sound=False) if findings else Said(digest(store), is_sound=True)
    except Exception as error:
        return Said(f"{type(error).__name__}: {error}", is_sound=False, is_named=isinstance(error, StoreError))
    finally:
        await store.close()


def judge(said: Said, numbers: dict[str, int], acknowledged: int) -> str:
    """Return the verdict about a database.

    Args:
        said: What it says.
        numbers: The batch after which it said that, before the failure.
        acknowledged: The newest acknowledged batch; -1 if not even its creation was: then it may be created now.
    """
    if not said.is_sound:
        return DAMAGED
    if acknowledged < 0:
        return GOOD
    if said.text not in numbers:
        return DAMAGED
    return GOOD if numbers[said.text] >= acknowledged else LOST
