"""Attempts that fail and are repeated, one that must not be, unchecked arguments, a step without a decorator."""

from durable.backoff import constant
from tests.check.stage import application, job
from tests.support.replaying import Event

wf = application()


@wf.task(retries=3, backoff=constant(5))
async def flaky(name: str) -> str:
    if await job(10) < 3:
        raise ConnectionError(name)
    return name


@wf.task(at_most_once=True)
async def once(name: str) -> str:
    await job(30)
    return name


@wf.task(retries=0, check_args=False)
async def unchecked(name: str, size: int) -> str:
    await job(10)
    return "unchecked"


async def bare(name: str) -> str:
    await job(10)
    return name


@wf.task(retries=1, backoff=constant(2000))
async def patient(name: str) -> str:
    if await job(10) < 2:
        raise ConnectionError(name)
    return name


@wf.workflow
async def main() -> list[object]:
    first = await flaky("one")
    second = await once("two")
    third = await unchecked("three", 3)
    fourth = await wf.step("bare", bare, "four")
    fifth = await patient("five")
    letter = await wf.receive("inbox")
    other = await wf.receive("inbox")
    sixth = await flaky("six")
    return [first, second, third, fourth, fifth, letter, other, sixth]


EVENTS = (
    Event(9_000_000, lambda wf: wf.send("run", "inbox", "a", id="a")),
    Event(9_500_000, lambda wf: wf.send("run", "inbox", "b", id="b")),
)
