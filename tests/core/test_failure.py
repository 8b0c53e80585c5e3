"""Which outcomes made a run fail, what goes when it goes on, and how that is written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.failure import (
    ORIGIN_ATTRIBUTE,
    Origin,
    RestartPlan,
    dropped_positions,
    format_origins,
    origins,
    parse_origins,
    plan_discard,
    plan_restart,
    rewind_note,
)
from durable.core.records import Entry, Kind, Status

OK, ERROR, RETRY, BEGUN = Status.OK, Status.ERROR, Status.RETRY, Status.BEGUN


E = TypeVar("E", bound=BaseException)


def marked(error: E, position: int, next_seq: int) -> E:
    """Return the error of a step whose outcome was recorded at a position."""
    setattr(error, ORIGIN_ATTRIBUTE, Origin(position, next_seq))
    return error


def chained(error: E, cause: BaseException) -> E:
    error.__cause__ = cause
    return error


def during(error: E, context: BaseException) -> E:
    error.__context__ = context
    return error


# Where an exception came from ----------------------------------------------------------------------------------------


def test_an_error_of_the_body_itself_has_no_origin() -> None:
    assert origins(ValueError()) == []


def test_an_error_of_a_step_is_its_own_origin() -> None:
    assert origins(marked(ValueError(), 3, 4)) == [(3, 4)]


@pytest.mark.parametrize("link", [chained, during])
def test_origins_are_found_through_causes_and_contexts(
    link: Callable[[BaseException, BaseException], BaseException],
) -> None:
    first = marked(KeyError(), 2, 3)
    assert origins(link(ValueError(), link(TypeError(), first))) == [(2, 3)]
    assert origins(link(marked(ValueError(), 7, 8), first)) == [(2, 3), (7, 8)]


def test_origins_are_found_in_groups_of_groups() -> None:
    group = ExceptionGroup("all", [
        marked(ValueError(), 9, 5),
        ExceptionGroup("inner", [marked(KeyError(), 4, 5), OSError()]),
    ])  # fmt: skip
    assert origins(group) == [(4, 5), (9, 5)]
    assert origins(BaseExceptionGroup("all", [marked(KeyboardInterrupt(), 1, 2)])) == [(1, 2)]


def test_one_outcome_counts_once_however_often_it_is_met() -> None:
    shared = marked(ValueError(), 3, 4)
    assert origins(ExceptionGroup("x", [shared, chained(TypeError(), shared)])) == [(3, 4)]


def test_a_ring_of_causes_ends() -> None:
    first, second = marked(ValueError(), 1, 2), marked(KeyError(), 3, 4)
    first.__context__, second.__context__ = second, first
    assert origins(first) == [(1, 2), (3, 4)]


# Notes ---------------------------------------------------------------------------------------------------------------

POSITIONS = st.integers(0, 2**24 - 1)


@given(st.lists(st.builds(Origin, POSITIONS, POSITIONS)))
def test_origins_come_back_from_their_note(found: list[Origin]) -> None:
    assert parse_origins(format_origins(found)) == found


def test_the_form_of_notes_stays_what_it_is() -> None:
    """Journals hold these notes for ever."""
    assert format_origins([Origin(3, 4), Origin(10, 2)]) == "3:4 10:2"
    assert rewind_note([8, 3, 5, 4]) == "3-5 8"
    assert rewind_note([]) == ""


@pytest.mark.parametrize("note", ["", "why", "3", "3:", ":4", "a:4", "3:b", "-3:4", "3 4", ":"])
def test_any_other_note_names_no_origins(note: str) -> None:
    assert parse_origins(note) == []


def test_words_between_origins_are_passed_over() -> None:
    assert parse_origins("because 3:4 and 5:6") == [(3, 4), (5, 6)]


@given(st.sets(st.integers(0, 300)))
def test_dropped_positions_come_back_from_the_note_of_a_rewind(positions: set[int]) -> None:
    assert dropped_positions(rewind_note(sorted(positions))) == positions


@pytest.mark.parametrize(
    ("drop", "note"),
    [([5], "5"), ([5, 6], "5-6"), ([5, 7], "5 7"), ([1, 2, 3, 7, 9, 10], "1-3 7 9-10"), ([9, 1, 2], "1-2 9")],
)
def test_ranges_are_as_long_as_they_can_be(drop: list[int], note: str) -> None:
    assert rewind_note(drop) == note


@pytest.mark.parametrize(
    ("note", "found"),
    [("", set()), ("what 3-x -5 x-3 3- 7", {3, 7}), ("5-3", set()), ("4-4", {4}), ("3-5-7", set()), ("2 a 3", {2, 3})],
)
def test_a_damaged_note_drops_nothing_that_it_does_not_name(note: str, found: set[int]) -> None:
    assert dropped_positions(note) == found


def test_a_damaged_note_names_no_more_positions_than_a_journal_has() -> None:
    assert dropped_positions("3-99999999999999999999 12", below=6) == {3, 4, 5}
    assert max(dropped_positions("16777210-99999999999999999999")) == 2**24 - 1


# Going on after a failure --------------------------------------------------------------------------------------------


def entry(position: int, kind: Kind = Kind.TASK, status: Status = OK, seq: int | None = None, **fields: Any) -> Entry:
    fields.setdefault("name", kind.name.lower())
    return Entry(position, 0, kind, status, seq=seq, **fields)


def journal(*entries: Entry, note: str) -> list[Entry]:
    """Return a journal that begins with a start and ends with a failure."""
    start = entry(0, Kind.RUN, name="start")
    return [start, *entries, entry(entries[-1].position + 1, Kind.RUN, ERROR, name="finish", note=note)]


def test_a_failure_of_the_body_itself_drops_only_the_end() -> None:
    assert plan_restart(journal(entry(1, seq=1), entry(2, seq=2), note="")) == RestartPlan((3,), ())


def test_a_failed_step_is_tried_again_with_its_attempts() -> None:
    found = journal(
        entry(1, seq=1), entry(2, seq=2, status=RETRY), entry(3, seq=2, status=RETRY), entry(4, seq=2, status=ERROR),
        note="4:3",
    )  # fmt: skip
    assert plan_restart(found) == RestartPlan((2, 3, 4, 5), ())


def test_what_was_issued_before_the_failure_stays_wherever_it_was_recorded() -> None:
    """Steps 2 and 3 ran side by side: 3 failed first, 2 succeeded later and was not wrong."""
    found = journal(entry(1, seq=1), entry(2, seq=3, status=ERROR), entry(3, seq=2), note="2:4")
    assert plan_restart(found) == RestartPlan((2, 4), ())


def test_what_was_issued_after_the_failure_goes_and_its_effects_are_named() -> None:
    found = journal(
        entry(1, seq=1), entry(2, seq=2, status=ERROR), entry(3, Kind.TASK, seq=3, name="refund"),
        entry(4, Kind.VALUE, seq=4), entry(5, Kind.TIMER, seq=5), entry(6, seq=6, status=ERROR, name="other"),
        note="2:3",
    )  # fmt: skip
    assert plan_restart(found) == RestartPlan((2, 3, 4, 5, 6, 7), ("refund (3)",))


@pytest.mark.parametrize(
    ("kind", "is_effect"),
    [(Kind.TASK, True), (Kind.CHILD, True), (Kind.START, True), (Kind.CALL, True), (Kind.MESSAGE, True),
     (Kind.TIMER, False), (Kind.VALUE, False), (Kind.PROMISE, False), (Kind.RUN, False)],
)  # fmt: skip
@pytest.mark.parametrize("status", Status)
def test_effects_that_succeeded_would_be_repeated(kind: Kind, is_effect: bool, status: Status) -> None:
    found = journal(entry(1, seq=1, status=ERROR), entry(2, kind, status, seq=2, name="it"), note="1:2")
    assert plan_restart(found).repeats == (("it (2)",) if is_effect and status is OK else ())


def test_a_step_with_a_step_id_is_named_by_it_if_it_has_no_other_name() -> None:
    found = journal(entry(1, seq=1, status=ERROR), entry(2, step_id="pay", name=""), note="1:2")
    assert plan_restart(found).repeats == ("pay (2)",)


def test_of_several_failures_the_earliest_decides() -> None:
    found = journal(
        entry(1, seq=1), entry(2, seq=2, status=ERROR), entry(3, seq=5), entry(4, seq=6, status=ERROR), note="2:5 4:7"
    )
    assert plan_restart(found) == RestartPlan((2, 3, 4, 5), ("task (3)",))


def test_a_later_failure_goes_even_if_it_was_issued_before_the_earliest() -> None:
    found = journal(
        entry(1, seq=3, status=ERROR), entry(2, seq=1, status=RETRY), entry(3, seq=1, status=ERROR), note="1:4 3:4"
    )
    assert plan_restart(found) == RestartPlan((1, 2, 3, 4), ())


def test_a_step_with_a_step_id_goes_if_it_was_recorded_after_the_failure() -> None:
    found = journal(
        entry(1, step_id="early"), entry(2, seq=1, status=ERROR), entry(3, step_id="late", name="late"), note="2:2"
    )
    assert plan_restart(found) == RestartPlan((2, 3, 4), ("late (3)",))


def test_a_failed_step_with_a_step_id_goes_with_its_own_attempts_only() -> None:
    found = journal(
        entry(1, step_id="other", status=RETRY), entry(2, step_id="bad", status=RETRY),
        entry(3, step_id="bad", status=ERROR), note="3:1",
    )  # fmt: skip
    assert plan_restart(found) == RestartPlan((2, 3, 4), ())


def test_a_request_recorded_after_the_failure_goes_and_an_earlier_one_stays() -> None:
    found = journal(
        entry(1, Kind.RUN, name="cancel"), entry(2, seq=1, status=ERROR), entry(3, Kind.RUN, name="timeout"), note="2:2"
    )
    assert plan_restart(found).drop == (2, 3, 4)


def test_a_run_that_failed_on_its_own_request_drops_that_request_only() -> None:
    found = journal(entry(1, Kind.RUN, name="cancel"), entry(2, Kind.RUN, name="timeout"), note="2:1")
    assert plan_restart(found).drop == (2, 3)


def test_marks_of_earlier_rewinds_stay() -> None:
    found = journal(
        entry(1, seq=1, status=ERROR), entry(4, Kind.RUN, name="rewind"), entry(5, seq=2, status=ERROR), note="1:2 5:3"
    )
    assert plan_restart(found).drop == (1, 5, 6)


def test_the_end_goes_whatever_a_damaged_note_says() -> None:
    found = journal(entry(1, seq=1), entry(2, seq=2), note="99:9")
    assert plan_restart(found) == RestartPlan((3,), ())


def test_the_start_never_goes() -> None:
    found = journal(entry(1, seq=1, status=ERROR), note="0:0 1:2")
    assert 0 not in plan_restart(found).drop


# Discarding ----------------------------------------------------------------------------------------------------------


def test_everything_from_a_position_on_is_discarded() -> None:
    found = journal(entry(1, seq=1, name="a"), entry(2, seq=2, name="b"), entry(3, seq=3, name="c"), note="")
    assert plan_discard(found, 2) == RestartPlan((2, 3, 4), ("b (2)", "c (3)"))
    assert plan_discard(found, 1).drop == (1, 2, 3, 4)
    assert plan_discard(found, 4) == RestartPlan((4,), ())


def test_marks_of_earlier_rewinds_stay_whatever_is_discarded() -> None:
    found = journal(entry(1, seq=1), entry(4, Kind.RUN, name="rewind"), entry(5, seq=2), note="")
    assert plan_discard(found, 1).drop == (1, 5, 6)
    assert plan_discard(found, 4).drop == (5, 6)


@pytest.mark.parametrize("position", [-1, 0, 4])
def test_a_position_that_cannot_be_discarded_is_refused(position: int) -> None:
    found = journal(entry(1, seq=1), entry(2, seq=2), note="")
    with pytest.raises(ValueError, match=rf"^position {position}: the journal has positions 1 to 3$"):
        plan_discard(found, position)
