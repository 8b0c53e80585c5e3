"""Plays every campaign at its usual size: `python -m tests.torture all`.

Each is a process of its own, two at a time, since most of them wait more than they work; those that measure times
(`ALONE = True` in their module) come last, with nothing beside them. Those that take hours (`IN_ALL = False`) are left
out.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]

AT_A_TIME: Final = 2

MINUTES_MAX: Final = 15
"""Longest time of one campaign; what hangs is ended, so that the others still report."""


@dataclass(frozen=True)
class Ended:
    """How a campaign ended."""

    name: str
    code: int
    line: dict[str, Any]
    """What it said; empty if it said nothing."""
    errors: str


def play_all(names: list[str], options: list[str]) -> int:
    """Play these campaigns with these options, print a line for each and a summary, and return the exit code."""
    began = time.monotonic()
    modules = {name: importlib.import_module(f"tests.torture.{name}") for name in names}
    wanted = [name for name in names if getattr(modules[name], "IN_ALL", True)]
    alone = [name for name in wanted if getattr(modules[name], "ALONE", False)]
    ended: list[Ended] = []
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        beside = [name for name in wanted if name not in alone]
        ended += map(_shown, pool.map(lambda name: _play(name, options), beside))
    ended += [_shown(_play(name, options)) for name in alone]
    print(json.dumps(summary(ended, time.monotonic() - began)), flush=True)
    return 1 if any(one.code for one in ended) else 0


def _play(name: str, options: list[str]) -> Ended:
    command = [sys.executable, "-m", "tests.torture", name, *options]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60 * MINUTES_MAX, check=False)
    except subprocess.TimeoutExpired:
        return Ended(name, 1, {}, f"{name} has not ended after {MINUTES_MAX} minutes\n")
    lines = done.stdout.splitlines()
    return Ended(name, done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr)


def _shown(one: Ended) -> Ended:
    if one.code:
        print(one.errors, end="", file=sys.stderr, flush=True)
    print(json.dumps(one.line or {"name": one.name, "violations": None, "code": one.code}), flush=True)
    return one


def summary(ended: list[Ended], seconds: float) -> dict[str, object]:
    """Return the last line: how many campaigns there were, and which ones failed."""
    failed = [one.name for one in ended if one.code]
    violations = sum(int(one.line.get("violations", 0)) for one in ended)
    return {
        "name": "all", "n": len(ended), "violations": violations, "failed": failed, "seconds": round(seconds, 1),
    }  # fmt: skip
