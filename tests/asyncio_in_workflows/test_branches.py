"""Branches of a body: tasks, groups, cancellation, names, context."""

import asyncio
import contextlib
import contextvars
from typing import Any

from tests.support.bodies import Broken, Step, result_of

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


def test_branches_of_a_group_may_each_run_many_steps() -> None:
    async def body(step: Step) -> Any:
        async def branch(name: str, pace: int) -> list[object]:
            return [await step(f"{name}{number}", pace) for number in range(3)]

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(branch(name, pace)) for name, pace in (("a", 70), ("b", 30), ("c", 110))]
        return [task.result() for task in tasks]

    assert result_of(body) == [["a0", "a1", "a2"], ["b0", "b1", "b2"], ["c0", "c1", "c2"]]


def test_a_failure_in_a_group_cancels_the_others_and_comes_out_as_a_group() -> None:
    async def body(step: Step) -> Any:
        tasks: list[asyncio.Task[Any]] = []
        names: list[str] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks += [group.create_task(step("slow", 5_000)), group.create_task(step("bad", 20, fails=True))]
                await step("body", 5_000)
        except* Broken as errors:
            names += [str(error) for error in errors.exceptions]
        return [names, [task.cancelled() for task in tasks]]

    assert result_of(body) == [["bad"], [True, False]]


def test_a_group_inside_a_timeout_is_cancelled_as_a_whole() -> None:
    async def body(step: Step) -> Any:
        ended: list[str] = []

        async def branch(name: str) -> None:
            try:
                await step(name, 60_000)
            finally:
                ended.append(name)

        try:
            async with asyncio.timeout(1), asyncio.TaskGroup() as group:
                for name in "ab":
                    group.create_task(branch(name))
        except TimeoutError:
            return ended

    assert result_of(body) == ["a", "b"]


def test_a_cancelled_task_may_clean_up_with_steps() -> None:
    async def body(step: Step) -> Any:
        async def branch() -> Any:
            try:
                return await step("work", 60_000)
            except asyncio.CancelledError:
                await step("undo", 40)
                raise

        task = asyncio.create_task(branch())
        await asyncio.sleep(1)
        asked = task.cancel("enough")
        try:
            await task
        except asyncio.CancelledError as error:
            return [asked, task.cancelled(), list(error.args)]

    assert result_of(body) == [True, True, ["enough"]]


def test_a_task_that_was_cancelled_before_it_began_never_begins() -> None:
    async def body(step: Step) -> Any:
        task = asyncio.create_task(step("never"))
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        return [isinstance(results[0], asyncio.CancelledError), await step("after")]

    assert result_of(body) == [True, "after"]


def test_a_task_may_take_its_cancellation_back() -> None:
    """Covers: H2"""

    async def body(step: Step) -> Any:
        async def stubborn() -> Any:
            try:
                await step("work", 60_000)
            except asyncio.CancelledError:
                current = asyncio.current_task()
                assert current is not None
                return [current.cancelling(), current.uncancel(), await step("on", 30)]

        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0.5)
        task.cancel()
        return await task

    assert result_of(body) == [1, 0, "on"]


def test_done_callbacks_run_in_the_order_in_which_they_were_added() -> None:
    async def body(step: Step) -> Any:
        seen: list[str] = []
        task = asyncio.create_task(step("work", 30))
        task.add_done_callback(lambda t: seen.append("first"))
        task.add_done_callback(lambda t: seen.append("second"))
        await task
        await asyncio.sleep(0)
        return seen

    assert result_of(body) == ["first", "second"]


def test_task_names_do_not_depend_on_the_process() -> None:
    async def body(step: Step) -> Any:
        tasks = [asyncio.create_task(step(n, 10 + n)) for n in range(3)]
        tasks.append(asyncio.create_task(step(9), name="named"))
        current = asyncio.current_task()
        names = [task.get_name() for task in [*tasks, current] if task is not None]
        await asyncio.gather(*tasks)
        return names

    assert result_of(body) == ["Task-2", "Task-3", "Task-4", "named", "main"]


