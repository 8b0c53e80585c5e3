"""The five minutes of README.md, as a stranger spends them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.support import Block, blocks


def block(mark: str) -> Block:
    (found,) = [found for found in blocks() if found.page == "README.md" and found.mark == mark]
    return found


def shown() -> list[list[str]]:
    """Return what the README shows of the two runs, line by line, without the process ids."""
    texts = [found.text.splitlines() for found in blocks() if found.page == "README.md" and found.info == "text"]
    return [[line for line in text if not line.startswith("process") and line != "Killed"] for text in texts]


class Program:
    """The quick start as a process."""

    def __init__(self, folder: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DURABLE")}
        self.process = subprocess.Popen(
            [sys.executable, "quickstart.py"], cwd=folder, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def lines(self) -> Iterator[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.startswith("process"):
                yield line.rstrip("\n")

    def until(self, last: str) -> list[str]:
        found = []
        for line in self.lines():
            found.append(line)
            if line == last:
                break
        return found


@pytest.fixture
def start(tmp_path):
    (tmp_path / "quickstart.py").write_text(block("file=quickstart.py").text)
    programs = []

    def start() -> Program:
        programs.append(Program(tmp_path))
        return programs[-1]

    yield start
    for program in programs:
        with program.process:
            program.process.kill()


def test_the_quick_start_is_killed_and_goes_on_as_shown(start):
    first, second = shown()
    program = start()
    assert program.until(first[-1]) == first
    program.process.kill()
    assert program.process.wait() == -signal.SIGKILL

    program = start()
    assert list(program.lines()) == second
    assert program.process.wait() == 0

    program = start()  # a third time: the result, at once
    assert list(program.lines()) == second[-1:]


def test_the_command_that_kills_it_is_the_one_that_was_tried():
    (command,) = [found.text for found in blocks() if found.page == "README.md" and "timeout -s KILL" in found.text]
    assert command == "timeout -s KILL 3 python quickstart.py\n"
