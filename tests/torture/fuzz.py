"""Fuzzing of whatever comes in from outside: bytes for the codec, words for the command line (T22).

Half of the n executions are guided by coverage: atheris changes frames so that they reach new branches of the codec.
The others are drawn from the seed: values of all types that have to come back, frames that were damaged or that say
something else in sound JSON, encrypted frames that were changed. `_fuzz_codec.py` says what must hold of them. For each
150 of them a command line is played (`_fuzz_commands.py`): 20,000 at the usual size.

An input drawn from a seed is repeated with `tests.torture._fuzz_codec.play_seeds(SEED, 1)` or
`tests.torture._fuzz_commands.play_commands(SEED, 1)`; a guided one is printed whole.

Covers: I1, I2, I3, I5, I6, I7, I8, I9, I12, I13, L14
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.torture._outcome import Outcome
from tests.torture._processes import Found, cores, spread
from tests.torture._rounds import ROOT, scratch
from tests.torture._tools import need_python

N_DEFAULT: Final = 3_000_000

ATHERIS: Final = "atheris==3.0.0"

PER_COMMAND: Final = 150
"""Executions of the codec for each command line."""

CHUNK: Final = 50_000
COMMANDS_CHUNK: Final = 500

_EXECUTED: Final = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


def campaign(n: int, seed: int) -> Outcome:
    """Play n inputs of the codec, and one command line for each 150."""
    packages = need_python("atheris", ATHERIS)
    guided = guided_by_coverage(n // 2, seed, packages)
    # Here, since this takes the classes that frames may name into the process, and the guided one shall start bare.
    from tests.torture._fuzz_codec import play_seeds
    from tests.torture._fuzz_commands import play_commands

    drawn = spread(play_seeds, n - n // 2, seed, CHUNK)
    commands = spread(play_commands, max(1, n // PER_COMMAND), seed, COMMANDS_CHUNK)
    facts = {"guided": guided.counts["guided"], "drawn": dict(drawn.counts), "commands": dict(commands.counts)}
    return Outcome([*guided.violations, *drawn.violations, *commands.violations], facts, n=n)


def guided_by_coverage(n: int, seed: int, packages: Path) -> Found:
    """Let several processes look for inputs that reach new code."""
    found = Found()
    shares = [n // cores() + (number < n % cores()) for number in range(cores())]
    with ThreadPoolExecutor(len(shares)) as pool:
        for part in pool.map(lambda number: _guided(shares[number], seed + number, packages), range(len(shares))):
            found.add(part)
    return found


def _guided(n: int, seed: int, packages: Path) -> Found:
    """Run one of them, and read what it leaves behind."""
    with scratch("fuzz") as folder:
        command = [sys.executable, "-m", "tests.torture._fuzz_guided", str(folder), str(n), str(seed)]
        environment = dict(os.environ, PYTHONPATH=str(packages))
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        found = Found()
        found.violations += [f"guided: {wrong}" for wrong in wrongs_in(folder)]
        executed = _EXECUTED.search(done.stderr)
        found.counts["guided"] = int(executed[1]) if executed else 0
        if done.returncode or found.counts["guided"] < n:
            told = " ".join(done.stderr.split())[-500:]
            found.violations.append(f"the guided fuzzer ended with code {done.returncode}: {told}")
        return found


def wrongs_in(folder: Path) -> list[str]:
    """Return what a guided process found wrong, and the inputs that it did not survive."""
    notes = folder / "wrong"
    found = [str(json.loads(line)) for line in notes.read_text().splitlines()] if notes.exists() else []
    return found + [f"did not survive {path.read_bytes()!r}" for path in sorted(folder.glob("crash-*"))]
