"""Fills the disk under a working process, and frees it again (B2, B22).

Each round a process executes runs that record without end. After a moment that the seed chooses, its files cannot grow
any more: the file system is full (a small one of our own, which needs root), each call that would need space is told
so (the shim), the files have reached a size limit, or nothing at all can be written, as after a file system was mounted
anew for reading only. Work must pause without keeping the processor busy, others read
on, and when there is space again, work goes on by itself. Nothing acknowledged may be lost, nothing executed twice.

The process that has made a commit of unknown outcome reads nothing until it is healed, as the known limits say, and
neither does who opens the file when there is no space for the index of its log: with the shim, where deleting a file
gives no space to others, the other process has opened it before.

Covers: B2, B3, B5, B7, B22
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import random
import resource
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final, TypeVar

from durable import OutcomeUnknown, RunNotFound, StoreError, StoreUnavailable, Workflow
from durable.store.base import RunFilter
from durable.store.sqlite.reading import SQLiteReading, reading
from tests.torture._application import Ledger, flow
from tests.torture._outcome import Outcome
from tests.torture._rounds import exit_code, fork, play, scratch
from tests.torture._shim import Action, Fault, Op, Shim, preloaded

N_DEFAULT: Final = 20

JOBS: Final = 4

WAYS: Final = ("tmpfs", "shim", "limit", "read-only")

RUNS: Final = 6
"""Runs of a round; the second half is started while the disk may be full."""

RESULT_BYTES: Final = 4_000

STEP_S: Final = 0.02
"""How long a step takes: what is written in a round has to fit on the disk when it is free."""

DISK_MB: Final = 16

QUIET_S: Final = 0.6
"""Work that has done nothing for so long is paused."""

PAUSES_WITHIN_S: Final = 15.0

FULL_S: Final = (1.0, 5.0)
"""How long the disk stays full once work is paused, at least and at most."""

CPU_SHARE_MAX: Final = 0.1

RESUMES_WITHIN_S: Final = 10.0

STEPS_AFTER: Final = 20
"""Steps to see once there is space again."""

PATIENCE_S: Final = 60.0

CLONE_NEWNS: Final = 0x00020000
"""Linux, `sched.h`."""

MAY_REFUSE: Final = ("may or may not have been written", "is not connected now")
"""What a read is told between a commit of unknown outcome and the reopening that heals it."""

T = TypeVar("T")


def campaign(n: int, seed: int) -> Outcome:
    """Play `n` rounds, all ways in turn."""
    return fill(n, seed, *FULL_S)


def fill(n: int, seed: int, least_s: float, most_s: float) -> Outcome:
    """Play `n` rounds in which the disk stays full for so long after work has paused."""
    ways = WAYS if can_mount() else WAYS[1:]
    counts: Counter[str] = Counter()
    violations = []
    most: dict[str, float] = {"resumed_s": 0.0, "cpu_share": 0.0}
    rounds = [(way, seed + number, least_s, most_s) for number, way in enumerate(islice(cycle(ways), n))]
    target = "tests.torture.diskfull:one_round"
    for played in play(target, rounds, jobs=JOBS, patience_s=3 * PATIENCE_S, environment=preloaded()):
        way, number, *_ = played.arguments
        found = [played.failure] if played.failure else played.result["violations"]
        violations += [f"{way}, seed {number}: {text}" for text in found]
        counts[way] += 1
        if not played.failure:
            counts.update(played.result["counts"])
            most = {name: max(value, played.result["measured"][name]) for name, value in most.items()}
    return Outcome(violations, {**counts, **{f"{name}_max": value for name, value in most.items()}})


def can_mount() -> bool:
    """May this process make file systems?"""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    attempt = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(attempt, capture_output=True, check=False).returncode == 0


# The disk -------------------------------------------------------------------------------------------------------------


class Disk:
    """A place for a database that can be full.

    Args:
        way: One of `WAYS`.
        folder: Where it is.
    """

    def __init__(self, way: str, folder: Path) -> None:
        self.db = str(folder / "x.db")
        self._way, self._folder = way, folder
        self._shim: Any = Shim(self.db, shared=True) if way in ("shim", "read-only") else None

    def fill(self, pid: int) -> None:
        """Let no file of this process grow."""
        if self._way == "shim":
            self._shim.set_full(True)
        elif self._way == "read-only":
            self._shim.arm(Fault(Action.FAIL, (Op.WRITE, Op.TRUNCATE, Op.UNLINK), argument=errno.EROFS, times=-1))
        elif self._way == "limit":
            size = os.path.getsize(self.db + "-wal")
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        else:
            with (self._folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(b"x" * 4096)

    def free(self, pid: int) -> None:
        """Let files grow again."""
        if self._way == "shim":
            self._shim.set_full(False)
        elif self._way == "read-only":
            self._shim.disarm()
        elif self._way == "limit":
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            (self._folder / "filler").unlink()


@contextmanager
def disk(way: str, folder: Path) -> Iterator[Disk]:
    """Make a disk; a mounted one is seen by this process and its children only, and goes with them."""
    if way == "tmpfs":
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], check=True)
    try:
        yield Disk(way, folder)
    finally:
        if way == "tmpfs":
            subprocess.run(["umount", "-l", str(folder)], check=True)


# The process that works -----------------------------------------------------------------------------------------------


def make_app(db: str, ledger: str, enough: str) -> Workflow:
    """Return an application whose runs record until the file `enough` is there, and return how often."""
    app, lines = Workflow("diskfull", db=db, strict=False), Ledger(ledger)

    @app.task
    async def step(run_id: str, number: int) -> tuple[str, bool]:
        lines.write(run_id, number)
        await asyncio.sleep(STEP_S)
        return text_of(run_id, number), os.path.exists(enough)

    @app.workflow(id="grows-{n}")
    async def grows(n: int) -> int:
        number, is_over = 0, False
        while not is_over:
            text, is_over = await step(f"grows-{n}", number)
            assert text == text_of(f"grows-{n}", number)
            number += 1
        return number

    return app


def text_of(run_id: str, number: int) -> str:
    """Return what a step gives."""
    return random.Random(f"{run_id} {number}").randbytes(RESULT_BYTES // 2).hex()


async def _work(db: str, ledger: str, enough: str, full: str) -> None:
    app, acks = make_app(db, ledger, enough), Ledger(ledger + ".acks")

    async def call(n: int) -> None:
        handle = await _surely(lambda: flow(app, "grows").start(n))
        acks.write("started", f"grows-{n}")
        acks.write("result", f"grows-{n}", await _surely(handle.result))

    async with app:
        reader = asyncio.create_task(_read(app, Ledger(ledger + ".reads"), full))
        first = [asyncio.create_task(call(n)) for n in range(RUNS // 2)]
        await _until_there(full)
        await asyncio.gather(*first, *(call(n) for n in range(RUNS // 2, RUNS)))
        reader.cancel()
    acks.write("stopped", "")


async def _until_there(path: str) -> None:
    while True:
        if os.path.exists(path):
            return
        await asyncio.sleep(STEP_S)


async def _surely(call: Callable[[], Awaitable[T]]) -> T:
    """Do what a patient client does."""
    while True:
        try:
            return await call()
        except (StoreUnavailable, OutcomeUnknown):
            await asyncio.sleep(0.2)


async def _read(app: Workflow, lines: Ledger, full: str) -> None:
    while True:
        await asyncio.sleep(0.1)
        if os.path.exists(full):
            try:
                lines.write("read", len(await app.runs.list()))
            except StoreError as error:
                lines.write("refused", str(error).replace("\n", " "))


# A round --------------------------------------------------------------------------------------------------------------


def one_round(way: str, seed: int, least_s: float, most_s: float) -> dict[str, Any]:
    """Fill the disk of a working process once, and judge. Runs in a process with the shim."""
    logging.getLogger("durable").setLevel(logging.CRITICAL)
    with scratch("diskfull") as outside, scratch("diskfull") as folder, disk(way, folder) as place:
        source = random.Random(seed)
        full_s = source.uniform(least_s, most_s)
        return _Round(place, outside, source.random(), full_s, reads_before=way in ("shim", "read-only")).play()


class _Round:
    def __init__(self, place: Disk, outside: Path, works_s: float, full_s: float, *, reads_before: bool) -> None:
        self._disk, self._works_s, self._full_s, self._reads_before = place, works_s, full_s, reads_before
        self._ledger, self._enough, self._full = (str(outside / name) for name in ("ledger", "enough", "full"))
        self._violations: list[str] = []
        self._resumed_s = self._cpu_share = 0.0

    def play(self) -> dict[str, Any]:
        def work() -> int:
            asyncio.run(_work(self._disk.db, self._ledger, self._enough, self._full))
            return 0

        pid = fork(work)
        if self._wait(lambda: len(self._lines()) >= 5, PATIENCE_S):
            time.sleep(self._works_s)
            with reading(self._disk.db) if self._reads_before else nullcontext() as store:
                self._fill(pid, store)
        else:
            self._violations.append("work never began")
        Path(self._enough).touch()
        status = exit_code(pid, PATIENCE_S)
        if status != 0:
            self._violations.append("the process is stuck" if status is None else f"the process ended with {status}")
        reads = Counter(words[0] for words in _words(self._ledger + ".reads"))
        self._violations += self._judge()
        counts = {"steps": len(self._lines()), "reads": reads["read"], "reads_refused": reads["refused"]}
        measured = {"resumed_s": round(self._resumed_s, 2), "cpu_share": round(self._cpu_share, 3)}
        return {"violations": self._violations, "counts": counts, "measured": measured}

    def _fill(self, pid: int, store: SQLiteReading | None) -> None:
        self._disk.fill(pid)
        Path(self._full).touch()
        if not self._wait(self._is_quiet, PAUSES_WITHIN_S):
            self._violations.append("work did not pause")
        journals = asyncio.run(self._read(store))
        used_s = busy(pid, self._full_s)
        self._cpu_share = used_s / self._full_s
        self._violations += too_busy(used_s, self._full_s)
        done = len(self._lines())
        if asyncio.run(self._read(store)) != journals:
            self._violations.append("something was recorded on a full disk")
        os.unlink(self._full)
        self._disk.free(pid)
        began = time.monotonic()
        if self._wait(lambda: len(self._lines()) > done, PATIENCE_S):
            self._resumed_s = time.monotonic() - began
            self._wait(lambda: len(self._lines()) > done + STEPS_AFTER, PATIENCE_S)
        self._violations += too_slow(self._resumed_s)
        after = asyncio.run(self._read(store))
        self._violations += changed(journals, after)

    def _is_quiet(self) -> bool:
        before = len(self._lines())
        time.sleep(QUIET_S)
        return len(self._lines()) == before

    def _lines(self) -> list[list[str]]:
        return _words(self._ledger)

    @staticmethod
    def _wait(is_so: Callable[[], bool], patience_s: float) -> bool:
        limit = time.monotonic() + patience_s
        while time.monotonic() < limit:
            if is_so():
                return True
            time.sleep(0.02)
        return False

    async def _read(self, opened: SQLiteReading | None) -> dict[str, list[Any]]:
        """Return all journals, read by this process, which has nothing to do with the one that works."""
        try:
            with nullcontext(opened) if opened is not None else reading(self._disk.db) as store:
                runs = await store.runs(RunFilter())
                return {run.run_id: list(await store.journal(run.key)) for run in runs}
        except StoreError as error:
            self._violations.append(f"another process cannot read: {error}")
            return {}

    def _judge(self) -> list[str]:
        wrong = wrong_reads(_words(self._ledger + ".reads"))
        return wrong + asyncio.run(judge(self._disk.db, self._ledger))


def _words(path: str) -> list[list[str]]:
    try:
        return [line.split("\t") for line in Path(path).read_text().splitlines()]
    except FileNotFoundError:
        return []


# What is wrong --------------------------------------------------------------------------------------------------------


def busy(pid: int, seconds: float) -> float:
    """Wait, and return how many seconds of processor time the process has used meanwhile."""
    before = _processor_s(pid)
    time.sleep(seconds)
    return _processor_s(pid) - before


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def too_busy(used_s: float, seconds: float) -> list[str]:
    """Return what is wrong with the processor time that was used while nothing could be done."""
    if used_s <= CPU_SHARE_MAX * seconds:
        return []
    return [f"while the disk was full, {used_s:.2f} s of {seconds:.2f} s of a processor were used"]


def too_slow(resumed_s: float) -> list[str]:
    """Return what is wrong with how soon work went on; 0 if it did not."""
    if 0 < resumed_s <= RESUMES_WITHIN_S:
        return []
    return [f"work went on {resumed_s:.1f} s after there was space" if resumed_s else "work did not go on"]


def changed(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> list[str]:
    """Return what is wrong with what was recorded before: it must be there, unchanged."""
    return [
        f"{run_id}: what was recorded before the disk was full has changed"
        for run_id, entries in before.items()
        if after.get(run_id, [])[: len(entries)] != entries
    ]


def wrong_reads(lines: list[list[str]]) -> list[str]:
    """Return what is wrong with the reads of the process that works: only an unknown outcome may refuse them."""
    refused = [words[1] for words in lines if words[0] == "refused"]
    return [f"a read was refused: {text}" for text in refused if not any(reason in text for reason in MAY_REFUSE)]


async def judge(db: str, ledger: str) -> list[str]:
    """Return the promises that were broken, when all is over."""
    executed = Counter(tuple(words) for words in _words(ledger))
    wrong = [f"{run_id}: step {number} was executed {n} times" for (run_id, number), n in executed.items() if n != 1]
    acks = _words(ledger + ".acks")
    if not acks or acks[-1][0] != "stopped":
        wrong.append("the process ended early")
    app = make_app(db, os.devnull, os.devnull)
    try:
        for what, run_id, *told in acks:
            if what == "stopped":
                continue
            try:
                record = await app.handle(run_id).record()
            except RunNotFound:
                wrong.append(f"{run_id}: {what} was acknowledged and is lost")
                continue
            steps = sum(count for (owner, _), count in executed.items() if owner == run_id)
            if what == "result" and (not record.state.is_final or int(told[0]) != steps):
                wrong.append(f"{run_id}: gave {told[0]} and is {record.state.label}, and {steps} steps were executed")
        wrong += await (await app._engine()).store.check()
    finally:
        await app.stop()
    return wrong
