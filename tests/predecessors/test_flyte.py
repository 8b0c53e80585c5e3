"""The checklist of Flyte's durable clock: F-1 to F-15. Databases are SQLite files, time is under the test's control."""

from __future__ import annotations

import asyncio
import datetime
import inspect
import time
from typing import Any

import pytest

import durable
from durable import Workflow
from tests.runs.kit import Child, Died, dies, eventually, flow, forward, live, notes, state
from tests.support.clock import START_MS, VirtualClock

SLEEP_S = 3600.0


class Sleeper:
    """A workflow that works, sleeps for an hour and works again; it can be killed anywhere and made anew."""

    def __init__(self, file: str, seconds: float = SLEEP_S, *, deadly: tuple[str, ...] = ()) -> None:
        self.clock = VirtualClock()
        self.worked: list[str] = []
        self.ended_at: list[float] = []
        self.deadly = list(deadly)
        self.wf = wf = Workflow("flyte", db=file, clock=self.clock)

        @wf.task
        async def work(name: str) -> str:
            if name in self.deadly:
                self.deadly.remove(name)
                raise Died
            self.worked.append(name)
            return name

        @wf.workflow(id="sleeper")
        async def nap() -> float:
            await work("before")
            begun = durable.time()
            await durable.sleep(seconds)
            await work("after")
            return durable.time() - begun

        self.nap = nap

    async def until_asleep(self) -> None:
        call = asyncio.create_task(self.nap())
        await state(self.wf, "sleeper", "suspended")
        call.cancel()

    async def awake_after(self, seconds: float) -> float:
        """Call it, move the clock once it sleeps, and return its result."""
        call = asyncio.create_task(self.nap())
        await eventually(lambda: self.clock.next_at is not None)
        forward(self.clock, seconds)
        return await call


def after(earlier: Sleeper, file: str, seconds_later: float) -> Sleeper:
    """Return the sleeper of another process, started so much later."""
    later = Sleeper(file)
    later.clock.set_forward(earlier.clock.now_ms() + round(seconds_later * 1000))
    return later


def test_f_1_sleep_time_and_now_are_the_durable_clock():
    assert {"sleep", "time", "now"} <= set(durable.__all__)
    assert {name for name in durable.__all__ if hasattr(getattr(durable, name), "aio")} == {"sleep", "time", "now"}


def test_f_2_each_is_called_plainly_and_as_aio(file):
    wf = Workflow("flyte", db=file)

    @wf.workflow
    async def asynchronous() -> list[object]:
        await durable.sleep.aio(0)
        await durable.sleep(0)
        return [durable.time(), await durable.time.aio(), durable.now(), await durable.now.aio()]

    @wf.workflow
    def plain() -> list[object]:
        return [durable.sleep(0), durable.time(), durable.now()]

    first, second, third, fourth = live(wf, asynchronous)
    assert isinstance(first, float)
    assert isinstance(second, float)
    assert isinstance(third, datetime.datetime)
    assert isinstance(fourth, datetime.datetime)
    slept, seconds, moment = live(wf, plain.aio)
    assert slept is None
    assert isinstance(seconds, float)
    assert isinstance(moment, datetime.datetime)


def test_f_3_sleep_takes_seconds_and_returns_nothing(file):
    wf = Workflow("flyte", db=file)
    assert list(inspect.signature(durable.sleep).parameters) == ["seconds"]
    assert list(inspect.signature(durable.sleep.aio).parameters) == ["seconds"]
    assert durable.sleep(0) is None
    assert durable.sleep(seconds=0.0) is None

    @wf.workflow
    async def sleeps() -> list[object]:
        waits: list[Any] = [durable.sleep(0), durable.sleep(seconds=0.001), durable.sleep.aio(0.001)]
        return [await wait for wait in waits]

    assert live(wf, sleeps) == [None, None, None]
    with pytest.raises(TypeError):
        durable.sleep("1")  # type: ignore[arg-type]


def test_f_4_an_uninterrupted_sleep_lasts_as_long_as_it_says_and_little_more(file):
    wf = Workflow("flyte", db=file)

    @wf.workflow
    async def nap() -> None:
        await durable.sleep(0.1)

    async def main() -> float:
        began = time.monotonic()
        await nap()
        return time.monotonic() - began

    assert 0.1 <= live(wf, main) < 5


def test_f_5_a_sleep_that_was_killed_goes_on_with_the_rest_of_its_time(file):
    first = Sleeper(file)
    live(first.wf, first.until_asleep)
    second = after(first, file, 0.75 * SLEEP_S)
    assert live(second.wf, lambda: second.awake_after(0.25 * SLEEP_S)) == SLEEP_S
    assert second.clock.now_ms() == START_MS + SLEEP_S * 1000


