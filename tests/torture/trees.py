"""Random trees of everything that asyncio offers, cut at every point of their history and played on.

Each seed grows one tree. One of its cuts is also taken over later, and cut a second time. A violation is printed with
its seed to stderr; `python -m tests.torture trees -n 1 --seed S` repeats it.

Covers: A6, A7, F17, G7
"""

from __future__ import annotations

import logging
import random
import sys
from typing import Final

from tests.support.comparing import Difference, check_every_cut, check_late_takeover
from tests.support.replaying import cuts
from tests.support.trees import Grower, script_of

N_DEFAULT: Final = 10_000

IN_ALL: Final = False
"""It takes the best part of an hour of a core."""

CANCELLED: Final = 0.15
"""Share of the trees whose run is cancelled from outside."""

SLICED: Final = 0.5
"""Share of the trees whose entries are committed one by one."""

LATER_MS: Final = (1, 1, 700, 50_000_000, 400_000_000)
"""Times between a death and the takeover."""


def check(seed: int) -> None:
    """Check one tree.

    Raises:
        Difference: a play that went on from a cut was another one.
    """
    source = random.Random(seed)
    tree = Grower(source).grow()
    script = script_of(tree, cancel=source.random() < CANCELLED, sliced=source.random() < SLICED)
    whole = check_every_cut(script)
    cut = source.choice(list(cuts(whole.log, within=script.sliced)))
    check_late_takeover(script, whole, cut, source.choice(LATER_MS))


def campaign(n: int, seed: int) -> int:
    """Check `n` trees; return how many differed."""
    logging.getLogger("durable").setLevel(logging.CRITICAL)
    violations = 0
    for number in range(seed, seed + n):
        try:
            check(number)
        except Difference as difference:
            violations += 1
            print(f"seed {number}: {difference}", file=sys.stderr, flush=True)
    return violations