def test_all_tasks_are_those_of_the_run_in_the_order_of_their_creation() -> None:
    async def body(step: Step) -> Any:
        tasks = [asyncio.create_task(step(n, 10 + n), name=f"t{n}") for n in range(20)]
        names = [task.get_name() for task in asyncio.all_tasks()]
        await asyncio.gather(*tasks)
        return [names, [task.get_name() for task in asyncio.all_tasks()]]

    assert result_of(body) == [["main", *(f"t{n}" for n in range(20))], ["main"]]


def test_sets_of_tasks_and_futures_have_an_order() -> None:
    """Covers: G7"""

    async def body(step: Step) -> Any:
        loop = asyncio.get_running_loop()
        tasks = {asyncio.create_task(step(n, 10 + n), name=str(n)) for n in range(50)}
        futures = {loop.create_future(): n for n in range(50)}
        order = [[task.get_name() for task in tasks], [futures[future] for future in set(futures)]]
        done, _ = await asyncio.wait(tasks)
        return [*order, [task.get_name() for task in done]]

    assert sorted(result_of(body)[0], key=int) == [str(n) for n in range(50)]


def test_context_variables_are_copied_into_branches_and_do_not_flow_back() -> None:
    async def body(step: Step) -> Any:
        seen = [colour.get()]
        colour.set("red")

        async def branch(own: str) -> None:
            seen.append(colour.get())
            colour.set(own)
            await step(own, 20)
            seen.append(colour.get())

        await asyncio.gather(branch("blue"), branch("green"))
        seen.append(colour.get())
        await step("after")
        seen.append(colour.get())
        return seen

    assert result_of(body) == ["none", "red", "red", "blue", "green", "red", "red"]


def test_an_explicit_context_is_used() -> None:
    async def body(step: Step) -> Any:
        context = contextvars.copy_context()
        context.run(colour.set, "own")

        async def branch() -> str:
            await step("work")
            return colour.get()

        return [await asyncio.create_task(branch(), context=context), colour.get()]

    assert result_of(body) == ["own", "none"]


def test_a_body_begins_in_an_empty_context() -> None:
    colour.set("outside")
    try:

        async def body(step: Step) -> Any:
            return [colour.get(), await step("work"), colour.get()]

        assert result_of(body) == ["none", "work", "none"]
    finally:
        colour.set("none")


def test_an_exit_stack_unwinds_with_steps() -> None:
    async def body(step: Step) -> Any:
        order: list[object] = []

        @contextlib.asynccontextmanager
        async def resource(name: str):
            order.append(await step(f"open {name}"))
            try:
                yield name
            finally:
                order.append(await step(f"close {name}"))

        with contextlib.suppress(Broken):
            async with contextlib.AsyncExitStack() as stack:
                for name in "ab":
                    await stack.enter_async_context(resource(name))
                stack.push_async_callback(step, "callback")
                await step("bad", 10, fails=True)
        return order

    assert result_of(body) == ["open a", "open b", "close b", "close a"]


def test_async_generators_may_run_steps() -> None:
    async def body(step: Step) -> Any:
        closed = []

        async def numbers():
            try:
                for number in range(5):
                    yield await step(number, 20)
            finally:
                closed.append(await step("closed"))

        seen = []
        async with contextlib.aclosing(numbers()) as items:
            async for item in items:
                seen.append(item)
                if item == 2:
                    break
        return [seen, closed, [item async for item in numbers()]]

    assert result_of(body) == [[0, 1, 2], ["closed", "closed"], [0, 1, 2, 3, 4]]


def test_an_async_generator_that_is_dropped_issues_nothing() -> None:
    async def body(step: Step) -> Any:
        async def numbers():
            try:
                yield 1
                yield 2
            finally:
                await step("by the collector")

        async for _ in numbers():
            break
        return await step("after")

    assert result_of(body) == "after"


def test_values_can_be_sent_into_async_generators() -> None:
    async def body(step: Step) -> Any:
        async def echo():
            got = yield "ready"
            while True:
                got = yield await step(got)

        generator = echo()
        seen = [await generator.asend(None), await generator.asend("a"), await generator.asend("b")]
        await generator.aclose()
        return seen

    assert result_of(body) == ["ready", "a", "b"]