def test_f_5_it_does_not_end_before_the_rest_of_its_time(file):
    first = Sleeper(file)
    live(first.wf, first.until_asleep)
    second = after(first, file, 0.75 * SLEEP_S)

    async def main() -> str:
        call = asyncio.create_task(second.nap())
        await eventually(lambda: second.clock.next_at is not None)
        forward(second.clock, 0.25 * SLEEP_S - 0.001)
        for _ in range(20):
            await asyncio.sleep(0)
        status = (await second.wf.runs.get("sleeper")).state.label
        call.cancel()
        return status

    assert live(second.wf, main) != "succeeded"
    assert second.worked == []


def test_f_6_a_sleep_whose_time_has_passed_returns_at_once(file):
    first = Sleeper(file)
    live(first.wf, first.until_asleep)
    second = after(first, file, 5 * SLEEP_S)
    assert live(second.wf, second.nap) == 5 * SLEEP_S
    assert second.worked == ["after"]


REAL_SLEEPER = """
    wf = Workflow("flyte", db=DB)

    @wf.task
    async def work(name: str) -> None:
        note(name)
        say(name)

    @wf.workflow(id="sleeper")
    async def nap():
        await work("before")
        await durable.sleep(float(sys.argv[2]))
        await work("after")

    asyncio.run(nap())
"""


async def timer_of(file: str) -> tuple[float, float]:
    """Return when the sleep began and when it ended, as the journal has it."""
    wf = Workflow("flyte", db=file)
    try:
        begun, ended = [event.at.timestamp() for event in await wf.runs.history("sleeper") if event.kind == "timer"]
        return begun, ended
    finally:
        await wf.stop()


def test_f_5_with_real_processes_and_kill_9_the_first_deadline_stands(file):
    """Covers: A10"""
    with Child(REAL_SLEEPER, file, "3") as child:
        child.hears("before")
        time.sleep(1)
        child.kill()
    again_at = time.time()
    with Child(REAL_SLEEPER, file, "3") as child:
        assert child.ended() == 0
    begun, ended = asyncio.run(timer_of(file))
    assert ended - begun >= 3
    assert ended < again_at + 3, "it slept from zero again"
    assert notes(file) == ["before", "after"]


def test_f_6_with_real_processes_and_kill_9_a_sleep_that_has_passed_costs_nothing(file):
    with Child(REAL_SLEEPER, file, "3") as child:
        child.hears("before")
        time.sleep(0.5)
        child.kill()
    time.sleep(3)
    again_at = time.time()
    with Child(REAL_SLEEPER, file, "3") as child:
        child.hears("after")
        assert child.ended() == 0
    _, ended = asyncio.run(timer_of(file))
    assert ended < again_at + 3, "it slept from zero again"
    assert notes(file) == ["before", "after"]


def naps(file: str, clock: VirtualClock, died: list[bool]) -> Workflow:
    wf = Workflow("flyte", db=file, clock=clock)

    @wf.task
    async def maybe_die() -> None:
        if died:
            died.clear()
            raise Died

    @wf.workflow(id="naps")
    async def several() -> list[float]:
        moments = [durable.time()]
        for _ in range(3):
            await durable.sleep(10)
            moments.append(durable.time())
        await maybe_die()
        await durable.sleep(20)
        moments.append(durable.time())
        return moments

    wf.several = several  # type: ignore[attr-defined]
    return wf


def play(wf: Workflow, clock: VirtualClock) -> list[float]:
    """Run `several` on a loop that moves the clock to the next alarm whenever it is idle."""

    async def main() -> list[float]:
        call = asyncio.create_task(wf.several())  # type: ignore[attr-defined]
        while not call.done():
            await eventually(lambda: call.done() or clock.next_at is not None)
            clock.jump()
        return await call

    return live(wf, main)


def test_f_7_and_f_8_each_sleep_and_each_turn_of_a_loop_has_its_own_start(file):
    start = START_MS / 1000
    clock = VirtualClock()
    wf = naps(file, clock, [True])
    with pytest.raises(Died):
        play(wf, clock)
    assert clock.now_ms() == START_MS + 30_000
    later = VirtualClock(clock.now_ms() + 5_000)
    assert play(naps(file, later, []), later) == [start, start + 10, start + 20, start + 30, start + 55]
    assert later.now_ms() == START_MS + 55_000  # the last sleep began when its line was first reached, after the crash


def moments(file: str, deadly: list[bool]) -> Workflow:
    wf = Workflow("flyte", db=file)
    seen: list[tuple[float, datetime.datetime]] = []

    @wf.task
    async def maybe_die() -> None:
        if deadly:
            deadly.clear()
            raise Died

    @wf.workflow(id="moments")
    async def look() -> list[object]:
        pair = durable.time(), durable.now()
        seen.append(pair)
        await maybe_die()
        return [*pair, durable.time(), durable.now()]

    wf.look, wf.seen = look, seen  # type: ignore[attr-defined]
    return wf


