"""Runs to decide about: one in each state, and every one that there can be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

from hypothesis import strategies as st

from durable.core.decisions.standing import Standing
from durable.core.records import Entry, Kind, Queue, Requests, RunState, Status
from durable.core.states import CLAIMABLE

T0: Final = 1_000_000
NOW: Final = T0 + 500
QUEUE: Final = Queue("app", "flow", "1", "group")

RUNNING: Final = Standing(RunState.RUNNING, 3, False, False, None, T0 + 10, T0 + 20, 5, T0 + 30, 77, "note")
"""A run that its owner has brought to position 4."""

NEW: Final = Standing(RunState.QUEUED, 0, False, False, T0, None, T0, 1, T0, 77, "note")
"""A run that nobody has claimed yet."""


def standing(state: RunState, **changes: Any) -> Standing:
    """Return a run that was executed before, in this state."""
    run = RUNNING._replace(state=state, was_left=state is not RunState.RUNNING)
    if state in (RunState.SET_ASIDE, RunState.FAILED, RunState.CANCELLED):
        run = run._replace(reason="reason", detail="detail")
    return run._replace(**changes)


def all_standings() -> Iterator[Standing]:
    """Yield runs in every state, with everything that a decision may look at, as far as it can be so."""
    for state, notice, requests, due_at in itertools.product(
        RunState, (False, True), map(Requests, range(4)), (None, NOW - 5, NOW, NOW + 5)
    ):
        if (notice and state is not RunState.RUNNING) or (state.is_final and requests):
            continue
        if (due_at is None and state is RunState.QUEUED) or (due_at is not None and state not in CLAIMABLE):
            continue
        reason = "because" if Requests.CANCEL in requests else ""
        yield standing(state, notice=notice, requests=requests, due_at=due_at, cancel_reason=reason)
    for state, due_at in itertools.product((RunState.QUEUED, RunState.PAUSED), (NOW - 5, NOW + 5)):
        yield NEW._replace(state=state, due_at=due_at)


RUNS: Final = tuple(all_standings())
runs = st.sampled_from(RUNS)
owned_runs = st.sampled_from([run for run in RUNS if run.state is RunState.RUNNING])


def task(position: int, **changes: Any) -> Entry:
    """Return the entry of a task that succeeded."""
    return Entry(position, T0 + position, Kind.TASK, Status.OK, seq=position, name="task")._replace(**changes)


def cancel_entry(position: int) -> Entry:
    """Return the entry by which an owner obeys a cancel request."""
    return Entry(position, T0 + position, Kind.RUN, Status.OK, name="cancel")


def check_invariants(run: Standing) -> None:
    """Check what holds of every run there can be."""
    assert run.notice <= (run.state is RunState.RUNNING), "only an owner is told"
    assert run.due_at is None or run.state in CLAIMABLE or (run.state is RunState.PAUSED and run.epoch == 0)
    assert run.due_at is not None or run.state is not RunState.QUEUED, "a queued run has a time"
    assert (run.finished_at is not None) == run.state.is_final
    assert not (run.state.is_final and run.requests)
    assert (Requests.CANCEL in run.requests) or not run.cancel_reason
    assert (run.state in (RunState.SET_ASIDE, RunState.FAILED, RunState.CANCELLED)) or not run.detail
    assert not (run.was_left and run.state is RunState.RUNNING)
