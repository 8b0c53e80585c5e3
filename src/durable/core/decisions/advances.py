"""Advances: is one new, repeated or fenced, what it leaves in the run's row, and where the run goes then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, NamedTuple, assert_never

from durable.core.decisions.standing import Change, Standing, appended, ended, moved, sooner
from durable.core.decisions.starts import start_entry
from durable.core.operations import (
    Advance,
    Answer,
    Continue,
    Done,
    Extras,
    Fenced,
    Finish,
    GoOn,
    NotFound,
    NotOpen,
    Outcome,
    Paused,
    Release,
    SetAside,
    Suspend,
    Then,
    Woken,
)
from durable.core.records import Entry, Kind, Requests, RunState
from durable.core.states import RunEvent


class Hold(Enum):
    """What the worker that sends an Advance has of the run, under the run's epoch."""

    OWNS = "owns"
    LEFT = "left"
    """It gave the run away, and nobody has claimed it since."""
    NOTHING = "nothing"


class Accepted(NamedTuple):
    """An Advance that counts."""

    new_from: int
    """Place of the first of its entries that is not stored yet."""
    repeated: bool = False
    """Was all of it stored before, so that only its answer is wanted?"""
    left: bool = False
    """… and did it give the run away?"""


NEW: Final = Accepted(0)
"""An Advance that begins at the run's next position, or has no entries."""


def judge(
    advance: Advance, epoch: int, hold: Hold, next_position: int, is_stored: Callable[[Entry], bool]
) -> Accepted | Fenced:
    """Decide whether an Advance is stored, taken as stored, or fenced.

    Args:
        advance: Its entries have consecutive positions.
        epoch: The run's epoch.
        hold: What the advancing worker has of the run.
        next_position: The run's next position.
        is_stored: Is this entry in the journal, just so, written under the run's epoch? Asked only about positions
            that the journal has.
    """
    entries = advance[3]
    if hold is Hold.NOTHING or epoch != advance[2]:
        return Fenced(epoch)
    if hold is Hold.LEFT:
        is_newest = not entries or entries[-1].position == next_position - 1
        if advance.then.__class__ is GoOn or not is_newest or not all(map(is_stored, entries)):
            return Fenced(epoch)
        return Accepted(len(entries), repeated=True, left=True)
    if not entries or entries[0][0] == next_position:
        return NEW
    old = entries[: max(0, next_position - entries[0].position)]
    if not old or not all(map(is_stored, old)):
        return Fenced(epoch)
    return Accepted(len(old), repeated=len(old) == len(entries))


def consumes_cancel(entries: Sequence[Entry]) -> bool:
    """Do these new entries say that the owner has obeyed a cancel request?"""
    for entry in entries:  # noqa: SIM110 - this is asked of every Advance, and `any` costs three times as much
        if entry[2] is Kind.RUN and entry[6] == "cancel":
            return True
    return False


def recorded(run: Standing, advance: Advance, accepted: Accepted) -> Standing:
    """Return the run with what an accepted Advance of its owner adds to its row."""
    new, extras = advance.entries[accepted.new_from :], advance.extras
    if extras is not None and extras.progress is not None:
        run = run._replace(progress=extras.progress)
    if consumes_cancel(new):
        run = run._replace(requests=run.requests & ~Requests.CANCEL, cancel_reason="")
    return appended(run, new[-1]) if new else run


# Where the run goes -------------------------------------------------------------------------------------------------


class Departure(NamedTuple):
    """What an owner's `Then` comes to."""

    change: Change
    woken: bool = False
    """The run stays with its owner: something has arrived, or there is no reason any more to leave."""


def leave(run: Standing, then: Then, active_ms: int, now: int, *, is_there: bool) -> Departure:
    """Let an owned run go where its owner says.

    Args:
        run: The run, with the entries of the Advance.
        then: Where to.
        active_ms: How long its owner has executed it; counted when it leaves.
        now: The store's time.
        is_there: For a Suspend: has anything arrived that the run waits for?

    Raises:
        ValueError: the run is not owned.
    """
    if isinstance(then, GoOn):
        return Departure(Change(run))
    if not _may_leave(run, then, is_there=is_there):
        return Departure(Change(run._replace(notice=True)), woken=True)
    # A request that the owner has not been told of counts as made after it left.
    is_cancelled = run.notice and Requests.CANCEL in run.requests and isinstance(then, SetAside | Release | Paused)
    change = _gone(run._replace(was_left=True, notice=False, active_ms=run.active_ms + active_ms), then, now)
    if is_cancelled:
        change = Change(moved(change.run, RunEvent.CANCEL_REQUESTED, now, due_at=sooner(change.run, now)))
    return Departure(change)


def _may_leave(run: Standing, then: Then, *, is_there: bool) -> bool:
    if isinstance(then, Suspend):
        return not run.requests and not is_there
    return not isinstance(then, Paused) or Requests.PAUSE in run.requests


def _gone(run: Standing, then: Suspend | Finish | SetAside | Release | Paused | Continue, now: int) -> Change:
    match then:
        case Suspend(due_at):
            return Change(moved(run, RunEvent.BLOCKED, now, due_at=due_at))
        case Finish(state, reason, detail):
            return ended(run, state, reason, detail, now)
        case SetAside(reason, detail):
            return Change(set_aside(run, reason, detail, now))
        case Release(due_at):
            return Change(moved(run, RunEvent.RELEASED, now, due_at=due_at))
        case Paused():
            return Change(moved(run, RunEvent.PAUSED, now, requests=run.requests & ~Requests.PAUSE))
        case Continue():
            return _continued(run, then, now)
        case _:
            assert_never(then)


def set_aside(run: Standing, reason: str, detail: str, now: int) -> Standing:
    """Return a run that cannot go on until someone acts."""
    return moved(run, RunEvent.CANNOT_GO_ON, now, reason=reason, detail=detail)


def _continued(run: Standing, then: Continue, now: int) -> Change:
    """Return the run that starts anew: the store drops its whole journal before it appends the start entry."""
    entry = start_entry(max(now, run.last_at), then)
    anew = appended(run, entry)._replace(digest=then.digest, note=then.note, continuation=run.continuation + 1)
    return Change(moved(anew, RunEvent.CONTINUED, now, due_at=now), entry, forgets_waits=True)


# Answers ------------------------------------------------------------------------------------------------------------


def cancelled_again(state: RunState | None) -> Outcome:
    """Return what became of a cancel request that came with an Advance which is repeated; it is not made again.

    Args:
        state: The run's state, None if it is gone.
    """
    if state is None:
        return NotFound()
    return NotOpen(state) if state in (RunState.SUCCEEDED, RunState.FAILED) else Answer(state)


def answer(outcomes: tuple[Outcome, ...], extras: Extras | None, *, woken: bool) -> Outcome:
    """Return the outcome of an Advance from those of what it asked for."""
    if extras is not None and (extras.starts or extras.settles or extras.sends or extras.cancels):
        return Answer(outcomes, woken)
    return Woken.WOKEN if woken else Done.DONE
