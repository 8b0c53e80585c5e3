"""Do the tests of the core execute all of it? Each line and branch of `durable.core` that tests/core leaves out (T30).

`n` is ignored: there is one answer. What cannot be executed is left out by the settings in pyproject.toml.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.torture._outcome import Outcome
from tests.torture._rounds import ROOT, scratch

SOURCES: Final = "src/durable/core"
TESTS: Final = "tests/core"


def campaign(n: int, seed: int) -> Outcome:
    """Measure what the tests of the core leave out."""
    report = measured(SOURCES, [TESTS])
    totals = report["totals"]
    facts = {"lines": totals["num_statements"], "branches": totals["num_branches"]}
    return Outcome(left_out(report), facts, n=totals["num_statements"] + totals["num_branches"])


def measured(sources: str, tests: list[str]) -> dict[str, Any]:
    """Run tests and return what coverage reports about some sources, as its JSON has it.

    Raises:
        RuntimeError: the tests fail, so that the report says nothing.
    """
    with scratch("coverage") as folder:
        environment = dict(os.environ, COVERAGE_FILE=str(folder / "data"))
        _run([f"--include={sources}/*", "--parallel-mode", "-m", "pytest", "-q", *tests], "run", environment)
        _run([], "combine", environment)
        report = folder / "report.json"
        _run([f"--include={sources}/*", "-o", str(report)], "json", environment)
        found: dict[str, Any] = json.loads(report.read_text())
        return found


def _run(arguments: list[str], command: str, environment: dict[str, str]) -> None:
    words = [sys.executable, "-m", "coverage", command, *arguments]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(f"coverage {command} ended with code {done.returncode}: {told}")


def left_out(report: dict[str, Any]) -> list[str]:
    """Return the lines and branches that were not executed."""
    found = []
    for file, measure in report["files"].items():
        found += [f"{Path(file)}:{line} is not executed" for line in measure["missing_lines"]]
        found += [
            f"{Path(file)}:{start} never goes on {f'at line {end}' if end > 0 else 'to its end'}"
            for start, end in measure["missing_branches"]
        ]
    return found
