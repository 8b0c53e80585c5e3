"""The application under test: one workflow that executes programs, and the tasks whose effects are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, Final

import durable
from durable import (
    GeneratorContext,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunNotOpen,
    RunTimedOut,
    TaskInterrupted,
    TaskTimedOut,
    Workflow,
)
from durable.backoff import constant
from durable.codec.json_codec import JsonCodec
from durable.runtime.scope import BodyScope, TaskScope, current
from tests.simulation.programs import Op, Program

if TYPE_CHECKING:
    from tests.simulation.world import World

APP: Final = "sim"


class Flaky(Exception):
    """A failure of an attempt that was meant to fail: number of the operation, number of the attempt."""


class Stage:
    """What the functions of an application know of the world that they play in; replaced for every schedule."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.programs: list[Program] = []
        """Those of the roots, by number."""

    async def attempt(self, number: int, failures: int, took_ms: int) -> None:
        """Have an effect, take some time, and fail if that is wanted; called by all tasks."""
        scope = current.get()
        world = self.world
        if not isinstance(scope, TaskScope) or world is None:
            return  # a body that is unwound after the end of its schedule
        world.effect(scope, number)
        await asyncio.sleep(took_ms / 1000)
        if took_ms and self.world is world:
            world.goes_on(scope, number)
        if scope.attempt <= failures or (failures < 0 and world.is_broken(scope.run_id)):
            raise Flaky(number, scope.attempt)

    def issued(self, number: int) -> None:
        """Note that a body has come to a task: what has to be durable before that may have an effect."""
        scope = current.get()
        if isinstance(scope, BodyScope) and self.world is not None:
            self.world.model.issued(scope.activation, number)


def root_id(number: int) -> str:
    """Return the run id of a root."""
    return f"root-{number}"


def build(stage: Stage) -> Workflow:
    """Return an application; it is used for many schedules, because declaring it takes longer than one of them."""
    codec = JsonCodec(tracebacks=False)  # making them takes longer than all the rest of a failure
    backoff = constant(0.05)
    app = Workflow(APP, db=durable.InMemoryStore(), default_backoff=backoff, codec=codec, strict=False)

    _declare_tasks(app, stage)
    _declare_workflows(app, stage)
    return app


def _declare_tasks(app: Workflow, stage: Stage) -> None:
    attempt = stage.attempt

    @app.task
    async def work(number: int, failures: int = 0, took_ms: int = 0) -> int:
        await attempt(number, failures, took_ms)
        return number

    @app.task(at_most_once=True)
    async def once(number: int, took_ms: int) -> int:
        await attempt(number, 0, took_ms)
        return number

    @app.task
    async def killer(number: int, times: int) -> int:
        await attempt(number, 0, 0)
        if stage.world is not None and stage.world.kills(current.get(), number, times):
            await asyncio.sleep(3600)
        return number

    @app.task
    async def echo(number: int, value: float) -> float:
        await attempt(number, 0, 1)
        return value

    @app.task
    async def item(pair: list[int]) -> list[int]:
        await attempt(pair[0] * 1000 + pair[1], 0, pair[1])
        return pair


def _declare_workflows(app: Workflow, stage: Stage) -> None:
    @app.workflow
    def generated(ctx: GeneratorContext, number: int, count: int, sleep_ms: int) -> Generator[Any, Any, Any]:
        done = []
        for place in range(count):
            stage.issued(place)
            done.append((yield ctx.run(app.tasks["work"], place, 0, 1)))
        yield ctx.sleep(sleep_ms / 1000)
        return [*done, "slept"]

    @app.workflow
    async def play(program: Program) -> Any:
        return await Player(app, stage).run(program)


