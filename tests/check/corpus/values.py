"""Recorded values, patches, and arguments that depend on them."""

import datetime

import durable
from tests.check.stage import application, job
from tests.support.replaying import Event

wf = application()


@wf.task(retries=0)
async def keep(value: object) -> object:
    await job(10)
    return value


@wf.task(retries=0)
async def fix(value: str) -> str:
    await job(10)
    return value


@wf.workflow
async def main() -> list[object]:
    begun = durable.time()
    await keep("begun")
    draw = durable.random()
    token = durable.uuid4()
    await keep(str(token))
    today = durable.now(datetime.UTC)
    await keep(today.year)
    if durable.patched("fixed"):
        await fix("new way")
    else:
        await fix("old way")
    await keep("between")
    if durable.patched("fixed again"):
        await fix("newer way")
    await wf.signal("end")
    await keep("end")
    return [begun > 0, draw < 1, len(str(token))]


EVENTS = (Event(9_000, lambda wf: wf.complete("run", "end")),)
