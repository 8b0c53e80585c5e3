"""What becomes of a run whose owner died or left, and which ended runs may go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.decisions.retention import may_go
from durable.core.decisions.standing import Standing
from durable.core.decisions.takeovers import POISONED, handed_back, taken_back
from durable.core.records import Requests, RunState
from tests.core.decisions_kit import NOW, RUNNING, check_invariants, owned_runs, standing

S = RunState


@pytest.mark.parametrize(("deaths", "delay_ms"), [(0, 0), (1, 500), (2, 1_000), (3, 4_000)])
def test_the_run_of_a_dead_owner_is_queued_and_waits_longer_each_time(deaths: int, delay_ms: int) -> None:
    run = RUNNING._replace(deaths=deaths, notice=True, requests=Requests.CANCEL, cancel_reason="why")
    assert taken_back(run, NOW, spread=0.5) == run._replace(
        state=S.QUEUED, due_at=NOW + delay_ms, moved_at=NOW, deaths=deaths + 1, notice=False
    )


def test_the_fifth_death_sets_it_aside() -> None:
    assert taken_back(RUNNING._replace(deaths=4), NOW, spread=0.9) == RUNNING._replace(
        state=S.SET_ASIDE, moved_at=NOW, deaths=5, reason="poisoned", detail=POISONED
    )
    assert POISONED == "5 workers died in a row while they executed it, without a new entry"


@given(st.floats(0, 1, exclude_max=True))
def test_takeovers_are_spread(spread: float) -> None:
    due_at = taken_back(RUNNING._replace(deaths=1), NOW, spread=spread).due_at
    assert due_at == NOW + int(500 * (0.5 + spread))


@pytest.mark.parametrize("notice", [True, False])
def test_the_run_of_an_owner_that_ends_in_peace_is_due_and_counts_no_death(notice: bool) -> None:
    run = RUNNING._replace(deaths=2, notice=notice)
    assert handed_back(run, NOW) == run._replace(state=S.QUEUED, due_at=NOW, moved_at=NOW, notice=False)


@given(owned_runs, st.integers(0, 4))
def test_nobody_s_advance_is_taken_for_repeated_after_that(run: Standing, deaths: int) -> None:
    for found in (taken_back(run._replace(deaths=deaths), NOW, spread=0), handed_back(run, NOW)):
        check_invariants(found)
        assert not found.was_left
        assert (found.epoch, found.requests, found.active_ms) == (run.epoch, run.requests, run.active_ms)


@pytest.mark.parametrize("state", [state for state in S if state is not S.RUNNING])
def test_only_what_is_owned_is_taken_back(state: RunState) -> None:
    for take in (lambda run: taken_back(run, NOW, spread=0), lambda run: handed_back(run, NOW)):
        with pytest.raises(ValueError, match=f"a run that is {state.label} cannot be"):
            take(standing(state))


# Retention -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finished_at", "may"), [(None, False), (NOW - 1, True), (NOW, False), (NOW + 1, False), (0, True)]
)
def test_what_ended_long_enough_ago_may_go(finished_at: int | None, may: bool) -> None:
    assert may_go(finished_at, NOW, is_awaited=False, parent=None) is may


@pytest.mark.parametrize("is_awaited", [True, False])
@pytest.mark.parametrize("parent", [None, *S])
def test_what_somebody_needs_stays(is_awaited: bool, parent: RunState | None) -> None:
    parent_is_open = parent is not None and parent.name not in ("SUCCEEDED", "FAILED", "CANCELLED")
    assert may_go(NOW - 1, NOW, is_awaited=is_awaited, parent=parent) is not (is_awaited or parent_is_open)
