"""Long tests with random faults: `python -m tests.torture NAME [-n N] [--seed S]`.

A campaign is a module of this folder with a function `campaign(n, seed) -> int`, which returns how many violations it
found. It uses the seeds from `seed` to `seed + n - 1`, so that a failure can be repeated and totals accumulate.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path


def names() -> list[str]:
    """Return the campaigns there are."""
    folder = str(Path(__file__).parent)
    return sorted(module.name for module in pkgutil.iter_modules([folder]) if not module.name.startswith("_"))


def main(arguments: list[str] | None = None) -> int:
    """Run one campaign, print one line of JSON, and return the exit code."""
    parser = argparse.ArgumentParser(prog="tests.torture", description="Long tests with random faults.")
    parser.add_argument("name", choices=names())
    parser.add_argument("-n", type=int, default=None, help="how many rounds; default: the campaign's own")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    options = parser.parse_args(arguments)
    module = importlib.import_module(f"tests.torture.{options.name}")
    n = options.n if options.n is not None else getattr(module, "N_DEFAULT", 1000)
    began = time.monotonic()
    violations = module.campaign(n, options.seed)
    line = {
        "name": options.name,
        "n": n,
        "violations": violations,
        "seeds": [options.seed, options.seed + n - 1],
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(line), flush=True)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
