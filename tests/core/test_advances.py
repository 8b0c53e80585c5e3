"""Is an Advance new, repeated or fenced; what it leaves in the run's row; and where the run goes then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.decisions.advances import (
    NEW,
    Accepted,
    Departure,
    Hold,
    answer,
    cancelled_again,
    consumes_cancel,
    judge,
    leave,
    recorded,
    set_aside,
)
from durable.core.decisions.standing import Change, Standing
from durable.core.operations import (
    Advance,
    Answer,
    Cancel,
    Continue,
    Done,
    Extras,
    Fenced,
    Finish,
    GoOn,
    NotFound,
    NotOpen,
    Paused,
    Release,
    Send,
    SetAside,
    Settle,
    Start,
    Suspend,
    Then,
    Woken,
)
from durable.core.records import Entry, Kind, Reason, Requests, RunState, Status, Wait
from tests.core.decisions_kit import (
    NOW,
    QUEUE,
    RUNNING,
    RUNS,
    T0,
    cancel_entry,
    check_invariants,
    owned_runs,
    standing,
    task,
)

S = RunState
CANCEL, PAUSE, NONE = Requests.CANCEL, Requests.PAUSE, Requests.NONE
STORED = [task(position) for position in range(5)]
"""What the journal holds, written under epoch 3."""


def advance(*entries: Entry, then: Then | None = None, epoch: int = 3, **fields: Any) -> Advance:
    return Advance(1, "me", epoch, entries, GoOn() if then is None else then, **fields)


def judged(one: Advance, hold: Hold = Hold.OWNS, epoch: int = 3) -> Accepted | Fenced:
    """Judge by a journal that holds `STORED`."""

    def is_stored(entry: Entry) -> bool:
        assert entry.position < len(STORED), "the journal has no such position"
        return STORED[entry.position] == entry

    return judge(one, epoch, hold, len(STORED), is_stored)


# Fences --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entries", [(), (task(5),), (task(4),)])
@pytest.mark.parametrize("then", [GoOn(), Suspend(None)])
def test_who_has_nothing_of_the_run_is_fenced(entries: tuple[Entry, ...], then: Then) -> None:
    assert judged(advance(*entries, then=then), Hold.NOTHING) == Fenced(3)


@pytest.mark.parametrize("hold", Hold)
@pytest.mark.parametrize("epoch", [2, 4])
def test_another_epoch_is_fenced_and_told_which_one_it_is_now(hold: Hold, epoch: int) -> None:
    found = judged(advance(task(5), then=Suspend(None), epoch=epoch), hold)
    assert isinstance(found, Fenced)
    assert found == Fenced(3)


# New and repeated ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entries", [(), (task(5),), (task(5), task(6), task(7))])
def test_what_begins_at_the_next_position_is_new(entries: tuple[Entry, ...]) -> None:
    assert judged(advance(*entries)) == NEW == Accepted(0, repeated=False, left=False)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ((task(4),), Accepted(1, repeated=True)),
        ((task(2), task(3)), Accepted(2, repeated=True)),
        ((task(4), task(5)), Accepted(1)),
        ((task(3), task(4), task(5), task(6)), Accepted(2)),
        (tuple(STORED), Accepted(5, repeated=True)),
    ],
)
def test_what_is_stored_already_is_not_stored_again(entries: tuple[Entry, ...], expected: Accepted) -> None:
    assert judged(advance(*entries)) == expected


@pytest.mark.parametrize(
    "entries",
    [
        (task(6),),
        (task(6), task(7)),
        (task(4, data=b"other"),),
        (task(3, data=b"other"), task(4), task(5)),
        (task(3), task(4, data=b"other"), task(5)),
        (task(4, status=Status.ERROR), task(5)),
    ],
    ids=["gap", "gap of two", "changed", "first changed", "second changed", "changed before new"],
)
def test_a_gap_or_another_entry_in_its_place_is_fenced(entries: tuple[Entry, ...]) -> None:
    assert judged(advance(*entries)) == Fenced(3)


# Repetition of what gave the run away --------------------------------------------------------------------------------

LEAVING: list[Then] = [
    Suspend(None), Finish(S.SUCCEEDED), SetAside(Reason.DEADLOCK, ""), Release(NOW), Paused(), Continue(b"", 1, ""),
]  # fmt: skip


@pytest.mark.parametrize("then", LEAVING)
@pytest.mark.parametrize("entries", [(), (task(4),), (task(3), task(4))])
def test_the_advance_that_gave_the_run_away_is_taken_as_stored(then: Then, entries: tuple[Entry, ...]) -> None:
    assert judged(advance(*entries, then=then), Hold.LEFT) == Accepted(len(entries), repeated=True, left=True)


@pytest.mark.parametrize("entries", [(), (task(4),)])
def test_who_left_cannot_go_on(entries: tuple[Entry, ...]) -> None:
    assert judged(advance(*entries, then=GoOn()), Hold.LEFT) == Fenced(3)


@pytest.mark.parametrize(
    "entries", [(task(3),), (task(5),), (task(4), task(5)), (task(4, data=b"x"),), (task(3, data=b"x"), task(4))]
)
def test_only_the_newest_entries_can_have_given_the_run_away(entries: tuple[Entry, ...]) -> None:
    assert judged_without_asking_beyond(entries) == Fenced(3)


def judged_without_asking_beyond(entries: tuple[Entry, ...]) -> Accepted | Fenced:
    return judged(advance(*entries, then=Suspend(None)), Hold.LEFT)


@given(st.integers(0, 8), st.integers(0, 4), st.sampled_from(Hold), st.sampled_from([GoOn(), Suspend(None)]))
def test_nothing_that_is_accepted_leaves_a_gap_or_changes_an_entry(
    first: int, count: int, hold: Hold, then: Then
) -> None:
    entries = tuple(task(position) for position in range(first, first + count))
    found = judged(advance(*entries, then=then), hold)
    if isinstance(found, Accepted):
        new = entries[found.new_from :]
        assert [entry.position for entry in new] == list(range(5, 5 + len(new)))
        assert hold is not Hold.NOTHING
        assert found.left == (hold is Hold.LEFT)
        assert found.repeated == ((not new and bool(entries)) or found.left)
    else:
        assert hold is not Hold.OWNS or first > 5


# What it leaves in the row -------------------------------------------------------------------------------------------


def test_new_entries_are_counted_and_end_a_row_of_deaths() -> None:
    run = RUNNING._replace(deaths=3)
    assert recorded(run, advance(task(5), task(6)), NEW) == run._replace(next_position=7, last_at=T0 + 6, deaths=0)
    assert recorded(run, advance(), NEW) == run
    assert recorded(run, advance(task(4)), Accepted(1, repeated=True)) == run
    assert recorded(run, advance(task(4), task(5)), Accepted(1)) == run._replace(
        next_position=6, last_at=T0 + 5, deaths=0
    )


def test_an_advance_that_stays_counts_no_active_time() -> None:
    assert recorded(RUNNING, advance(task(5), active_ms=9), NEW).active_ms == 0


@pytest.mark.parametrize(("progress", "found"), [(None, "[1]"), ("", ""), ("[2]", "[2]")])
def test_what_was_said_last_of_progress_stays(progress: str | None, found: str) -> None:
    run = RUNNING._replace(progress="[1]")
    assert recorded(run, advance(extras=Extras(progress=progress)), NEW) == run._replace(progress=found)


def test_an_obeyed_cancel_request_is_gone_and_a_pause_request_stays() -> None:
    run = RUNNING._replace(requests=CANCEL | PAUSE, cancel_reason="because")
    found = recorded(run, advance(task(5), cancel_entry(6), task(7)), NEW)
    assert (found.requests, found.cancel_reason) == (PAUSE, "")
    again = recorded(run, advance(cancel_entry(4), task(5)), Accepted(1))
    assert (again.requests, again.cancel_reason) == (CANCEL | PAUSE, "because"), "that one obeyed an earlier request"


@pytest.mark.parametrize(
    ("entries", "consumes"),
    [((), False), ((cancel_entry(5),), True), ((task(5), cancel_entry(6)), True), ((task(5, name="cancel"),), False),
     ((cancel_entry(5)._replace(name="timeout"),), False), ((cancel_entry(5)._replace(kind=Kind.CALL),), False)],
)  # fmt: skip
def test_only_the_run_s_own_entry_of_that_name_obeys_a_cancel(entries: tuple[Entry, ...], consumes: bool) -> None:
    assert consumes_cancel(entries) == consumes


# Where the run goes --------------------------------------------------------------------------------------------------


def left(run: Standing, then: Then, *, is_there: bool = False) -> Standing:
    """Let a run leave its owner after 7 ms, and return where it is then."""
    departure = leave(run, then, 7, NOW, is_there=is_there)
    assert not departure.woken
    check_invariants(departure.change.run)
    return departure.change.run


LEFT = RUNNING._replace(was_left=True, active_ms=7, moved_at=NOW)


@pytest.mark.parametrize("run", [run for run in RUNS if run.state is S.RUNNING])
@pytest.mark.parametrize("is_there", [True, False])
def test_who_goes_on_stays_as_it_is(run: Standing, is_there: bool) -> None:
    assert leave(run, GoOn(), 7, NOW, is_there=is_there) == Departure(Change(run), woken=False)


@pytest.mark.parametrize("due_at", [None, 0, NOW + 9])
def test_who_waits_holds_nothing(due_at: int | None) -> None:
    assert left(RUNNING, Suspend(due_at)) == LEFT._replace(state=S.SUSPENDED, due_at=due_at)


@pytest.mark.parametrize(
    ("requests", "is_there"), [(NONE, True), (CANCEL, False), (PAUSE, False), (CANCEL | PAUSE, True)]
)
@pytest.mark.parametrize("notice", [True, False])
def test_nobody_sleeps_through_what_has_arrived(requests: Requests, is_there: bool, notice: bool) -> None:
    run = RUNNING._replace(requests=requests, notice=notice)
    departure = leave(run, Suspend(NOW + 9), 7, NOW, is_there=is_there)
    assert departure == Departure(Change(run._replace(notice=True)), woken=True)


@pytest.mark.parametrize("notice", [True, False])
def test_a_notice_of_what_is_consumed_keeps_nobody_awake(notice: bool) -> None:
    assert left(RUNNING._replace(notice=notice), Suspend(None)).state is S.SUSPENDED


@pytest.mark.parametrize("requests", [NONE, CANCEL, PAUSE, CANCEL | PAUSE])
@pytest.mark.parametrize("is_there", [True, False])
def test_who_ends_ends_whatever_was_asked_or_has_arrived(requests: Requests, is_there: bool) -> None:
    run = RUNNING._replace(requests=requests, notice=bool(requests), cancel_reason="because")
    departure = leave(run, Finish(S.FAILED, "Error", "text"), 7, NOW, is_there=is_there)
    assert departure == Departure(
        Change(LEFT._replace(state=S.FAILED, reason="Error", detail="text"), None, True, True), woken=False
    )


def test_who_cannot_go_on_waits_for_somebody_to_act() -> None:
    expected = LEFT._replace(state=S.SET_ASIDE, reason="deadlock", detail="text")
    assert left(RUNNING, SetAside(Reason.DEADLOCK, "text"), is_there=True) == expected
    assert set_aside(RUNNING, "why", "text", NOW) == RUNNING._replace(
        state=S.SET_ASIDE, reason="why", detail="text", moved_at=NOW
    )


@pytest.mark.parametrize("due_at", [NOW - 1, NOW, NOW + 9])
def test_who_is_handed_back_is_due_when_its_owner_says(due_at: int) -> None:
    assert left(RUNNING, Release(due_at), is_there=True) == LEFT._replace(state=S.QUEUED, due_at=due_at)


def test_a_pause_that_was_asked_for_is_obeyed() -> None:
    run = RUNNING._replace(requests=PAUSE, notice=True)
    assert left(run, Paused(), is_there=True) == LEFT._replace(state=S.PAUSED)


@pytest.mark.parametrize("requests", [NONE, CANCEL])
def test_a_pause_that_was_withdrawn_keeps_the_run_with_its_owner(requests: Requests) -> None:
    run = RUNNING._replace(requests=requests)
    assert leave(run, Paused(), 7, NOW, is_there=False) == Departure(Change(run._replace(notice=True)), woken=True)


def test_who_continues_as_new_begins_a_journal_and_forgets_its_waits() -> None:
    run = RUNNING._replace(deaths=2, continuation=4, progress="[1]", requests=PAUSE, active_ms=3)
    departure = leave(run, Continue(b"input", 99, "other"), 7, NOW, is_there=True)
    entry = Entry(0, NOW, Kind.RUN, Status.OK, name="start", digest=99, note="other", data=b"input")
    expected = LEFT._replace(
        state=S.QUEUED, due_at=NOW, next_position=1, last_at=NOW, digest=99, note="other", continuation=5,
        progress="[1]", requests=PAUSE, active_ms=10,
    )  # fmt: skip
    assert departure == Departure(Change(expected, entry, forgets_waits=True, has_ended=False), woken=False)


def test_a_continuation_begins_no_earlier_than_its_last_entry() -> None:
    departure = leave(RUNNING._replace(last_at=NOW + 40), Continue(b"", 1, ""), 0, NOW, is_there=False)
    assert departure.change.entry is not None
    assert (departure.change.entry.at, departure.change.run.last_at) == (NOW + 40, NOW + 40)


# A cancel that crosses -----------------------------------------------------------------------------------------------

CROSSED: list[Then] = [SetAside(Reason.DEADLOCK, "text"), Release(NOW + 9), Paused()]


@pytest.mark.parametrize("then", CROSSED)
def test_a_cancel_that_the_owner_had_not_heard_of_makes_the_run_due(then: Then) -> None:
    run = RUNNING._replace(requests=CANCEL | PAUSE, notice=True, cancel_reason="because")
    found = left(run, then)
    asked = CANCEL if isinstance(then, Paused) else CANCEL | PAUSE
    assert found == LEFT._replace(state=S.QUEUED, due_at=NOW, requests=asked, cancel_reason="because")


def test_a_run_that_was_due_earlier_stays_so() -> None:
    run = RUNNING._replace(requests=CANCEL, notice=True)
    assert left(run, Release(NOW - 9)).due_at == NOW - 9


@pytest.mark.parametrize("then", CROSSED)
@pytest.mark.parametrize(("requests", "notice"), [(CANCEL | PAUSE, False), (PAUSE, True)])
def test_a_cancel_that_was_told_or_never_asked_lets_the_run_leave(then: Then, requests: Requests, notice: bool) -> None:
    states = {SetAside: S.SET_ASIDE, Release: S.QUEUED, Paused: S.PAUSED}
    found = left(RUNNING._replace(requests=requests, notice=notice), then)
    assert found.state is states[type(then)]
    assert found.due_at == (NOW + 9 if isinstance(then, Release) else None)


@pytest.mark.parametrize("then", [Suspend(None), Finish(S.SUCCEEDED), Continue(b"", 1, "")])
def test_it_queues_nobody_who_stays_ends_or_begins_anew(then: Then) -> None:
    run = RUNNING._replace(requests=CANCEL, notice=True)
    departure = leave(run, then, 0, NOW, is_there=False)
    states = {Suspend: S.RUNNING, Finish: S.SUCCEEDED, Continue: S.QUEUED}
    assert departure.change.run.state is states[type(then)]
    assert departure.woken == isinstance(then, Suspend)


# In general ----------------------------------------------------------------------------------------------------------

THENS = st.sampled_from([GoOn(), *LEAVING, Suspend(NOW + 9), Finish(S.FAILED, "E", "t"), Finish(S.CANCELLED, "why")])


@given(owned_runs, THENS, st.booleans())
def test_whoever_leaves_is_a_run_there_can_be(run: Standing, then: Then, is_there: bool) -> None:
    departure = leave(run, then, 7, NOW, is_there=is_there)
    found = departure.change.run
    check_invariants(found)
    stays = departure.woken or isinstance(then, GoOn)
    assert (found.state is S.RUNNING) == stays
    assert found.was_left == (not stays)
    assert found.active_ms == run.active_ms + (0 if stays else 7)
    assert found.epoch == run.epoch


@pytest.mark.parametrize("state", [state for state in S if state is not S.RUNNING])
@pytest.mark.parametrize("then", [Suspend(None), Release(NOW), Continue(b"", 1, "")])
def test_nobody_leaves_who_is_not_owned(state: RunState, then: Then) -> None:
    with pytest.raises(ValueError, match=f"a run that is {state.label} cannot be"):
        leave(standing(state), then, 0, NOW, is_there=False)


# Answers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", S)
def test_a_cancel_that_came_with_a_repeated_advance_is_answered_and_not_made_again(state: RunState) -> None:
    found = cancelled_again(state)
    has_ended_otherwise = state in (S.SUCCEEDED, S.FAILED)
    assert isinstance(found, NotOpen if has_ended_otherwise else Answer)
    assert found == (NotOpen(state) if has_ended_otherwise else Answer(state))


def test_a_cancel_of_a_run_that_is_gone_finds_none() -> None:
    assert isinstance(cancelled_again(None), NotFound)


@pytest.mark.parametrize("extras", [None, Extras(), Extras(waits=(Wait(1, "p:p"),), consumed=(1,), progress="x")])
def test_an_advance_that_asked_for_nothing_is_done_or_woken(extras: Extras | None) -> None:
    assert answer((), extras, woken=False) is Done.DONE
    assert answer((), extras, woken=True) is Woken.WOKEN


@pytest.mark.parametrize(
    "extras",
    [
        Extras(starts=(Start(QUEUE, "child", b"", 1),)),
        Extras(settles=(Settle("app", "p", True, b"", "t"),)),
        Extras(sends=(Send("app", "r", "m", "mail", b""),)),
        Extras(cancels=(Cancel("app", "r"),)),
    ],
)
@pytest.mark.parametrize("woken", [True, False])
def test_an_advance_that_asked_for_something_hears_of_each(extras: Extras, woken: bool) -> None:
    outcomes = (Answer(True), NotFound())
    assert answer(outcomes, extras, woken=woken) == Answer(outcomes, woken)
