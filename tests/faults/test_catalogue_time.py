"""Rows of section D: clocks that jump or run badly, and times at the edges."""

from __future__ import annotations

import asyncio
import time as real_time
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

import durable
from durable import Workflow
from durable.backoff import constant
from durable.cli import formatting
from durable.runtime import clock as clock_module
from durable.runtime.clock import Alarm, SystemClock
from durable.runtime.frontier import Frontier
from tests.runs.kit import Apps, eventually, flow, live, state
from tests.support.bodies import Step, play_and_cut, script_for
from tests.support.clock import START_MS
from tests.support.replaying import Script, play

HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS


class HandClock(SystemClock):
    """Shows what its hands are set to, and stands still between."""

    def __init__(self) -> None:
        self.now = START_MS

    def now_ms(self) -> int:
        return self.now

    def has_come(self, at_ms: int) -> bool:
        return self.now >= at_ms

    def ring_at(self, at_ms: int, callback: object) -> Alarm:
        return asyncio.get_running_loop().call_later(0.005, callback)  # type: ignore[arg-type]


@pytest.fixture
def hands() -> HandClock:
    return HandClock()


def naps(app: Workflow, seconds: float) -> list[float]:
    """Give the application a workflow that sleeps; return the times at which its task is executed."""
    woken: list[float] = []

    @app.task
    async def wake() -> int:
        woken.append(app.clock.now_ms())
        return len(woken)

    @app.workflow(id="nap")
    async def nap() -> int:
        await durable.sleep(seconds)
        return await wake()

    return woken


# Jumps ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.5, 60.0], ids=["in memory", "suspended"])
async def test_set_back_a_clock_makes_a_timer_late_by_as_much_and_it_fires_once(make_app: Apps, hands, seconds):
    """Covers: D1"""
    app = make_app(clock=hands)
    woken = naps(app, seconds)
    async with app:
        handle = await flow(app, "nap").start()
        await eventually(lambda: _kinds(app, "begun"))
        hands.now += round(seconds * 1000) - 1
        hands.now -= HOUR_MS
        for _ in range(20):  # looks at the clock meanwhile, and finds that it has not come
            await asyncio.sleep(0.005)
            hands.now += 1
        assert woken == []
        hands.now += HOUR_MS
        assert await handle.result() == 1
    assert len(woken) == 1
    assert await _kinds(app, "ok") == 1


async def _kinds(app: Workflow, status: str) -> int:
    if not await app.runs.list():
        return 0
    return sum(event.kind == "timer" and event.status == status for event in await app.runs.history("nap"))


async def test_the_time_of_a_run_never_decreases_although_the_clock_does(make_app: Apps, hands):
    """Covers: D1"""
    app = make_app(clock=hands)

    @app.task
    async def set_back() -> None:
        hands.now -= HOUR_MS

    @app.workflow(id="run")
    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = [loop.time(), durable.time(), durable.now(UTC).timestamp()]
        await set_back()
        return [*seen, loop.time(), durable.time(), durable.now(UTC).timestamp()]

    seen = await run()
    assert all(after >= before for before, after in zip(seen[:3], seen[3:], strict=True))
    times = [event.at for event in await app.runs.history("run")]
    assert times == sorted(times)


async def test_who_waits_in_memory_for_a_clock_that_was_set_back_gives_its_place_to_others(make_app: Apps, hands):
    """Waits of less than a second keep their slot, and what was half a second may be an hour: the runs that waited so
    when the clock was set back kept all others from being executed for that hour.

    Covers: D1
    """
    app = make_app(clock=hands, slots=1)
    woken = naps(app, 0.5)

    @app.workflow(id="other")
    async def other() -> str:
        return "executed"

    async with app:
        nap = await flow(app, "nap").start()
        await state(app, "nap", "running")
        await eventually(lambda: _kinds(app, "begun"))
        hands.now -= HOUR_MS
        assert await asyncio.wait_for((await other.start()).result(), 20) == "executed"
        assert await state(app, "nap", "suspended")
        assert woken == []
        hands.now += HOUR_MS + 500
        assert await nap.result() == 1


