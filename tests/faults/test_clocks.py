"""T18 in short (D1, D2): a clock that jumps under living workers, and proof that what it must not do is seen."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from durable.codec import JsonCodec
from durable.core.records import Entry, Kind, Queue, RunRecord, RunState, Status
from tests.torture import clock
from tests.torture._clock_program import APP, WAITS_MS
from tests.torture._faketime import READ_LATE_S, FakeClock, History
from tests.torture._tools import ToolMissing
from tests.torture.clock import Expiry, Line


def test_no_wait_ends_early_and_no_owner_is_lost_while_the_clock_jumps(tmp_path: Path):
    """Covers: D1, D2"""
    try:
        FakeClock(tmp_path)
    except ToolMissing as missing:
        pytest.skip(str(missing))
    outcome = clock.jumps(12, seed=1)
    assert outcome.violations == []
    assert outcome.facts["waits"] == 4 * sum(map(len, WAITS_MS.values())) + 4 * 4, "all waits of 24 runs have ended"


def test_sleepers_wake_and_tell_how_late():
    late = clock.lateness(20, 100.0)
    assert len(late) == 20
    assert min(late) >= 0
    assert clock.too_late("idle", late, 60_000.0, 20) == []


# What the judge sees -------------------------------------------------------------------------------------------------

BEGUN = 1_000.0
"""A moment, by the monotonic clock."""


@pytest.fixture
def history() -> History:
    """Return the history of a clock that is right, goes an hour forward after ten seconds, and back after eleven."""
    made = History()
    made.note(0.0, 0.0, 0.0)
    made.note(3_600.0, BEGUN + 10, BEGUN + 10)
    made.note(0.0, BEGUN + 11, BEGUN + 11)
    return made


def shown(history: History, moment: float) -> int:
    """Return what a right clock shows."""
    return round(history.latest_ms(moment, moment))


def lines(*after: float) -> list[Line]:
    """Return what is written by a run that begins to wait, and by its task at these moments."""
    return [Line("r", "before 0", 1, 7, BEGUN), *(Line("r", "after 0", 1, 7, moment) for moment in after)]


def wrong(history: History, due_after_s: float, *after: float) -> list[str]:
    due_at = shown(history, BEGUN) + round(due_after_s * 1000)
    return clock.wrong_waits("r", [Expiry("after 0", 1, "before 0", due_at)], lines(*after), history)


def test_a_clock_remembers_the_latest_time_that_it_has_shown(history):
    right = shown(history, BEGUN)
    assert shown(history, BEGUN + 1) == pytest.approx(right + 1_000, abs=1)
    assert history.latest_ms(BEGUN, BEGUN + 20) == pytest.approx(right + 3_611_000 + READ_LATE_S * 1000, abs=1)
    assert history.latest_ms(BEGUN + 15, BEGUN + 20) == pytest.approx(right + 20_000, abs=1)


def test_a_wait_may_end_when_the_clock_has_shown_its_deadline(history):
    assert wrong(history, 5.0, BEGUN + 5.001) == []
    assert wrong(history, 1_800.0, BEGUN + 10.5) == [], "the clock was set forward"
    assert wrong(history, 1_800.0, BEGUN + 14.0) == [], "what fired then may be executed later"


@pytest.mark.parametrize(("due_after_s", "ended"), [(5.0, BEGUN + 4.9), (1_800.0, BEGUN + 9.9), (7_200.0, BEGUN + 14)])
def test_the_judge_sees_a_wait_that_ends_early(history, due_after_s, ended):
    (found,) = wrong(history, due_after_s, ended)
    assert "before the clock showed its time" in found


def test_the_judge_sees_a_wait_that_ends_twice_or_without_effect(history):
    assert wrong(history, 1.0, BEGUN + 2, BEGUN + 3) == ["r: after 0, attempt 1, was executed 2 times"]
    assert wrong(history, 1.0) == ["r: after 0, attempt 1, has ended, and nothing was executed after it"]


def test_the_judge_sees_an_attempt_that_comes_before_its_backoff(history):
    attempts = [Line("r", "soon", number, 7, BEGUN + number / 10) for number in (1, 2)]
    expiry = Expiry("soon", 2, "soon", shown(history, BEGUN) + 400)
    (found,) = clock.wrong_waits("r", [expiry], attempts, history)
    assert found.startswith("r: soon, attempt 2, came 200 ms before")


def record(**fields: Any) -> RunRecord:
    values = {"state": RunState.SUCCEEDED, "due_at": None, "deaths": 0, "active_ms": 5} | fields
    return RunRecord(
        key=1, run_id="naps-0", queue=Queue(APP, "naps", "", "default"), epoch=1, owner=None, created_at=0,
        started_at=0, finished_at=None, digest=0, note="", parent_id=None, continuation=0, **values,
    )  # fmt: skip


def journal(*, times: tuple[float, ...] = (1.0, 2.0), fired: int = 1, at: int = 9_000, took: int = 3) -> list[Entry]:
    """Return what `naps` leaves behind."""
    entries = []
    for seq in range(len(WAITS_MS["naps"])):
        entries.append(Entry(2 * seq, 1_000 * seq, Kind.TIMER, Status.BEGUN, seq))
        entries += [Entry(2 * seq + 1, 1_000 * seq, Kind.TIMER, Status.OK, seq)] * fired
    entries.append(Entry(7, at, Kind.TASK, Status.OK, 9, took=took))
    return [*entries, Entry(8, 9_000, Kind.RUN, Status.OK, data=JsonCodec().encode(list(times), label="r"))]


def test_a_run_that_has_ended_well():
    assert clock.wrong_run(record(), journal()) == []


@pytest.mark.parametrize(
    ("run", "entries", "found"),
    [
        (record(deaths=1), journal(), "1 of its owners were taken for dead"),
        (record(active_ms=-5), journal(), "took less than no time"),
        (record(), journal(took=-5), "took less than no time"),
        (record(), journal(at=9_001), "the times of its entries decrease"),
        (record(), journal(times=(2.0, 1.0)), "durable.time() has decreased"),
        (record(), journal(fired=2), "its timers have fired {0: 2, 1: 2, 2: 2} times"),
        (record(), journal(fired=0), "its timers have fired {} times"),
    ],
)
def test_the_judge_sees_what_is_wrong_with_a_run(run, entries, found):
    (wrong,) = clock.wrong_run(run, entries)
    assert wrong.startswith(f"naps-0: {found}")


def test_the_judge_sees_a_deadline_that_is_not_that_of_the_journal():
    first, second = WAITS_MS["naps"][:2]
    entries = journal()[:4]
    for due_at in (first, 1_000 + second):
        assert clock.wrong_due(record(due_at=due_at), entries) == []
    (found,) = clock.wrong_due(record(due_at=first + 1), entries)
    assert found == f"naps-0: is suspended until {first + 1}, its journal says {[first, 1_000 + second]}"


def test_the_judge_sees_who_wakes_late_or_early_or_not_at_all():
    assert clock.too_late("idle", [1.0] * 99 + [300.0], 250.0, 100) == ["idle: the 99th percentile woke 300.0 ms late"]
    assert clock.too_late("idle", [1.0] * 100, 250.0, 100) == []
    assert clock.too_late("idle", [-0.5, 1.0], 250.0, 2) == ["idle: one woke 0.500 ms early"]
    assert clock.too_late("idle", [], 250.0, 1)[0] == "idle: 0 of 1 sleepers woke"


def test_a_clock_that_jumps_comes_back_to_the_right_time():
    source, offset_s, seen = random.Random(1), 0.0, []
    for _ in range(500):
        offset_s = clock.another_offset(source, offset_s)
        seen.append(offset_s)
    assert 100 < seen.count(0.0) < 250
    assert min(seen) < -clock.STEPS_S[-1] / 2
    assert clock.STEPS_S[-1] / 2 < max(seen) <= clock.FAR_S
