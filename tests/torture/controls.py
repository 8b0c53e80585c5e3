"""Positive controls: stores that are wrong on purpose have to be found wrong (T32, the part of the simulation).

Each is given to the simulation for up to `n` schedules. A control that passes is a violation: then the simulation sees
nothing. Those of real disks (`synchronous=NORMAL` must lose) are part of `powerloss`.
"""

from __future__ import annotations

import sys
from typing import Final

from tests.simulation.controls import CONTROLS
from tests.simulation.playing import Theatre
from tests.torture._outcome import Outcome

N_DEFAULT: Final = 2_000


def campaign(n: int, seed: int) -> Outcome:
    """Play schedules on each wrong store until something is found."""
    violations = []
    for control in CONTROLS:
        with control.applied(), Theatre() as theatre:
            reports = (theatre.play(number) for number in range(seed, seed + n))
            failed = next((report for report in reports if report.violations), None)
        if failed is None:
            violations.append(f"{control.name} ({control.breaks}) passed {n} schedules")
        else:
            text = " ".join(failed.violations[0].split())[:160]
            print(f"{control.name}: found at seed {failed.seed}: {text}", file=sys.stderr, flush=True)
    return Outcome(violations, {"controls": len(CONTROLS)})
