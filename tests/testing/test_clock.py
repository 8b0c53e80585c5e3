"""`VirtualClock`: it follows any loop of asyncio's, and everything that waits follows it."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

import durable
from durable import InMemoryStore, RunTimedOut, TaskTimedOut, UsageError, Workflow, blocking
from durable.backoff import exponential
from durable.testing import Fake, VirtualClock, rehome, steps_of


@pytest.fixture(params=["memory", "sqlite"])
def wf(request, tmp_path, durable_clock) -> Workflow:
    db = InMemoryStore() if request.param == "memory" else str(tmp_path / "app.db")
    return Workflow("app", db=db, clock=durable_clock)


async def test_a_workflow_that_sleeps_a_year_ends_in_no_time(wf, durable_clock):
    @wf.workflow
    async def year() -> float:
        began = durable.time()
        for _ in range(12):
            await durable.sleep(timedelta(days=30))
        return durable.time() - began

    real = time.perf_counter()
    async with wf:
        handle = await year.start()
        # A worker that is told to come back in a second, because the file is busy, does so on this clock too.
        assert 360 * 86_400 <= await handle < 360 * 86_400 + 60
    assert time.perf_counter() - real < 60


async def test_retries_and_time_limits_of_tasks_follow_it(wf, durable_clock):
    tried: list[datetime] = []

    @wf.task(retries=3, backoff=exponential(base=10, max=1000), timeout=30)
    async def slow() -> str:
        tried.append(durable_clock.now)
        await asyncio.sleep(3600 if len(tried) < 3 else 29)
        return "done"

    @wf.workflow(id="run")
    async def run() -> str:
        return await slow()

    async with wf:
        assert await (await run.start()) == "done"
        steps = await steps_of(wf.handle("run"))
    waits = [(after - before).total_seconds() for before, after in itertools.pairwise(tried)]
    assert waits == [30 + 10, 30 + 100]
    assert [type(error) for error in steps["slow"].errors] == [TaskTimedOut, TaskTimedOut]
    await wf.stop()


async def test_time_limits_of_runs_and_of_waits_follow_it(wf, durable_clock):
    @wf.workflow(id="late", deadline=3600)
    async def late() -> None:
        await wf.signal("never")

    @wf.workflow(id="waits")
    async def waits() -> str:
        try:
            async with asyncio.timeout(3 * 86_400):
                return await wf.signal("answer")
        except TimeoutError:
            return "nobody answered"

    async with wf:
        with pytest.raises(RunTimedOut):
            await (await late.start())
        assert await (await waits.start()) == "nobody answered"
    assert durable_clock.now - datetime.fromtimestamp(1_700_000_000, UTC) == timedelta(days=3, hours=1)


async def test_advance_lets_everything_happen_that_is_due_meanwhile_and_nothing_else(wf, durable_clock):
    durable_clock.automatic = False
    reached: list[str] = []

    @wf.task
    async def reach(day: int) -> None:
        reached.append(f"day {day} {durable.now(UTC) - began}")

    @wf.workflow(id="run")
    async def run() -> None:
        for day in range(1, 4):
            await durable.sleep(86_400)
            await reach(day)

    began = durable_clock.now
    async with wf:
        handle = await run.start()
        await durable_clock.advance(86_399)
        assert reached == []
        await durable_clock.advance(timedelta(seconds=1))
        assert reached == ["day 1 1 day, 0:00:00"]
        await durable_clock.advance(days=1, hours=23)
        assert reached[1:] == ["day 2 2 days, 0:00:00"]
        assert await handle.status() == "suspended"
        await durable_clock.advance_to(began + timedelta(days=10))
        assert reached[2:] == ["day 3 3 days, 0:00:00"]
        assert await handle.status() == "succeeded"
    assert durable_clock.now - began == timedelta(days=10)


async def test_tasks_see_its_time(wf, durable_clock):
    @wf.task
    async def stamp() -> tuple[float, datetime]:
        return durable.time(), durable.now(UTC)

    @wf.workflow
    async def run() -> tuple[float, datetime]:
        await durable.sleep(3600)
        return await stamp()

    seconds, moment = await run()
    assert (seconds, moment) == (durable_clock.now_ms() / 1000, durable_clock.now)


async def test_it_waits_for_threads_that_the_loop_cannot_see(wf, durable_clock):
    @wf.task(timeout=3600)
    def works() -> str:
        time.sleep(0.05)
        return "worked"

    @wf.workflow
    def plain() -> str:
        time.sleep(0.05)
        durable.sleep(10)
        return works()

    began = durable_clock.now
    assert await plain.aio() == "worked"
    assert durable_clock.now - began == timedelta(seconds=10)
    await wf.stop()


async def test_two_applications_on_one_store_see_each_other_without_a_jump(durable_clock):
    store = InMemoryStore()
    client, server = (Workflow("app", db=store, clock=durable_clock) for _ in range(2))

    for app in (client, server):

        @app.workflow(id="run", name="run", deadline=5)
        async def run() -> str:
            return "ran"

    began = durable_clock.now
    async with server:
        handle = await client.workflows["run"].start()
        assert await handle.result() == "ran"
    assert durable_clock.now - began < timedelta(seconds=5)
    await client.stop()


def test_plain_code_is_served_too(durable_clock):
    wf = Workflow("app", db=InMemoryStore(), clock=durable_clock)

    @wf.workflow(id="run")
    def run() -> str:
        durable.sleep(timedelta(days=365))
        return wf.signal("go")

    durable_clock.automatic = False
    app = blocking.of(wf)
    with app:
        handle = blocking.of(run).start()
        durable_clock.advance(days=364)
        assert handle.status() == "suspended"
        durable_clock.advance(days=2)
        handle.signal("go", "went")
        assert handle.result() == "went"
        assert steps_of.sync(handle).names == ["sleep", "go"]
    wf.portal.stop()


def test_on_no_loop_it_is_only_set():
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(90)
    clock.advance_to(datetime(2026, 1, 2, tzinfo=UTC))
    assert clock.now == datetime(2026, 1, 2, tzinfo=UTC)
    assert repr(clock) == "<virtual clock at 2026-01-02 00:00:00.000000>"


def test_wrong_times_are_refused():
    clock = VirtualClock()
    for wrong in (datetime(2026, 1, 1), "now", True):
        with pytest.raises(UsageError, match="expected a datetime with a time zone"):
            VirtualClock(wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="time does not go back"):
        clock.advance(-1)
    with pytest.raises(UsageError, match="time does not go back"):
        clock.advance_to(datetime(1999, 1, 1, tzinfo=UTC))


async def test_a_loop_gets_its_own_time_back_when_the_clock_is_closed():
    loop = asyncio.get_running_loop()
    with VirtualClock() as clock:
        before = loop.time()
        await clock.sleep(timedelta(days=1))
        after = loop.time()
        assert after - before == pytest.approx(86_400)
    assert after <= loop.time() < after + 60
    real = time.perf_counter()
    await asyncio.sleep(0.01)
    assert 0.005 < time.perf_counter() - real < 10
    assert isinstance(await asyncio.to_thread(threading.get_ident), int)


async def test_a_loop_has_one_clock_at_a_time():
    with VirtualClock() as first, VirtualClock() as second:
        sleeper = asyncio.ensure_future(first.sleep(10))
        await asyncio.sleep(0)
        first.automatic = False
        with pytest.raises(UsageError, match=r"this event loop follows <virtual clock .* already"):
            await second.sleep(1)
        sleeper.cancel()
        await asyncio.gather(sleeper, return_exceptions=True)
        await second.sleep(1)


def test_loops_that_it_cannot_follow_are_refused():
    uvloop = pytest.importorskip("uvloop")
    with (
        VirtualClock() as clock,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        pytest.raises(UsageError, match="a virtual clock cannot follow uvloop"),
    ):
        runner.run(clock.sleep(1))


async def test_rehome_moves_an_application_and_brings_it_back(tmp_path):
    wf = Workflow("shop", db=str(tmp_path / "shop.db"))

    @wf.task
    async def charge() -> str:
        return "charged"

    @wf.workflow(id="order")
    async def order() -> str:
        await durable.sleep(timedelta(days=1))
        return await charge()

    clock, portal = wf.clock, wf.portal
    async with rehome(wf) as moved:
        assert moved is wf
        with wf.override(charge, Fake("fake")):
            handle = await order.start()
            assert await handle == "fake"
        with rehome(wf):  # once more, elsewhere
            assert await wf.runs.list() == []
        assert await handle.status() == "succeeded"
    assert (wf.clock, wf.portal) == (clock, portal)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="expected an application"):
        rehome("shop")  # type: ignore[arg-type]


async def test_the_fixture_makes_new_applications_by_name(durable_app, durable_clock, durable_effects):
    wf = durable_app("fresh")
    assert wf.clock is durable_clock

    @wf.task
    async def ping() -> None:
        durable.testing.effect("pinged", 1)

    @wf.workflow
    async def run() -> None:
        await ping()

    await run()
    assert durable_effects == ["pinged 1"]
