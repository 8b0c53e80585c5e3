"""A plain function as a workflow: tasks, sleeps, a signal, a child, a caught error."""

import durable
from tests.check.stage import application
from tests.support.replaying import Event

wf = application()


@wf.task(retries=0)
def read(path: str) -> list[int]:
    return [1, 2, 3]


@wf.task(retries=0)
def add(left: int, right: int) -> int:
    return left + right


@wf.task(retries=0)
def fail(text: str) -> None:
    raise ValueError(text)


@wf.task(retries=0)
async def tell(text: str) -> str:
    return text


@wf.workflow
def square(number: int) -> int:
    return add(number, 1000)


@wf.workflow
def main() -> list[object]:
    numbers = read("numbers.txt")
    total = 0
    for number in numbers:
        total = add(total, number)
    durable.sleep(5000)
    try:
        fail("of course")
    except ValueError:
        tell.sync("it failed")
    child = square(total)
    answer = wf.signal("resume")
    drawn = durable.random()
    tell.sync("resumed")
    letter = wf.receive("post")
    tell.sync("the end")
    return [total, child, answer, drawn < 1, letter]


EVENTS = (
    Event(9_000_000, lambda wf: wf.complete("run", "resume", 5)),
    Event(9_900_000, lambda wf: wf.send("run", "post", "letter", id="p1")),
)
