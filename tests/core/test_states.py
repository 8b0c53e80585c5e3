"""The life of a run is the table: what is in it happens, and nothing else."""

from __future__ import annotations

import itertools

import pytest

from durable.core.records import Entry, Kind, RunState, Status, signal_id
from durable.core.states import CLAIMABLE, TRANSITIONS, RunEvent, after

S, E = RunState, RunEvent

PAIRS = list(itertools.product(RunState, RunEvent))


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_an_event_leads_where_the_table_says_or_is_refused(state: RunState, event: RunEvent) -> None:
    if event in TRANSITIONS[state]:
        assert after(state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(ValueError, match=f"^a run that is {state.label} cannot be {event.value}$"):
            after(state, event)


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(RunState)


def test_every_event_leads_to_one_state_only() -> None:
    leads_to = {event: {row[event] for row in TRANSITIONS.values() if event in row} for event in RunEvent}
    assert leads_to == {
        E.CLAIMED: {S.RUNNING}, E.BLOCKED: {S.SUSPENDED}, E.RELEASED: {S.QUEUED}, E.RETURNED: {S.SUCCEEDED},
        E.RAISED: {S.FAILED}, E.CANCEL_FINISHED: {S.CANCELLED}, E.CONTINUED: {S.QUEUED}, E.OWNER_DIED: {S.QUEUED},
        E.CANNOT_GO_ON: {S.SET_ASIDE}, E.WOKEN: {S.QUEUED}, E.CANCEL_REQUESTED: {S.QUEUED}, E.PAUSED: {S.PAUSED},
        E.RESUMED: {S.QUEUED}, E.MENDED: {S.QUEUED}, E.RETRIED: {S.QUEUED},
    }  # fmt: skip


def test_who_may_be_claimed_waits_for_a_time_at_most() -> None:
    assert {S.QUEUED, S.SUSPENDED} == CLAIMABLE


def test_every_open_state_can_reach_every_end() -> None:
    reached = {state: {state} for state in RunState}
    for _ in RunState:
        for state, row in TRANSITIONS.items():
            reached[state] |= set().union(*(reached[target] for target in row.values()))
    ends = {S.SUCCEEDED, S.FAILED, S.CANCELLED}
    assert all(ends <= reached[state] for state in RunState if state not in (S.SUCCEEDED, S.CANCELLED))


@pytest.mark.parametrize("state", RunState)
def test_a_run_has_ended_when_it_succeeded_failed_or_was_cancelled(state: RunState) -> None:
    assert state.is_final == (state.name in ("SUCCEEDED", "FAILED", "CANCELLED"))


def test_people_read_words() -> None:
    assert [event.value for event in RunEvent] == [
        "claimed", "blocked", "released", "returned", "raised", "cancel finished", "continued as new", "owner died",
        "cannot go on", "woken", "cancel requested", "paused", "resumed", "mended", "retried",
    ]  # fmt: skip
    assert [state.label for state in RunState] == [
        "queued", "running", "suspended", "paused", "set aside", "succeeded", "failed", "cancelled",
    ]  # fmt: skip


def test_people_read_what_they_named() -> None:
    assert [kind.label for kind in Kind] == [
        "run", "task", "timer", "value", "signal", "child", "start", "message", "call",
    ]  # fmt: skip
    assert Entry(1, 0, Kind.RUN, Status.OK, name="rewind").label == "retry"
    assert Entry(1, 0, Kind.TASK, Status.OK, name="rewind").label == "rewind"
    assert Entry(1, 0, Kind.RUN, Status.OK, name="finish").label == "finish"


def test_numbers_that_are_stored_stay_what_they_are() -> None:
    """Databases hold these numbers: none may ever mean something else."""
    assert {state.name: state.value for state in RunState} == {
        "QUEUED": 1, "RUNNING": 2, "SUSPENDED": 3, "PAUSED": 4, "SET_ASIDE": 5, "SUCCEEDED": 6, "FAILED": 7,
        "CANCELLED": 8,
    }  # fmt: skip
    assert {status.name: status.value for status in Status} == {"OK": 0, "ERROR": 1, "RETRY": 2, "BEGUN": 3}
    assert {kind.name: kind.value for kind in Kind} == {
        "RUN": 0, "TASK": 1, "TIMER": 2, "VALUE": 3, "PROMISE": 4, "CHILD": 5, "START": 6, "MESSAGE": 7, "CALL": 8,
    }  # fmt: skip


def test_a_signal_belongs_to_its_run() -> None:
    assert signal_id("run", "name") == "run\nname"
