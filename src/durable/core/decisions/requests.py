"""What anybody may ask of a run, and what it hears: cancel, pause, resume, mend, rewind; messages and promises."""

from __future__ import annotations

from durable.core.decisions.standing import Change, Decided, Standing, appended, ended, moved, sooner
from durable.core.operations import Answer, Cancel, Done, NotOpen, Rewind
from durable.core.records import Entry, Kind, Requests, RunState, Status
from durable.core.states import RunEvent


def is_meant(request: Cancel, parent_id: str | None) -> bool:
    """Is a run of that id, whose parent is `parent_id`, the one that a Cancel means?"""
    return request.parent_id is None or request.parent_id == parent_id


def cancel(run: Standing, reason: str, now: int) -> Decided:
    """Ask a run to cancel, or end it if nothing of it has been executed."""
    if run.state.is_final:
        return Decided(Answer(run.state) if run.state is RunState.CANCELLED else NotOpen(run.state))
    if run.epoch == 0:
        return Decided(Answer(RunState.CANCELLED), _cancel_unclaimed(run, reason, now))
    asked = run
    if Requests.CANCEL not in run.requests:
        asked = run._replace(
            requests=run.requests | Requests.CANCEL, cancel_reason=reason, notice=run.state is RunState.RUNNING
        )
    if asked.state is not RunState.RUNNING:
        asked = moved(asked, RunEvent.CANCEL_REQUESTED, now, due_at=sooner(asked, now))
    return Decided(Answer(asked.state), None if asked is run else Change(asked))


def _cancel_unclaimed(run: Standing, reason: str, now: int) -> Change:
    at = max(now, run.last_at)
    entry = Entry(run.next_position, at, Kind.RUN, Status.ERROR, name="finish", note=reason)
    # Ended by the store itself, in the place of a next owner: so it is queued first, whatever kept it.
    queued = run if run.state is RunState.QUEUED else moved(run, RunEvent.CANCEL_REQUESTED, now)
    return ended(appended(queued, entry), RunState.CANCELLED, reason, "", now)._replace(entry=entry)


def pause(run: Standing, now: int) -> Decided:
    """Pause a run, or ask its owner to; one that has never been claimed keeps its time for when it is resumed."""
    match run.state:
        case RunState.RUNNING:
            is_new = Requests.PAUSE not in run.requests
            asked = run._replace(requests=run.requests | Requests.PAUSE, notice=run.notice or is_new)
            return Decided(Answer(run.state), Change(asked))
        case RunState.QUEUED | RunState.SUSPENDED:
            due_at = run.due_at if run.epoch == 0 else None
            paused = moved(run, RunEvent.PAUSED, now, due_at=due_at, requests=run.requests & ~Requests.PAUSE)
            return Decided(Answer(paused.state), Change(paused))
        case RunState.PAUSED:
            return Decided(Answer(run.state))
        case _:
            return Decided(NotOpen(run.state))


def resume(run: Standing, now: int) -> Decided:
    """Let a paused run go on, or withdraw a request to pause."""
    requests = run.requests & ~Requests.PAUSE
    if run.state is RunState.PAUSED:
        due_at = now if run.due_at is None else run.due_at
        resumed = moved(run, RunEvent.RESUMED, now, due_at=due_at, requests=requests)
        return Decided(Answer(resumed.state), Change(resumed))
    if Requests.PAUSE not in run.requests:
        return Decided(NotOpen(run.state))
    return Decided(Answer(run.state), Change(run._replace(requests=requests)))


def mend(run: Standing, now: int) -> Decided:
    """Let a run that was set aside try again."""
    if run.state is not RunState.SET_ASIDE:
        return Decided(NotOpen(run.state))
    mended = moved(run, RunEvent.MENDED, now, due_at=now, deaths=0)
    return Decided(Answer(mended.state), Change(mended))


def rewind(run: Standing, request: Rewind, now: int, *, is_marked: bool) -> Decided:
    """Drop entries of a run that failed or was set aside, and queue it.

    With a change, the store deletes the entries and returns the messages before it appends the mark.

    Args:
        run: The run.
        request: What was asked.
        now: The store's time.
        is_marked: Is the mark in the journal already, just so, whatever epoch it was written under?
    """
    if is_marked:
        return Decided(Done.DONE)
    if run.state not in (RunState.FAILED, RunState.SET_ASIDE) or request.mark.position != run.next_position:
        return Decided(NotOpen(run.state))
    queued = moved(appended(run, request.mark), RunEvent.RETRIED, now, due_at=now)
    return Decided(Done.DONE, Change(queued, request.mark, forgets_waits=True))


def answer_send(state: RunState, *, is_known: bool) -> Done | NotOpen | None:
    """Return what a Send hears; None: the message is new and the run open, append it and answer Done.

    Args:
        state: The run's state.
        is_known: Has the mailbox had a message of this id?
    """
    if is_known:
        return Done.DONE
    return NotOpen(state) if state.is_final else None


def answer_settle(token: str, settled_by: str | None) -> Answer:
    """Return what a Settle hears: True for the one that settled the promise.

    Args:
        token: The request's.
        settled_by: Token of the request that settled the promise, None if this one does.
    """
    return Answer(settled_by is None or settled_by == token)
