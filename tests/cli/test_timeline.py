"""The timeline: what was under way when, from the journal; and how it is drawn at 80 columns."""

import dataclasses

import pytest
from rich.cells import cell_len

from durable.cli.drawing import BLOCKS, LETTERS, draw, marks_for
from durable.cli.steps import Doing, Outcome, Timeline, timeline_of
from durable.core.records import Entry, Kind, Queue, RunRecord, RunState, Status, Wait

T = 1_000_000
RUN = RunRecord(
    1, "r1", Queue("app", "flow", "", "default"), RunState.SUCCEEDED, 1, None, None, T, T, T + 10_000, 0,
)  # fmt: skip
START = Entry(0, T, Kind.RUN, Status.OK, name="start")


def entry(position: int, at: int, kind: Kind, seq: int | None, status: Status = Status.OK, **fields) -> Entry:
    return Entry(position, T + at, kind, status, seq, **fields)


def finish(position: int, at: int = 10_000) -> Entry:
    return entry(position, at, Kind.RUN, None, name="finish")


def spans(timeline: Timeline, index: int = 0) -> list[tuple[int, int, Doing]]:
    return [(span.begin - T, span.end - T, span.doing) for span in timeline.steps[index].spans]


def test_a_task_began_before_its_end_by_the_time_it_took() -> None:
    journal = [START, entry(1, 3_000, Kind.TASK, 1, name="a", attempt=1, took=2_000), finish(2)]
    timeline = timeline_of(RUN, journal, T + 99_000)
    assert spans(timeline) == [(1_000, 3_000, Doing.WORKED)]
    assert (timeline.begin, timeline.end) == (T, T + 10_000)


def test_attempts_and_the_waits_between_them_are_apart() -> None:
    journal = [
        START,
        entry(1, 1_000, Kind.TASK, 1, Status.RETRY, name="a", attempt=1, took=1_000, due_at=T + 3_000, data=b"E"),
        entry(2, 3_500, Kind.TASK, 1, Status.RETRY, name="a", attempt=2, took=500, due_at=T + 5_000, data=b"E"),
        entry(3, 9_000, Kind.TASK, 1, name="a", attempt=3, took=4_000),
        finish(4),
    ]
    timeline = timeline_of(RUN, journal, 0)
    assert spans(timeline) == [
        (0, 1_000, Doing.FAILED), (1_000, 3_000, Doing.WAITED), (3_000, 3_500, Doing.FAILED),
        (3_500, 5_000, Doing.WAITED), (5_000, 9_000, Doing.WORKED),
    ]  # fmt: skip
    (step,) = timeline.steps
    assert (step.attempts, step.outcome, [number for number, _ in step.errors]) == (3, Outcome.OK, [1, 2])


def test_a_recorded_beginning_of_a_wait_is_taken() -> None:
    journal = [
        START,
        entry(1, 200, Kind.TIMER, 1, Status.BEGUN, name="sleep"),
        entry(2, 8_000, Kind.TIMER, 1, name="sleep"),
        finish(3),
    ]
    assert spans(timeline_of(RUN, journal, 0)) == [(200, 8_000, Doing.WAITED)]


def test_a_wait_after_a_step_began_with_its_end() -> None:
    journal = [
        START,
        entry(1, 2_000, Kind.TASK, 1, name="a", attempt=1, took=2_000),
        entry(2, 9_000, Kind.PROMISE, 2, name="s"),
        finish(3),
    ]
    assert spans(timeline_of(RUN, journal, 0), 1) == [(2_000, 9_000, Doing.WAITED)]


def test_a_wait_beside_later_steps_began_before_them() -> None:
    journal = [
        START,
        entry(1, 4_000, Kind.TASK, 2, name="b", attempt=1, took=4_000),
        entry(2, 6_000, Kind.TASK, 3, name="c", attempt=1, took=2_000),
        entry(3, 9_000, Kind.TIMER, 1, name="sleep"),
        finish(4),
    ]
    timeline = timeline_of(RUN, journal, 0)
    sleep = next(step for step in timeline.steps if step.title == "sleep")
    assert (sleep.begin, sleep.end) == (T, T + 9_000)


