"""A suspended run leaves memory: its plain code unwinds, and does nothing durable.

Covers: G14, H6
"""

import asyncio
import contextlib
import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import durable
from tests.support.bodies import Step, current_app, script_for
from tests.support.replaying import Event, Played, Script, play

WAKE = Event(90_000, lambda wf: wf.complete("run", "go", "awake"))


@pytest.fixture(autouse=True)
def nothing_is_left_to_the_collector() -> Iterator[None]:
    """What an eviction forgets to close would be reported here, as an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()


def evicted_once(body: Any) -> Played:
    """Play a body that is suspended until a signal comes, with nothing kept in memory."""
    played = play(script_for(body, events=(WAKE,)))
    assert not isinstance(played.result, Exception), repr(played.result)
    return played


def test_plain_code_in_finally_and_with_runs_at_an_eviction() -> None:
    seen: list[str] = []

    async def body(step: Step) -> Any:
        with contextlib.ExitStack() as stack:
            stack.callback(seen.append, "with")
            try:
                return await current_app().signal("go")
            finally:
                seen.append("finally")

    assert evicted_once(body).result == "awake"
    assert seen == ["finally", "with"] * 2


def test_durable_operations_in_finally_do_not_run_at_an_eviction() -> None:
    seen: list[str] = []

    async def body(step: Step) -> Any:
        try:
            return await current_app().signal("go")
        finally:
            await step("clean up")
            seen.append("cleaned up")

    played = evicted_once(body)
    assert [entry.name for entry in played.journal] == ["start", "go", "step", "finish"]
    assert seen == ["cleaned up"]
    assert len(played.world.asked) == 1


def test_inner_frames_are_unwound_before_outer_ones() -> None:
    seen: list[str] = []

    async def body(step: Step) -> Any:
        async def inner() -> Any:
            try:
                return await current_app().signal("go")
            finally:
                seen.append("inner")
                await asyncio.sleep(0)
                seen.append("inner after a wait")

        try:
            return await inner()
        finally:
            seen.append("outer")

    assert evicted_once(body).result == "awake"
    assert seen == ["inner", "outer", "inner", "inner after a wait", "outer"]


@pytest.mark.parametrize("times", [1, 3])
def test_a_body_that_catches_everything_is_suspended_all_the_same(times: int) -> None:
    caught: list[str] = []

    async def body(step: Step) -> Any:
        for _ in range(times):
            try:
                return await current_app().signal("go")
            except BaseException as error:
                caught.append(type(error).__name__)
        return "gave up"

    played = evicted_once(body)
    assert played.result == "awake"
    assert [entry.name for entry in played.journal] == ["start", "go", "finish"]
    assert "CancelledError" not in caught


def test_a_bare_except_in_a_library_does_not_record_anything() -> None:
    async def body(step: Step) -> Any:
        async def careless() -> Any:
            while True:
                try:
                    return await current_app().signal("go")
                except Exception:
                    await step("retry")

        return await careless()

    played = evicted_once(body)
    assert [entry.name for entry in played.journal] == ["start", "go", "finish"]


def test_branches_groups_and_generators_are_unwound_too() -> None:
    ended: list[str] = []

    async def body(step: Step) -> Any:
        async def branch(name: str) -> None:
            try:
                await asyncio.sleep(80_000)
            finally:
                ended.append(name)

        async def items() -> Any:
            try:
                yield 1
                yield await current_app().signal("go")
            finally:
                ended.append("generator")

        async with asyncio.TaskGroup() as group:
            branches = [group.create_task(branch(name)) for name in "ab"]
            async with contextlib.aclosing(items()) as stream:
                got = [item async for item in stream]
            for task in branches:
                task.cancel()
        return got

    assert evicted_once(body).result == [1, "awake"]
    assert sorted(ended) == sorted(["a", "b", "generator"] * 2)


def test_tasks_made_while_unwinding_are_closed_as_well() -> None:
    async def body(step: Step) -> Any:
        async def helper() -> None:
            await asyncio.sleep(1)

        try:
            return await current_app().signal("go")
        finally:
            await asyncio.gather(helper(), helper())
            await asyncio.wait_for(helper(), 5)

    assert evicted_once(body).result == "awake"


def test_an_abandoned_generator_is_no_operation_of_anybody() -> None:
    async def body(step: Step) -> Any:
        async def items() -> Any:
            try:
                yield 1
                yield 2
            finally:
                await step("never")

        async for _ in items():
            break
        gc.collect()
        return await current_app().signal("go")

    played = evicted_once(body)
    assert [entry.name for entry in played.journal] == ["start", "go", "finish"]


def test_a_generator_workflow_is_unwound() -> None:
    seen: list[str] = []

    def build(stage: Any) -> None:
        @stage.wf.workflow
        def main(ctx: Any) -> Any:
            try:
                answer = yield ctx.signal("go")
                return answer
            finally:
                seen.append("finally")

    assert play(Script(build, events=(WAKE,))).result == "awake"
    assert seen == ["finally", "finally"]


def test_a_plain_workflow_is_unwound_and_its_thread_ends() -> None:
    import threading

    seen: list[str] = []

    def build(stage: Any) -> None:
        @stage.wf.workflow
        def main() -> Any:
            try:
                return stage.wf.signal("go")
            finally:
                seen.append("finally")

    assert play(Script(build, events=(WAKE,))).result == "awake"
    assert seen == ["finally", "finally"]
    for thread in threading.enumerate():
        if thread.name.startswith("durable-run"):
            thread.join(5)
            assert not thread.is_alive()


def test_a_cached_run_goes_on_without_replay() -> None:
    starts: list[int] = []

    async def body(step: Step) -> Any:
        starts.append(1)
        await durable.sleep(5)
        return await current_app().signal("go")

    played = play(script_for(body, events=(WAKE,), options={"cache_runs": 10}))
    assert (played.result, len(starts)) == ("awake", 1)
