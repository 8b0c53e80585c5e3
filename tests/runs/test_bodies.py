"""What a body may ask about itself: its id, its way through changed code, its progress, its log, a new beginning."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid

import pytest

import durable
from durable import UsageError
from tests.runs.kit import Apps, Died, abandon, dies, flow, live, state


async def test_a_run_continues_as_new_with_an_empty_journal(app):
    ran: list[int] = []

    @app.task
    async def step(x: int) -> int:
        ran.append(x)
        return x

    @app.workflow(id="rounds")
    async def rounds(x: int, total: int = 0) -> int:
        total += await step(x)
        if x:
            durable.continue_as_new(x - 1, total=total)
        return total

    assert await rounds(5) == 15
    assert ran == [5, 4, 3, 2, 1, 0]
    record = await app.runs.get("rounds")
    assert record.continuation == 5
    assert [e.name for e in await app.runs.history("rounds")] == ["start", "step", "finish"]


async def test_a_run_that_continued_is_found_by_the_arguments_it_was_started_with(app):
    @app.workflow(id="rounds")
    async def rounds(x: int) -> int:
        if x:
            durable.continue_as_new(x - 1)
        return 0

    assert await rounds(2) == 0
    assert await rounds(2) == 0


def test_a_crash_after_continuing_goes_on_in_the_new_part(make_app: Apps):
    """Covers: A16"""
    ran: list[int] = []

    def program(deadly: int):
        app = make_app()

        @app.task
        async def step(x: int) -> None:
            if x == deadly:
                raise Died
            ran.append(x)

        @app.workflow(id="rounds")
        async def rounds(x: int) -> str:
            await step(x)
            if x:
                durable.continue_as_new(x - 1)
            return "end"

        return app

    first, second = program(2), program(-1)
    dies(first, lambda: flow(first, "rounds")(4))
    assert live(second, lambda: flow(second, "rounds")(4)) == "end"
    abandon(second)
    assert ran == [4, 3, 2, 1, 0]


def test_patched_keeps_old_runs_on_the_old_way_and_new_ones_on_the_new(make_app: Apps):
    """Covers: G8"""

    def program(new: bool, deadly: bool):
        app = make_app()

        @app.task
        async def step(name: str) -> str:
            if deadly and name == "last":
                raise Died
            return name

        @app.workflow(id="run-{x}")
        async def run(x: int) -> list[str]:
            done = [await step("first")]
            if new and durable.patched("better"):
                done += [await step("better")]
            else:
                done += [await step("worse")]
            return [*done, await step("last")]

        return app

    old, new = program(False, True), program(True, False)
    dies(old, lambda: flow(old, "run")(1))
    assert live(new, lambda: flow(new, "run")(1)) == ["first", "worse", "last"]
    assert live(new, lambda: flow(new, "run")(2)) == ["first", "better", "last"]
    abandon(new)


async def test_patched_answers_the_same_each_time_it_is_asked(app):
    @app.workflow(id="run")
    async def run() -> list[bool]:
        first = durable.patched("change")
        await durable.sleep(0.001)
        return [first, durable.patched("change"), durable.patched("other")]

    assert await run() == [True, True, True]


async def test_progress_is_seen_from_outside(make_app: Apps):
    app = make_app()

    @app.workflow(id="run")
    async def run() -> None:
        durable.progress(3, 10, "third")
        await app.signal("go")
        durable.progress(10, 10, "x" * 500)

    async with app:
        handle = await run.start()
        await state(app, "run", "suspended")
        assert json.loads((await handle.record()).progress) == [3, 10, "third"]
        await handle.signal("go")
        await handle.result()
    assert json.loads((await app.runs.get("run")).progress) == [10, 10, "x" * 200]


def test_the_logger_is_silent_on_replay(make_app: Apps, caplog):
    caplog.set_level(logging.INFO, "durable.workflow")

    def program(deadly: bool):
        app = make_app()

        @app.task
        async def step(name: str) -> None:
            if deadly and name == "three":
                raise Died

        @app.workflow(id="run")
        async def run() -> None:
            for name in ("one", "two", "three"):
                durable.logger.info("before %s", name)
                await step(name)
            durable.logger.warning("at the end")

        return app

    first, second = program(True), program(False)
    dies(first, flow(first, "run"))
    live(second, flow(second, "run"))
    abandon(second)
    lines = [record for record in caplog.records if record.name == "durable.workflow"]
    assert [line.getMessage() for line in lines] == ["before one", "before two", "before three", "at the end"]
    assert {vars(line)["run_id"] for line in lines} == {"run"}


def test_random_values_and_ids_stand_after_a_crash(make_app: Apps):
    seen: list[tuple[float, uuid.UUID]] = []

    def program(deadly: bool):
        app = make_app()

        @app.task
        async def step() -> None:
            if deadly:
                raise Died

        @app.workflow(id="run")
        async def run() -> list[object]:
            seen.append((durable.random(), durable.uuid4()))
            await step()
            return [*seen[-1], durable.random()]

        return app

    first, second = program(True), program(False)
    dies(first, flow(first, "run"))
    number, name, other = live(second, flow(second, "run"))
    abandon(second)
    assert seen == [(number, name)] * 2
    assert 0 <= number < 1
    assert name.version == 4
    assert other != number


def test_the_key_of_a_step_stays_the_same_over_attempts_and_crashes_and_is_its_own(make_app: Apps):
    """Covers: A3, A4"""
    keys: list[tuple[str, str]] = []

    def program(deadly: bool):
        app = make_app(default_retries=1, default_backoff=durable.constant(0))

        @app.task
        async def step(name: str) -> None:
            keys.append((name, durable.idempotency_key()))
            if name == "b" and len(keys) == 2:
                raise OSError("once more")
            if deadly and name == "b":
                raise Died

        @app.workflow(id="run-{x}")
        async def run(x: int) -> None:
            for name in ("a", "b", "c"):
                await step(name)
            await step("named", step_id="named")

        return app

    first, second = program(True), program(False)
    dies(first, lambda: flow(first, "run")(1))
    live(second, lambda: flow(second, "run")(1))
    live(second, lambda: flow(second, "run")(2))
    abandon(second)
    assert [name for name, _ in keys] == ["a", "b", "b", "b", "c", "named", "a", "b", "c", "named"]
    assert len({key for name, key in keys[1:4]}) == 1
    assert len({key for _, key in keys}) == 8


async def test_branches_that_are_left_running_at_the_end_are_cancelled_before_the_run_ends(app):
    """Covers: H13"""
    ran: list[str] = []

    @app.task
    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ran.append("stopped")

    @app.task
    async def undo() -> None:
        ran.append("undone")

    @app.workflow(id="run")
    async def run() -> str:
        async def branch() -> None:
            try:
                await forever()
            finally:
                await undo()

        branches = [asyncio.create_task(branch()) for _ in range(2)]
        await asyncio.sleep(0.01)
        return f"{len(branches)} left"

    assert await run() == "2 left"
    assert sorted(ran) == ["stopped", "stopped", "undone", "undone"]


async def test_what_belongs_in_a_body_or_a_task_is_refused_elsewhere(app):
    for call in (durable.run_id, durable.idempotency_key, lambda: durable.patched("x"), lambda: durable.progress(1)):
        with pytest.raises(UsageError, match="outside a"):
            call()
    with pytest.raises(UsageError, match="outside a workflow"):
        durable.continue_as_new()

    @app.workflow
    async def run() -> None:
        durable.idempotency_key()

    with pytest.raises(UsageError, match="it belongs in a task"):
        await run()
