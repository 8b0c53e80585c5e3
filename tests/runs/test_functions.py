"""All kinds of functions: plain and async tasks, plain, async and generator workflows, methods, undecorated steps."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import durable
from durable import InMemoryStore, UsageError, Workflow
from durable.backoff import constant
from tests.runs.kit import Apps, Died, abandon, dies, eventually, flow, job, live


async def test_a_plain_task_is_called_from_an_async_workflow_by_aio_and_runs_in_a_thread(app):
    @app.task
    def plain(x: int) -> tuple[int, bool]:
        return 2 * x, threading.current_thread() is threading.main_thread()

    @app.workflow
    async def run() -> list[Any]:
        return [await plain.aio(21), await plain.aio(1, step_id="named")]

    assert await run() == [(42, False), (2, False)]


async def test_a_plain_task_called_plainly_in_an_async_workflow_is_refused_with_the_right_form(app):
    @app.task
    def plain() -> None: ...

    @app.workflow
    async def run() -> None:
        plain()

    with pytest.raises(UsageError, match=r"await plain\.aio\(\.\.\.\)"):
        await run()


async def test_a_plain_workflow_calls_plain_and_async_tasks(make_app: Apps):
    app = make_app()

    @app.task
    def plain(x: int) -> int:
        return x + 1

    @app.task
    async def asynchronous(x: int) -> int:
        await asyncio.sleep(0)
        return x * 10

    @app.workflow(id="run")
    def run(x: int) -> list[Any]:
        durable.sleep(0.001)
        return [plain(x), asynchronous.sync(x), plain(x, step_id="named"), durable.run_id()]

    assert await run.aio(1) == [2, 10, 2, "run"]


async def test_an_async_task_called_plainly_in_a_plain_workflow_is_refused_with_the_right_form(app):
    @app.task
    async def asynchronous() -> None: ...

    @app.workflow
    def run() -> None:
        asynchronous()

    with pytest.raises(UsageError, match=r"asynchronous\.sync\(\.\.\.\)"):
        await run.aio()


def test_a_plain_workflow_is_called_from_plain_code(tmp_path):
    app = Workflow("app", db=str(tmp_path / "durable.db"))
    ran: list[int] = []

    @app.task
    def step(x: int) -> int:
        ran.append(x)
        return x

    @app.workflow(id="run")
    def run() -> int:
        return sum(step(x) for x in range(4))

    @app.workflow(id="async run")
    async def async_run() -> int:
        return await step.aio(9)

    try:
        assert run() == 6
        assert run() == 6
        assert run.run("other") == 6
        assert async_run.sync() == 9
        assert ran == [0, 1, 2, 3, 0, 1, 2, 3, 9]
    finally:
        app.portal.stop()


async def test_a_plain_workflow_called_plainly_on_a_loop_is_refused(app):
    """Covers: H11"""

    @app.workflow
    def run() -> None: ...

    with pytest.raises(UsageError, match=r"await run\.aio"):
        run()


async def test_plain_workflows_sleep_and_wait_without_keeping_a_thread(make_app: Apps):
    app = make_app()

    @app.task
    def note(x: int) -> int:
        return x

    @app.workflow(id="plain-{x}")
    def waits(x: int) -> int:
        note(x)
        durable.sleep(1.01)
        note(x)
        return x + app.signal("go")

    before = threading.active_count()
    async with app:
        handles = [await waits.start(x) for x in range(20)]

        async def all_suspended() -> bool:
            return await app.runs.count() == {"suspended": 20}

        await eventually(all_suspended)
        await eventually(lambda: threading.active_count() <= before + 8)  # threads of tasks, and of the store
        for handle in handles:
            await handle.signal("go", 100)
        assert [await handle.result() for handle in handles] == [100 + x for x in range(20)]


def test_a_plain_workflow_goes_on_after_a_crash(make_app: Apps):
    ran: list[int] = []

    def program(deadly: int):
        app = make_app()

        @app.task
        async def step(x: int) -> int:
            if x == deadly:
                raise Died
            ran.append(x)
            return x

        @app.workflow(id="run")
        def run() -> list[int]:
            return [step.sync(x) for x in range(6)]

        return app

    first, second = program(3), program(-1)
    dies(first, lambda: flow(first, "run").aio())
    assert live(second, lambda: flow(second, "run").aio()) == list(range(6))
    abandon(second)
    assert ran == list(range(6))


async def test_a_plain_workflow_calls_child_workflows(app):
    @app.workflow
    def child(x: int) -> int:
        return x + 1

    @app.workflow
    async def async_child(x: int) -> int:
        return x + 2

    @app.workflow(id="parent")
    def parent() -> list[int]:
        return [child(1), async_child.sync(1)]

    assert await parent.aio() == [2, 3]
    assert {r.run_id for r in await app.runs.list(parent="parent")} == {"parent/1", "parent/2"}


async def test_generator_workflows_yield_their_waits(make_app: Apps):
    app = make_app()
    ran: list[str] = []

    @app.task
    async def task(x: int) -> int:
        ran.append(f"task {x}")
        return x + 1

    @app.task
    def plain(x: int) -> int:
        return x * 10

    @app.workflow
    async def child(x: int) -> int:
        return await task(x)

    @app.workflow(id="generated")
    def generated(ctx, start: int):
        x = yield ctx.run(task, start)
        yield ctx.sleep(0.001)
        y = yield ctx.run(plain, x)
        p = yield ctx.start(child, y)
        q = yield ctx.start(task, 7)
        z = yield p
        w = yield q
        answer = yield ctx.signal("answer")
        return [x, y, z, w, answer, ctx.id]

    async with app:
        handle = await generated.start(1)
        await handle.signal("answer", "yes")
        assert await handle.result() == [2, 20, 21, 8, "yes", "generated"]
    assert sorted(ran) == ["task 1", "task 20", "task 7"]


async def test_a_generator_workflow_catches_errors_at_its_yield(app):
    @app.task(retries=0)
    async def fails() -> None:
        raise KeyError("inner")

    @app.workflow
    def run(ctx):
        try:
            yield ctx.run(fails)
        except KeyError as error:
            return f"caught {error}"

    assert await run() == "caught 'inner'"


async def test_a_generator_workflow_that_yields_something_else_is_told(app):
    @app.workflow
    def run(ctx):
        yield 42

    with pytest.raises(UsageError, match="yielded 42"):
        await run()


async def test_methods_are_tasks(app):
    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name

        @app.task(retries=1, backoff=constant(0))
        async def sell(self, item: str) -> str:
            return f"{self.name} sells {item}"

        @app.task
        def count(self, items: list[str]) -> int:
            return len(items)

    shop = Shop("corner")

    @app.workflow
    async def run() -> list[Any]:
        return [await shop.sell("tea"), await shop.count.aio(["a", "b"]), await shop.sell("milk", step_id="milk")]

    assert await run() == ["corner sells tea", 2, "corner sells milk"]
    assert await shop.sell("outside") == "corner sells outside"


async def test_a_task_called_by_a_task_is_part_of_it(app):
    ran: list[str] = []

    @app.task
    async def inner(x: int) -> int:
        ran.append("inner")
        return x + 1

    @app.task
    async def outer(x: int) -> int:
        ran.append("outer")
        return await inner(x) + await inner(x)

    @app.workflow(id="run")
    async def run() -> int:
        return await outer(1)

    assert await run() == 4
    assert ran == ["outer", "inner", "inner"]
    assert [e.name for e in await app.runs.history("run") if e.kind == "task"] == ["outer"]


async def test_durable_sleep_and_workflows_in_a_task_are_refused(app):
    @app.workflow
    async def other() -> None: ...

    @app.task(retries=0)
    async def wrong(which: str) -> None:
        if which == "sleep":
            await durable.sleep(1)
        elif which == "sleep.aio":
            await durable.sleep.aio(1)
        else:
            await other()

    @app.workflow
    async def run(which: str) -> None:
        await wrong(which)

    for which in ("sleep", "sleep.aio"):
        with pytest.raises(UsageError, match="sleep in the workflow, between tasks"):
            await run(which)
    with pytest.raises(UsageError, match="was called in task 'wrong'"):
        await run("workflow")


def test_declarations_that_cannot_be_are_refused():
    app: Any = Workflow("app", db=InMemoryStore())

    @app.task
    async def taken() -> None: ...

    @app.workflow
    async def flow() -> None: ...

    def generator():
        yield 1

    async def async_generator():
        yield 1

    wrong = (
        (
            lambda: app.task(name="taken")(lambda: None),
            r"has a task 'taken' already \(.*taken at .*test_functions.py:\d+",
        ),
        (lambda: app.workflow(name="flow")(lambda: None), "has a workflow 'flow' already"),
        (lambda: app.task(generator), "is a generator"),
        (lambda: app.task(async_generator), "is a generator"),
        (lambda: app.workflow(async_generator), "async generator"),
        (lambda: app.task(5), "expected a function"),
        (lambda: app.workflow("name"), "expected a function"),
        (lambda: app.task(retries=-1)(lambda: None), "retries=-1"),
        (lambda: app.task(retries=True)(lambda: None), "retries=True"),
        (lambda: app.task(backoff=5)(lambda: None), "backoff=5"),
        (lambda: app.task(retry_on="OSError")(lambda: None), "retry_on"),
        (lambda: app.task(name="two\nlines")(lambda: None), "control character"),
        (lambda: Workflow(""), "application name"),
        (lambda: Workflow("app", db=5), "db=5"),
        (lambda: app.task(retries=1.5)(lambda: None), "retries=1.5"),
    )
    for declare, why in wrong:
        with pytest.raises(UsageError, match=why):
            declare()


async def test_a_task_declared_after_a_run_began_is_known_to_it(make_app: Apps):
    app = make_app()

    @app.workflow
    async def run() -> int:
        return await job(app, "late")()

    async with app:

        @app.task
        async def late() -> int:
            return 5

        assert await (await run.start()).result() == 5
