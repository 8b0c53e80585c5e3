"""What becomes of a run when its owner dies or leaves."""

from __future__ import annotations

from typing import Final

from durable.core.decisions.advances import set_aside
from durable.core.decisions.standing import Standing, moved
from durable.core.lease import DEATHS_MAX, after_death
from durable.core.records import Reason
from durable.core.states import RunEvent

POISONED: Final = f"{DEATHS_MAX} workers died in a row while they executed it, without a new entry"


def taken_back(run: Standing, now: int, *, spread: float) -> Standing:
    """Return the run of an owner that died: queued, due at once or after a delay, or set aside as poisoned.

    Args:
        run: The run, owned.
        now: The store's time.
        spread: Number in [0, 1), different for each run.

    Raises:
        ValueError: nobody owns it.
    """
    takeover = after_death(run.deaths, spread=spread)
    queued = moved(run, RunEvent.OWNER_DIED, now, due_at=now + takeover.delay_ms, notice=False, deaths=takeover.deaths)
    return set_aside(queued, Reason.POISONED, POISONED, now) if takeover.poisoned else queued


def handed_back(run: Standing, now: int) -> Standing:
    """Return the run of a worker that ended in peace: queued, due at once.

    Raises:
        ValueError: nobody owns it.
    """
    return moved(run, RunEvent.RELEASED, now, due_at=now, notice=False)
