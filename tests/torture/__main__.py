"""Long tests with random faults: `python -m tests.torture NAME [-n N] [--seed S]`; `README.md` tells what there is.

A campaign is a module of this folder with a function `campaign(n, seed)` that returns how many violations it found, or
an `Outcome`. It uses the seeds from `seed` to `seed + n - 1`, so that a failure can be repeated and totals accumulate.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path

from tests.torture import _figures
from tests.torture._all import play_all
from tests.torture._outcome import Outcome
from tests.torture._tools import ToolMissing, say

SHOWN_MAX = 20
"""Violations that are printed, of any number."""


def names() -> list[str]:
    """Return the campaigns there are."""
    folder = str(Path(__file__).parent)
    return sorted(module.name for module in pkgutil.iter_modules([folder]) if not module.name.startswith("_"))


def main(arguments: list[str] | None = None) -> int:
    """Run one campaign, print one line of JSON, and return the exit code."""
    parser = argparse.ArgumentParser(prog="tests.torture", description="Long tests with random faults.")
    parser.add_argument("name", choices=["all", *names()])
    parser.add_argument("-n", type=int, default=None, help="how many rounds; default: the campaign's own")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, default=0, help="the first seed")
    seeds.add_argument("--keep", action="store_true", help="use new seeds, and add the line to figures.jsonl")
    options = parser.parse_args(arguments)
    if options.name == "all":
        return play_all(names(), ["--keep"] if options.keep else ["--seed", str(options.seed)])
    try:
        seed = _figures.unused_seed(options.name) if options.keep else options.seed
        return run(options.name, options.n, seed, keep=options.keep)
    except ToolMissing as missing:
        say(str(missing))
        return 2


def run(name: str, n: int | None, seed: int, *, keep: bool = False) -> int:
    """Run a campaign, print its line, keep it if wanted, and return the exit code."""
    module = importlib.import_module(f"tests.torture.{name}")
    n = n if n is not None else getattr(module, "N_DEFAULT", 1000)
    began = time.monotonic()
    found = module.campaign(n, seed)
    outcome = found if isinstance(found, Outcome) else None
    for violation in outcome.violations[:SHOWN_MAX] if outcome else ():
        print(f"{name}, seed {seed}: {violation}", file=sys.stderr)
    violations = len(outcome.violations) if outcome else int(found)
    n = outcome.n if outcome and outcome.n is not None else n
    line = {
        "name": name,
        "n": n,
        "violations": violations,
        "seeds": [seed, seed + n - 1],
        "seconds": round(time.monotonic() - began, 1),
        **(outcome.facts if outcome else {}),
    }
    print(json.dumps(line), flush=True)
    if keep:
        _figures.keep(line)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
