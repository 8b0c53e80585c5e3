"""Other people's asyncio: anyio inside bodies, uvloop outside."""

import asyncio
from typing import Any

import anyio
import pytest

import durable
from durable import InMemoryStore, Workflow
from tests.support.bodies import Broken, Step, result_of, script_for
from tests.support.replaying import play


def test_anyio_task_groups_run_steps() -> None:
    async def body(step: Step) -> Any:
        results: dict[str, Any] = {}

        async def branch(name: str, ms: int) -> None:
            results[name] = await step(name, ms)

        async with anyio.create_task_group() as group:
            group.start_soon(branch, "a", 90)
            group.start_soon(branch, "b", 30)
        return results

    assert result_of(body) == {"b": "b", "a": "a"}


def test_a_failure_in_an_anyio_task_group_cancels_the_other_branches() -> None:
    async def body(step: Step) -> Any:
        cancelled: list[str] = []

        async def branch() -> None:
            try:
                await step("slow", 60_000)
            except anyio.get_cancelled_exc_class():
                cancelled.append("slow")
                raise

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(branch)
                await step("bad", 30, fails=True)
        except* Broken as errors:
            cancelled += [str(error) for error in errors.exceptions]
        return cancelled

    assert result_of(body) == ["slow", "bad"]


def test_anyio_cancel_scopes_are_durable_timeouts() -> None:
    """Covers: H3, H4"""

    async def body(step: Step) -> Any:
        with anyio.move_on_after(2) as scope:
            await step("slow", 60_000)
        seen: list[object] = [scope.cancelled_caught]
        try:
            with anyio.fail_after(1):
                await step("slow again", 60_000)
        except TimeoutError:
            seen.append("failed after")
        with anyio.CancelScope(shield=True):
            seen.append(await step("shielded", 20))
        return seen

    assert result_of(body) == [True, "failed after", "shielded"]


def test_anyio_streams_events_and_sleeps_work() -> None:
    async def body(step: Step) -> Any:
        send, receive = anyio.create_memory_object_stream[Any](1)
        event = anyio.Event()
        got: list[Any] = []

        async def produce() -> None:
            async with send:
                for number in range(3):
                    await send.send(await step(number, 25))
            event.set()

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            async with receive:
                async for item in receive:
                    got.append(item)
                    await anyio.sleep(0.4)
            await event.wait()
        return got

    assert result_of(body) == [0, 1, 2]


def test_anyio_limiters_bound_what_runs_at_once() -> None:
    async def body(step: Step) -> Any:
        limiter = anyio.CapacityLimiter(2)
        inside = most = 0

        async def enter(number: int) -> None:
            nonlocal inside, most
            async with limiter:
                inside += 1
                most = max(most, inside)
                await step(number, 20 + number)
                inside -= 1

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(enter, number)
        return most

    assert result_of(body) == 2


def test_a_branch_that_ignores_anyio_s_cancellation_is_a_busy_loop_and_blocks_nobody() -> None:
    """Covers: H3"""

    async def body(step: Step) -> Any:
        with anyio.move_on_after(1):
            while True:
                try:
                    await step("work", 60_000)
                except asyncio.CancelledError:
                    continue

    result = play(script_for(body, pump_seconds=0.005)).result
    assert isinstance(result, durable.RunSetAside)
    assert result.reason == "busy loop"


def test_bodies_run_with_uvloop_outside() -> None:
    """Covers: H11"""
    uvloop = pytest.importorskip("uvloop")
    store = InMemoryStore()
    calls: list[int] = []

    def make(done: asyncio.Event) -> Workflow:
        wf = Workflow("app", db=store, cache_runs=0)

        @wf.task
        async def work(number: int) -> int:
            calls.append(number)
            await asyncio.sleep(0.001 * number)
            if len(calls) == 3:
                done.set()
            return number

        @wf.workflow(name="main")
        async def main() -> list[int]:
            async with asyncio.timeout(60):
                first = await asyncio.gather(*(work(number) for number in (3, 1, 2)))
            await durable.sleep(0.01)
            answer = await wf.signal("go")
            return [*first, answer]

        return wf

    async def until_the_tasks_are_done() -> None:
        done = asyncio.Event()
        wf = make(done)
        async with wf:
            _ = await wf.workflows["main"].options(id="run").start()
            await asyncio.wait_for(done.wait(), 10)

    async def to_the_end() -> list[int]:
        wf = make(asyncio.Event())
        await wf.complete("run", "go", 4)
        async with wf:
            result: list[int] = await wf.handle("run").result(timeout=10)
            return result

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_the_tasks_are_done())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(to_the_end()) == [3, 1, 2, 4]
    assert sorted(calls) == [1, 2, 3]
