"""Executes the trees of `tests.support.trees` in the body of a workflow, a method for each kind of node."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeAlias

import durable
from durable import Workflow
from tests.support.clock import START_MS

Node: TypeAlias = dict[str, Any]
"""What kind it is, its number `n`, a choice `k` from 0 to 3, and the nodes `of` which it is made."""

SHORT_MS: Final = 900
"""Waits below a second keep the lease; the others suspend their run."""

LONG_MS: Final = 500_000_000


class Boom(Exception):
    """What failing steps raise."""


# Times ---------------------------------------------------------------------------------------------------------------


def span_ms(number: int, what: str = "") -> int:
    """Return the time that the wait `what` of a node takes: its own, and always the same."""
    digest = int.from_bytes(hashlib.blake2b(f"{number} {what}".encode(), digest_size=8).digest(), "big")
    long = digest % 3
    return 2 + digest // 3 % (LONG_MS if long else SHORT_MS)


async def wait_for_turn(number: int, what: str = "stagger") -> None:
    """Wait until something may happen that would otherwise happen at once with something else."""
    await asyncio.sleep(span_ms(number, what) / 1000)


class TreeBody:
    """Executes the nodes of a tree in the body of a workflow."""

    def __init__(self, wf: Workflow, work: Any, plain: Any, tree: Any) -> None:
        self._wf = wf
        self._work = work
        self._plain = plain
        self._tree = tree

    async def run(self, node: Node) -> Any:
        """Execute a node and return what it gives."""
        method: Callable[[Node], Awaitable[Any]] = getattr(self, f"do_{node['kind']}")
        return await method(node)

    async def _calm(self, node: Node) -> Any:
        """Execute a node; an error is a result."""
        try:
            return await self.run(node)
        except Exception as error:
            return described(error)

    def _start(self, nodes: list[Node]) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(self.run(node), name=f"n{node['n']}") for node in nodes]

    # Leaves ---------------------------------------------------------------------------------------------------------

    async def do_step(self, node: Node) -> Any:
        return await self._work(node["n"])

    async def do_named(self, node: Node) -> Any:
        return await self._work(node["n"], step_id=f"step-{node['n']}")

    async def do_failing(self, node: Node) -> Any:
        return await self._work(node["n"], failures=9)

    async def do_retried(self, node: Node) -> Any:
        wait = span_ms(node["n"], "backoff") / 1000
        return await self._work.with_options(retries=2, backoff=lambda _: wait)(node["n"], failures=node["k"])

    async def do_plain(self, node: Node) -> Any:
        await wait_for_turn(node["n"])
        return await self._plain.aio(node["n"])

    async def do_sleep(self, node: Node) -> Any:
        seconds = span_ms(node["n"], "sleep") / 1000
        match node["k"]:
            case 0:
                await durable.sleep(seconds)
            case 1:
                await durable.sleep.aio(seconds)
            case 2:
                await asyncio.sleep(seconds)
            case _:
                loop = asyncio.get_running_loop()
                come = loop.create_future()
                loop.call_later(seconds, come.set_result, None)
                await come
        return asyncio.get_running_loop().time()

    async def do_value(self, node: Node) -> Any:
        match node["k"]:
            case 0:
                return durable.time()
            case 1:
                return str(durable.now())
            case 2:
                return {"drawn": "random", "value": durable.random()}
            case _:
                return {"drawn": "uuid4", "value": str(durable.uuid4())}

    async def do_yields(self, node: Node) -> Any:
        for _ in range(node["k"]):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time() - START_MS / 1000

    async def do_signal(self, node: Node) -> Any:
        await wait_for_turn(node["n"])
        if durable.run_id() != "run":
            return "no signal"
        return await self._wf.signal(f"signal {node['n']}")

    async def do_receive(self, node: Node) -> Any:
        await wait_for_turn(node["n"])
        if durable.run_id() != "run":
            return "no mail"
        return await self._wf.receive("box")

    async def do_complete(self, node: Node) -> Any:
        await wait_for_turn(node["n"])
        first = await self._wf.complete(durable.run_id(), f"own {node['n']}", node["k"])
        await wait_for_turn(node["n"], "second")
        return [first, await self._wf.signal(f"own {node['n']}")]

    async def do_tasks(self, node: Node) -> Any:
        current = asyncio.current_task()
        return [current and current.get_name(), [task.get_name() for task in asyncio.all_tasks()]]

    async def do_patched(self, node: Node) -> Any:
        return durable.patched(f"patch {node['n']}")

    async def do_error(self, node: Node) -> Any:
        await wait_for_turn(node["n"])
        raise (ValueError, KeyError, Boom, TimeoutError)[node["k"]](node["n"])

    # Branches -------------------------------------------------------------------------------------------------------

    async def do_seq(self, node: Node) -> Any:
        return [await self.run(child) for child in node["of"]]

    async def do_gather(self, node: Node) -> Any:
        calm = bool(node["k"] % 2)
        results = await asyncio.gather(*map(self.run, node["of"]), return_exceptions=calm)
        return [described(item) if isinstance(item, BaseException) else item for item in results]

    async def do_wait(self, node: Node) -> Any:
        modes = (asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED, asyncio.ALL_COMPLETED)
        timeout = span_ms(node["n"], "wait") / 1000 if node["k"] == 3 else None
        started = self._start(node["of"])
        try:
            done, pending = await asyncio.wait(started, return_when=modes[node["k"]], timeout=timeout)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            return [[task.get_name(), outcome(task)] for group in (done, pending) for task in group]
        finally:
            await give_up(started)

    async def do_group(self, node: Node) -> Any:
        started: list[asyncio.Task[Any]] = []
        failures: list[Any] = []
        try:
            async with asyncio.TaskGroup() as group:
                started += [group.create_task(self.run(child), name=f"n{child['n']}") for child in node["of"]]
        except* (Boom, LookupError) as errors:
            failures.append(described(errors))
        return [failures, [outcome(task) for task in started]]

    async def do_as_completed(self, node: Node) -> Any:
        results = []
        timeout = span_ms(node["n"], "as completed") / 1000 if node["k"] == 0 else None
        started = self._start(node["of"])
        try:
            for future in asyncio.as_completed(started, timeout=timeout):
                try:
                    results.append(await future)
                except TimeoutError as error:
                    results.append(described(error))
                    break
                except Exception as error:
                    results.append(described(error))
            return results
        finally:
            await give_up(started)

    async def do_timeout(self, node: Node) -> Any:
        loop = asyncio.get_running_loop()
        seconds = span_ms(node["n"], "timeout") / 1000
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                if node["k"] == 0:
                    scope.reschedule(loop.time() + 2 * seconds)
                return await self.run(node["of"][0])
        except TimeoutError:
            return ["timeout", scope.expired()]

    async def do_wait_for(self, node: Node) -> Any:
        try:
            return await asyncio.wait_for(self.run(node["of"][0]), span_ms(node["n"], "wait for") / 1000)
        except TimeoutError:
            return "timeout"

    async def do_shield(self, node: Node) -> Any:
        inner = asyncio.create_task(self._calm(node["of"][0]))
        try:
            return await asyncio.wait_for(asyncio.shield(inner), span_ms(node["n"], "shield") / 1000)
        except TimeoutError:
            return ["shielded", await inner]

    async def do_cancel(self, node: Node) -> Any:
        task = asyncio.create_task(self._calm(node["of"][0]))
        await wait_for_turn(node["n"], "cancel")
        task.cancel("not wanted")
        done, _ = await asyncio.wait([task])
        return [outcome(item) for item in done]

    async def do_queue(self, node: Node) -> Any:
        queue: asyncio.Queue[Any] = (asyncio.Queue, asyncio.LifoQueue)[node["k"] % 2](maxsize=node["k"])

        async def produce(child: Node) -> None:
            await queue.put(await self._calm(child))

        async with asyncio.TaskGroup() as group:
            for child in node["of"]:
                group.create_task(produce(child))
            return [await queue.get() for _ in node["of"]]

    async def do_event(self, node: Node) -> Any:
        event = asyncio.Event()
        order: list[int] = []

        async def wait(place: int) -> None:
            await event.wait()
            order.append(place)

        async with asyncio.TaskGroup() as group:
            for place in range(3):
                group.create_task(wait(place))
            result = await self._calm(node["of"][0])
            event.set()
        return [result, order]

    async def do_semaphore(self, node: Node) -> Any:
        semaphore = asyncio.BoundedSemaphore(1 + node["k"] % 2)

        async def enter(child: Node) -> Any:
            async with semaphore:
                return await self._calm(child)

        return await asyncio.gather(*map(enter, node["of"]))

    async def do_lock(self, node: Node) -> Any:
        lock = asyncio.Lock()
        order: list[int] = []

        async def enter(child: Node) -> None:
            async with lock:
                await self._calm(child)
                order.append(child["n"])

        async with asyncio.TaskGroup() as group:
            for child in node["of"]:
                group.create_task(enter(child))
        return order

    async def do_condition(self, node: Node) -> Any:
        condition = asyncio.Condition()
        results: list[Any] = []

        async def produce(child: Node) -> None:
            result = await self._calm(child)
            async with condition:
                results.append(result)
                condition.notify_all()

        async with asyncio.TaskGroup() as group:
            for child in node["of"]:
                group.create_task(produce(child))
            async with condition:
                await condition.wait_for(lambda: len(results) == len(node["of"]))
        return results

    async def do_barrier(self, node: Node) -> Any:
        barrier = asyncio.Barrier(len(node["of"]))

        async def arrive(child: Node) -> Any:
            result = await self._calm(child)
            return [await barrier.wait(), result]

        return await asyncio.gather(*map(arrive, node["of"]))

    async def _items(self, node: Node) -> AsyncIterator[Any]:
        try:
            for child in node["of"]:
                yield await self._calm(child)
        finally:
            node["closed"] = True

    async def do_generator(self, node: Node) -> Any:
        results = []
        async with contextlib.aclosing(self._items(node)) as items:  # type: ignore[type-var]
            async for item in items:
                results.append(item)
                if len(results) > node["k"]:
                    break
        return [results, node.get("closed")]

    async def do_dropped_generator(self, node: Node) -> Any:
        async for item in self._items(node):
            return item
        return "empty"

    async def do_child(self, node: Node) -> Any:
        await wait_for_turn(node["n"])
        return await self._tree(node["of"][0])

    async def do_handle(self, node: Node) -> Any:
        await wait_for_turn(node["n"])
        handle = await self._tree.start(node["of"][0])
        await wait_for_turn(node["n"], "result")
        return await handle.result()

    async def do_map(self, node: Node) -> Any:
        numbers = [node["n"] * 1000 + index for index in range(3)]
        return [await durable.map(self._work, numbers, limit=1 + node["k"] % 2), await self.run(node["of"][0])]

    async def do_finally(self, node: Node) -> Any:
        first, last = node["of"]
        try:
            return await self.run(first)
        finally:
            await self._calm(last)

    async def do_except(self, node: Node) -> Any:
        return await self._calm(node["of"][0])

    async def do_stack(self, node: Node) -> Any:
        order: list[Any] = []

        async def leave(child: Node) -> None:
            order.append(await self._calm(child))

        async with contextlib.AsyncExitStack() as stack:
            for child in node["of"]:
                stack.push_async_callback(leave, child)
        return order

    async def do_stubborn(self, node: Node) -> Any:
        try:
            return await self.run(node["of"][0])
        except asyncio.CancelledError as error:
            return ["swallowed", [str(arg) for arg in error.args]]

    async def do_set(self, node: Node) -> Any:
        # Tasks in a set are ordered by their hashes, which must not be addresses.
        started = set(self._start(node["of"]))
        names = [task.get_name() for task in started]
        try:
            return [names, [outcome(task) for task in (await asyncio.wait(started))[0]]]
        finally:
            await give_up(list(started))


async def give_up(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel what still runs, and wait for it."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def outcome(task: asyncio.Task[Any]) -> Any:
    """Return how a task ended, as data."""
    if not task.done():
        return "open"
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    return task.result() if error is None else described(error)


def described(error: BaseException) -> Any:
    """Return an error as data."""
    inner = [described(item) for item in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    return [type(error).__name__, [str(arg) for arg in error.args if not isinstance(arg, (list, tuple))], *inner]
