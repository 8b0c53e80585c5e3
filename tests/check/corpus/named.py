"""Steps with step ids among numbered ones."""

import durable
from tests.check.stage import application, job
from tests.support.replaying import Event

wf = application()


@wf.task(retries=0)
async def check(what: str) -> str:
    await job(10)
    return what


@wf.task(retries=0)
async def build(what: str) -> str:
    await job(20)
    return what


@wf.task(retries=0)
async def ship(what: str) -> str:
    await job(5)
    return what


@wf.workflow
async def main() -> list[object]:
    address = await check("address", step_id="address")
    stock = await check("stock")
    made = await build("table", step_id="table")
    await durable.sleep(5000)
    chair = await build("chair")
    limit = await check("limit", step_id="limit")
    sent = await ship("table and chair")
    await wf.signal("arrived")
    await ship("the rest")
    return [address, stock, made, chair, limit, sent]


EVENTS = (Event(9_000_000, lambda wf: wf.complete("run", "arrived")),)