def test_f_9_time_and_now_return_the_first_value_after_a_crash(file):
    """Covers: D11"""
    first = moments(file, [True])
    dies(first, first.look)  # type: ignore[attr-defined]
    second = moments(file, [])
    result = live(second, second.look)  # type: ignore[attr-defined]
    assert second.seen == first.seen  # type: ignore[attr-defined]
    assert tuple(result[:2]) == first.seen[0]  # type: ignore[attr-defined]


def test_f_10_two_invocations_return_their_own_values_close_to_the_real_clock(file):
    wf = Workflow("flyte", db=file)

    @wf.workflow
    async def twice() -> list[float]:
        first = durable.time(), durable.now().timestamp()
        await durable.sleep(0.02)
        return [*first, durable.time(), durable.now().timestamp()]

    before = time.time()
    a, b, c, d = live(wf, twice)
    assert a <= b < c <= d
    assert before - 0.002 <= a < before + 5


def test_f_11_time_is_a_float_of_seconds_and_now_a_datetime(file):
    wf = Workflow("flyte", db=file)

    @wf.workflow
    async def look() -> list[Any]:
        return [durable.time(), durable.now(), durable.now(datetime.UTC)]

    seconds, naive, aware = live(wf, look)
    assert type(seconds) is float
    assert type(naive) is datetime.datetime
    assert naive.tzinfo is None
    assert aware.utcoffset() == datetime.timedelta(0)
    assert abs(naive.timestamp() - seconds) < 5
    assert abs(aware.timestamp() - seconds) < 5


def test_f_12_what_follows_the_sleep_runs_once(file):
    first = Sleeper(file)
    live(first.wf, first.until_asleep)
    second = after(first, file, 2 * SLEEP_S)
    live(second.wf, second.nap)
    third = after(second, file, 0)
    live(third.wf, third.nap)
    assert (first.worked, second.worked, third.worked) == (["before"], ["after"], [])


def test_f_13_outside_a_run_they_are_the_functions_of_the_standard_library():
    before = time.time()
    assert before <= durable.time() <= time.time()
    assert abs((durable.now() - datetime.datetime.now()).total_seconds()) < 5
    began = time.monotonic()
    durable.sleep(0.02)
    asyncio.run(durable.sleep.aio(0.02))
    assert time.monotonic() - began >= 0.04


def test_f_14_steps_before_the_sleep_are_not_repeated_and_steps_after_it_are_durable(file):
    first = Sleeper(file)
    live(first.wf, first.until_asleep)
    second = Sleeper(file, deadly=("after",))
    second.clock.set_forward(START_MS + 2 * round(SLEEP_S) * 1000)
    dies(second.wf, second.nap)
    third = after(second, file, 0)
    live(third.wf, third.nap)
    assert (first.worked, second.worked, third.worked) == (["before"], [], ["after"])


async def test_f_15_the_plain_sleep_does_not_block_a_running_loop(file):
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    await durable.sleep(0.02)
    ticking.cancel()
    assert ticks > 10


async def test_f_15_a_plain_call_in_an_async_workflow_does_not_block_either(file):
    wf = Workflow("flyte", db=file)

    @wf.workflow
    async def nap(number: int) -> None:
        await durable.sleep(0.2)

    began = time.monotonic()
    await asyncio.gather(*(nap(number) for number in range(10)))
    assert time.monotonic() - began < 2, "one after the other"
    await wf.stop()


def test_program_b_sleeps_for_an_hour_in_total_over_a_kill(file):
    """`my_work(); await durable.sleep.aio(3600); my_work()`, killed and restarted in the middle."""
    worked: list[float] = []
    clock = VirtualClock()

    def my_work() -> None:
        worked.append((clock.now_ms() - START_MS) / 1000)

    def program() -> Workflow:
        wf = Workflow("b", db=file, clock=clock)

        @wf.workflow
        async def main() -> None:
            my_work()
            await durable.sleep.aio(3600)
            my_work()

        return wf

    first = program()

    async def until_asleep() -> None:
        call = asyncio.create_task(flow(first, "main")())
        await state(first, flow(first, "main").id_for(), "suspended")
        forward(clock, 1500)
        call.cancel()

    live(first, until_asleep)
    clock = VirtualClock(START_MS + 2_000_000)
    second = program()

    async def to_the_end() -> None:
        call = asyncio.create_task(flow(second, "main")())
        await eventually(lambda: clock.next_at is not None)
        forward(clock, 1599.999)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not call.done()
        forward(clock, 0.001)
        await call

    live(second, to_the_end)
    assert worked == [0.0, 3600.0, 3600.0]  # plain code before the sleep runs again on resume, the sleep does not
