"""Children, awaited and detached, with ids of their own and without; requests to other runs."""

import durable
from tests.check.stage import application, job
from tests.support.replaying import Event

wf = application()


@wf.task(retries=0)
async def work(number: int) -> int:
    await job(10)
    return number


@wf.task(retries=0)
async def sign(text: str) -> str:
    await job(10)
    return text


@wf.workflow
async def part(number: int) -> int:
    await work(number)
    await durable.sleep(1000)
    return await work(number + 100)


@wf.workflow(id="errand-{name}")
async def errand(name: str) -> str:
    order = await wf.receive("order")
    return f"{name}: {order}"


@wf.workflow
async def main() -> list[object]:
    first = await part(1)
    second = await part.run("second-part", 2)
    third = await part(3, step_id="third")
    handle = await errand.start("milk")
    await wf.send(handle.id, "order", "two bottles", id="order-1")
    brought = await handle.result()
    await wf.complete("somebody", "news", brought)
    text = await sign("all done")
    await wf.signal("go")
    last = await part(4)
    return [first, second, third, text, last]


EVENTS = (Event(9_000_000, lambda wf: wf.complete("run", "go")),)
