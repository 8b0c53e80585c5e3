"""Child workflows: their ids, results, failures, and what becomes of them."""

from __future__ import annotations

import asyncio

import pytest

import durable
from durable import IdConflict, InputMismatch
from tests.runs.kit import Apps, Died, abandon, dies, flow, live, state


async def test_a_workflow_called_in_a_workflow_is_a_child_named_after_its_place(app):
    @app.workflow
    async def child(x: int) -> str:
        return durable.run_id()

    @app.workflow(id="parent")
    async def parent() -> list[str]:
        durable.time()
        first = await child(1)
        second, third = await asyncio.gather(child(2), child(2))
        named = await child(3, step_id="by-name")
        return [first, second, third, named]

    assert await parent() == ["parent/2", "parent/3", "parent/4", "parent/by-name"]
    children = await app.runs.list(parent="parent")
    assert sorted(record.run_id for record in children) == ["parent/2", "parent/3", "parent/4", "parent/by-name"]
    assert {record.parent_id for record in children} == {"parent"}


async def test_a_template_names_a_child_too(app):
    ran: list[int] = []

    @app.task
    async def work(x: int) -> int:
        ran.append(x)
        return x

    @app.workflow(id="child-{x}")
    async def child(x: int) -> int:
        return await work(x)

    @app.workflow(id="parent")
    async def parent() -> list[int]:
        return [await child(1), await child(2), await child(1), await child.run("explicit", 3)]

    assert await parent() == [1, 2, 1, 3]
    assert ran == [1, 2, 3]
    assert (await app.runs.get("explicit")).parent_id == "parent"


async def test_a_child_of_a_derived_id_is_not_shared_between_parents(app):
    ran: list[int] = []

    @app.task
    async def work() -> None:
        ran.append(1)

    @app.workflow
    async def child(x: int) -> None:
        await work()

    @app.workflow(id="parent-{n}")
    async def parent(n: int) -> None:
        await child(1)

    await parent(1)
    await parent(2)
    assert ran == [1, 1]


async def test_children_nest(app):
    @app.workflow
    async def sums(depth: int) -> int:
        if depth == 0:
            return 1
        return sum(await asyncio.gather(sums(depth - 1), sums(depth - 1)))

    assert await sums(4) == 16
    assert len(await app.runs.list()) == 31


async def test_the_failure_of_a_child_is_raised_in_its_parent(app):
    @app.task(retries=0)
    async def fails() -> None:
        raise KeyError("deep")

    @app.workflow
    async def child() -> None:
        await fails()

    @app.workflow(id="parent")
    async def parent() -> str:
        try:
            await child()
        except KeyError as error:
            return f"caught {error.args}"
        return "nothing"

    assert await parent() == "caught ('deep',)"
    assert (await app.runs.get("parent/1")).state.label == "failed"
    assert (await app.runs.get("parent")).state.label == "succeeded"


async def test_a_failed_parent_goes_on_from_its_failed_child(app):
    ran: list[str] = []
    broken = True

    @app.task(retries=0)
    async def step(name: str) -> str:
        if broken and name == "fragile":
            raise OSError("not yet")
        ran.append(name)
        return name

    @app.workflow
    async def child() -> list[str]:
        return [await step("in child"), await step("fragile")]

    @app.workflow(id="parent")
    async def parent() -> list[str]:
        return [await step("in parent"), *await child(), await step("after")]

    with pytest.raises(OSError, match="not yet"):
        await parent()
    broken = False
    assert await parent() == ["in parent", "in child", "fragile", "after"]
    assert ran == ["in parent", "in child", "fragile", "after"]


async def test_a_cancelled_child_raises_in_its_parent(make_app: Apps):
    app = make_app()

    @app.workflow
    async def child() -> None:
        await durable.sleep(3600)

    @app.workflow(id="parent")
    async def parent() -> str:
        try:
            await child()
        except durable.RunCancelled as error:
            return f"{error.run_id} was cancelled"
        return "nothing"

    async with app:
        handle = await parent.start()
        await state(app, "parent/1", "suspended")
        await app.runs.cancel("parent/1")
        assert await handle.result() == "parent/1 was cancelled"


async def test_a_branch_that_is_cancelled_cancels_its_child(make_app: Apps):
    app = make_app()

    @app.workflow
    async def child() -> None:
        await durable.sleep(3600)

    @app.workflow(id="parent")
    async def parent() -> str:
        try:
            async with asyncio.timeout(0.05):
                await child()
        except TimeoutError:
            return "gave up"
        return "nothing"

    async with app:
        assert await (await parent.start()).result() == "gave up"
        await state(app, "parent/2", "cancelled")  # the timeout took the first number


async def test_a_child_may_be_started_and_awaited_later(app):
    @app.workflow
    async def child(x: int) -> int:
        await durable.sleep(0.01)
        return x * x

    @app.workflow(id="parent")
    async def parent() -> list[object]:
        handles = [await child.start(x) for x in (2, 3)]
        named = await child.start(4, id="named")
        return [[h.id for h in (*handles, named)], [await h for h in handles], await named.result()]

    assert await parent() == [["parent/1", "parent/2", "named"], [4, 9], 16]


async def test_a_conflicting_child_is_an_error_in_its_parent(app):
    @app.workflow(id="child-{x}")
    async def child(x: int, y: int = 0) -> int:
        return y

    @app.workflow(id="other")
    async def other() -> int:
        return 1

    @app.workflow(id="parent")
    async def parent() -> list[str]:
        caught = []
        await child(1, 1)
        for make in (lambda: child(1, 2), lambda: child.run("other", 1)):
            try:
                await make()
            except IdConflict as error:
                caught.append(type(error).__name__)
        return caught

    await other()
    assert await parent() == [InputMismatch.__name__, IdConflict.__name__]


def test_children_go_on_after_a_crash_and_start_once(make_app: Apps):
    """Covers: A13"""
    ran: list[str] = []

    def program(deadly: bool):
        app = make_app()

        @app.task
        async def step(name: str) -> str:
            if deadly and name == "b2":
                raise Died
            ran.append(name)
            return name

        @app.workflow
        async def child(name: str) -> list[str]:
            return [await step(f"{name}{i}") for i in range(4)]

        @app.workflow(id="parent")
        async def parent() -> list[list[str]]:
            return [await child("a"), await child("b"), await child("c")]

        return app

    first, second = program(True), program(False)
    dies(first, flow(first, "parent"))
    assert live(second, flow(second, "parent")) == [[f"{n}{i}" for i in range(4)] for n in "abc"]
    abandon(second)
    assert ran == [f"{n}{i}" for n in "abc" for i in range(4)]
