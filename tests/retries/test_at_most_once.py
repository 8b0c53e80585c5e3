"""Tasks that are never repeated: an interrupted attempt raises TaskInterrupted in the workflow."""

from __future__ import annotations

import asyncio

import pytest

from durable import TaskInterrupted
from durable.backoff import constant
from tests.runs.kit import Apps, Child, Died, abandon, dies, flow, live, notes

CHARGES = """
    wf = Workflow("app", db=DB)

    @wf.task(at_most_once=True)
    async def charge(order: str) -> str:
        note("charged")
        say("charging")
        if sys.argv[2] == "hang":
            await asyncio.sleep(3600)
        return "receipt"

    @wf.task
    async def check(order: str) -> str:
        return "checked"

    @wf.workflow(id="order")
    async def order() -> str:
        try:
            return await charge("42")
        except durable.TaskInterrupted as error:
            return f"{error.task} of {error.run_id}: {await check('42')}"

    say(f"result {asyncio.run(order())}")
"""


def test_a_real_kill_in_the_middle_interrupts_it_for_good(file):
    """Covers: A3"""
    with Child(CHARGES, file, "hang") as child:
        child.hears("charging")
        child.kill()
    for _ in range(2):
        with Child(CHARGES, file, "no") as child:
            assert child.line() == "result charge of order: checked"
            assert child.ended() == 0
    assert notes(file) == ["charged"]


def test_uninterrupted_it_is_a_task_like_others(file):
    for _ in range(2):
        with Child(CHARGES, file, "no") as child:
            child.hears("result receipt")
    assert notes(file) == ["charged"]


async def test_a_failure_is_no_interruption_and_is_not_repeated_by_default(app):
    tried = 0

    @app.task(at_most_once=True)
    async def fails() -> None:
        nonlocal tried
        tried += 1
        raise OSError("no")

    @app.workflow
    async def run() -> None:
        await fails()

    with pytest.raises(OSError, match="no"):
        await run()
    assert tried == 1


async def test_failures_are_repeated_if_it_says_so(app):
    tried = 0

    @app.task(at_most_once=True, retries=2, backoff=constant(0))
    async def fails() -> int:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise OSError("no")
        return tried

    @app.workflow(id="run")
    async def run() -> int:
        return await fails()

    assert await run() == 3
    statuses = [(e.status, e.attempt) for e in await app.runs.history("run") if e.kind == "task"]
    assert statuses == [("begun", 1), ("retry", 1), ("begun", 2), ("retry", 2), ("begun", 3), ("ok", 3)]


def test_an_interrupted_retry_is_not_repeated_either(make_app: Apps):
    """Covers: A3"""
    tried: list[int] = []

    def program(deadly: bool):
        app = make_app()

        @app.task(at_most_once=True, retries=5, backoff=constant(0))
        async def work() -> None:
            tried.append(1)
            if len(tried) == 1:
                raise OSError("first")
            if deadly:
                raise Died

        @app.workflow(id="run")
        async def run() -> str:
            try:
                await work()
            except TaskInterrupted:
                return "interrupted"
            return "worked"

        return app

    first, second = program(True), program(False)
    dies(first, flow(first, "run"))
    assert live(second, flow(second, "run")) == "interrupted"
    abandon(second)
    assert len(tried) == 2


def test_uncaught_it_fails_the_run_and_a_retry_by_hand_runs_it_again(make_app: Apps):
    ran: list[int] = []

    def program(deadly: bool):
        app = make_app()

        @app.task(at_most_once=True)
        async def work() -> str:
            ran.append(1)
            if deadly:
                raise Died
            return "done"

        @app.workflow(id="run")
        async def run() -> str:
            return await work()

        return app

    first, second = program(True), program(False)
    dies(first, flow(first, "run"))
    with pytest.raises(TaskInterrupted, match="'work' of run 'run' was interrupted and is at-most-once"):
        live(second, flow(second, "run"))
    assert len(ran) == 1

    async def by_hand() -> str:
        await second.runs.retry("run")
        return await flow(second, "run")()

    assert live(second, by_hand) == "done"
    abandon(second)
    assert len(ran) == 2


async def test_a_withdrawn_attempt_is_stopped_and_recorded_as_begun_only(app):
    started = asyncio.Event()

    @app.task(at_most_once=True)
    async def slow() -> None:
        started.set()
        await asyncio.Event().wait()

    @app.workflow(id="run")
    async def run() -> str:
        try:
            async with asyncio.timeout(0.02):
                await slow()
        except TimeoutError:
            return "gave up"
        return "done"

    assert await run() == "gave up"
    assert started.is_set()
    assert [e.status for e in await app.runs.history("run") if e.kind == "task"] == ["begun"]
