"""How runs come into being, and what a claim does."""

from __future__ import annotations

from durable.core.decisions.standing import Standing, moved
from durable.core.operations import Continue, Start
from durable.core.records import Entry, Kind, RunState, Status
from durable.core.states import RunEvent


def start_entry(at: int, start: Start | Continue) -> Entry:
    """Return the entry that opens a journal."""
    return Entry(0, at, Kind.RUN, Status.OK, name="start", digest=start.digest, note=start.note, data=start.input)


def new_run(start: Start, now: int, *, worker_lives: bool) -> Standing:
    """Return where a new run stands, with its start entry: claimed by the worker that asks, if it may.

    Args:
        start: What was asked.
        now: The store's time.
        worker_lives: Is `start.worker` registered?
    """
    due_at = now if start.due_at is None else start.due_at
    if start.worker is not None and worker_lives and due_at <= now:
        return Standing(RunState.RUNNING, 1, False, False, None, now, now, 1, now, start.digest, start.note)
    return Standing(RunState.QUEUED, 0, False, False, due_at, None, now, 1, now, start.digest, start.note)


def taken(run: Standing, now: int) -> Standing:
    """Return a run that is due after a claim: under a new epoch, with nothing left to tell.

    Raises:
        ValueError: it cannot be claimed in its state.
    """
    started_at = now if run.started_at is None else run.started_at
    return moved(run, RunEvent.CLAIMED, now, epoch=run.epoch + 1, was_left=False, notice=False, started_at=started_at)
