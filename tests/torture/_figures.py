"""The lines that campaigns have left, so that totals accumulate: `figures.jsonl`, shown in `docs/faults.md`."""

from __future__ import annotations

import fcntl
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

FIGURES: Final = Path(__file__).with_name("figures.jsonl")

SEEDS_A_PLAY: Final = 1_000_000
"""Seeds that a play which is kept may use; the next one begins behind them, so that none is used twice."""


def lines() -> list[dict[str, Any]]:
    """Return what was kept, oldest first."""
    return [json.loads(line) for line in FIGURES.read_text().splitlines()] if FIGURES.exists() else []


def unused_seed(name: str) -> int:
    """Return the first seed of the next play of a campaign."""
    return max((line["seeds"][0] for line in lines() if line["name"] == name), default=-SEEDS_A_PLAY) + SEEDS_A_PLAY


def keep(line: dict[str, Any]) -> None:
    """Add a line, with the day and the commit that it is about; `+` says that the tree had changes."""
    kept = {**line, "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": _commit()}
    with FIGURES.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(kept) + "\n")


def _commit() -> str:
    described = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    return subprocess.run(
        described, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    ).stdout.strip()
