"""What tests of runs share: databases that outlive applications, ways to die, and child processes to kill."""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest

from durable import InMemoryStore, RunNotFound, Workflow
from tests.support.clock import VirtualClock

T = TypeVar("T")

PATIENCE_S = 20.0
"""Longest wait for anything; only a test that fails takes so long."""


# Applications ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    """A database: each test runs on every kind."""
    return InMemoryStore() if request.param == "memory" else str(tmp_path / "durable.db")


class Apps:
    """Makes applications on one database, and stops them."""

    def __init__(self, db: object) -> None:
        self.db = db
        self._made: list[Workflow] = []

    def __call__(self, name: str = "app", **options: Any) -> Workflow:
        chosen: dict[str, Any] = {"db": self.db, "strict": False} | options
        app = Workflow(name, **chosen)
        self._made.append(app)
        return app

    async def stop(self) -> None:
        for app in self._made:
            await app.stop()

    def abandon(self) -> None:
        for app in self._made:
            abandon(app)


@pytest.fixture
async def make_app(db: object) -> AsyncIterator[Apps]:
    """Makes applications that are stopped after the test."""
    apps = Apps(db)
    yield apps
    await apps.stop()
    apps.abandon()


@pytest.fixture
async def app(make_app: Apps) -> Workflow:
    """An application without a worker: it executes direct calls."""
    return make_app()


def flow(app: Workflow, name: str) -> Any:
    """Return a workflow function by its name."""
    return app.workflows[name]


def job(app: Workflow, name: str) -> Any:
    """Return a task by its name."""
    return app.tasks[name]


# Dying in this process ------------------------------------------------------------------------------------------------


class Died(SystemExit):
    """Raised in a task, this ends the event loop as the end of the process would: nothing is recorded any more."""


def abandon(app: Workflow) -> None:
    """Let go of an application as the end of its process does: nothing is handed back."""
    for engine in list(app._engines.values()):
        engine.abandon()
    app._engines.clear()


def live(app: Workflow, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what `main` returns, executed in an event loop of its own after which the application is dead."""

    async def within_limits() -> T:
        async with asyncio.timeout(3 * PATIENCE_S):
            return await main()

    try:
        return asyncio.run(within_limits())
    finally:
        abandon(app)


def dies(app: Workflow, main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Execute `main`, in which a task raises `Died`."""
    with pytest.raises(Died):
        live(app, main)


# Waiting --------------------------------------------------------------------------------------------------------------


async def eventually(what: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Return the first true answer of `what`, which may be async."""
    async with asyncio.timeout(patience_s):
        while True:
            answer = what()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.002)


async def state(app: Workflow, run_id: str, *wanted: str) -> str:
    """Wait until a run is there and in one of these states, and return which."""

    async def found() -> str:
        try:
            label = (await app.runs.get(run_id)).state.label
        except RunNotFound:
            return ""
        return label if label in wanted else ""

    return str(await eventually(found))


def forward(clock: VirtualClock, seconds: float) -> None:
    """Move a clock, and ring what was set up to then."""
    target = clock.now_ms() + round(seconds * 1000)
    while (at := clock.next_at) is not None and at <= target:
        clock.jump()
    clock.set_forward(target)


# Child processes ------------------------------------------------------------------------------------------------------

PRELUDE = """
import asyncio, os, signal, sys, time
import durable
from durable import Workflow
from durable.backoff import constant, exponential, linear

DB = sys.argv[1]
LEDGER = os.open(DB + ".ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

def note(text):
    os.write(LEDGER, (text + "\\n").encode())

def say(text):
    print(text, flush=True)
"""


class Child:
    """A Python process that a test may kill."""

    def __init__(self, code: str, db: str, *arguments: str, flags: tuple[str, ...] = ()) -> None:
        script = PRELUDE + textwrap.dedent(code)
        environment = dict(os.environ, PYTHONUNBUFFERED="1")
        self._process = subprocess.Popen(
            [sys.executable, *flags, "-c", script, db, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._threads = [threading.Thread(target=self._read_output), threading.Thread(target=self._read_errors)]
        for thread in self._threads:
            thread.start()

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def errors(self) -> str:
        """What it has written to stderr; complete once it has ended."""
        return "".join(self._errors)

    def line(self, patience_s: float = PATIENCE_S) -> str:
        """Return the next line that the child says."""
        line = self._lines.get(timeout=patience_s)
        assert line is not None, f"the child ended with code {self._process.wait()}:\n{self.errors}"
        return line

    def hears(self, wanted: str) -> None:
        """Wait until the child says this."""
        while self.line() != wanted:
            pass

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it with `kill -9`."""
        self._process.kill()
        self.ended()

    def ended(self, patience_s: float = PATIENCE_S) -> int:
        """Wait for its end, and return its exit code."""
        code = self._process.wait(patience_s)
        for thread in self._threads:
            thread.join()
        return code

    def rest(self) -> list[str]:
        """Return the lines that were not asked for, once it has ended."""
        lines = []
        while (line := self._lines.get_nowait()) is not None:
            lines.append(line)
        return lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.ended()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


def notes(db: str) -> list[str]:
    """Return the lines that child processes have noted beside a database."""
    try:
        return Path(db + ".ledger").read_text().splitlines()
    except FileNotFoundError:
        return []


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The path of a database for child processes."""
    return str(tmp_path / "durable.db")