class Player:
    """Executes a program in the body of a workflow."""

    def __init__(self, app: Workflow, stage: Stage) -> None:
        self._app = app
        self._stage = stage
        self._task: Callable[[str], Any] = app.tasks.__getitem__
        self._play: Any = app.workflows["play"]

    async def run(self, program: Program) -> list[Any]:
        """Execute a program and return the results of its operations."""
        results = []
        for op in program:
            method: Callable[[Op], Awaitable[Any]] = getattr(self, f"do_{op[0]}")
            results.append(await method(op))
        return results

    def _call(self, name: str, number: int) -> Any:
        """Return a task, and note what has to be durable before it may have an effect."""
        self._stage.issued(number)
        return self._task(name)

    # Leaves ---------------------------------------------------------------------------------------------------------

    async def do_step(self, op: Op) -> Any:
        return await self._call("work", op[1])(op[1], 0, op[2])

    async def do_retried(self, op: Op) -> Any:
        _, number, failures, took, backoff = op
        task = self._call("work", number).with_options(backoff=constant(backoff / 1000))
        return await task(number, failures, took)

    async def do_doomed(self, op: Op) -> Any:
        try:
            return await self._call("work", op[1]).with_options(retries=1)(op[1], 99, op[2])
        except Flaky as error:
            return ["failed", error.args[0]]

    async def do_broken(self, op: Op) -> Any:
        return await self._call("work", op[1]).with_options(retries=0)(op[1], -1, op[2])

    async def do_once(self, op: Op) -> Any:
        try:
            return await self._call("once", op[1])(op[1], op[2])
        except TaskInterrupted:
            return ["interrupted", op[1]]

    async def do_killer(self, op: Op) -> Any:
        return await self._call("killer", op[1])(op[1], op[2])

    async def do_named(self, op: Op) -> Any:
        return await self._call("work", op[1])(op[1], 0, op[2], step_id=f"step {op[1]}")

    async def do_sleep(self, op: Op) -> Any:
        _, number, ms, how = op
        loop = asyncio.get_running_loop()
        began = loop.time()
        if how == 0:
            await durable.sleep(ms / 1000)
        elif how == 1:
            await asyncio.sleep(ms / 1000)
        else:
            come = loop.create_future()
            timer = loop.call_later(ms / 1000, come.set_result, None)
            try:
                await come
            finally:
                timer.cancel()
        slept = loop.time() - began
        if slept < ms / 1000 - 1e-6 and self._stage.world is not None:
            self._stage.world.violate(f"a sleep of {ms} ms took {slept * 1000:.3f} ms by the journal")
        return ["slept", number]

    async def do_value(self, op: Op) -> Any:
        value = durable.random()
        return ["same", await self._call("echo", op[1])(op[1], value) == value]

    async def do_signal(self, op: Op) -> Any:
        return await self._app.signal(f"signal {op[1]}")

    async def do_race(self, op: Op) -> Any:
        try:
            return await asyncio.wait_for(self._app.signal(f"signal {op[1]}"), op[2] / 1000)
        except TimeoutError:
            return "late"

    async def do_mail(self, op: Op) -> Any:
        return [await self._app.receive(f"box {op[1]}") for _ in range(op[2])]

    async def do_tell(self, op: Op) -> Any:
        return await self._app.complete(root_id(op[2]), f"from {durable.run_id()}", op[1])

    async def do_post(self, op: Op) -> Any:
        try:
            await self._app.send(root_id(op[2]), "post", op[1])
        except RunNotFound:
            return "not found"
        except RunNotOpen:
            return "not open"
        return "posted"

    async def do_patched(self, op: Op) -> Any:
        return durable.patched(f"patch {op[1]}")

    async def do_map(self, op: Op) -> Any:
        _, number, count, limit = op
        for place in range(count):
            self._call("item", number * 1000 + place)
        return await durable.map(self._task("item"), [[number, place] for place in range(count)], limit=limit)

    # Branches -------------------------------------------------------------------------------------------------------

    async def do_par(self, op: Op) -> Any:
        _, _, programs, how = op
        if how == "gather":
            return list(await asyncio.gather(*map(self.run, programs)))
        if how == "group":
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.run(program)) for program in programs]
            return [task.result() for task in tasks]
        tasks = [asyncio.create_task(self.run(program)) for program in programs]
        try:
            if how == "wait":
                await asyncio.wait(tasks)
            else:
                for future in asyncio.as_completed(tasks):
                    await future
        finally:
            for task in tasks:
                task.cancel()
        return [task.result() for task in tasks]

    async def do_timeout(self, op: Op) -> Any:
        try:
            async with asyncio.timeout(op[3] / 1000):
                return await self.run(op[2])
        except TimeoutError:
            return "late"

    async def do_saga(self, op: Op) -> Any:
        try:
            return await self.run(op[2])
        except asyncio.CancelledError:
            await self._call("work", -op[1])(-op[1], 0, 2)
            raise

    async def do_stubborn(self, op: Op) -> Any:
        try:
            return await self.run(op[2])
        except asyncio.CancelledError:
            return "swallowed"

    async def do_generated(self, op: Op) -> Any:
        generated: Any = self._app.workflows["generated"]
        return await generated(op[1], op[2], op[3])

    async def do_limited(self, op: Op) -> Any:
        task = self._call("work", op[1]).with_options(retries=0, timeout=op[3] / 1000)
        try:
            return await task(op[1], 0, op[2])
        except TaskTimedOut:
            return "timed out"

    async def do_child(self, op: Op) -> Any:
        _, number, program, how = op
        if how == "handle":
            return await (await self._play.start(program)).result()
        if how == "named":
            return await self._play.run(f"{durable.run_id()}.{number}", program)
        return await self._play(program)

    async def do_detach(self, op: Op) -> Any:
        await self._play.start(op[2])
        return ["detached", op[1]]

    async def do_attach(self, op: Op) -> Any:
        """Wait a while for another root, which is not a child, and must not suffer when that is too long."""
        other = op[2]
        try:
            async with asyncio.timeout(op[3] / 1000):
                return ["awaited", await self._play.run(root_id(other), self._stage.programs[other])]
        except TimeoutError:
            return "late"
        except (RunCancelled, RunFailed, RunTimedOut, Flaky) as error:
            return ["ended", type(error).__name__]

    async def do_again(self, op: Op) -> Any:
        durable.continue_as_new(op[2])
