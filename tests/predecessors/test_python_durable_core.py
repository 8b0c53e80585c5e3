"""P-18: what python-durable's own core tests show, in our words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import InMemoryStore, Workflow
from durable.backoff import constant
from tests.runs.kit import Apps, eventually


def test_p_18_a_finished_step_is_replayed_from_its_checkpoint():
    store = InMemoryStore()
    wf = Workflow("app", db=store)
    ran: list[str] = []

    @wf.task
    async def fetch(name: str) -> str:
        ran.append(name)
        return f"data of {name}"

    @wf.workflow(id="fetch-{name}")
    async def reads(name: str) -> str:
        return await fetch(name)

    async def main() -> list[str]:
        return [await reads(name="a"), await reads(name="a")]

    assert asyncio.run(main()) == ["data of a"] * 2
    assert ran == ["a"]


async def test_p_18_a_workflow_that_raised_goes_on_after_its_last_step(make_app: Apps):
    wf = make_app()
    ran: list[str] = []
    broken = True

    @wf.task
    async def step(name: str) -> str:
        ran.append(name)
        return name

    @wf.task(retries=0)
    async def fragile() -> str:
        if broken:
            raise RuntimeError("crash")
        ran.append("fragile")
        return "fragile"

    @wf.workflow(id="crashes")
    async def crashes() -> list[str]:
        return [await step("one"), await step("two"), await fragile()]

    with pytest.raises(RuntimeError, match="crash"):
        await crashes()
    broken = False
    assert await crashes() == ["one", "two", "fragile"]
    assert ran == ["one", "two", "fragile"]


async def test_p_18_a_failing_step_is_retried_until_it_succeeds(make_app: Apps):
    wf = make_app()
    tried: list[int] = []

    @wf.task(retries=3, backoff=constant(0))
    async def flaky() -> int:
        tried.append(1)
        if len(tried) < 3:
            raise ConnectionError("not yet")
        return len(tried)

    @wf.workflow
    async def persists() -> int:
        return await flaky()

    assert await persists() == 3
    assert len(tried) == 3


async def test_p_18_an_exhausted_step_raises_its_last_error(make_app: Apps):
    wf = make_app(default_retries=1, default_backoff=constant(0))
    tried: list[int] = []

    @wf.task
    async def hopeless() -> None:
        tried.append(1)
        raise ConnectionError(f"attempt {len(tried)}")

    @wf.workflow
    async def tries() -> None:
        await hopeless()

    with pytest.raises(ConnectionError, match="attempt 2"):
        await tries()


async def test_p_18_a_task_outside_a_workflow_is_the_plain_function(make_app: Apps):
    wf = make_app()

    @wf.task
    async def adds(a: int, b: int) -> int:
        return a + b

    assert await adds(1, b=2) == 3


async def test_p_18_a_loop_with_step_ids_records_each_turn(make_app: Apps):
    wf = make_app()
    ran: list[int] = []
    breaks_at: int | None = 3

    @wf.task(retries=0)
    async def square(x: int) -> int:
        if x == breaks_at:
            raise RuntimeError("stop here")
        ran.append(x)
        return x * x

    @wf.workflow(id="loop")
    async def squares() -> list[int]:
        return [await square(x, step_id=f"square-{x}") for x in range(5)]

    with pytest.raises(RuntimeError, match="stop here"):
        await squares()
    breaks_at = None
    assert await squares() == [0, 1, 4, 9, 16]
    assert ran == [0, 1, 2, 3, 4]


async def test_p_18_one_task_serves_several_workflows(make_app: Apps):
    wf = make_app()
    ran: list[str] = []

    @wf.task
    async def greets(name: str) -> str:
        ran.append(name)
        return f"hello {name}"

    @wf.workflow(id="morning-{name}")
    async def morning(name: str) -> str:
        return f"{await greets(name)} good morning"

    @wf.workflow(id="evening-{name}")
    async def evening(name: str) -> str:
        return f"{await greets(name)} good evening"

    assert await morning("Ada") == "hello Ada good morning"
    assert await evening("Ada") == "hello Ada good evening"
    assert ran == ["Ada", "Ada"]


async def test_p_18_runs_of_other_ids_do_not_share_checkpoints(make_app: Apps):
    wf = make_app()

    @wf.task
    async def doubles(x: int) -> int:
        return 2 * x

    @wf.workflow(id="run-{x}")
    async def runs(x: int) -> int:
        return await doubles(x)

    assert [await runs(x=1), await runs(x=2)] == [2, 4]


async def test_p_18_an_explicit_run_id_names_the_run(make_app: Apps):
    wf = make_app()
    ran: list[int] = []

    @wf.task
    async def counts() -> int:
        ran.append(1)
        return len(ran)

    @wf.workflow(id="template-{x}")
    async def runs(x: int) -> int:
        return await counts()

    assert await runs.run("my-own-id", x=1) == 1
    assert await runs.run("my-own-id", x=1) == 1
    assert (await wf.runs.get("my-own-id")).state.label == "succeeded"


def asks_one(wf: Workflow) -> Any:
    @wf.workflow(id="asks")
    async def asks() -> Any:
        return await wf.signal("approval", poll=0.01)

    return asks


async def test_p_18_a_signal_is_received(make_app: Apps):
    wf = make_app()
    asks = asks_one(wf)
    call = asyncio.create_task(asks())
    await eventually(lambda: wf.complete("asks", "approval", {"by": "Ada"}))
    assert await call == {"by": "Ada"}


async def test_p_18_a_signal_is_replayed(make_app: Apps):
    wf = make_app()
    broken = True

    @wf.task(retries=0)
    async def after(payload: Any) -> Any:
        if broken:
            raise RuntimeError("crash")
        return payload

    @wf.workflow(id="asks")
    async def asks() -> Any:
        return await after(await wf.signal("approval"))

    assert await wf.complete("asks", "approval", 7)
    with pytest.raises(RuntimeError, match="crash"):
        await asks()
    broken = False
    assert await asks() == 7


async def test_p_18_the_first_completion_of_a_signal_stands(make_app: Apps):
    wf = make_app()
    asks = asks_one(wf)
    assert await wf.complete("asks", "approval", "first") is True
    assert await wf.complete("asks", "approval", "second") is False
    assert await asks() == "first"


async def test_p_18_a_signal_may_come_before_the_wait(make_app: Apps):
    wf = make_app()
    asks = asks_one(wf)
    assert await wf.complete("asks", "approval", [1, 2])
    assert await asks() == [1, 2]


async def test_p_18_a_run_may_wait_for_several_signals(make_app: Apps):
    wf = make_app()

    @wf.workflow(id="many")
    async def many() -> list[Any]:
        return [await wf.signal("first"), await wf.signal("second")]

    call = asyncio.create_task(many())
    await wf.complete("many", "second", 2)
    await wf.complete("many", "first", 1)
    assert await call == [1, 2]