def test_what_has_not_ended_is_open_until_now() -> None:
    running = dataclasses.replace(RUN, state=RunState.RUNNING, finished_at=None)
    journal = [
        START,
        entry(1, 1_000, Kind.TASK, 1, Status.RETRY, name="a", attempt=1, took=500, due_at=T + 60_000, data=b"E"),
        entry(2, 1_000, Kind.CHILD, 2, Status.BEGUN, name="child"),
        entry(3, 2_000, Kind.TASK, 3, Status.BEGUN, name="once", attempt=1),
    ]
    timeline = timeline_of(running, journal, T + 4_000)
    assert timeline.end == T + 4_000
    by_title = {step.title: step for step in timeline.steps}
    assert {step.outcome for step in timeline.steps} == {Outcome.OPEN}
    assert by_title["a"].next_at == T + 60_000
    assert by_title["a"].spans[-1].end == T + 4_000
    assert [(span.begin - T, span.end - T) for span in by_title["child child"].spans] == [(1_000, 4_000)]
    assert by_title["once"].spans[0].doing is Doing.WORKED


def test_what_was_never_finished_ends_with_the_run() -> None:
    journal = [START, entry(1, 1_000, Kind.CHILD, 1, Status.BEGUN, name="child"), finish(2)]
    assert spans(timeline_of(RUN, journal, T + 99_000)) == [(1_000, 10_000, Doing.WAITED)]


SUSPENDED = dataclasses.replace(RUN, state=RunState.SUSPENDED, finished_at=None)


def open_steps(record: RunRecord, journal: list[Entry], *waits: Wait) -> list[tuple[str, str, int]]:
    timeline = timeline_of(record, journal, T + 9_000, waits)
    return [(step.number, step.title, step.begin - T) for step in timeline.steps if step.outcome is Outcome.OPEN]


def test_what_a_run_is_registered_for_is_open_since_its_last_entry() -> None:
    journal = [START, entry(1, 2_000, Kind.TASK, 1, name="a", attempt=1, took=500)]
    waits = (Wait(2, "p:r1\napproval"), Wait(3, "r:other"), Wait(-1, "m:mail"))
    assert open_steps(SUSPENDED, journal, *waits) == [
        ("2", "signal approval", 2_000), ("3", "run other", 2_000), ("-", "message mail", 2_000),
    ]  # fmt: skip


def test_a_child_that_the_journal_shows_is_not_shown_twice() -> None:
    journal = [START, entry(1, 1_000, Kind.CHILD, 1, Status.BEGUN, name="child")]
    assert open_steps(SUSPENDED, journal, Wait(1, "r:r1/1")) == [("1", "child child", 1_000)]


@pytest.mark.parametrize(
    ("due_at", "deadline_at", "found"), [(None, None, []), (T, T, []), (T + 99_000, None, [("-", "sleep", 0)])]
)
def test_a_time_that_nothing_else_explains_is_a_sleep(due_at, deadline_at, found) -> None:
    record = dataclasses.replace(SUSPENDED, due_at=due_at, deadline_at=deadline_at)
    assert open_steps(record, [START]) == found


def test_a_time_that_a_retry_explains_is_no_sleep() -> None:
    retry = entry(1, 1_000, Kind.TASK, 1, Status.RETRY, name="a", attempt=1, took=500, due_at=T + 60_000, data=b"E")
    record = dataclasses.replace(SUSPENDED, due_at=T + 60_000)
    assert open_steps(record, [START, retry]) == [("1", "a", 500)]


def test_requests_and_retries_are_marks() -> None:
    journal = [
        START, entry(1, 1_000, Kind.RUN, None, name="cancel", note="no money"),
        entry(4, 2_000, Kind.RUN, None, name="rewind", note="2-3"), finish(5),
    ]  # fmt: skip
    timeline = timeline_of(RUN, journal, 0)
    assert [(step.title, step.note) for step in timeline.steps] == [
        ("cancel requested", "no money"), ("retried: dropped", "2-3"),
    ]  # fmt: skip


