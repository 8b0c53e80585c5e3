"""Decisions by what steps gave, errors that are caught, and cleaning up."""

import durable
from tests.check.stage import application, job
from tests.support.replaying import Event

wf = application()


class Declined(Exception):
    pass


@wf.task(retries=0)
async def score(customer: str) -> int:
    await job(10)
    return 70


@wf.task(retries=0)
async def accept(customer: str) -> str:
    await job(10)
    return "accepted"


@wf.task(retries=0)
async def refuse(customer: str) -> str:
    await job(10)
    return "refused"


@wf.task(retries=0)
async def pay(customer: str) -> None:
    await job(10)
    raise Declined(customer)


@wf.task(retries=0)
async def refund(customer: str) -> str:
    await job(10)
    return "refunded"


@wf.task(retries=0)
async def note(text: str) -> None:
    await job(2)


@wf.workflow
async def main() -> list[object]:
    points = await score("ada")
    if points > 50:
        verdict = await accept("ada")
    else:
        verdict = await refuse("ada")
    if points > 90:
        await note("excellent")
    else:
        await note("good enough")
    try:
        await pay("ada")
    except Declined:
        await refund("ada")
    finally:
        await note("paid or not")
    lucky = durable.random()
    if lucky < 2:
        await note("lucky")
    await wf.signal("close")
    await note("closed")
    return [verdict]


EVENTS = (Event(5_000, lambda wf: wf.complete("run", "close")),)
