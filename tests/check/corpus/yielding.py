"""A generator as a workflow."""

from typing import Any

from tests.check.stage import application, job
from tests.support.replaying import Event

wf = application()


@wf.task(retries=0)
async def bake(cake: str) -> str:
    await job(10)
    return cake


@wf.task(retries=0)
async def cool(cake: str, minutes: int) -> str:
    await job(20)
    return cake


@wf.task(retries=0)
async def frost(cake: str) -> str:
    await job(5)
    return cake


@wf.task(retries=0)
async def serve(guests: int) -> int:
    await job(5)
    return guests


@wf.workflow
def main(ctx: Any) -> Any:
    sponge = yield ctx.run(bake, "sponge")
    yield ctx.sleep(3000)
    cold = yield ctx.run(cool, sponge, 30)
    both = yield ctx.gather(ctx.run(frost, "red"), ctx.run(bake, "tart"))
    for guests in range(3):
        yield ctx.run(serve, guests)
    answer = yield ctx.signal("party")
    yield ctx.run(serve, 99)
    return [cold, both, answer]


EVENTS = (Event(9_000_000, lambda wf: wf.complete("run", "party", "now")),)
