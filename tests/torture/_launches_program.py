"""The processes of the campaign `launches`: a healthy worker, and those that start beside it."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys

import durable.store.sqlite.store  # noqa: F401 - imported before the fork
from durable import Workflow
from tests.torture._application import Ledger, flow
from tests.torture._nursery import serve

AT_ONCE = 8
"""Runs that the healthy worker executes side by side: each is in the middle of a step nearly always."""

STEPS = 20
STEP_S = 0.05

STAYS_MAX_S = 1.0
"""Longest life of a launched process: time for two looks for dead workers."""


def make_app(db: str, ledger: Ledger) -> Workflow:
    """Return the application: runs of some short steps."""
    app = Workflow("launches", db=db, strict=False)

    @app.task
    async def step(n: int, number: int) -> int:
        ledger.write(n, number, os.getpid())
        await asyncio.sleep(STEP_S)
        return number

    @app.workflow(id="run-{n}")
    async def run(n: int) -> list[int]:
        return [await step(n, number) for number in range(STEPS)]

    return app


def main(role: list[str]) -> None:
    """Be the healthy worker (`healthy PATH`: until that is there), or a `worker` or a `caller` beside it."""
    logging.getLogger("durable").setLevel(logging.ERROR)
    app = make_app(sys.argv[1], Ledger(sys.argv[2]))
    kind, argument = role
    asyncio.run(_be_healthy(app, argument) if kind == "healthy" else _be_launched(app, kind, int(argument)))


async def _be_healthy(app: Workflow, until: str) -> None:
    async def work(number: int) -> None:
        while not os.path.exists(until):
            assert await flow(app, "run")(number) == list(range(STEPS))
            number += AT_ONCE

    async with app, asyncio.TaskGroup() as group:
        for number in range(AT_ONCE):
            group.create_task(work(number))


async def _be_launched(app: Workflow, kind: str, run: int) -> None:
    stays_s = random.random() * STAYS_MAX_S
    if kind == "worker":
        async with app:
            await asyncio.sleep(stays_s)
        return
    try:
        # Whoever calls a run waits for it, and executes it should nobody else do so any more.
        async with asyncio.timeout(stays_s):
            await flow(app, "run")(run)
    except TimeoutError:
        pass
    finally:
        await app.stop()


if __name__ == "__main__":
    serve(main)
