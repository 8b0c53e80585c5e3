"""A workflow that starts anew, over and over, and keeps what it knows in its arguments."""

import durable
from tests.check.stage import application, job
from tests.support.replaying import Event

wf = application()


@wf.task(retries=0)
async def gather_up(page: int) -> int:
    await job(10)
    return page + 1


@wf.task(retries=0)
async def rest(page: int) -> None:
    await job(10)


@wf.workflow
async def main(page: int = 0) -> int:
    await rest(page)
    for _ in range(3):
        page = await gather_up(page)
    await durable.sleep(2000)
    if page < 6:
        durable.continue_as_new(page)
    await wf.signal("finish")
    await rest(page + 1000)
    return page


EVENTS = (Event(9_000_000, lambda wf: wf.complete("run", "finish")),)
