"""The life of a run as a table.

A run is QUEUED until a worker claims it, RUNNING under that worker's lease, and SUSPENDED when it waits and holds
nothing. What leads out of each state is below; a pair that is not in the table is refused in one place, `after`.
The store enforces the same table inside its statements, by naming the states it moves a run from.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from durable.core.records import RunState as S


class RunEvent(StrEnum):
    """What may happen to a run."""

    CLAIMED = "claimed"
    BLOCKED = "blocked"
    RELEASED = "released"
    RETURNED = "returned"
    RAISED = "raised"
    CANCEL_FINISHED = "cancel finished"
    CONTINUED = "continued as new"
    OWNER_DIED = "owner died"
    CANNOT_GO_ON = "cannot go on"
    WOKEN = "woken"
    CANCEL_REQUESTED = "cancel requested"
    PAUSED = "paused"
    RESUMED = "resumed"
    MENDED = "mended"
    RETRIED = "retried"


E = RunEvent

TRANSITIONS: Final[dict[S, dict[RunEvent, S]]] = {
    S.QUEUED: {
        E.CLAIMED: S.RUNNING,
        E.PAUSED: S.PAUSED,
        E.CANCEL_REQUESTED: S.QUEUED,
        E.CANCEL_FINISHED: S.CANCELLED,
        E.CANNOT_GO_ON: S.SET_ASIDE,
    },
    S.RUNNING: {
        E.BLOCKED: S.SUSPENDED,
        E.RELEASED: S.QUEUED,
        E.RETURNED: S.SUCCEEDED,
        E.RAISED: S.FAILED,
        E.CANCEL_FINISHED: S.CANCELLED,
        E.CONTINUED: S.QUEUED,
        E.OWNER_DIED: S.QUEUED,
        E.PAUSED: S.PAUSED,
        E.CANNOT_GO_ON: S.SET_ASIDE,
    },
    S.SUSPENDED: {E.WOKEN: S.QUEUED, E.CLAIMED: S.RUNNING, E.CANCEL_REQUESTED: S.QUEUED, E.PAUSED: S.PAUSED},
    S.PAUSED: {E.RESUMED: S.QUEUED, E.CANCEL_REQUESTED: S.QUEUED},
    S.SET_ASIDE: {E.MENDED: S.QUEUED, E.RETRIED: S.QUEUED, E.CANCEL_REQUESTED: S.QUEUED},
    S.FAILED: {E.RETRIED: S.QUEUED},
    S.SUCCEEDED: {},
    S.CANCELLED: {},
}  # fmt: skip - the manual's diagram and the test of every pair are made from this table

CLAIMABLE: Final = frozenset(state for state, row in TRANSITIONS.items() if E.CLAIMED in row)
"""States in which a run whose `due_at` has come may be claimed."""


def after(state: S, event: RunEvent) -> S:
    """Return the state that `event` leads to.

    Raises:
        ValueError: the event makes no sense in that state.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise ValueError(f"a run that is {state.label} cannot be {event.value}") from None
