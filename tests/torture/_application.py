"""The application that campaigns execute while something goes wrong: a dozen workflows, one for each kind of waiting.

Every effect is a line in a ledger outside the database: `run label attempt pid`. A step's result is its label, and a
failed attempt has it in its error; that is how the witness knows which lines are recorded.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

import durable
import durable.store.sqlite.store  # now, before programs fork
from durable import TaskInterrupted, Workflow
from durable.backoff import constant
from durable.runtime.clock import Clock
from durable.runtime.scope import TaskScope, current

APP: Final = "torture"
MESSAGES: Final = 5
"""Messages that a `mailbox` receives."""


def flow(app: Workflow, name: str) -> Any:
    """Return a workflow function by its name."""
    return app.workflows[name]


def job(app: Workflow, name: str) -> Any:
    """Return a task by its name."""
    return app.tasks[name]


class Flaky(Exception):
    """A failure of an attempt; its arguments are the label and the attempt."""


class Ledger:
    """An append-only file; one write, one line."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *words: object) -> None:
        """Append a line of these words."""
        os.write(self._file, ("\t".join(map(str, words)) + "\n").encode())


def make_app(db: object, ledger: Ledger, *, pause_s: float = 0.02, clock: Clock | None = None) -> Workflow:
    """Return the application under test.

    Args:
        db: Where it keeps its runs.
        ledger: Where its tasks write what they do.
        pause_s: How long a task takes.
        clock: Its source of time, if it is not the machine's.
    """
    app = Workflow(APP, db=db, default_retries=3, default_backoff=constant(0.01), strict=False, clock=clock)
    _declare_tasks(app, ledger, pause_s)
    _declare_sequential(app)
    _declare_waiting(app)
    _declare_families(app)
    return app


def _declare_tasks(app: Workflow, ledger: Ledger, pause_s: float) -> None:
    def effect(label: str) -> int:
        scope = current.get()
        assert isinstance(scope, TaskScope)
        ledger.write(scope.run_id, label, scope.attempt, os.getpid())
        return scope.attempt

    @app.task
    async def step(label: str, pauses: float = 1.0) -> str:
        effect(label)
        await asyncio.sleep(pauses * pause_s)
        return label

    @app.task
    def plain(label: str) -> str:
        effect(label)
        return label

    @app.task
    async def flaky(label: str, failures: int) -> str:
        attempt = effect(label)
        if attempt <= failures:
            raise Flaky(label, attempt)
        return label

    @app.task(retries=1, backoff=constant(1.05))
    async def patient(label: str) -> str:
        attempt = effect(label)
        if attempt == 1:
            raise Flaky(label, attempt)
        return label

    @app.task(at_most_once=True)
    async def once(label: str) -> str:
        effect(label)
        await asyncio.sleep(pause_s)
        return label


def _declare_sequential(app: Workflow) -> None:
    step, plain, flaky, once = (job(app, name) for name in ("step", "plain", "flaky", "once"))

    @app.workflow
    async def steps(n: int) -> list[str]:
        done = [await step(f"s{i}") for i in range(6)]
        durable.random()
        return [*done, await plain.aio("p"), await step("named", step_id=f"id-{n}")]

    @app.workflow
    def threaded(n: int) -> list[str]:
        done = [plain(f"p{i}") for i in range(3)]
        durable.sleep(0.05)
        return [*done, step.sync("s")]

    @app.workflow
    async def branches(n: int) -> list[list[str]]:
        async def branch(b: int) -> list[str]:
            return [await step(f"b{b}.{i}", 0.5 * ((b * i) % 4)) for i in range(3)]

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(branch(b)) for b in range(3)]
        return [*(task.result() for task in tasks), *await asyncio.gather(branch(3), branch(4))]

    @app.workflow
    async def retries(n: int) -> list[str]:
        return [await flaky("f0", n % 3), *await asyncio.gather(flaky("f1", 2), flaky("f2", 1), step("s"))]

    @app.workflow
    async def waits_for_retry(n: int) -> list[str]:
        return [await step("before"), await job(app, "patient")("p"), await step("after")]

    @app.workflow
    async def at_most_once(n: int) -> list[str]:
        done = []
        for i in range(3):
            try:
                await once(f"o{i}")
            except TaskInterrupted:
                await step(f"check o{i}")
            done.append(f"o{i}")
        return done


def _declare_waiting(app: Workflow) -> None:
    step = job(app, "step")

    @app.workflow
    async def sleeper(n: int) -> list[str]:
        first = await step("before")
        await durable.sleep(0.1)
        second = await step("between")
        await asyncio.sleep(1.1 if n % 2 else 0.05)
        return [first, second, await step("after")]

    @app.workflow
    async def approval(n: int) -> list[Any]:
        first = await step("asks")
        payload = await app.signal("go")
        return [first, payload, await step("goes")]

    @app.workflow
    async def doomed(n: int) -> None:
        try:
            await step("d0")
            await asyncio.gather(step("d1"), step("d2"), flow(app, "sleeper")(n))
            await app.signal("never")
        finally:
            await step("undo 0")
            await step("undo 1")

    @app.workflow
    async def mailbox(n: int) -> list[Any]:
        got = []
        for i in range(MESSAGES):
            got.append(await app.receive("news"))
            await step(f"m{i}")
        return got

    @app.workflow
    async def rounds(n: int, left: int = 3) -> str:
        await step(f"r{left}")
        if left:
            durable.continue_as_new(n, left=left - 1)
        return "end"


def _declare_families(app: Workflow) -> None:
    step, steps = job(app, "step"), flow(app, "steps")

    @app.workflow
    async def nested(n: int) -> list[Any]:
        first = await step("first")
        one, two = await asyncio.gather(steps(n), flow(app, "sleeper")(n))
        started = await steps.start(n + 1)
        return [first, one, two, await started.result(), await step("last")]


KINDS = (
    "steps", "threaded", "branches", "retries", "waits_for_retry", "at_most_once", "sleeper", "approval", "mailbox",
    "rounds", "nested", "doomed",
)  # fmt: skip
"""All workflows. `doomed` runs until it is cancelled, all others end by themselves when they get what they wait for."""
