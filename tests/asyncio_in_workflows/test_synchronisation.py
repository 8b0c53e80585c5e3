"""Queues, events, locks and the rest: they belong to the body and cost no entries."""

import asyncio
from typing import Any

import pytest

from tests.support.bodies import Step, play_and_cut, result_of, script_for


@pytest.mark.parametrize("kind", [asyncio.Queue, asyncio.LifoQueue, asyncio.PriorityQueue])
def test_a_queue_carries_results_between_branches(kind: type[asyncio.Queue[int]]) -> None:
    async def body(step: Step) -> Any:
        queue: asyncio.Queue[int] = kind(maxsize=2)
        got: list[int] = []

        async def produce(first: int) -> None:
            for number in range(first, first + 4):
                await queue.put(await step(number, 7 + 13 * first))

        async def consume() -> None:
            while True:
                got.append(await queue.get())
                await step(f"seen {got[-1]}", 31)
                queue.task_done()

        consumer = asyncio.create_task(consume())
        await asyncio.gather(produce(1), produce(5))
        await queue.join()
        consumer.cancel()
        await asyncio.gather(consumer, return_exceptions=True)
        return got

    assert sorted(result_of(body)) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_an_event_wakes_its_waiters_in_order() -> None:
    async def body(step: Step) -> Any:
        event = asyncio.Event()
        woken: list[int] = []

        async def wait(number: int) -> None:
            await event.wait()
            woken.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(wait(number))
            await step("prepare", 40)
            event.set()
        return [woken, event.is_set()]

    assert result_of(body) == [[0, 1, 2, 3, 4], True]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_semaphore_bounds_what_runs_at_once(limit: int) -> None:
    async def body(step: Step) -> Any:
        semaphore = asyncio.Semaphore(limit)
        inside = most = 0

        async def enter(number: int) -> None:
            nonlocal inside, most
            async with semaphore:
                inside += 1
                most = max(most, inside)
                await step(number, 20 + number)
                inside -= 1

        await asyncio.gather(*(enter(number) for number in range(6)))
        return most

    assert result_of(body) == limit


def test_a_lock_lets_one_in_after_the_other() -> None:
    async def body(step: Step) -> Any:
        lock = asyncio.Lock()
        order: list[str] = []

        async def enter(name: str, ms: int) -> None:
            async with lock:
                order.append(f"{name} in")
                await step(name, ms)
                order.append(f"{name} out")

        await asyncio.gather(enter("a", 90), enter("b", 10), enter("c", 30))
        return order

    assert result_of(body) == ["a in", "a out", "b in", "b out", "c in", "c out"]


def test_a_condition_wakes_who_waits_for_it() -> None:
    async def body(step: Step) -> Any:
        condition = asyncio.Condition()
        stock: list[object] = []
        taken: list[object] = []

        async def take() -> None:
            async with condition:
                await condition.wait_for(lambda: bool(stock))
                taken.append(stock.pop())

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(take())
            for number in range(3):
                item = await step(number, 25)
                async with condition:
                    stock.append(item)
                    condition.notify()
        return taken

    assert result_of(body) == [0, 1, 2]


def test_a_barrier_lets_them_through_together() -> None:
    async def body(step: Step) -> Any:
        barrier = asyncio.Barrier(3)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def arrive(number: int) -> object:
            await step(number, 100 * number + 10)
            place = await barrier.wait()
            return [place, round((loop.time() - began) * 1000)]

        return await asyncio.gather(*(arrive(number) for number in range(3)))

    assert result_of(body) == [[0, 210], [1, 210], [2, 210]]


def test_synchronisation_costs_no_entries() -> None:
    async def body(step: Step) -> Any:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        lock = asyncio.Lock()

        async def produce() -> None:
            for number in range(10):
                async with lock:
                    await queue.put(number)

        task = asyncio.create_task(produce())
        got = [await queue.get() for _ in range(10)]
        await task
        return got

    played = play_and_cut(script_for(body))
    assert played.result == list(range(10))
    assert [entry.name for entry in played.journals["run"]] == ["start", "finish"]
