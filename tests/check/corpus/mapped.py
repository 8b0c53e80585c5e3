"""Many items at a time, results of tasks as arguments of others, an open race, a cancelled branch."""

import asyncio

import durable
from tests.check.stage import application, job
from tests.support.replaying import Event

wf = application()


@wf.task(retries=0)
async def resize(number: int) -> int:
    await job(10 + number * 7)
    return number * 2


@wf.task(retries=0)
async def upload(sizes: list[int]) -> str:
    await job(10)
    return "url"


@wf.task(retries=0)
async def announce(url: str, title: str) -> None:
    await job(10)


@wf.task(retries=0)
async def watch(what: str) -> str:
    await job(100_000)
    return what


@wf.workflow
async def main() -> list[object]:
    sizes = await durable.map(resize, [1, 2, 3, 4, 5], limit=2)
    url = await upload(sizes)
    await announce(url, "pictures")
    try:
        async with asyncio.timeout(20):
            await watch("too slow")
    except TimeoutError:
        await announce(url, "too late")
    waiting = asyncio.create_task(asyncio.sleep(500))
    answer = await wf.signal("vote")
    waiting.cancel()
    await announce(url, answer)
    letter = await wf.receive("comment")
    await announce(url, letter)
    return [sizes, url]


EVENTS = (
    Event(300_000, lambda wf: wf.complete("run", "vote", "yes")),
    Event(9_000_000, lambda wf: wf.send("run", "comment", "nice", id="c1")),
)
