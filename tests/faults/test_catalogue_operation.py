"""Rows of section L: backups, very many of something, and workers that have nothing to do."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import durable
from durable import Workflow
from durable.backoff import exponential
from durable.store.sqlite import Limits, SQLiteRunStore
from tests.faults.test_catalogue_time import HandClock
from tests.runs.kit import Apps, Child, eventually, flow, state

# Backups -------------------------------------------------------------------------------------------------------------

STEPS = 20


def adding(db: object, ran: Counter[tuple[int, int]]) -> Workflow:
    app = Workflow("app", db=db, cache_runs=0)

    @app.task
    async def step(n: int, number: int) -> int:
        ran[n, number] += 1
        await asyncio.sleep(0)
        return number

    @app.workflow(id="run-{n}")
    async def run(n: int) -> int:
        return sum([await step(n, number) for number in range(STEPS)])

    return app


async def recorded_steps(app: Workflow, n: int) -> list[int]:
    return [event.value for event in await app.runs.history(f"run-{n}") if event.kind == "task"]


async def test_a_backup_made_under_load_is_sound_and_its_runs_go_on(tmp_path):
    """Covers: L1"""
    app = adding(str(tmp_path / "x.db"), Counter())
    copies: list[Path] = []
    async with app:
        handles = [await flow(app, "run").start(n) for n in range(15)]
        ending = asyncio.gather(*(handle.result() for handle in handles))
        while not ending.done() and len(copies) < 2:
            copies.append(tmp_path / f"copy-{len(copies)}.db")
            await asyncio.to_thread(back_up, tmp_path / "x.db", copies[-1])
        assert set(await ending) == {sum(range(STEPS))}
    for path in copies:
        ran: Counter[tuple[int, int]] = Counter()
        # A copy has no lock files of the workers that it names: they are dead when that has been so for a while.
        again = adding(SQLiteRunStore(path, limits=Limits(stopped_s=0.2)), ran)
        store = (await again._engine()).store
        assert await store.check() == []
        there = [int(run.run_id.removeprefix("run-")) for run in await again.runs.list()]
        recorded = {n: await recorded_steps(again, n) for n in there}
        async with again:
            for n in there:
                assert await again.handle(f"run-{n}").result() == sum(range(STEPS))
        assert all(steps == list(range(len(steps))) for steps in recorded.values())
        assert ran == Counter((n, number) for n in there for number in range(len(recorded[n]), STEPS))
    assert copies


def back_up(path: Path, copy: Path) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


# Very many -----------------------------------------------------------------------------------------------------------


async def test_timers_that_are_long_overdue_fire_once_each(make_app: Apps):
    """Covers: L4, L9"""
    clock = HandClock()
    first, second = make_app(clock=clock), make_app(clock=clock)
    woken: Counter[int] = Counter()
    for app in (first, second):

        @app.task
        async def wake(n: int) -> int:
            woken[n] += 1
            return n

        @app.workflow(id="nap-{n}")
        async def nap(n: int) -> int:
            await durable.sleep(60)
            return await wake(n)

    naps = 250  # more than a claim takes
    async with first:
        await asyncio.gather(*(flow(first, "nap").start(n) for n in range(naps)))
        await eventually(lambda: _count(first, "suspended", naps))
    clock.now += 10 * 86_400_000
    async with second:
        await eventually(lambda: _count(second, "succeeded", naps))
        engine = await second._engine()
        await eventually(lambda: not engine.active)
    assert woken == Counter(range(naps))
    assert await _count(second, "succeeded", naps)


async def _count(app: Workflow, label: str, number: int) -> bool:
    return (await app.runs.count()).get(label) == number


async def test_very_many_messages_to_one_run_are_received_in_order(make_app: Apps):
    """Covers: L10"""
    app = make_app()

    @app.workflow(id="reader")
    async def reader(number: int) -> list[int]:
        return [await app.receive("box") for _ in range(number)]

    handle = await reader.start(1_000)
    await asyncio.gather(*(handle.send("box", n) for n in range(500)))
    async with app:
        for first in range(500, 1_000, 100):
            await asyncio.gather(*(handle.send("box", n) for n in range(first, first + 100)))
        assert await handle.result() == list(range(1_000))


async def test_a_run_with_very_many_children_has_two_entries_for_each(make_app: Apps):
    """Covers: L11"""
    app = make_app()

    @app.workflow
    async def child(n: int) -> int:
        return n

    @app.workflow(id="parent")
    async def parent(number: int) -> int:
        return sum(await durable.map(child, range(number), limit=100))

    async with app:
        assert await (await parent.start(200)).result() == sum(range(200))
    assert len(await app.runs.history("parent")) <= 2 * 200 + 2
    assert await app.runs.count() == {"succeeded": 201}


async def test_many_runs_that_fail_at_once_do_not_come_back_at_once(make_app: Apps):
    """Covers: L12"""
    clock = HandClock()
    app = make_app(clock=clock)

    @app.task(retries=5, backoff=exponential(base=100, max=100_000, jitter=0.5))
    async def calls(n: int) -> None:
        raise ConnectionError("the service is down")

    @app.workflow(id="run-{n}")
    async def run(n: int) -> None:
        await calls(n)

    waits: list[list[int]] = []
    async with app:
        handles = [await run.start(n) for n in range(100)]
        for _ in range(2):
            await eventually(lambda: _count(app, "suspended", 100))
            due = [(await handle.record()).due_at for handle in handles]
            waits.append([(at or 0) - clock.now for at in due])
            clock.now = max(at or 0 for at in due)
            await eventually(lambda: _moved_on(handles, clock.now))
    first, second = waits
    assert max(first) - min(first) > 10_000, "seconds lie between the first and the last"
    assert len(set(first)) > 90
    assert sum(second) > 1.5 * sum(first), "and they wait longer each time"


async def _moved_on(handles: list[Any], now: int) -> bool:
    return all([((await handle.record()).due_at or 0) > now for handle in handles])


# Nothing to do -------------------------------------------------------------------------------------------------------

IDLE = """
    wf = Workflow("app", db=DB)

    @wf.workflow(id="waits-{n}")
    async def waits(n: int) -> None:
        await wf.signal("never")

    async def main():
        async with wf:
            for n in range(20):
                await waits.start(n)
            await asyncio.sleep(1.2)
            began = time.process_time()
            await asyncio.sleep(1.5)
            say(f"used {(time.process_time() - began) / 1.5}")

    asyncio.run(main())
"""


def test_a_worker_that_has_nothing_to_do_hardly_uses_the_cpu(file):
    """Covers: L13"""
    with Child(IDLE, file) as worker:
        share = float(worker.line().split()[1])
        assert worker.ended() == 0
    assert share < 0.05


async def test_a_run_whose_value_breaks_the_decoder_leaves_the_worker_to_the_others(make_app: Apps):
    """Covers: L14"""
    from durable.codec import JsonCodec

    class Fragile(JsonCodec):
        """Meets a value that it was not written for."""

        def decode(self, data: bytes, *args: Any, **options: Any) -> Any:
            if b"poison" in data:
                raise ZeroDivisionError("a bug of the codec")
            return super().decode(data, *args, **options)

    app = make_app(codec=Fragile())

    @app.workflow(id="run-{n}")
    async def run(n: int) -> Any:
        return [n, await app.signal("go")]

    async with app:
        handles = [await run.start(n) for n in range(5)]
        for n, handle in enumerate(handles):
            await handle.signal("go", "poison" if n == 2 else "good")
        for n in (0, 1, 3, 4):
            assert await handles[n].result() == [n, "good"]
        await state(app, "run-2", "set aside", "failed")
