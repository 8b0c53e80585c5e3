"""What the processes of the campaign `held` execute: one that is kept from everything for a while, one beside it."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import time
from contextlib import suppress
from itertools import count

from durable import StoreUnavailable, Workflow
from durable.store.sqlite import Limits, SQLiteRunStore
from tests.torture._application import APP, Ledger, flow

RUN = "held"
"""Name and id of the workflow that is held up."""

THREADS = 2
BESIDE_S = 0.05


def make_app(db: object, ledger: Ledger, kind: str, hold_s: float) -> Workflow:
    """Return the application: its run is held up once, in the way that `kind` says."""
    app = Workflow(APP, db=db, task_threads=THREADS, strict=False)

    @app.task
    async def step(run: str, label: str) -> str:
        ledger.write(run, label, os.getpid(), time.monotonic())
        return label

    @app.task
    def holds_the_gil(label: str) -> str:
        ledger.write(RUN, label, os.getpid(), time.monotonic())
        # Called through PyDLL, C code keeps the GIL: no other thread of the process runs, and no CPU is used.
        ctypes.PyDLL(None).usleep(round(hold_s * 1e6))
        return label

    @app.task
    async def blocks_the_loop(label: str) -> str:
        ledger.write(RUN, label, os.getpid(), time.monotonic())
        time.sleep(hold_s)
        return label

    @app.task
    def blocks_a_thread(label: str, seconds: float) -> str:
        ledger.write(RUN, label, os.getpid(), time.monotonic())
        time.sleep(seconds)
        return label

    @app.workflow(id=RUN)
    async def held() -> list[str]:
        first = await step(RUN, "before")
        if kind == "threads":
            # One more than there are threads: the last one waits for its turn, and is done at once.
            times = [hold_s] * THREADS + [0.0]
            held = await asyncio.gather(*(blocks_a_thread.aio(f"hold {i}", times[i]) for i in range(THREADS + 1)))
        elif kind == "loop":
            held = [await blocks_the_loop("hold")]
        else:
            held = [await holds_the_gil.aio("hold")]
        return [first, *held, await step(RUN, "after"), await step(RUN, "end")]

    @app.workflow
    async def beside(n: int) -> str:
        return await step("beside", str(n))

    return app


async def _be_held(app: Workflow, *, busy: bool) -> None:
    async with app:
        company = asyncio.create_task(_work_beside(app)) if busy else None
        _ = await flow(app, RUN).start()
        await (company or asyncio.Event().wait())


async def _be_beside(app: Workflow) -> None:
    async with app:
        await _work_beside(app)


async def _work_beside(app: Workflow) -> None:
    for number in count():
        with suppress(StoreUnavailable):  # whoever holds the GIL may hold the write lock with it
            await flow(app, "beside")(number)
        await asyncio.sleep(BESIDE_S)


def work(kind: str, db: str, ledger: str, hold_s: float, hang_s: float) -> int:
    """Start the run that is held up and execute it (`gil`, `gil busy`, `loop`, `threads`), or work `beside` it."""
    logging.getLogger("durable").setLevel(logging.CRITICAL)
    store = SQLiteRunStore(db, limits=Limits(hang_s=hang_s))
    kind, _, rest = kind.partition(" ")
    app = make_app(store, Ledger(ledger), kind, hold_s)
    asyncio.run(_be_beside(app) if kind == "beside" else _be_held(app, busy=rest == "busy"))
    return 0
