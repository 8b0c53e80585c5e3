"""What `docs/determinism.md` calls right goes on after a restart, and what it calls wrong ends as it says.

Each block is a workflow. It is started in one process, which ends when the run waits; the signal `go` is given, and
another process, with another seed for the hashes of strings, goes on with it. A block marked `first` is what the first
process executes in place of the blocks that follow it under the same heading.

Covers: D11, G5, G8
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.docs.support import ROOT, Block, marked

PAIRS = [*marked("python", "right"), *marked("python", "wrong: ")]


@dataclass(frozen=True)
class Play:
    block: Block
    first: Block

    @property
    def expected(self) -> str:
        return "succeeded" if self.block.mark == "right" else self.block.mark.removeprefix("wrong: ")


def plays() -> list[Play]:
    firsts = {(block.page, block.heading): block for block in marked("python", "first")}
    return [Play(block, firsts.get((block.page, block.heading), block)) for block in PAIRS]


def program(play: Play, code: Block) -> str:
    return "".join(block.text for block in marked("python", "shared") if block.page == play.block.page) + code.text


@cache
def endings(folder: Path) -> dict[str, str]:
    """Play all blocks, in two processes, and return how each ended."""
    run_player("begin", {str(play.block): program(play, play.first) for play in plays()}, folder, hash_seed="1")
    return run_player("go on", {str(play.block): program(play, play.block) for play in plays()}, folder, hash_seed="2")


def run_player(phase: str, programs: dict[str, str], folder: Path, hash_seed: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.player", phase, str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        input=json.dumps(programs),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("play", plays(), ids=lambda play: str(play.block))
def test_right_goes_on_and_wrong_does_not(play, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "pairs"
    folder.mkdir(exist_ok=True)
    assert endings(folder)[str(play.block)] == play.expected


def test_there_are_as_many_of_one_as_of_the_other():
    assert len(marked("python", "right")) >= 12
    assert len(marked("python", "wrong: ")) >= 12
