"""The racers of the campaign `contention`: what they contend for, what each of them does, and what it was told.

Every racer is a worker and a client of one database. Batch by batch all of them

1. start the same runs, some with other arguments or as another workflow, and complete, cancel, pause, resume, retry and
   send to them, all at once;
2. when all of that has been answered, retry those runs that have failed, and let all of them end, all at once;
3. resume what is still paused, wait for each run's outcome, and read its journal.

What a racer does is drawn from the seed, the run and its own number; what it was told is a line of JSON in a file.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import mmap
import os
import random
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import durable.store.sqlite.store  # noqa: F401 - imported before the fork
from durable import IdConflict, InputMismatch, RunNotOpen, Workflow
from durable.core.records import RunKey
from durable.runtime.scope import TaskScope, current
from tests.torture._application import Ledger, flow, job
from tests.torture._nursery import serve

BATCH: Final = 100
"""Runs that are contended for at once."""

PATIENCE_S: Final = 60.0
"""Longest time for a step of all racers, and for a run to come to its end."""

LOOK_EVERY_S: Final = 0.001

LIMITS_MS: Final = (0, 2, 10, 40, 150, 400)
"""Time limits of the first wait: about as long as it takes until signals come."""

NAPS_MS: Final = (0, 1, 3, 10, 30)
"""What a racer waits between two acts, if it does."""

THEMES: Final = (
    ("go",), ("go", "nap"), ("go", "nap", "pause", "resume"), ("go", "send", "pause"), ("send", "end"), ("send", "nap"),
    ("go", "go", "cancel"), ("cancel", "pause", "resume", "nap"), ("cancel", "end", "end", "pause"),
    ("go", "send", "cancel", "end", "pause", "resume", "retry", "nap"),
)  # fmt: skip
"""What racers do to a run, in the first step."""

MENDING: Final = (("retry",), ("retry", "cancel"), ("retry", "pause", "resume"), ("retry", "cancel", "end", "nap"))
"""What they do to one that has failed, in the second step."""


class Plan(NamedTuple):
    """What one racer does to one run."""

    run_id: str
    fails: bool
    """Does the run fail at first?"""
    workflow: str
    variant: int
    limit_ms: int
    calls: bool
    """Does it call the workflow, instead of starting a run?"""
    first: tuple[str, ...]
    """Acts of the first step …"""
    second: tuple[str, ...]
    """… and of the second one."""


def plan_for(seed: int, number: int, racer: int, racers: int) -> Plan:
    """Return what a racer does to a run."""
    common, own = random.Random(f"{seed} {number}"), random.Random(f"{seed} {number} {racer}")
    fails, limit_ms = common.random() < 0.15, common.choice(LIMITS_MS)
    theme, mending = common.choice(THEMES), common.choice(MENDING)
    conflicts = not fails and common.random() < 0.2
    workflow = own.choice(("contested", "contested", "other")) if conflicts else "failing" if fails else "contested"
    first = tuple(own.choice(theme) for _ in range(own.randint(1, 3)))
    second = tuple(own.choice(mending) for _ in range(own.randint(1, 2)))
    if number % racers == racer:
        second = (*second, "retry")
    calls = not fails and own.random() < 0.1
    return Plan(
        f"run-{number}", fails, workflow, own.randint(0, 1) if conflicts else 0, limit_ms, calls,
        () if fails else first, (*(second if fails else ()), "resume", "end"),
    )  # fmt: skip


# The application ------------------------------------------------------------------------------------------------------


class Broken(Exception):
    """The first failure of a run that fails."""


def make_app(db: str, folder: Path) -> Workflow:
    """Return the application; its tasks write down what they do in `ledger`, below the folder."""
    app = Workflow("contention", db=db, strict=False, default_retries=0)
    _declare_tasks(app, folder)
    _declare_workflows(app)
    return app


def _declare_tasks(app: Workflow, folder: Path) -> None:
    ledger = Ledger(str(folder / "ledger"))

    def begun(label: str) -> str:
        scope = current.get()
        assert isinstance(scope, TaskScope)
        ledger.write(scope.run_id, label)
        return scope.run_id

    @app.task
    async def step(label: str) -> None:
        begun(label)

    @app.task
    async def fail_once() -> None:
        run_id = begun("fails")
        try:
            os.close(os.open(folder / f"failed {run_id}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        raise Broken(run_id)


def _declare_workflows(app: Workflow) -> None:
    step, fail_once = job(app, "step"), job(app, "fail_once")

    async def contend(variant: int, limit_ms: int) -> list[Any]:
        first = await _signal_or_timer(app, limit_ms)
        await step("between")
        got = await _read_until_the_end(app)
        await step("last")
        return [variant, first, got]

    @app.workflow
    async def contested(n: int, variant: int, limit_ms: int) -> list[Any]:
        return await contend(variant, limit_ms)

    @app.workflow
    async def other(n: int, variant: int, limit_ms: int) -> list[Any]:
        return await contend(variant, limit_ms)

    @app.workflow
    async def failing(n: int, variant: int, limit_ms: int) -> list[Any]:
        await step("before")
        await fail_once()
        await step("between")
        got = await _read_until_the_end(app)
        await step("last")
        return [variant, ["mended"], got]


async def _signal_or_timer(app: Workflow, limit_ms: int) -> list[Any]:
    try:
        async with asyncio.timeout(limit_ms / 1000):
            return ["signal", await app.signal("go")]
    except TimeoutError:
        return ["timer"]


async def _read_until_the_end(app: Workflow) -> list[Any]:
    got: list[Any] = []
    end = asyncio.ensure_future(app.signal("end"))
    while True:
        mail = asyncio.ensure_future(app.receive("mail"))
        await asyncio.wait([end, mail], return_when=asyncio.FIRST_COMPLETED)
        if not mail.done():
            mail.cancel()
            return got
        got.append(mail.result())


# Racing ---------------------------------------------------------------------------------------------------------------


class Barrier:
    """Lets processes go on together: each counts its arrivals in its place of a shared file.

    Args:
        path: The file; whoever makes it fills it with zeros, eight for each process.
        place: Of this process.
    """

    def __init__(self, path: Path, place: int) -> None:
        self._place, self._arrivals = place, 0
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._count = len(self._map) // 8

    async def wait(self) -> None:
        """Wait until all have arrived as often as this one.

        Raises:
            TimeoutError: they have not, after `PATIENCE_S`.
        """
        self._arrivals += 1
        struct.pack_into("q", self._map, 8 * self._place, self._arrivals)
        limit = time.monotonic() + 3 * PATIENCE_S  # whoever is late may have waited in vain for a run, and will say so
        while min(struct.unpack_from(f"{self._count}q", self._map)) < self._arrivals:
            if time.monotonic() > limit:
                raise TimeoutError(f"racer {self._place} waits for the others")
            await asyncio.sleep(LOOK_EVERY_S)


class Racer:
    """One process that contends."""

    def __init__(self, app: Workflow, folder: Path, seed: int, place: int, racers: int) -> None:
        self._app, self._seed, self._place, self._racers = app, seed, place, racers
        self._barrier = Barrier(folder / "barrier", place)
        self._told = Ledger(str(folder / f"told {place}"))
        self._random = random.Random(f"{seed} {place}")

    async def race(self, n: int) -> None:
        """Contend for n runs."""
        async with self._app:
            await self._watch_sweeps()
            for first in range(0, n, BATCH):
                await self._contend(range(first, min(first + BATCH, n)))
            # The others may still wait for what is executed here.
            await self._barrier.wait()
        self._told.write("done")

    async def _watch_sweeps(self) -> None:
        """Tell of each run that a sweep had to wake: the transaction in which something reached it did not."""
        store: Any = (await self._app._engine()).store
        sweep = store.sweep

        async def watched() -> tuple[RunKey, ...]:
            missed: tuple[RunKey, ...] = await sweep()
            for key in missed:
                self._told.write(json.dumps({"missed": key}))
            return missed

        store.sweep = watched

    async def _contend(self, numbers: Iterable[int]) -> None:
        plans = [plan_for(self._seed, number, self._place, self._racers) for number in numbers]
        self._random.shuffle(plans)
        runs = [Contender(self._app, plan, self._place) for plan in plans]
        for step in (Contender.begin, Contender.go_on, Contender.end):
            await self._barrier.wait()
            await asyncio.gather(*(step(run) for run in runs))
        for run in runs:
            self._told.write(json.dumps(run.told))


class Contender:
    """What one racer does to one run, and what it is told."""

    def __init__(self, app: Workflow, plan: Plan, place: int) -> None:
        self._app, self._plan, self._place = app, plan, place
        self._flow = flow(app, plan.workflow)
        self._arguments = int(plan.run_id.removeprefix("run-")), plan.variant, plan.limit_ms
        self._sent = 0
        self._call: asyncio.Future[list[Any]] | None = None
        self.told: dict[str, Any] = {
            "run": plan.run_id, "racer": place, "workflow": plan.workflow, "variant": plan.variant, "acts": [],
        }  # fmt: skip

    async def begin(self) -> None:
        """Start the run, and do what comes first."""
        await self._start()
        for act in self._plan.first:
            await self._act(1, act)
        if self._plan.fails:
            self.told["failed"] = await self._outcome()

    async def go_on(self) -> None:
        """Do what comes when all racers were answered."""
        for act in self._plan.second:
            await self._act(2, act)

    async def end(self) -> None:
        """Wait for the outcome, and look at what is recorded."""
        await self._act(3, "resume")
        self.told["outcome"] = await self._outcome()
        if self.told["outcome"] == ["TimeoutError"]:
            self.told["stuck"] = await self._standing()
        if self._call is not None:
            self.told["called"] = await self._call
        self.told["seen"] = await seen(self._app, self._plan.run_id)

    async def _start(self) -> None:
        if not self._plan.calls:
            start = self._flow.options(id=self._plan.run_id).start
            self.told["start"] = await self._answer(lambda: start(*self._arguments))
            return
        self._call = asyncio.ensure_future(self._called())
        engine = await self._app._engine()
        for _ in range(round(PATIENCE_S / LOOK_EVERY_S)):
            if await engine.store.run(self._app.name, self._plan.run_id) is not None:
                break
            await asyncio.sleep(LOOK_EVERY_S)

    async def _called(self) -> list[Any]:
        return await outcome_of(self._flow.run(self._plan.run_id, *self._arguments))

    async def _outcome(self) -> list[Any]:
        return await outcome_of(self._app.handle(self._plan.run_id).result(PATIENCE_S))

    async def _standing(self) -> str:
        """Return where a run stands that does not end, and what this process has of it."""
        engine = await self._app._engine()
        record = await self._app.runs.get(self._plan.run_id)
        act = engine.active.get(record.key)
        mine = (
            None if act is None else (act.phase, act.live, act.in_flight, act._then, act.arrivals.line, act._places())
        )
        return f"{record}, waits {await engine.store.waits(record.key)}, in {engine.worker_id}: {mine}"

    async def _act(self, step: int, act: str) -> None:
        asked = getattr(self, f"_{act}")()
        if act == "nap":
            await asked
            return
        argument, answer = await asked
        self.told["acts"].append([step, act, argument, answer])

    async def _answer(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        try:
            answer = await ask()
        except (IdConflict, InputMismatch, RunNotOpen) as error:
            return type(error).__name__
        return answer if isinstance(answer, bool) else "done"

    async def _nap(self) -> None:
        await asyncio.sleep(random.Random(f"{self._plan} {self._place}").choice(NAPS_MS) / 1000)

    async def _go(self) -> tuple[Any, Any]:
        return None, await self._app.complete(self._plan.run_id, "go", self._place)

    async def _end(self) -> tuple[Any, Any]:
        return None, await self._app.complete(self._plan.run_id, "end", self._place)

    async def _cancel(self) -> tuple[Any, Any]:
        return None, await self._app.runs.cancel(self._plan.run_id)

    async def _pause(self) -> tuple[Any, Any]:
        return None, await self._app.runs.pause(self._plan.run_id)

    async def _resume(self) -> tuple[Any, Any]:
        return None, await self._app.runs.resume(self._plan.run_id)

    async def _retry(self) -> tuple[Any, Any]:
        return None, await self._answer(lambda: self._app.runs.retry(self._plan.run_id))

    async def _send(self) -> tuple[Any, Any]:
        """Every second message has the same id as those of the others."""
        self._sent += 1
        payload = [self._place, self._sent]
        message_id = "shared" if self._sent == 2 else f"{self._place} {self._sent}"
        return message_id, await self._answer(lambda: self._app.send(self._plan.run_id, "mail", payload, id=message_id))


async def outcome_of(result: Awaitable[Any]) -> list[Any]:
    """Return a result, or the name of what was raised."""
    try:
        return ["ok", await result]
    except Exception as error:  # whatever it is, all racers have to be told the same
        return [type(error).__name__]


async def seen(app: Workflow, run_id: str) -> list[Any]:
    """Return the state of a run, and a digest of its journal."""
    engine = await app._engine()
    record = await app.runs.get(run_id)
    journal = await engine.store.journal(record.key)
    return [record.state.label, hashlib.sha256(repr(journal).encode()).hexdigest()]


def main(role: list[str]) -> None:
    """Be a racer."""
    logging.getLogger("durable").setLevel(logging.ERROR)
    folder, seed, n, racers = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    racer = Racer(make_app(str(folder / "durable.db"), folder), folder, seed, int(role[0]), racers)
    asyncio.run(racer.race(n))


if __name__ == "__main__":
    serve(main)
