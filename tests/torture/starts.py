"""Two processes start the same run at the same moment: its body runs once, and both get the result.

Covers: F1
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.torture._nursery import Nursery, is_alive

N_DEFAULT = 500
RACERS = 2
GAP_S = 0.02
PATIENCE_S = 60.0


def campaign(n: int, seed: int) -> int:
    """Hold n races, and return how many went wrong. The seed moves the races of the two against each other a little."""
    with tempfile.TemporaryDirectory(prefix="durable-starts-", ignore_cleanup_errors=True) as folder:
        ledger = str(Path(folder, "ledger"))
        _hold(str(Path(folder, "durable.db")), ledger, n, seed)
        violations = _check(ledger, n)
    for violation in violations[:20]:
        print(f"seed {seed}: {violation}", file=sys.stderr)
    return len(violations)


def _hold(db: str, ledger: str, n: int, seed: int) -> None:
    with Nursery("tests.torture._starts_program", db, ledger) as nursery:
        # Neither has opened the database: they also race to create it.
        begins_at = time.time() + 0.5
        shift = (seed % 11) * 0.0001
        racers = [
            nursery.spawn(str(number), str(n), str(begins_at + number * shift), str(GAP_S)) for number in range(RACERS)
        ]
        limit = time.monotonic() + PATIENCE_S + n * 2 * GAP_S
        while any(is_alive(pid) for pid in racers) and time.monotonic() < limit:
            time.sleep(0.02)


def _check(ledger: str, n: int) -> list[str]:
    executed = Counter(line.split("\t")[0] for line in _lines(ledger))
    results = [dict(line.split("\t") for line in _lines(f"{ledger}.{number}")) for number in range(RACERS)]
    violations = []
    for number in map(str, range(n)):
        if executed[number] != 1:
            violations.append(f"run {number} was executed {executed[number]} times")
        told = [json.loads(result[number]) if number in result else None for result in results]
        if None in told or len(set(told)) != 1:
            violations.append(f"run {number} gave {told}")
    return violations


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except FileNotFoundError:
        return []
