"""A user's directory with a module in it, of which a later version is checked against the runs of an earlier one."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from durable import Workflow
from durable.cli.main import run

BEGINNING = """
import asyncio
import durable
from dataclasses import dataclass
from durable import Workflow

wf = Workflow("shop", default_retries=0)

@wf.task
async def save(text: str) -> str:
    return text

@wf.task
async def other(text: str) -> str:
    return text

"""

SHIP = """
@wf.workflow(id="ship-{number}")
async def ship(number: int) -> None:
    await save("charge")
    await wf.signal("go")
    await save("pack")
"""


@dataclass
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        """The lines of its output, each an object."""
        return [json.loads(line) for line in self.out.splitlines()]


class Project:
    """A directory with a module `flows.py` and a database."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.db = folder / "durable.db"
        self._capsys = capsys

    def write(self, *workflows: str) -> None:
        """Make these the workflows of the module."""
        (self.folder / "flows.py").write_text(BEGINNING + "".join(workflows))

    def durable(self, *arguments: str) -> Done:
        """Run a command, as a process would that imports the module for the first time."""
        self._capsys.readouterr()
        path = list(sys.path)
        try:
            code = run(list(arguments))
        finally:
            sys.path[:] = path
            self._forget()
        found = self._capsys.readouterr()
        return Done(code, found.out, found.err)

    def check(self, *arguments: str) -> Done:
        """Run `durable check flows.py`."""
        return self.durable("check", "flows.py", *arguments)

    def work(self, act: Callable[[Workflow, Any], Awaitable[Any]]) -> Any:
        """Let `act(wf, module)` happen in the present version of the module."""
        sys.path.insert(0, str(self.folder))
        try:
            module = __import__("flows")

            async def main() -> Any:
                try:
                    return await act(module.wf, module)
                finally:
                    await module.wf.stop()

            return asyncio.run(main())
        finally:
            sys.path.remove(str(self.folder))
            self._forget()

    def begin(self, workflow: str, *arguments: Any, state: str = "suspended") -> None:
        """Start a run for each argument, and work on them until all are in a state."""

        async def act(wf: Workflow, module: Any) -> None:
            for argument in arguments:
                await getattr(module, workflow).start(argument)
            async with wf:
                while (await wf.runs.count()).get(state, 0) < len(arguments):  # noqa: ASYNC110 - nothing else tells
                    await asyncio.sleep(0.005)

        self.work(act)

    def queue(self, workflow: str, *arguments: Any) -> None:
        """Start a run for each argument, and execute none."""

        async def act(wf: Workflow, module: Any) -> None:
            for argument in arguments:
                await getattr(module, workflow).start(argument)

        self.work(act)

    def files(self) -> dict[str, bytes]:
        """Return everything in the directory but what SQLite keeps beside a file that is read."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in str(path))
        return {path.name: path.read_bytes() for path in found if not path.name.endswith(("-shm", "-wal"))}

    @staticmethod
    def _forget() -> None:
        sys.modules.pop("flows", None)
        sys.path_importer_cache.clear()
