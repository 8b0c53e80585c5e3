"""The processes of the campaign `resume`: workers that hang in a run of their own, and one that takes runs over."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time

import durable.store.sqlite.store  # noqa: F401 - imported before the fork
from durable import Workflow
from tests.torture._application import Ledger, flow
from tests.torture._nursery import serve


def make_app(db: str, ledger: Ledger, *, hangs: bool) -> Workflow:
    """Return the application: in its second step a victim hangs until it is killed."""
    app = Workflow("resume", db=db, strict=False)

    @app.task
    async def step(n: int, label: str) -> str:
        ledger.write(n, label, os.getpid(), time.monotonic())
        if hangs and label == "second":
            await asyncio.Event().wait()
        return label

    @app.workflow(id="run-{n}")
    async def run(n: int) -> list[str]:
        return [await step(n, label) for label in ("first", "second", "third")]

    return app


def main(role: list[str]) -> None:
    """Be the worker that is left (`survivor`), or start and execute the run of this number."""
    logging.getLogger("durable").setLevel(logging.ERROR)
    asyncio.run(_work(sys.argv[1], Ledger(sys.argv[2]), None if role[0] == "survivor" else int(role[0])))


async def _work(db: str, ledger: Ledger, number: int | None) -> None:
    app = make_app(db, ledger, hangs=number is not None)
    async with app:
        if number is None:
            ledger.write("survivor", "ready", os.getpid(), time.monotonic())
        else:
            _ = await flow(app, "run").start(number)
        await asyncio.Event().wait()


if __name__ == "__main__":
    serve(main)
