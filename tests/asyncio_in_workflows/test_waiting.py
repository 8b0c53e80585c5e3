"""Waiting for several things at once: each body is played whole, then cut after every entry and played on."""

import asyncio
from typing import Any

import pytest

from tests.support.bodies import Broken, Step, result_of
from tests.support.clock import START_MS


def test_a_sleep_takes_its_time_and_returns_its_result() -> None:
    async def body(step: Step) -> Any:
        loop = asyncio.get_running_loop()
        began = loop.time()
        given = await asyncio.sleep(90, "awake")
        return [given, loop.time() - began]

    assert result_of(body) == ["awake", 90]


def test_a_sleep_of_nothing_lets_the_others_run() -> None:
    async def body(step: Step) -> Any:
        seen: list[str] = []

        async def say(word: str) -> None:
            for _ in range(3):
                seen.append(word)
                await asyncio.sleep(0)

        await asyncio.gather(say("a"), say("b"))
        return seen

    assert result_of(body) == ["a", "b"] * 3


def test_gather_keeps_the_order_of_its_arguments_and_runs_them_at_once() -> None:
    async def body(step: Step) -> Any:
        results = await asyncio.gather(step("slow", 300), step("fast", 20), asyncio.sleep(0.1, "nap"))
        return [results, asyncio.get_running_loop().time() * 1000 - START_MS]

    assert result_of(body) == [["slow", "fast", "nap"], 300]


def test_gather_raises_the_first_failure_and_lets_the_others_finish() -> None:
    async def body(step: Step) -> Any:
        other = asyncio.ensure_future(step("other", 500))
        try:
            await asyncio.gather(step("bad", 20, fails=True), other)
        except Broken as error:
            return [list(error.args), other.done(), await other]

    assert result_of(body) == [["bad"], False, "other"]


def test_gather_returns_failures_when_asked_to() -> None:
    async def body(step: Step) -> Any:
        results = await asyncio.gather(step(1, 30), step(2, 20, fails=True), return_exceptions=True)
        return [type(item).__name__ if isinstance(item, Exception) else item for item in results]

    assert result_of(body) == [1, "Broken"]


@pytest.mark.parametrize(
    ("mode", "done", "pending"),
    [
        (asyncio.FIRST_COMPLETED, ["fast"], ["slow", "bad"]),
        (asyncio.FIRST_EXCEPTION, ["bad", "fast"], ["slow"]),
        (asyncio.ALL_COMPLETED, ["slow", "bad", "fast"], []),
    ],
)
def test_wait_tells_what_is_done(mode: str, done: list[str], pending: list[str]) -> None:
    """Covers: G7"""

    async def body(step: Step) -> Any:
        calls = {"slow": step("slow", 300), "bad": step("bad", 200, fails=True), "fast": step("fast", 20)}
        tasks = [asyncio.create_task(call, name=name) for name, call in calls.items()]
        ended, open_ = await asyncio.wait(tasks, return_when=mode)
        names = [[task.get_name() for task in group] for group in (ended, open_)]
        await asyncio.gather(*tasks, return_exceptions=True)
        return names

    found_done, found_pending = result_of(body)
    assert (sorted(found_done), sorted(found_pending)) == (sorted(done), sorted(pending))


def test_wait_gives_up_after_its_timeout() -> None:
    async def body(step: Step) -> Any:
        task = asyncio.create_task(step("slow", 5_000))
        done, pending = await asyncio.wait([task], timeout=2)
        return [len(done), len(pending), await task]

    assert result_of(body) == [0, 1, "slow"]


def test_as_completed_yields_in_the_order_of_completion() -> None:
    """Covers: G7"""

    async def body(step: Step) -> Any:
        calls = [step("c", 300), step("a", 10), step("b", 2_000)]
        return [await future for future in asyncio.as_completed(calls)]

    assert result_of(body) == ["a", "c", "b"]


def test_as_completed_with_a_timeout_raises_for_what_is_late() -> None:
    async def body(step: Step) -> Any:
        seen = []
        for future in asyncio.as_completed([step("a", 10), step("b", 9_000)], timeout=3):
            try:
                seen.append(await future)
            except TimeoutError:
                seen.append(["late", asyncio.get_running_loop().time() * 1000 - START_MS])
        return seen

    assert result_of(body) == ["a", ["late", 3_000]]


def test_a_timeout_cancels_what_is_in_it() -> None:
    """Covers: H2, H4"""

    async def body(step: Step) -> Any:
        seen = []
        scope = asyncio.timeout(2)
        try:
            async with scope:
                seen.append(await step("quick", 500))
                seen.append(await step("slow", 60_000))
        except TimeoutError:
            seen.append("timeout")
        current = asyncio.current_task()
        return [seen, scope.expired(), current.cancelling() if current else None]

    assert result_of(body) == [["quick", "timeout"], True, 0]


def test_a_timeout_that_is_not_reached_leaves_nothing_behind() -> None:
    async def body(step: Step) -> Any:
        async with asyncio.timeout(60):
            first = await step("first", 500)
        return [first, await step("second", 120_000)]

    assert result_of(body) == ["first", "second"]


def test_a_timeout_can_be_moved() -> None:
    async def body(step: Step) -> Any:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout_at(loop.time() + 1) as scope:
            scope.reschedule(loop.time() + 5)
            return await step("in time", 3_000)

    assert result_of(body) == "in time"


def test_nested_timeouts_expire_by_themselves() -> None:
    async def body(step: Step) -> Any:
        seen = []
        async with asyncio.timeout(10):
            try:
                async with asyncio.timeout(1):
                    await step("slow", 60_000)
            except TimeoutError:
                seen.append("inner")
            seen.append(await step("after", 2_000))
        return seen

    assert result_of(body) == ["inner", "after"]


def test_wait_for_returns_or_cancels() -> None:
    async def body(step: Step) -> Any:
        first = await asyncio.wait_for(step("quick", 400), 1)
        try:
            await asyncio.wait_for(step("slow", 4_000), 1)
        except TimeoutError:
            return [first, "late"]

    assert result_of(body) == ["quick", "late"]


def test_a_shielded_step_goes_on_when_its_waiter_gives_up() -> None:
    async def body(step: Step) -> Any:
        inner = asyncio.ensure_future(step("kept", 4_000))
        try:
            await asyncio.wait_for(asyncio.shield(inner), 1)
        except TimeoutError:
            return ["gave up", await inner]

    assert result_of(body) == ["gave up", "kept"]


def test_call_later_and_call_at_are_durable_timers() -> None:
    async def body(step: Step) -> Any:
        loop = asyncio.get_running_loop()
        come = loop.create_future()
        seen: list[str] = []
        loop.call_later(2, seen.append, "two")
        unwanted = loop.call_later(1, seen.append, "unwanted")
        unwanted.cancel()
        loop.call_at(loop.time() + 3, come.set_result, None)
        await come
        return seen

    assert result_of(body) == ["two"]
