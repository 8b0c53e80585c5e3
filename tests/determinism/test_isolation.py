"""Runs share nothing by way of the engine: no context, no objects, no order.

Covers: G15, H13, H17
"""

import asyncio
import contextvars
from typing import Any

import pytest

import durable
from tests.support.bodies import Step, play_and_cut, result_of, script_for
from tests.support.replaying import Script, play

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


def test_context_variables_of_one_run_are_not_seen_by_another() -> None:
    seen: list[tuple[str, str]] = []

    def build(stage: Any) -> None:
        @stage.wf.task(retries=0)
        async def work(name: str) -> str:
            await stage.world.job(10)
            return tenant.get()

        @stage.wf.workflow
        async def customer(name: str) -> Any:
            before = tenant.get()
            tenant.set(name)
            await asyncio.sleep(0.5)
            return [before, await work(name), tenant.get()]

        @stage.wf.workflow
        async def main() -> Any:
            tenant.set("parent")
            return await asyncio.gather(*(customer(name) for name in "abc"))

    assert not seen
    assert play_and_cut(Script(build)).result == [["nobody", name, name] for name in "abc"]


def test_a_task_sees_the_context_of_its_branch_and_does_not_change_it() -> None:
    def build(stage: Any) -> None:
        @stage.wf.task(retries=0)
        async def asynchronous() -> str:
            before = tenant.get()
            tenant.set("task")
            return before

        @stage.wf.task(retries=0)
        def threaded() -> str:
            before = tenant.get()
            tenant.set("thread")
            return before

        @stage.wf.workflow
        async def main() -> Any:
            tenant.set("body")
            return [await asynchronous(), tenant.get(), await threaded.aio(), tenant.get()]

    assert play(Script(build)).result == ["body"] * 4


def test_a_result_is_the_decoded_one_from_the_first_time_on() -> None:
    kept: list[list[int]] = []

    def build(stage: Any) -> None:
        @stage.wf.task(retries=0)
        async def make() -> list[int]:
            value = [1, 2]
            kept.append(value)
            return value

        @stage.wf.task(retries=0)
        async def spoil() -> None:
            for value in kept:
                value.append(99)

        @stage.wf.workflow
        async def main() -> Any:
            value = await make()
            assert value is not kept[-1]
            value.append(3)
            await spoil()
            return value

    assert play_and_cut(Script(build)).result == [1, 2, 3]


def test_an_argument_changed_after_the_call_does_not_change_the_call_that_was_recorded() -> None:
    def build(stage: Any) -> None:
        @stage.wf.task(retries=0)
        async def count(items: list[int]) -> int:
            await stage.world.job(20)
            return len(items)

        @stage.wf.workflow
        async def main() -> Any:
            items: list[int] = []
            counts = []
            for number in range(3):
                items.append(number)
                counts.append(await count(items))
            return counts

    assert play_and_cut(Script(build)).result == [1, 2, 3]


def test_the_result_of_a_run_is_the_decoded_one_too() -> None:
    async def body(step: Step) -> Any:
        return {"pair": (1, 2), "numbers": {3: "three"}}

    assert result_of(body) == {"pair": (1, 2), "numbers": {3: "three"}}


@pytest.mark.parametrize("together", [2, 25])
def test_runs_of_the_same_code_do_not_disturb_each_other(together: int) -> None:
    def build(stage: Any) -> None:
        @stage.wf.task(retries=0)
        async def work(number: int, ms: int) -> int:
            await stage.world.job(ms)
            return number

        @stage.wf.workflow
        async def child(number: int) -> Any:
            tasks = {asyncio.create_task(work(number, 20 + 7 * place + number)) for place in range(5)}
            done, _ = await asyncio.wait(tasks)
            return [sum(task.result() for task in done), len(asyncio.all_tasks())]

        @stage.wf.workflow
        async def main() -> Any:
            return await asyncio.gather(*(child(number) for number in range(together)))

    assert play(Script(build)).result == [[5 * number, 1] for number in range(together)]


def test_the_worker_s_own_tasks_are_not_seen_by_a_body_nor_the_body_s_by_the_worker() -> None:
    seen: list[list[str]] = []

    def build(stage: Any) -> None:
        @stage.wf.task(retries=0)
        async def look() -> None:
            seen.append([task.get_name() for task in asyncio.all_tasks()])

        @stage.wf.workflow
        async def main() -> Any:
            branch = asyncio.create_task(look(), name="a branch of the body")
            names = [task.get_name() for task in asyncio.all_tasks()]
            await branch
            return names

    assert play(Script(build)).result == ["main", "a branch of the body"]
    assert "a branch of the body" not in seen[0]


def test_loop_time_is_the_time_of_the_entry_applied_last() -> None:
    async def body(step: Step) -> Any:
        loop = asyncio.get_running_loop()
        moments = [loop.time()]
        for ms in (40, 3_000):
            await step(ms, ms)
            moments.append(loop.time())
        await durable.sleep(100)
        moments.append(loop.time())
        return [round((moment - moments[0]) * 1000) for moment in moments]

    assert play_and_cut(script_for(body)).result == [0, 40, 3_040, 103_040]
