"""What a scenario needs done in another process: `python -m bench.helper NAME SETTINGS ARGUMENT …`.

A helper ends with its parent, however that one ends: its standard input is closed then.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from bench import apps
from bench.settings import Settings, from_json

ROOT: Final = Path(__file__).resolve().parent.parent

STARTS_AT_ONCE: Final = 1_000


class Helper:
    """The parent's side: a running helper."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._input: IO[str] = process.stdin
        self._output: IO[str] = process.stdout

    def ask(self, line: str) -> str:
        """Say a line and return the answer."""
        self._input.write(line + "\n")
        self._input.flush()
        return self.hear()

    def hear(self) -> str:
        """Return the next line that the helper says.

        Raises:
            RuntimeError: it has ended instead; what went wrong stands on standard error.
        """
        line = self._output.readline()
        if not line:
            raise RuntimeError(f"a helper ended early with exit code {self.process.wait()}: {self.process.args!r}")
        return line.strip()


@contextmanager
def helper(name: str, settings: Settings, *arguments: int) -> Iterator[Helper]:
    """Start a helper; it is killed at the end, with SIGKILL."""
    command = [sys.executable, "-m", "bench.helper", name, settings.to_json(), *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Helper(process)
    finally:
        process.kill()
        process.communicate()


# In the helper ------------------------------------------------------------------------------------------------------


async def be_cut(settings: Settings, runs: int, steps: int) -> None:
    """Bring runs to their last step, say so, and wait there to be killed."""
    arrived = 0

    async def at_last_step() -> None:
        nonlocal arrived
        arrived += 1
        if arrived == runs:
            say("there")
        await asyncio.Event().wait()

    # What is prepared need not survive a power failure, only the kill; the entries are the same.
    app = apps.cut(settings.url(durability="relaxed"), at_last_step)
    async with asyncio.TaskGroup() as group:
        for run in range(runs):
            group.create_task(app.flow(run, steps))


async def start_sleepers(settings: Settings, runs: int, due_ms: int) -> None:
    """Start runs that sleep until `due_ms`, and say how many seconds that took."""
    app = apps.sleeping(settings.url(), lambda: None, lambda late: None)
    async with asyncio.TaskGroup() as group:
        began = time.perf_counter()
        numbers = iter(range(runs))
        for _ in range(min(runs, STARTS_AT_ONCE)):
            group.create_task(_start_all(app, numbers, due_ms))
    seconds = time.perf_counter() - began
    await app.wf.stop()
    say(str(seconds))


async def _start_all(app: apps.Sleeping, numbers: Iterator[int], due_ms: int) -> None:
    for number in numbers:
        _ = await app.sleeper.start(number, due_ms)


async def complete(settings: Settings) -> None:
    """Complete the listener's signals one by one, each when a line comes, and say when each was begun."""
    app = apps.signalled(settings.url(), lambda: None)
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[None] = asyncio.Queue()
    _each_line(lambda: loop.call_soon_threadsafe(asked.put_nowait, None))
    await app.wf.runs.count()  # opens the database
    say("ready")
    for number in itertools.count():
        await asked.get()
        began = time.perf_counter()
        await app.wf.complete("listener", f"s{number}", number)
        say(str(began))


def say(text: str) -> None:
    """Tell the parent."""
    print(text, flush=True)


def _each_line(call: Callable[[], object] = lambda: None) -> None:
    """Call back for each line of standard input, and end with it."""

    def read() -> None:
        for _ in sys.stdin:
            call()
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()


def main(name: str, settings: str, *arguments: str) -> None:
    """Be the helper of that name."""
    if name == "complete":
        asyncio.run(complete(from_json(settings)))
        return
    _each_line()
    program = {"be_cut": be_cut, "start_sleepers": start_sleepers}[name]
    runs, argument = map(int, arguments)
    asyncio.run(program(from_json(settings), runs, argument))


if __name__ == "__main__":
    main(*sys.argv[1:])