def test_values_are_counted_and_not_drawn() -> None:
    journal = [START, entry(1, 0, Kind.VALUE, 1, name="time"), finish(2)]
    timeline = timeline_of(RUN, journal, 0)
    assert (timeline.steps, timeline.values) == ([], 1)


def test_a_run_that_continued_as_new_begins_with_its_new_start() -> None:
    again = dataclasses.replace(RUN, continuation=2, started_at=T - 99_000)
    assert timeline_of(again, [START, finish(1)], 0).begin == T


def test_a_run_that_is_set_aside_ends_with_its_last_entry() -> None:
    aside = dataclasses.replace(RUN, state=RunState.SET_ASIDE, finished_at=None)
    journal = [START, entry(1, 3_000, Kind.TASK, 1, name="a", attempt=1, took=10)]
    assert timeline_of(aside, journal, T + 999_000).end == T + 3_000


def test_a_run_that_never_started_has_no_steps() -> None:
    queued = dataclasses.replace(RUN, state=RunState.QUEUED, started_at=None, finished_at=None)
    timeline = timeline_of(queued, [START], T + 5_000)
    assert (timeline.steps, timeline.begin, timeline.end) == ([], T, T)


# Drawing -------------------------------------------------------------------------------------------------------------

ORDER = [
    START,
    entry(1, 1_000, Kind.TASK, 1, Status.RETRY, name="charge", attempt=1, took=1_000, due_at=T + 3_000, data=b"E"),
    entry(2, 5_000, Kind.TASK, 1, name="charge", attempt=2, took=2_000),
    entry(3, 7_500, Kind.TIMER, 2, name="sleep"),
    entry(4, 10_000, Kind.TASK, 3, name="pack", attempt=1, took=2_500, step_id=None),
    entry(5, 10_000, Kind.TASK, None, Status.ERROR, name="label", step_id="item-3", attempt=1, took=0, data=b"E"),
    finish(6),
]


def drawn(width: int, marks=BLOCKS, journal=ORDER, **options) -> list[str]:
    timeline = timeline_of(RUN, journal, 0)
    return [line.plain for line in draw(timeline, width, marks, lambda _: "ConnectionError: refused", **options)]


def test_the_timeline_reads_at_80_columns_without_colour() -> None:
    assert drawn(80) == [
        "   # step                   began at      took  0 ─────────────────────── 10.0 s",
        "   1 charge                     0 ms     5.0 s  ▒▒▒▒·····███████",
        "       attempt 1: ConnectionError: refused",
        "       attempt 2: ok",
        "   2 sleep                     5.0 s     2.5 s                  ········",
        "   3 pack                      7.5 s     2.5 s                          ████████",
        "   - label [item-3]           10.0 s      0 ms                                 ▒",
        "       attempt 1: ConnectionError: refused",
        "     █ worked  ▒ failed  · waited",
    ]


def test_the_next_attempt_is_announced() -> None:
    running = dataclasses.replace(RUN, state=RunState.SUSPENDED, finished_at=None)
    retry = entry(1, 1_000, Kind.TASK, 1, Status.RETRY, name="a", attempt=1, took=500, due_at=T + 60_000, data=b"E")
    lines = [line.plain for line in draw(timeline_of(running, [START, retry], T + 4_000), 80, BLOCKS, lambda _: "no")]
    assert lines[1:4] == [
        "   1 a                        500 ms    3.5 s+      ▒▒▒▒························",
        "       attempt 1: no",
        "       attempt 2: in 56.0 s",
    ]


def test_the_timeline_reads_in_plain_letters() -> None:
    lines = drawn(80, LETTERS)
    assert lines[1].endswith("  xxxx.....#######")
    assert lines[-1] == "     # worked  x failed  . waited"
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize("width", [60, 80, 100, 132, 200])
def test_no_line_is_wider_than_the_terminal(width) -> None:
    assert max(cell_len(line) for line in drawn(width)) <= max(width, 68)


