"""Examples as their users meet them: processes that print, that are killed, and that are started again."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

import durable
from durable import Workflow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Program:
    """An example as a process of its own, read line by line: what it prints is the event that a test waits for."""

    def __init__(self, script: str, *arguments: str, folder: Path, variables: dict[str, str]) -> None:
        self.said: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(EXAMPLES / script), *arguments],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("DURABLE")} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def lines(self) -> Iterator[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            yield self.said[-1]

    def wait_for(self, text: str) -> str:
        """Return the next line that contains the text."""
        for line in self.lines():
            if text in line:
                return line
        raise AssertionError(f"it ended without saying {text!r}; it said:\n" + "\n".join(self.said))

    def kill(self) -> None:
        """Kill it with kill -9."""
        self.process.kill()
        assert self.end() == -signal.SIGKILL

    def end(self) -> int:
        """Return its exit code, once it has ended."""
        for _ in self.lines():
            pass
        return self.process.wait()

    def output(self, code: int = 0) -> list[str]:
        """Return everything it said, once it has ended with this code."""
        found = self.end()
        assert found == code, f"exit code {found}; it said:\n" + "\n".join(self.said)
        return self.said

    def close(self) -> None:
        with self.process:
            self.process.kill()


class Launcher:
    """Starts programs in one folder; none outlives the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}
        self.programs = ExitStack()

    def __call__(self, script: str, *arguments: str) -> Program:
        program = Program(script, *arguments, folder=self.folder, variables=self.variables)
        self.programs.callback(program.close)
        return program

    def lines_of(self, name: str) -> list[str]:
        """Return the lines of a file that the programs wrote."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


def load(script: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> ModuleType:
    """Import an example into this process, its database and files in a folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DURABLE_DB", str(folder / "durable.db"))
    name = Path(script).stem
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Under the name that the program has for other processes: stored values mention their classes by it.
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


async def until_state(wf: Workflow, run_id: str, state: str) -> None:
    """Wait until a run of another process is in a state; the store is all that both share, so it is asked again."""
    async with asyncio.timeout(30):
        while (found := await state_of(wf, run_id)) != state:
            assert found not in ("failed", "cancelled", "set aside")
            await asyncio.sleep(0.01)


async def state_of(wf: Workflow, run_id: str) -> str:
    try:
        return await wf.handle(run_id).status()
    except durable.RunNotFound:
        return "missing"
