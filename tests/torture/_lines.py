"""Reads a ledger while others write it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_S = 60.0
PAUSE_S = 0.01


def lines(path: str) -> list[list[str]]:
    """Return the words of each line that is whole."""
    try:
        text = Path(path).read_text()
    except FileNotFoundError:
        return []
    return [line.split("\t") for line in text.split("\n")[:-1]]


def wait_for(path: str, wanted: Callable[[list[list[str]]], bool], patience_s: float = PATIENCE_S) -> bool:
    """Wait until the lines are as wanted; return whether they are."""
    limit = time.monotonic() + patience_s
    while not (there := wanted(lines(path))) and time.monotonic() < limit:
        time.sleep(PAUSE_S)
    return there
