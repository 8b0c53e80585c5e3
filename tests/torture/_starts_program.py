"""The racers of the campaign `starts`: each starts the runs it is told, at the moment it is told."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time

import durable.store.sqlite.store  # noqa: F401 - imported before the fork
from durable import Workflow
from tests.torture._application import Ledger, flow
from tests.torture._nursery import serve


def make_app(db: str, ledger: Ledger) -> Workflow:
    """Return the application: a workflow whose result tells who executed it."""
    app = Workflow("starts", db=db, strict=False)

    @app.task
    async def body(n: int) -> str:
        ledger.write(n, os.getpid())
        return f"{n} by {os.getpid()} at {time.time_ns()}"

    @app.workflow(id="run-{n}")
    async def run(n: int) -> str:
        return await body(n)

    return app


def main(role: list[str]) -> None:
    """Take part in `n` races: each begins at its time, and alternates between calling and starting."""
    number, n, begins_at, gap = int(role[0]), int(role[1]), float(role[2]), float(role[3])
    logging.getLogger("durable").setLevel(logging.ERROR)
    results = Ledger(f"{sys.argv[2]}.{number}")
    asyncio.run(_race(make_app(sys.argv[1], Ledger(sys.argv[2])), results, n, begins_at, gap))


async def _race(app: Workflow, results: Ledger, n: int, begins_at: float, gap: float) -> None:
    run = flow(app, "run")
    async with app:
        for number in range(n):
            await asyncio.sleep(max(begins_at + number * gap - time.time() - 0.001, 0))
            while time.time() < begins_at + number * gap:
                """Be there on time: the loop's own timers are a millisecond late."""
            result = await run(number) if number % 2 else await (await run.start(number)).result()
            results.write(number, json.dumps(result))
        # The others may still wait for what is executed here.
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    serve(main)