async def test_a_branch_notices_within_seconds_that_the_clock_is_right_again(make_app: Apps, monkeypatch):
    """An alarm trusted the monotonic clock for a minute: beside a task that ran, a wait of a tenth of a second took up
    to a minute more when the clock had been set back and forth.

    Covers: D1
    """
    off_s = 0.0
    wall = SimpleNamespace(time=lambda: real_time.time() + off_s, time_ns=lambda: int((real_time.time() + off_s) * 1e9))
    app, ends = make_app(), asyncio.Event()

    @app.task
    async def works() -> None:
        await ends.wait()

    @app.workflow(id="run")
    async def run() -> None:
        async def branch() -> None:
            await asyncio.sleep(0.1)
            ends.set()

        await asyncio.gather(works(), branch())

    monkeypatch.setattr(clock_module, "time", wall)
    async with app:
        handle = await run.start()
        await eventually(lambda: _begun(app))
        off_s = -3600.0
        await asyncio.sleep(0.3)  # the alarm rings meanwhile, and finds an hour to go
        assert not ends.is_set()
        off_s = 0.0
        await asyncio.wait_for(handle.result(), 20)


async def _begun(app: Workflow) -> bool:
    return any(event.status == "begun" for event in await app.runs.history("run"))


async def test_nothing_takes_less_than_no_time_although_the_clock_is_set_back(make_app: Apps, hands):
    """A task during which it was set back by a day had taken minus a day, and so had its run: no limit of the run's
    active time was met for that day, and the views showed an attempt that began after its end.

    Covers: D1
    """
    app = make_app(clock=hands)

    @app.task(retries=1, backoff=constant(0))
    async def set_back(attempts: list[int]) -> None:
        hands.now -= 24 * HOUR_MS
        attempts.append(len(attempts))
        if attempts == [0]:
            raise ValueError

    @app.workflow(id="run")
    async def run() -> None:
        await set_back([])

    await run()
    assert [event.seconds for event in await app.runs.history("run") if event.kind == "task"] == [0, 0]
    record = await app.handle("run").record()
    assert record.active_ms == 0


async def test_a_time_that_has_come_is_recorded_as_come_although_the_clock_is_set_back_at_once(
    make_app: Apps, hands, monkeypatch
):
    """The journal said that a sleep of ten seconds had taken none, and the body's time went on from before its end.

    Covers: D1
    """
    app = make_app(clock=hands)
    ring = Frontier.ring

    def set_back_then(self, has_come) -> None:
        ring(self, has_come)
        hands.now = START_MS

    @app.workflow(id="nap")
    async def nap() -> list[float]:
        began = durable.time()
        await asyncio.sleep(10)
        return [began, durable.time()]

    async with app:
        handle = await nap.start()
        await state(app, "nap", "suspended")
        monkeypatch.setattr(Frontier, "ring", set_back_then)
        hands.now = START_MS + 10_001
        began, ended = await handle.result(timeout=20)
    assert ended - began >= 10


@pytest.mark.parametrize("jump_ms", [HOUR_MS, 10 * YEAR_MS])
async def test_set_forward_a_clock_lets_fire_what_is_due_once_and_nobody_is_taken_for_dead(
    make_app: Apps, hands, caplog, jump_ms
):
    """A machine that slept shows the same: the wall clock has jumped, the monotonic one has not.

    Covers: D2, D4
    """
    first, second = make_app(clock=hands), make_app(clock=hands)
    woken = [naps(app, 1800) for app in (first, second)]
    busy = asyncio.Event()

    @first.task
    async def works() -> str:
        busy.set()
        await asyncio.sleep(0.5)
        return "undisturbed"

    @first.workflow(id="busy")
    async def is_busy() -> str:
        return await works()

    async with first:
        working = await is_busy.start()
        await busy.wait()
        async with second:
            nap = await flow(second, "nap").start()
            await state(second, "nap", "suspended")
            hands.now += jump_ms
            assert await nap.result() == 1
            assert await working.result() == "undisturbed"
    assert sum(len(times) for times in woken) == 1
    assert "died" not in caplog.text
    assert (await first.runs.get("busy")).deaths == 0


@pytest.mark.parametrize("rate", [0.8, 1.25], ids=["slow", "fast"])
async def test_timers_follow_a_clock_that_runs_badly(make_app: Apps, monkeypatch, rate):
    """Covers: D3"""
    began = real_time.time()

    def bad() -> float:
        return began + (real_time.time() - began) * rate

    fake = SimpleNamespace(time=bad, time_ns=lambda: int(bad() * 1e9))
    monkeypatch.setattr(clock_module, "time", fake)
    app = make_app()
    woken = naps(app, 0.4)
    asked = bad()
    assert await flow(app, "nap")() == 1
    (at,) = woken
    # By that clock never early. How late depends on the machine: it may be busy with other tests.
    assert asked + 0.4 - 0.001 <= at / 1000 < asked + 10


