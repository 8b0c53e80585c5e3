"""What the tests of the SQLite store share: a clock, short words, child processes, and a driver that interrupts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

import durable
from durable.core.records import Entry, Kind, Queue, RunRecord, RunState, Status, WorkerRecord
from durable.store.drivers import Op, Result, Statement, run_blocking
from durable.store.operations import Advance, Finish, GoOn, Outcome, Start, Started
from durable.store.sqlite import SQLiteRunStore

T = TypeVar("T")

QUEUE = Queue("app", "flow", "1", "group")
W1 = "boot:1:0:w1"
T0 = 1_700_000_000_000


class Clock:
    """Stands still until it is moved."""

    def __init__(self, now: int = T0) -> None:
        self.now = now

    def now_ms(self) -> int:
        return self.now


def worker(worker_id: str = W1) -> WorkerRecord:
    return WorkerRecord(worker_id, os.getpid(), "host", "boot", T0, (QUEUE,))


@asynccontextmanager
async def opened(path: Path, worker_id: str | None = W1, **options: Any):
    """Open a store with a registered worker, and close it at the end."""
    store = SQLiteRunStore(path, **options)
    await store.open(Clock())
    try:
        if worker_id is not None:
            await store.register(worker(worker_id))
        yield store
    finally:
        await store.close()


def start(run_id: str, **changes: Any) -> Start:
    return Start(QUEUE, run_id, b"input", 7, worker=W1)._replace(**changes)


def task(position: int, data: bytes = b"value", **changes: Any) -> Entry:
    return Entry(position, T0, Kind.TASK, Status.OK, seq=position, name="task", data=data)._replace(**changes)


def advance(run: RunRecord, *entries: Entry, then: Any = None) -> Advance:
    return Advance(run.key, run.owner or W1, run.epoch, entries, then or GoOn())


def finish(run: RunRecord, position: int) -> Advance:
    final = Entry(position, T0, Kind.RUN, Status.OK, name="finish", data=b"result")
    return advance(run, final, then=Finish(RunState.SUCCEEDED))


def new(outcome: Outcome) -> RunRecord:
    """Return the run that a Start has made."""
    assert isinstance(outcome, Started)
    return outcome.record


async def started(store: SQLiteRunStore, *run_ids: str) -> list[RunRecord]:
    committed = await store.execute([start(run_id) for run_id in run_ids], W1)
    return [new(outcome) for outcome in committed.outcomes]


async def do(store: SQLiteRunStore, operation: Any) -> Any:
    return (await store.execute([operation], W1)).outcomes[0]


class Crash(Exception):
    """What `crash_before` raises."""


def crash_before(nth: int, op: Op[T], execute: Callable[[Statement], Result]) -> T:
    """Run an operation and interrupt it before its nth statement, counted from 0."""
    count = 0

    def counted(statement: Statement) -> Result:
        nonlocal count
        if count == nth:
            raise Crash
        count += 1
        return execute(statement)

    return run_blocking(op, counted)


_children: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def no_child_is_left():
    """End what a failed test has left behind."""
    yield
    while _children:
        with _children.pop() as process:
            process.kill()


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python process that runs `code`, with this kit imported."""
    source = Path(durable.__file__).parents[1]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(source), str(root)))}
    text = "\n".join(("import asyncio, os, sys", "from tests.store.sqlite_kit import *", textwrap.dedent(code)))
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", text, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.PIPE,
        text=True,
        env=environment,
    )
    _children.append(process)
    return process


def finished(process: subprocess.Popen[str], timeout: float = 60) -> str:
    """Wait for a child that should succeed, and return what it printed."""
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output
    return output


def said(process: subprocess.Popen[str]) -> str:
    """Wait for the next line of a child."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], word: str = "go") -> None:
    """Write a line to a child."""
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


__all__ = [name for name in dir() if not name.startswith("_")] + ["asyncio"]
