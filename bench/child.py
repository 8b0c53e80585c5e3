"""One repetition of one scenario, in a process of its own: `python -m bench.child SCENARIO SETTINGS`.

So memory, caches and what is left behind are the same for each. The figures go to standard output, as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from bench.figures import Figure
from bench.helper import ROOT
from bench.scenarios import SCENARIOS
from bench.settings import Settings, from_json

SECONDS_MAX: Final = 1_800
"""Longest repetition."""


def repetition(scenario: str, settings: Settings, environment: Mapping[str, str]) -> list[Figure]:
    """Run one repetition in a child process and return its figures.

    Raises:
        SystemExit: it failed; what went wrong stands on standard error.
    """
    command = [sys.executable, "-m", "bench.child", scenario, settings.to_json()]
    variables = {**os.environ, **environment}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True, check=True, timeout=SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        raise SystemExit(f"bench: {scenario} was ended after {SECONDS_MAX} s; take a smaller --n") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"bench: {scenario} failed with exit code {error.returncode}") from error
    return [Figure(*figure) for figure in json.loads(done.stdout)]


def main(scenario: str, settings: str) -> None:
    """Measure, and print the figures."""
    # Taking over from the dead is worth a warning elsewhere; here it is the plan.
    logging.basicConfig(level=logging.ERROR)
    print(json.dumps(SCENARIOS[scenario].measure(from_json(settings))))


if __name__ == "__main__":
    main(*sys.argv[1:])