# Edges ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, -1, -0.0, -1e300, timedelta(0), timedelta.min], ids=repr)
def test_a_sleep_of_nothing_or_less_returns_at_once_and_is_recorded(seconds):
    """Covers: D6"""

    async def body(step: Step) -> str:
        await durable.sleep(seconds)
        return await step("after")

    played = play_and_cut(script_for(body))
    assert played.result == "after"
    assert [(e.name, e.at - START_MS) for e in played.journal[1:-1]] == [("sleep", 0), ("sleep", 0), ("step", 10)]


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -float("inf"), None, "1", True], ids=repr)
def test_what_is_no_duration_is_refused_before_anything_is_recorded(seconds):
    """Covers: D6"""

    async def body(step: Step) -> str:
        try:
            await durable.sleep(seconds)
        except (TypeError, ValueError) as error:
            return str(error)
        return "slept"

    played = play(script_for(body))
    assert played.result.startswith(f"seconds={seconds!r}")
    assert [entry.name for entry in played.journal] == ["start", "finish"]


@pytest.mark.parametrize("seconds", [1e18, 10**30, timedelta.max], ids=repr)
async def test_a_sleep_beyond_all_time_lasts_to_the_year_9999(make_app: Apps, seconds):
    """Covers: D6, D8"""
    app = make_app()
    naps(app, seconds)
    async with app:
        handle = await flow(app, "nap").start()
        await state(app, "nap", "suspended")
        due_at = (await handle.record()).due_at
    assert due_at is not None
    assert datetime.fromtimestamp(due_at / 1000, UTC).year == 9999


LATE = {
    "delay": timedelta.max,
    "at": datetime.max.replace(tzinfo=UTC),
    "at in a zone behind": datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
    "deadline": timedelta.max,
}


@pytest.mark.parametrize("option", LATE)
async def test_nothing_is_due_after_the_year_9999(make_app: Apps, option):
    """A run that was due in the year 10056 could not be shown, and with it no list of runs.

    Covers: D8
    """
    app = make_app()
    naps(app, 1)
    handle = await flow(app, "nap").options(**{option.split()[0]: LATE[option]}).start()
    record = await handle.record()
    for at in (record.due_at, record.deadline_at):
        assert at is None or datetime.fromtimestamp(at / 1000, UTC).year <= 9999
        formatting.iso(at)


def test_a_run_sleeps_over_the_end_of_32_bits():
    """Covers: D8"""

    async def body(step: Step) -> list[int]:
        before = durable.now(UTC).year
        await durable.sleep(timedelta(days=20 * 366))
        return [before, durable.now(UTC).year, await step(1)]

    before, after, _ = play_and_cut(script_for(body)).result
    assert before < 2038 < after


def test_a_moment_without_a_zone_is_refused_wherever_it_would_have_to_be_guessed(make_app: Apps):
    """Covers: D7"""
    app = make_app()
    naps(app, 1)
    naive = datetime(2030, 1, 1)

    async def main() -> None:
        with pytest.raises(ValueError, match="no time zone"):
            await flow(app, "nap").options(at=naive).start()
        with pytest.raises(ValueError, match="time zone"):
            await app.runs.list(created_from=naive)
        with pytest.raises(ValueError, match="time zone"):
            await app.runs.list(created_before=naive)
        with pytest.raises(ValueError, match="time zone"):
            await app.runs.prune(finished_before=naive)
        assert await app.runs.list() == []

    live(app, main)


@pytest.mark.parametrize("text", ["2016-12-31T23:59:60+00:00", "2016-12-31T23:59:60", "2016-12-31T24:00:01+00:00"])
def test_a_leap_second_is_no_moment(text):
    """Covers: D12"""
    with pytest.raises(ValueError, match="moment"):
        formatting.parse_moment(text, datetime.now(UTC))


def test_a_deadline_is_a_moment_whatever_becomes_of_the_rules_of_time_zones(monkeypatch):
    """Covers: D12"""

    def build(stage) -> None:
        @stage.wf.workflow
        async def main() -> float:
            await durable.sleep(timedelta(days=200))  # over the next change of summer and winter time
            return durable.time() - START_MS / 1000

    for zone in ("UTC", "Europe/Vienna", "Australia/Lord_Howe"):
        monkeypatch.setenv("TZ", zone)
        real_time.tzset()
        try:
            assert play(Script(build)).result == 200 * 86_400
        finally:
            monkeypatch.delenv("TZ")
            real_time.tzset()
