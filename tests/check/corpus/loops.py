"""Loops with steps: counted, over a list, until something is so, inside a helper."""

import durable
from tests.check.stage import application, job
from tests.support.replaying import Event

wf = application()


@wf.task(retries=0)
async def page(number: int) -> int:
    await job(10)
    return number * 10


@wf.task(retries=0)
async def store(value: int) -> int:
    await job(5)
    return value


@wf.task(retries=0)
async def visit(name: str) -> str:
    await job(7)
    return name.upper()


@wf.task(retries=0)
async def poll(count: int) -> bool:
    await job(3)
    return count >= 3


@wf.task(retries=0)
async def summary(total: int) -> dict[str, int]:
    await job(6)
    return {"total": total}


@wf.task(retries=0)
async def close(total: int) -> None:
    await job(4)


async def save_all(values: list[int]) -> int:
    total = 0
    for value in values:
        total += await store(value)
    return total


@wf.workflow
async def main() -> list[object]:
    values = []
    for number in range(4):
        value = await page(number)
        values.append(value)
    total = await save_all(values)
    names = []
    for name in ["ada", "bob", "eve"]:
        names.append(await visit(name))
        await durable.sleep(10)
    count = 0
    while count < 3:
        count += 1
        await poll(count)
    facts = await summary(total)
    await close(total)
    answer = await wf.receive("letter")
    await close(total + 1)
    return [total, names, facts, answer]


EVENTS = (Event(600_000, lambda wf: wf.send("run", "letter", "hello", id="m1")),)
