"""The moves that every decision is made of."""

from __future__ import annotations

import pytest
from hypothesis import given

from durable.core.decisions.standing import (
    ENDINGS,
    Change,
    Standing,
    appended,
    became_due,
    ended,
    is_due,
    moved,
    sooner,
    told,
    woken,
)
from durable.core.records import Requests, RunState
from durable.core.states import CLAIMABLE, RunEvent
from tests.core.decisions_kit import NEW, NOW, RUNNING, RUNS, T0, check_invariants, runs, standing, task

E, S = RunEvent, RunState


def test_a_run_begins_with_nothing_asked_or_counted() -> None:
    assert (RUNNING.deaths, RUNNING.requests, RUNNING.cancel_reason) == (0, Requests.NONE, "")
    assert (RUNNING.reason, RUNNING.detail, RUNNING.progress) == ("", "", "")
    assert (RUNNING.continuation, RUNNING.active_ms) == (0, 0)


def test_a_move_changes_state_time_and_what_is_named() -> None:
    run = RUNNING._replace(due_at=3)
    assert moved(run, E.BLOCKED, NOW) == run._replace(state=S.SUSPENDED, due_at=None, moved_at=NOW)
    assert moved(run, E.BLOCKED, NOW, due_at=9, epoch=8) == run._replace(
        state=S.SUSPENDED, due_at=9, moved_at=NOW, epoch=8
    )


def test_a_move_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="a run that is running cannot be woken"):
        moved(RUNNING, E.WOKEN, NOW)


@pytest.mark.parametrize(("state", "event"), [(S.SET_ASIDE, E.MENDED), (S.FAILED, E.RETRIED)])
def test_a_run_that_goes_on_has_no_reason_any_more(state: RunState, event: RunEvent) -> None:
    run = moved(standing(state), event, NOW, due_at=NOW)
    assert (run.reason, run.detail, run.finished_at) == ("", "", None)
    assert moved(standing(state), event, NOW, reason="new").reason == "new"


def test_a_run_that_was_neither_keeps_its_texts() -> None:
    assert moved(RUNNING._replace(reason="r", detail="d"), E.BLOCKED, NOW)[14:16] == ("r", "d")


def test_an_entry_is_the_newest_and_ends_a_row_of_deaths() -> None:
    run = appended(RUNNING._replace(deaths=4), task(9))
    assert run == RUNNING._replace(next_position=10, last_at=T0 + 9, deaths=0)


@pytest.mark.parametrize("state", S)
def test_only_the_end_of_a_run_has_a_time(state: RunState) -> None:
    assert standing(state).finished_at == (T0 + 20 if state.is_final else None)


# Due -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("due_at", "found"), [(None, NOW), (NOW - 1, NOW - 1), (NOW, NOW), (NOW + 1, NOW)])
def test_what_becomes_due_now_stays_due_if_it_was(due_at: int | None, found: int) -> None:
    assert sooner(RUNNING._replace(due_at=due_at), NOW) == found


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize(("due_at", "has_come"), [(None, False), (NOW - 1, True), (NOW, True), (NOW + 1, False)])
def test_a_run_is_due_when_its_time_has_come_and_nobody_has_it(
    state: RunState, due_at: int | None, has_come: bool
) -> None:
    assert is_due(standing(state, due_at=due_at), NOW) == (has_come and state in CLAIMABLE)


def test_a_run_became_due_if_it_is_and_was_not_so_before() -> None:
    later, due = NEW._replace(due_at=NOW + 1), NEW._replace(due_at=NOW)
    assert became_due(later, due, NOW)
    assert became_due(RUNNING, due, NOW)
    assert became_due(standing(S.SUSPENDED, due_at=NOW), standing(S.QUEUED, due_at=NOW), NOW)
    assert not became_due(due, due._replace(requests=Requests.CANCEL), NOW), "it was due already"
    assert not became_due(due, later, NOW)
    assert not became_due(later, standing(S.PAUSED), NOW)


# Waking --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notice", [True, False])
def test_an_owner_is_to_be_told_and_then_was(notice: bool) -> None:
    run = RUNNING._replace(notice=notice)
    assert woken(run, NOW) == RUNNING._replace(notice=True)
    assert told(woken(run, NOW)) == RUNNING


@pytest.mark.parametrize(("due_at", "found"), [(None, NOW), (NOW + 9, NOW), (NOW - 9, NOW - 9)])
def test_a_suspended_run_is_queued_and_due(due_at: int | None, found: int) -> None:
    run = standing(S.SUSPENDED, due_at=due_at)
    assert woken(run, NOW) == run._replace(state=S.QUEUED, due_at=found, moved_at=NOW)


@pytest.mark.parametrize("run", [run for run in RUNS if run.state not in (S.RUNNING, S.SUSPENDED)])
def test_whoever_is_neither_running_nor_suspended_stays_as_it_is(run: Standing) -> None:
    assert woken(run, NOW) == run


@given(runs)
def test_being_woken_twice_is_being_woken_once(run: Standing) -> None:
    once = woken(run, NOW)
    check_invariants(once)
    assert woken(once, NOW) == once


# Ending --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [S.SUCCEEDED, S.FAILED, S.CANCELLED])
def test_the_end_takes_requests_and_waits_with_it_and_wakes_who_waits(state: RunState) -> None:
    run = RUNNING._replace(requests=Requests.CANCEL | Requests.PAUSE, cancel_reason="because", due_at=4)
    assert ended(run, state, "Error", "text", NOW) == Change(
        RUNNING._replace(state=state, moved_at=NOW, reason="Error", detail="text"), None, True, True
    )


def test_there_is_an_event_for_each_end() -> None:
    assert {S.SUCCEEDED: E.RETURNED, S.FAILED: E.RAISED, S.CANCELLED: E.CANCEL_FINISHED} == ENDINGS
    assert set(ENDINGS) == {state for state in S if state.is_final}


@pytest.mark.parametrize("state", [S.SUSPENDED, S.PAUSED, S.SET_ASIDE, S.SUCCEEDED, S.CANCELLED])
def test_only_who_is_executed_ends(state: RunState) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        ended(standing(state), S.SUCCEEDED, "", "", NOW)
