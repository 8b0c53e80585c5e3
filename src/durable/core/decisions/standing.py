"""Where a run stands, and the moves that every decision is made of.

A `Standing` holds what changes in the life of a run, journal, waits and mailbox apart: the columns that a store reads
under its lock, hands to a decision, and writes back. Nothing here is changed in place. Who owned a run last is the
store's to keep: it owns the run now while that is RUNNING, and left it itself if `was_left`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from durable.core.operations import Outcome
from durable.core.records import Entry, Requests, RunState
from durable.core.states import CLAIMABLE, RunEvent, after


class Standing(NamedTuple):
    """All of a run that changes."""

    state: RunState
    epoch: int
    was_left: bool
    """Its last owner gave it away by an Advance, and nobody has claimed it since: that Advance may be repeated."""
    notice: bool
    """Something has arrived while the run was owned, and its owner has not been told."""
    due_at: int | None
    started_at: int | None
    moved_at: int
    """When its state changed last: the end of a run that has ended."""
    next_position: int
    last_at: int
    """Time of its newest entry."""
    digest: int
    note: str
    deaths: int = 0
    """Owners that died since its newest entry."""
    requests: Requests = Requests.NONE
    cancel_reason: str = ""
    reason: str = ""
    detail: str = ""
    continuation: int = 0
    active_ms: int = 0
    progress: str = ""

    @property
    def finished_at(self) -> int | None:
        """When it ended, None while it is open."""
        return self.moved_at if self.state.is_final else None


class Change(NamedTuple):
    """What becomes of a run; a store writes all of it in the transaction in which it read the run."""

    run: Standing
    entry: Entry | None = None
    """An entry that the decision itself appends."""
    forgets_waits: bool = False
    """All waits of the run are dropped."""
    has_ended: bool = False
    """Whoever waits for the end of this run is woken."""


class Decided(NamedTuple):
    """The answer to a request, and what follows from it."""

    answer: Outcome
    change: Change | None = None
    """None: nothing is written."""


ENDINGS: Final = {
    RunState.SUCCEEDED: RunEvent.RETURNED,
    RunState.FAILED: RunEvent.RAISED,
    RunState.CANCELLED: RunEvent.CANCEL_FINISHED,
}
"""What leads to each final state."""


def moved(run: Standing, event: RunEvent, now: int, *, due_at: int | None = None, **changes: Any) -> Standing:
    """Return the run after an event, with whatever else changes: the one place where states change.

    A run that is no longer set aside, or no longer ended, has no reason for that any more.

    Raises:
        ValueError: the event makes no sense in the run's state.
    """
    if run.state is RunState.SET_ASIDE or run.state.is_final:
        changes = {"reason": "", "detail": "", **changes}
    return run._replace(state=after(run.state, event), due_at=due_at, moved_at=now, **changes)


def appended(run: Standing, entry: Entry) -> Standing:
    """Return the run with one more entry: it has progressed, so that deaths are counted anew."""
    return run._replace(next_position=entry.position + 1, last_at=entry.at, deaths=0)


def sooner(run: Standing, now: int) -> int:
    """Return when a run is due that becomes due now, or was due already."""
    return now if run.due_at is None else min(run.due_at, now)


def is_due(run: Standing, now: int) -> bool:
    """May the run be claimed now?"""
    return run.due_at is not None and run.due_at <= now and run.state in CLAIMABLE


def became_due(before: Standing, run: Standing, now: int) -> bool:
    """Has a change made the run due, so that somebody should claim it soon?"""
    return is_due(run, now) and (before.state, before.due_at) != (run.state, run.due_at)


def woken(run: Standing, now: int) -> Standing:
    """Return the run after something has arrived for it: its owner is to be told, or it is due if it was suspended.

    In every other state it stays as it is, since whoever claims it next hears of everything.
    """
    if run.state is RunState.RUNNING:
        return run._replace(notice=True)
    if run.state is RunState.SUSPENDED:
        return moved(run, RunEvent.WOKEN, now, due_at=sooner(run, now))
    return run


def told(run: Standing) -> Standing:
    """Return the run after its owner was told of everything that has arrived."""
    return run._replace(notice=False)


def ended(run: Standing, state: RunState, reason: str, detail: str, now: int) -> Change:
    """Return the end of a run: what was asked of it and what it waited for goes with it.

    Raises:
        ValueError: it cannot end from where it is.
    """
    after_end = moved(run, ENDINGS[state], now, reason=reason, detail=detail, requests=Requests.NONE, cancel_reason="")
    return Change(after_end, forgets_waits=True, has_ended=True)
