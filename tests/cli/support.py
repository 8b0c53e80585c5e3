"""Starts commands: in this process, where that is quick, and as processes, where they are killed and piped."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SHOP = Path(__file__).with_name("shop.py")
COMMAND = [sys.executable, "-c", "from durable.cli.main import main; main()"]


@dataclass
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list:
        """The lines of its output, each an object."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict:
        """The only line of its output, as an object."""
        (found,) = self.objects
        return found


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a command: no terminal's settings, warnings are errors."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("DURABLE_", "NO_COLOR", "COLUMNS"))
    }
    return kept | {"PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1", "TERM": "xterm"} | dict(extra or {})


class Shop:
    """A directory with the user's code in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(SHOP, folder / "shop.py")

    @contextmanager
    def popen(self, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
        """Start a command; it has ended when the block has."""
        with subprocess.Popen(
            [*COMMAND, *arguments], cwd=self.folder, env=environment(env), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
        """Run a command to its end, as a process."""
        with self.popen(*arguments, env=env) as process:
            out, err = process.communicate(timeout=60)
        return Done(process.returncode, out, err)

    def start(self, workflow: str, *arguments: object) -> None:
        """Queue a run of a workflow for each argument, as a program would that starts them and ends."""
        program = (
            "import asyncio, json, sys, shop\n"
            "async def main():\n"
            "    for argument in json.loads(sys.argv[2]):\n"
            "        await getattr(shop, sys.argv[1]).start(argument)\n"
            "    await shop.wf.stop()\n"
            "asyncio.run(main())\n"
        )
        command = [sys.executable, "-c", program, workflow, json.dumps(arguments)]
        subprocess.run(command, cwd=self.folder, env=environment(), check=True)

    def ledger(self) -> list[str]:
        """Return the effects so far."""
        path = self.folder / "ledger"
        return path.read_text().splitlines() if path.exists() else []

    def open_gates(self, *numbers: int) -> None:
        """Let the items with these numbers go on."""
        for number in numbers:
            (self.folder / f"gate-{number}").touch()


def until(condition: Callable[[], object]) -> None:
    """Return when something is so that another process brings about; the test's time limit bounds the wait."""
    while not condition():
        threading.Event().wait(0.02)


def wait_for(stream, text: str) -> str:
    """Return the first line with `text`; the test's time limit bounds the wait."""
    for line in stream:
        if text in line:
            return line
    raise AssertionError(f"the output ended before {text!r}")
