"""A body gets from its journal what was recorded for it, in order, and nothing that was recorded for something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.records import Entry, Kind, Status
from durable.core.replay import Journal, describe, patch_name
from durable.errors import NonDeterminismError

BEGAN = 1_000
OK, ERROR, RETRY, BEGUN = Status.OK, Status.ERROR, Status.RETRY, Status.BEGUN


@dataclass
class Op:
    """An operation as a body issues it."""

    seq: int | None = None
    step_id: str | None = None
    kind: Kind = Kind.TASK
    name: str = "task"
    digest: int = 7
    note: str = ""


def entry(position: int, seq: int | None = None, step_id: str | None = None, **fields: Any) -> Entry:
    fields = {"at": BEGAN + 10 * position, "kind": Kind.TASK, "status": OK, "name": "task", "digest": 7, **fields}
    return Entry(position, seq=seq, step_id=step_id, **fields)


START = Entry(0, BEGAN - 500, Kind.RUN, OK, name="start", data=b"arguments")


def journal(*entries: Entry, began_at: int = BEGAN) -> Journal:
    return Journal("run", [START, *entries], began_at)


def mark(position: int, at: int | None = None) -> Entry:
    return Entry(position, BEGAN + 10 * position if at is None else at, Kind.RUN, OK, name="rewind", note="1")


# Where it stands -----------------------------------------------------------------------------------------------------


def test_a_new_run_has_its_arguments_and_nothing_to_replay() -> None:
    found = journal()
    assert (found.start, found.position, found.replaying, found.peek()) == (START, 1, False, None)
    assert found.last_at == BEGAN
    assert found.left_over() is None
    assert found.unclaimed() == []
    assert found.is_next(Op(1)) is False


def test_the_next_position_comes_after_the_last_entry_also_after_gaps() -> None:
    assert journal(entry(1, 1), entry(2, 2)).position == 3
    assert journal(entry(2, 1), mark(7)).position == 8


@pytest.mark.parametrize(
    ("entries", "rewound"), [((), False), ((entry(1, 1),), False), ((mark(2),), True), ((entry(2, 1), mark(3)), True)]
)
def test_a_journal_knows_that_something_was_dropped_from_it(entries: tuple[Entry, ...], rewound: bool) -> None:
    assert journal(*entries).rewound is rewound


def test_marks_of_rewinds_are_not_shown_to_the_body() -> None:
    found = journal(mark(2), entry(3, 1), mark(4))
    assert found.peek() == entry(3, 1)
    found.take(Op(1))
    assert not found.replaying
    task = entry(1, 1, name="rewind")
    assert journal(task).peek() == task, "only the run's own entries of that name are marks"


# Taking --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "op", "is_next"),
    [
        (entry(1, 1), Op(1), True),
        (entry(1, 1), Op(2), False),
        (entry(1, 1), Op(step_id="s"), False),
        (entry(1, step_id="s"), Op(step_id="s"), True),
        (entry(1, step_id="s"), Op(step_id="t"), False),
        (entry(1, step_id="s"), Op(1), False),
        (entry(1), Op(), False),
        (entry(1, 1, name="other", digest=9), Op(1), True),
    ],
)
def test_an_entry_belongs_to_the_operation_of_its_number_or_step_id(recorded: Entry, op: Op, is_next: bool) -> None:
    assert journal(recorded).is_next(op) == is_next


def test_entries_are_taken_in_order() -> None:
    entries = [entry(1, 1), entry(2, 3), entry(3, 2)]
    found = journal(*entries)
    assert [found.take(Op(seq)) for seq in (1, 3, 2)] == entries
    assert not found.replaying


@pytest.mark.parametrize(
    "changed", [{"kind": Kind.TIMER}, {"name": "other"}, {"digest": 8}], ids=["kind", "name", "digest"]
)
def test_an_entry_that_recorded_something_else_is_a_divergence(changed: dict[str, Any]) -> None:
    found = journal(entry(1, 1, note="'x'", **changed))
    with pytest.raises(NonDeterminismError) as raised:
        found.take(Op(1, note="'y'"))
    error = raised.value
    recorded = {"kind": "timer 'task' 'x'", "name": "task 'other' 'x'", "digest": "task 'task' 'x'"}[
        next(iter(changed))
    ]
    assert (error.run_id, error.position) == ("run", 1)
    assert (error.recorded, error.asked) == (f"{recorded} (operation 1)", "task 'task' 'y' (operation 1)")
    assert found.peek() is not None, "nothing was taken"


def test_what_concerns_the_run_itself_is_taken_whatever_it_is() -> None:
    cancel = entry(1, kind=Kind.RUN, name="cancel")
    found = journal(cancel, entry(2, 1))
    assert found.take_any() == cancel
    assert found.peek() == entry(2, 1)
    assert found.last_at == cancel.at


# Values --------------------------------------------------------------------------------------------------------------


def test_a_value_is_taken_by_its_number_and_name() -> None:
    value = entry(1, 1, kind=Kind.VALUE, name="random", data=b"4")
    found = journal(value)
    assert found.take_value(1, "random") == value
    assert found.take_value(2, "random") is None, "the journal ends here: draw one"


@pytest.mark.parametrize(
    ("recorded", "text"),
    [
        (entry(1, 2, kind=Kind.VALUE, name="random"), "value 'random' (operation 2)"),
        (entry(1, 1, kind=Kind.VALUE, name="time"), "value 'time' (operation 1)"),
        (entry(1, 1, kind=Kind.TASK, name="random"), "task 'random' (operation 1)"),
        (entry(1, step_id="s", kind=Kind.VALUE, name="random"), "value 'random' (step id 's')"),
    ],
)
def test_another_entry_in_the_place_of_a_value_is_a_divergence(recorded: Entry, text: str) -> None:
    found = journal(recorded)
    with pytest.raises(NonDeterminismError) as raised:
        found.take_value(1, "random")
    assert (raised.value.recorded, raised.value.asked) == (text, "value 'random' (operation 1)")


# Patches -------------------------------------------------------------------------------------------------------------


def patch(position: int, name: str = "change") -> Entry:
    return entry(position, kind=Kind.VALUE, name=patch_name(name), digest=0)


def test_a_run_that_is_new_takes_the_new_code_and_records_that() -> None:
    found = journal()
    assert found.take_patch("change") is None
    assert found.take_patch("change") is True, "asked again, it need not be recorded again"


def test_a_run_that_recorded_the_patch_takes_the_new_code() -> None:
    found = journal(patch(1), entry(2, 1))
    assert found.take_patch("change") is True
    assert found.peek() == entry(2, 1)
    assert found.take_patch("change") is True
    assert found.peek() == entry(2, 1), "taken once"


@pytest.mark.parametrize(
    "recorded",
    [entry(1, 1), patch(1, "other"), entry(1, 1, kind=Kind.VALUE, name=patch_name("change")),
     entry(1, kind=Kind.RUN, name=patch_name("change"))],
)  # fmt: skip
def test_a_run_that_went_on_without_the_patch_keeps_the_old_code(recorded: Entry) -> None:
    found = journal(recorded)
    assert found.take_patch("change") is False
    assert found.peek() == recorded
    found.take_any()
    assert found.take_patch("change") is False, "the first answer stands, also at the end of the journal"


def test_a_patch_is_recorded_under_a_name_that_stays() -> None:
    """Journals hold it for ever."""
    assert patch_name("change") == "patched change"


def test_patches_are_told_apart_by_name() -> None:
    found = journal(patch(1, "a"))
    assert (found.take_patch("b"), found.take_patch("a"), found.take_patch("c")) == (False, True, None)


# Step ids ------------------------------------------------------------------------------------------------------------


def test_what_was_set_apart_is_given_when_the_code_comes_to_it() -> None:
    retry, ok = entry(1, step_id="s", status=RETRY), entry(3, step_id="s")
    found = journal(retry, entry(2, 1), ok)
    found.set_apart()
    assert found.take(Op(1)) == entry(2, 1)
    found.set_apart()
    assert (found.replaying, found.left_over()) == (False, retry)
    assert found.unclaimed() == [retry, ok]
    assert found.last_at == BEGAN + 20, "time has not come to what was set apart"
    assert found.take_apart(Op(step_id="s")) == [retry, ok]
    assert found.last_at == ok.at
    assert found.take_apart(Op(step_id="s")) == []
    assert found.left_over() is None


def test_nothing_is_set_apart_for_operations_with_a_number_or_another_step_id() -> None:
    found = journal(entry(1, step_id="s"))
    found.set_apart()
    assert found.take_apart(Op(1)) == found.take_apart(Op(step_id="t")) == []


@pytest.mark.parametrize("changed", [{"kind": Kind.TIMER}, {"name": "other"}, {"digest": 8}])
def test_what_was_set_apart_must_be_the_same_step(changed: dict[str, Any]) -> None:
    found = journal(entry(1, step_id="s", **changed))
    found.set_apart()
    with pytest.raises(NonDeterminismError, match=r"position 1: .*\(step id 's'\)"):
        found.take_apart(Op(step_id="s"))


def test_a_step_that_was_moved_forward_is_found_further_on() -> None:
    first, moved, last = entry(1, 1), entry(2, step_id="s"), entry(3, 2)
    found = journal(first, moved, last)
    assert found.take_later({"s": Op(step_id="s"), "t": Op(step_id="t")}) == moved
    assert found.last_at == moved.at
    assert found.peek() == first
    assert [found.take(Op(1)), found.take(Op(2))] == [first, last]
    assert not found.replaying


def test_of_several_steps_that_were_moved_the_earliest_is_taken_first() -> None:
    entries = [entry(1, 1), entry(2, step_id="a", status=RETRY), entry(3, step_id="b"), entry(4, step_id="a")]
    found = journal(*entries)
    named = {name: Op(step_id=name) for name in "ab"}
    assert [found.take_later(named) for _ in range(4)] == [entries[1], entries[2], entries[3], None]


def test_the_last_entry_may_have_been_moved() -> None:
    found = journal(entry(1, step_id="s"))
    assert found.take_later({"s": Op(step_id="s")}) == entry(1, step_id="s")
    assert not found.replaying


def test_a_step_that_is_nowhere_is_new() -> None:
    found = journal(entry(1, 1), entry(2, step_id="s"))
    assert found.take_later({"t": Op(step_id="t")}) is None
    assert found.peek() == entry(1, 1)
    assert found.last_at == BEGAN


def test_entries_that_were_passed_are_not_looked_at_again() -> None:
    found = journal(entry(1, step_id="s"), entry(2, 1))
    found.take(Op(step_id="s"))
    assert found.take_later({"s": Op(step_id="s")}) is None


def test_a_moved_step_must_be_the_same() -> None:
    found = journal(entry(1, 1), entry(2, step_id="s", name="other"))
    with pytest.raises(NonDeterminismError, match="recorded task 'other'"):
        found.take_later({"s": Op(step_id="s")})


# What nobody asked for -----------------------------------------------------------------------------------------------


def test_what_comes_next_is_left_over_before_what_was_set_apart() -> None:
    apart, following = entry(1, step_id="s"), entry(2, 1)
    found = journal(apart, following)
    found.set_apart()
    assert found.left_over() == following
    assert found.unclaimed() == [apart, following]


def test_a_divergence_names_run_position_and_both_sides() -> None:
    error = journal().diverged(entry(4, 2), "nothing")
    assert error.args == ("run", 4, "task 'task' (operation 2)", "nothing")


@pytest.mark.parametrize(
    ("op", "text"),
    [(Op(3), "task 'task' (operation 3)"), (Op(step_id="s"), "task 'task' (step id 's')"),
     (Op(3, kind=Kind.PROMISE, name="ok"), "signal 'ok' (operation 3)"),
     (Op(3, note="1, 2"), "task 'task' 1, 2 (operation 3)")],
)  # fmt: skip
def test_operations_and_entries_are_described_in_the_same_words(op: Op, text: str) -> None:
    assert describe(op) == describe(entry(1, op.seq, op.step_id, kind=op.kind, name=op.name, note=op.note)) == text


# Time ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "moves"),
    [(Kind.TASK, OK, True), (Kind.TASK, ERROR, True), (Kind.TASK, RETRY, True), (Kind.TASK, BEGUN, False),
     (Kind.CHILD, BEGUN, False), (Kind.TIMER, BEGUN, True), (Kind.TIMER, OK, True)],
)  # fmt: skip
def test_the_body_s_time_is_that_of_the_entry_applied_last(kind: Kind, status: Status, moves: bool) -> None:
    found = journal(entry(1, 1, kind=kind, status=status), entry(2, 2))
    assert found.last_at == BEGAN
    found.take(Op(1, kind=kind))
    assert found.last_at == (BEGAN + 10 if moves else BEGAN)
    appended = journal().append(BEGAN + 3, kind, status, {"seq": 1})
    assert appended.at == BEGAN + 3


@pytest.mark.parametrize(("kind", "status", "moves"), [(Kind.TASK, OK, True), (Kind.CHILD, BEGUN, False)])
def test_a_new_entry_moves_the_time_as_its_replay_will(kind: Kind, status: Status, moves: bool) -> None:
    found = journal()
    found.append(BEGAN + 3, kind, status, {"seq": 1})
    assert found.last_at == (BEGAN + 3 if moves else BEGAN)


def test_time_never_decreases_whatever_the_clock_does() -> None:
    found = journal(entry(1, 1))
    found.take(Op(1))
    late = found.append(BEGAN - 99, Kind.TIMER, OK, {"seq": 2})
    assert (late.at, found.last_at) == (BEGAN + 10, BEGAN + 10)
    begun = found.append(BEGAN + 50, Kind.CHILD, BEGUN, {"seq": 3})
    assert (begun.at, found.last_at) == (BEGAN + 50, BEGAN + 10)
    assert found.append_outcome(BEGAN, Op(3), OK, 1, 0, 0, b"").at == BEGAN + 50


def test_an_entry_earlier_than_the_first_claim_does_not_turn_the_time_back() -> None:
    found = journal(entry(1, 1, at=BEGAN - 5))
    found.take(Op(1))
    assert found.last_at == BEGAN


@pytest.mark.parametrize("entries", [[START, mark(1, at=BEGAN + 70)], [START._replace(at=BEGAN + 70)]])
def test_marks_and_the_start_of_a_continuation_count_for_the_time_of_what_follows(entries: list[Entry]) -> None:
    found = Journal("run", entries, BEGAN)
    assert found.last_at == BEGAN
    assert found.append(BEGAN, Kind.TASK, OK, {"seq": 1}).at == BEGAN + 70


def test_an_empty_journal_begins_at_position_0() -> None:
    found = Journal("run", [], BEGAN)
    assert found.append(BEGAN + 1, Kind.RUN, OK, {"name": "start"}) == Entry(0, BEGAN + 1, Kind.RUN, OK, name="start")


# Appending -----------------------------------------------------------------------------------------------------------


def test_new_entries_get_the_next_positions_and_the_fields_that_were_given() -> None:
    found = journal(entry(1, 1))
    first = found.append(BEGAN + 90, Kind.TIMER, BEGUN, {"seq": 2, "due_at": 5, "note": "n"})
    assert first == Entry(2, BEGAN + 90, Kind.TIMER, BEGUN, seq=2, due_at=5, note="n")
    op = Op(3, None, Kind.CHILD, "flow", 11, "note")
    second = found.append_outcome(BEGAN + 95, op, ERROR, 4, 30, 77, b"error")
    assert second == Entry(3, BEGAN + 95, Kind.CHILD, ERROR, 3, None, "flow", 11, 4, 30, 77, "note", b"error")
    assert (found.position, found.last_at) == (4, BEGAN + 95)
    assert found.append_outcome(0, Op(step_id="s"), OK, 1, 0, 0, b"").step_id == "s"


@given(st.lists(st.tuples(st.sampled_from(Kind), st.sampled_from(Status), st.integers(-50, 50)), max_size=30))
def test_a_journal_that_was_written_is_replayed_to_the_same_time(steps: list[tuple[Kind, Status, int]]) -> None:
    """What a body saw the first time (entries, and its time after each) is what it sees on replay."""
    live, now, written, times = journal(), BEGAN, list[Entry](), list[int]()
    for seq, (kind, status, passed) in enumerate(steps, 1):
        now += passed
        written.append(live.append(now, kind, status, {"seq": seq, "name": "task", "digest": 7}))
        times.append(live.last_at)
    assert [one.position for one in written] == list(range(1, len(steps) + 1))
    assert [one.at for one in written] == sorted(one.at for one in written)
    replayed, seen = journal(*written), list[int]()
    for one in written:
        assert replayed.replaying
        assert replayed.take(Op(one.seq, kind=one.kind)) == one
        seen.append(replayed.last_at)
    assert (seen, replayed.replaying) == (times, False)
