"""Branches that run at once: gather, task groups, wait, a queue, a time limit."""

import asyncio

import durable
from tests.check.stage import application, job
from tests.support.replaying import Event

wf = application()


@wf.task(retries=0)
async def pack(box: str) -> str:
    await job(40)
    return box


@wf.task(retries=0)
async def label(box: str) -> str:
    await job(20)
    return box


@wf.task(retries=0)
async def weigh(box: str) -> int:
    await job(30)
    return 7


@wf.task(retries=0)
async def scan(box: str) -> int:
    await job(25)
    return 8


@wf.task(retries=0)
async def fast(lane: str) -> str:
    await job(11)
    return lane


@wf.task(retries=0)
async def slow(lane: str) -> str:
    await job(900)
    return lane


@wf.task(retries=0)
async def produce(number: int) -> int:
    await job(5)
    return number


@wf.task(retries=0)
async def consume(number: int) -> int:
    await job(8)
    return number


@wf.task(retries=0)
async def finish(box: str) -> str:
    await job(10)
    return box


@wf.task(retries=0)
async def limited(text: str) -> str:
    await job(50)
    return text


@wf.workflow
async def main() -> list[object]:
    packed = await asyncio.gather(pack("first"), label("second"))
    async with asyncio.TaskGroup() as group:
        weight = group.create_task(weigh("first"))
        code = group.create_task(scan("second"))
    done, rest = await asyncio.wait(
        [asyncio.create_task(fast("left")), asyncio.create_task(slow("right"))], return_when=asyncio.FIRST_COMPLETED
    )
    lanes = [task.result() for task in done] + [await task for task in rest]
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def producer() -> None:
        for number in range(3):
            await queue.put(await produce(number))

    async def consumer() -> list[int]:
        return [await consume(await queue.get()) for _ in range(3)]

    _, eaten = await asyncio.gather(producer(), consumer())
    async with asyncio.timeout(60):
        text = await limited("in time")
    await asyncio.sleep(5)
    await durable.sleep(2000)
    answer = await wf.signal("ready")
    await finish("last")
    return [packed, weight.result(), code.result(), lanes, eaten, text, answer]


EVENTS = (Event(9_000_000, lambda wf: wf.complete("run", "ready", 1)),)
