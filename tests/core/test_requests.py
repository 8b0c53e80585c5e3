"""Cancel, pause, resume, mend, rewind; what senders and settlers hear."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.decisions.requests import (
    answer_send,
    answer_settle,
    cancel,
    is_meant,
    mend,
    pause,
    resume,
    rewind,
)
from durable.core.decisions.standing import Change, Decided, Standing, is_due
from durable.core.operations import Answer, Cancel, Done, NotOpen, Rewind
from durable.core.records import Entry, Kind, Requests, RunState, Status
from tests.core.decisions_kit import NEW, NOW, RUNNING, RUNS, T0, check_invariants, runs, standing

S = RunState
CANCEL, PAUSE, NONE = Requests.CANCEL, Requests.PAUSE, Requests.NONE
OPEN = [state for state in S if not state.is_final]
ENDED = [S.SUCCEEDED, S.FAILED]


def refused(decided: Decided, state: RunState) -> bool:
    """Was nothing written, since the run is in this state?"""
    return isinstance(decided.answer, NotOpen) and decided == Decided(NotOpen(state), None)


def done(decided: Decided) -> Standing:
    """Return the run after a request that was heard."""
    assert decided.change is not None
    assert isinstance(decided.answer, Answer)
    assert decided.answer == Answer(decided.change.run.state)
    assert decided.change[1:] == (None, False, False)
    check_invariants(decided.change.run)
    return decided.change.run


# Cancel --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ENDED)
def test_what_has_ended_otherwise_cannot_be_cancelled(state: RunState) -> None:
    assert refused(cancel(standing(state), "why", NOW), state)


def test_what_was_cancelled_is_cancelled() -> None:
    decided = cancel(standing(S.CANCELLED), "why", NOW)
    assert isinstance(decided.answer, Answer)
    assert decided == Decided(Answer(S.CANCELLED), None)


@pytest.mark.parametrize("due_at", [NOW - 1, NOW + 9])
@pytest.mark.parametrize("state", [S.QUEUED, S.PAUSED, S.SET_ASIDE])
def test_a_run_of_which_nothing_was_executed_ends_at_once(state: RunState, due_at: int) -> None:
    run = NEW._replace(state=state, due_at=due_at, requests=PAUSE, deaths=1)
    entry = Entry(1, NOW, Kind.RUN, Status.ERROR, name="finish", note="why")
    expected = NEW._replace(
        state=S.CANCELLED, due_at=None, moved_at=NOW, next_position=2, last_at=NOW, reason="why"
    )  # fmt: skip
    assert cancel(run, "why", NOW) == Decided(Answer(S.CANCELLED), Change(expected, entry, True, True))


def test_its_end_is_no_earlier_than_its_start() -> None:
    change = cancel(NEW._replace(last_at=NOW + 40), "", NOW).change
    assert change is not None
    assert change.entry is not None
    assert (change.entry.at, change.run.last_at, change.run.moved_at) == (NOW + 40, NOW + 40, NOW)


@pytest.mark.parametrize("notice", [True, False])
def test_an_owner_is_asked_and_to_be_told(notice: bool) -> None:
    run = done(cancel(RUNNING._replace(notice=notice, requests=PAUSE), "why", NOW))
    assert run == RUNNING._replace(notice=True, requests=CANCEL | PAUSE, cancel_reason="why")


@pytest.mark.parametrize("notice", [True, False])
def test_an_owner_that_was_asked_is_not_asked_again(notice: bool) -> None:
    run = RUNNING._replace(requests=CANCEL, cancel_reason="first", notice=notice)
    assert cancel(run, "second", NOW) == Decided(Answer(S.RUNNING), None)


@pytest.mark.parametrize("state", [S.SUSPENDED, S.QUEUED, S.PAUSED, S.SET_ASIDE])
@pytest.mark.parametrize(("due_at", "found"), [(None, NOW), (NOW + 9, NOW), (NOW - 9, NOW - 9)])
def test_a_run_that_nobody_owns_is_due_whatever_kept_it(state: RunState, due_at: int | None, found: int) -> None:
    before = standing(state, due_at=due_at, requests=PAUSE)
    run = done(cancel(before, "why", NOW))
    assert run == before._replace(
        state=S.QUEUED, due_at=found, moved_at=NOW, requests=CANCEL | PAUSE, cancel_reason="why", reason="", detail=""
    )


@pytest.mark.parametrize("state", [S.SUSPENDED, S.PAUSED, S.SET_ASIDE])
def test_a_request_that_is_repeated_keeps_the_first_reason_and_makes_the_run_due(state: RunState) -> None:
    run = done(cancel(standing(state, requests=CANCEL, cancel_reason="first"), "second", NOW))
    assert (run.state, run.due_at, run.cancel_reason, run.requests) == (S.QUEUED, NOW, "first", CANCEL)


@pytest.mark.parametrize(
    ("meant", "parent_id", "is_it"),
    [(None, None, True), (None, "p", True), ("p", "p", True), ("p", None, False), ("p", "q", False), ("", None, False)],
)
def test_a_cancel_may_mean_the_children_of_one_run_only(meant: str | None, parent_id: str | None, is_it: bool) -> None:
    assert is_meant(Cancel("app", "r", "", meant), parent_id) is is_it


# Pause and resume ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requests", "notice", "is_told"),
    [(NONE, False, True), (NONE, True, True), (CANCEL, False, True), (PAUSE, False, False), (PAUSE, True, True)],
)
def test_an_owner_is_asked_to_pause_once(requests: Requests, notice: bool, is_told: bool) -> None:
    run = RUNNING._replace(requests=requests, notice=notice)
    assert done(pause(run, NOW)) == run._replace(requests=requests | PAUSE, notice=is_told)


@pytest.mark.parametrize("state", [S.QUEUED, S.SUSPENDED])
@pytest.mark.parametrize("requests", [NONE, CANCEL, PAUSE, CANCEL | PAUSE])
def test_a_run_that_nobody_owns_pauses_and_keeps_a_cancel(state: RunState, requests: Requests) -> None:
    before = standing(state, due_at=NOW + 9, requests=requests, cancel_reason="why" if CANCEL in requests else "")
    expected = before._replace(state=S.PAUSED, due_at=None, moved_at=NOW, requests=requests & CANCEL)
    assert done(pause(before, NOW)) == expected


def test_a_start_that_is_due_later_keeps_its_time() -> None:
    paused = done(pause(NEW._replace(due_at=NOW + 9), NOW))
    assert paused == NEW._replace(state=S.PAUSED, due_at=NOW + 9, moved_at=NOW)
    assert done(resume(paused, NOW + 1)) == NEW._replace(due_at=NOW + 9, moved_at=NOW + 1)


def test_a_paused_run_is_paused() -> None:
    assert pause(standing(S.PAUSED), NOW) == Decided(Answer(S.PAUSED), None)


@pytest.mark.parametrize("state", [S.SET_ASIDE, S.SUCCEEDED, S.FAILED, S.CANCELLED])
def test_what_is_set_aside_or_has_ended_cannot_pause(state: RunState) -> None:
    assert refused(pause(standing(state), NOW), state)


@pytest.mark.parametrize("requests", [NONE, CANCEL, PAUSE])
def test_a_paused_run_goes_on_at_once(requests: Requests) -> None:
    before = standing(S.PAUSED, requests=requests, cancel_reason="why" if CANCEL in requests else "")
    expected = before._replace(state=S.QUEUED, due_at=NOW, moved_at=NOW, requests=requests & CANCEL)
    assert done(resume(before, NOW)) == expected


@pytest.mark.parametrize("state", [S.RUNNING, S.QUEUED, S.SUSPENDED, S.SET_ASIDE])
@pytest.mark.parametrize("requests", [PAUSE, PAUSE | CANCEL])
def test_a_request_to_pause_is_withdrawn_and_nothing_else_changes(state: RunState, requests: Requests) -> None:
    before = standing(state, requests=requests, due_at=NOW if state is S.QUEUED else None)
    decided = resume(before, NOW + 5)
    assert decided == Decided(Answer(state), Change(before._replace(requests=requests & CANCEL)))


@pytest.mark.parametrize("state", [state for state in S if state is not S.PAUSED])
@pytest.mark.parametrize("requests", [NONE, CANCEL])
def test_there_is_nothing_to_resume_without_a_pause(state: RunState, requests: Requests) -> None:
    assert refused(resume(standing(state, requests=requests), NOW), state)


# Mend and rewind -----------------------------------------------------------------------------------------------------


def test_what_was_set_aside_tries_again_and_its_deaths_are_forgotten() -> None:
    before = standing(S.SET_ASIDE, deaths=5, requests=CANCEL, cancel_reason="why")
    expected = before._replace(state=S.QUEUED, due_at=NOW, moved_at=NOW, deaths=0, reason="", detail="")
    assert done(mend(before, NOW)) == expected


@pytest.mark.parametrize("state", [state for state in S if state is not S.SET_ASIDE])
def test_there_is_nothing_to_mend_in_other_states(state: RunState) -> None:
    assert refused(mend(standing(state), NOW), state)


MARK = Entry(5, T0 + 5, Kind.RUN, Status.OK, name="rewind", note="3-4")


def rewound(run: Standing, *, is_marked: bool = False, mark: Entry = MARK) -> Decided:
    return rewind(run, Rewind("app", "r", (3, 4), mark), NOW, is_marked=is_marked)


@pytest.mark.parametrize("state", [S.FAILED, S.SET_ASIDE])
def test_a_run_that_failed_or_was_set_aside_goes_on_from_an_earlier_place(state: RunState) -> None:
    before = standing(state, deaths=5)
    expected = before._replace(
        state=S.QUEUED, due_at=NOW, moved_at=NOW, deaths=0, reason="", detail="", next_position=6, last_at=T0 + 5
    )
    check_invariants(expected)
    assert rewound(before) == Decided(Done.DONE, Change(expected, MARK, forgets_waits=True, has_ended=False))


@pytest.mark.parametrize("state", S)
def test_a_rewind_that_is_marked_was_done(state: RunState) -> None:
    assert rewound(standing(state), is_marked=True) == Decided(Done.DONE, None)


@pytest.mark.parametrize("state", [state for state in S if state not in (S.FAILED, S.SET_ASIDE)])
def test_nobody_rewinds_what_goes_on_or_ended_well(state: RunState) -> None:
    assert refused(rewound(standing(state)), state)


@pytest.mark.parametrize("position", [4, 6])
@pytest.mark.parametrize("state", [S.FAILED, S.SET_ASIDE])
def test_a_rewind_of_another_journal_is_refused(state: RunState, position: int) -> None:
    assert refused(rewound(standing(state), mark=MARK._replace(position=position)), state)


# Messages and promises -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", S)
def test_a_message_is_taken_as_long_as_the_run_is_open(state: RunState) -> None:
    found = answer_send(state, is_known=False)
    assert found == (NotOpen(state) if state.is_final else None)
    assert answer_send(state, is_known=True) is Done.DONE


@pytest.mark.parametrize(("settled_by", "is_ours"), [(None, True), ("mine", True), ("theirs", False), ("", False)])
def test_a_promise_is_settled_by_one_request(settled_by: str | None, is_ours: bool) -> None:
    assert answer_settle("mine", settled_by) == Answer(is_ours)


# In general ----------------------------------------------------------------------------------------------------------

REQUESTS: dict[str, Any] = {
    "cancel": lambda run: cancel(run, "why", NOW),
    "pause": lambda run: pause(run, NOW),
    "resume": lambda run: resume(run, NOW),
    "mend": lambda run: mend(run, NOW),
    "rewind": rewound,
}


@given(runs, st.lists(st.sampled_from(sorted(REQUESTS)), max_size=8))
def test_whatever_is_asked_the_run_stays_one_there_can_be(run: Standing, asked: list[str]) -> None:
    for name in asked:
        decided = REQUESTS[name](run)
        if decided.change is None:
            continue
        assert not isinstance(decided.answer, NotOpen), "a refusal writes nothing"
        after = decided.change.run
        check_invariants(after)
        assert (after.epoch, after.active_ms, after.started_at) == (run.epoch, run.active_ms, run.started_at)
        assert (run.state is S.RUNNING) == (after.state is S.RUNNING), "nobody takes a run from its owner"
        assert not run.state.is_final or name == "rewind"
        run = after


@pytest.mark.parametrize("run", [run for run in RUNS if run.state in OPEN and run.epoch])
def test_an_acknowledged_cancel_reaches_the_run(run: Standing) -> None:
    decided = cancel(run, "why", NOW)
    after = run if decided.change is None else decided.change.run
    assert CANCEL in after.requests
    assert after.state is S.RUNNING or is_due(after, NOW)
