"""A workflow written as a generator: it yields what it waits for. No async, no await.

    python examples/generator.py

Several steps are in work at once when they are begun before the first of them is waited for.
"""

import asyncio
from collections.abc import Generator
from typing import Any

from durable import GeneratorContext, Workflow

wf = Workflow("generators")


@wf.task
def square(number: int) -> int:  # a plain function, executed in a thread
    print(f"squaring {number}", flush=True)
    return number * number


@wf.workflow(id="squares-{seconds}")
def squares(ctx: GeneratorContext, seconds: float) -> Generator[Any, Any, int]:
    first = yield ctx.run(square, 1)  # one step, and its result
    yield ctx.sleep(seconds)
    second = yield ctx.start(square, 2)  # begins a step and goes on
    third = yield ctx.start(square, 3)
    total: int = first + (yield second) + (yield third)  # now waits for them
    return total


if __name__ == "__main__":
    print(asyncio.run(squares(seconds=2)))