def test_long_names_and_errors_are_cut_to_the_width() -> None:
    journal = [
        START,
        entry(1, 9_000, Kind.TASK, 1, Status.ERROR, name="n" * 200, attempt=1, took=9_000, data=b"E"),
        finish(2),
    ]
    timeline = timeline_of(RUN, journal, 0)
    lines = [line.plain for line in draw(timeline, 80, BLOCKS, lambda _: "e" * 500)]
    assert max(map(len, lines)) <= 80


def test_short_steps_of_a_long_run_are_seen() -> None:
    journal = [START, entry(1, 5_000, Kind.TASK, 1, name="a", attempt=1, took=1), finish(2)]
    (line,) = [line for line in drawn(80, journal=journal) if line.startswith("   1 a ")]
    assert "█" in line


def test_a_stretch_of_which_nothing_was_recorded_is_told() -> None:
    journal = [
        START,
        entry(1, 2_000, Kind.TASK, 1, name="nap", attempt=1, took=2_000),
        entry(2, 9_600, Kind.TASK, 2, name="nap", attempt=1, took=3_600),
        finish(3),
    ]
    assert drawn(80, journal=journal)[1:-1] == [
        "   1 nap                        0 ms     2.0 s  ███████",
        "   - nothing recorded          2.0 s     4.0 s",
        "       interrupted, no free worker, paused, or computing in its body",
        "   2 nap                       6.0 s     3.6 s                     ████████████",
    ]


def test_gaps_are_what_no_step_accounts_for() -> None:
    task = entry(1, 3_000, Kind.TASK, 1, name="a", attempt=1, took=2_000)
    wait = entry(2, 7_000, Kind.TIMER, 2, name="sleep")
    failed = entry(3, 7_000, Kind.TASK, 3, Status.ERROR, name="b", attempt=1, took=0, data=b"E")
    retried = entry(4, 8_000, Kind.RUN, None, name="rewind", note="3")
    timeline = timeline_of(RUN, [START, task, wait, failed, retried, finish(5)], 0)
    # Before the retry the run had failed: that is no gap.
    assert [(gap.begin - T, gap.end - T) for gap in timeline.gaps] == [(0, 1_000), (8_000, 10_000)]


def test_what_runs_now_is_no_gap() -> None:
    running = dataclasses.replace(RUN, state=RunState.RUNNING, finished_at=None)
    assert timeline_of(running, [START], T + 60_000).gaps == []


def test_long_names_get_more_room_on_a_wide_terminal() -> None:
    name = "a_rather_long_name_for_a_task"
    journal = [START, entry(1, 9_000, Kind.TASK, 1, name=name, attempt=1, took=9_000), finish(2)]
    assert f"   1 {name} " in drawn(120, journal=journal)[1]
    assert "   1 a_rather_long_name_for_a_… " in drawn(80, journal=journal)[1]
    assert max(map(len, drawn(120, journal=journal))) <= 120


def test_a_run_that_took_no_time_is_drawn() -> None:
    journal = [START, entry(1, 0, Kind.TASK, 1, name="a", attempt=1, took=0), finish(2, 0)]
    timeline = timeline_of(dataclasses.replace(RUN, finished_at=T), journal, 0)
    assert [line.plain for line in draw(timeline, 80, BLOCKS, str)][1].endswith("█")


def test_of_many_steps_the_first_and_the_last_are_drawn() -> None:
    journal = [
        START,
        *(entry(n, n, Kind.TASK, n, name=f"t{n}", attempt=1, took=1) for n in range(1, 10_001)),
        finish(10_001),
    ]
    lines = drawn(80, journal=journal)
    assert len(lines) == 1 + 60 + 1 + 1
    assert lines[21] == "     … 9,940 more steps; --all shows them"
    assert (lines[20].split()[1], lines[22].split()[1], lines[61].split()[1]) == ("t20", "t9961", "t10000")
    assert len(drawn(80, journal=journal, every=True)) == 1 + 10_000 + 1


@pytest.mark.parametrize(
    ("encoding", "marks"), [("utf-8", BLOCKS), ("ascii", LETTERS), ("latin-1", LETTERS), ("nonsense", LETTERS)]
)
def test_marks_are_those_that_the_output_can_show(encoding, marks) -> None:
    assert marks_for(encoding) is marks
