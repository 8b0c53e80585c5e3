"""Several worker processes on one file: takeover of the dead, and respect for the living."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from durable import Workflow
from tests.runs.kit import Child, live, notes, state

PROGRAM = """
    wf = Workflow("app", db=DB)
    NAME = sys.argv[2]

    @wf.task
    async def step(number: int) -> int:
        note(f"begins {number} {NAME} {time.time()}")
        say(f"begins {number}")
        while NAME == "first" and number == 2 and sys.argv[3] == "hang":
            await asyncio.sleep(0.05)
        if sys.argv[3] == "slow":
            await asyncio.sleep(0.1)
        if sys.argv[3] == "block" and number == 2:
            time.sleep(1.5)
        note(f"ends {number} {NAME} {time.time()}")
        return number

    @wf.workflow(id="run")
    async def run() -> int:
        return sum([await step(number) for number in range(6)])

    @wf.workflow(id="sleeps")
    async def sleeps() -> int:
        await durable.sleep(1.2)
        return await step(100)

    async def main():
        async with wf:
            say("ready")
            if NAME == "first":
                await run.start()
            await asyncio.Event().wait()

    asyncio.run(main())
"""


def begun(file: str) -> list[list[str]]:
    return [line.split()[1:] for line in notes(file) if line.startswith("begins")]


async def result(file: str, run_id: str = "run") -> Any:
    app = Workflow("app", db=file)
    try:
        return await app.handle(run_id).result(timeout=20)
    finally:
        await app.stop()


def by_a_second_worker(file: str) -> float:
    """Kill a worker in its third step; return when it was killed, once another worker has ended its run."""
    with Child(PROGRAM, file, "first", "hang") as first, Child(PROGRAM, file, "second", "no") as second:
        second.hears("ready")
        first.hears("begins 2")
        first.kill()
        killed_at = time.time()
        assert asyncio.run(result(file)) == 15
    return killed_at


def by_a_direct_caller(file: str) -> float:
    """The same, with a process that has called the run and waits for it."""
    code = PROGRAM.replace("asyncio.run(main())", 'asyncio.run(main() if NAME == "first" else run())')
    with Child(code, file, "first", "hang") as first:
        first.hears("begins 2")
        with Child(code, file, "second", "no") as second:
            time.sleep(0.5)  # long enough for it to wait
            first.kill()
            killed_at = time.time()
            assert second.ended() == 0
    return killed_at


@pytest.mark.parametrize("take_over", [by_a_second_worker, by_a_direct_caller])
def test_the_runs_of_a_killed_worker_are_taken_over_within_a_second(tmp_path, take_over):
    """Covers: A2, A3"""
    waited: list[float] = []
    # The machine may be busy with other tests just then: one of three takeovers must show how fast it is.
    while not waited or (min(waited) >= 1.0 and len(waited) < 3):
        file = str(tmp_path / f"{len(waited)}.db")
        killed_at = take_over(file)
        number, name, at = next(line for line in begun(file) if line[1] == "second")
        assert (number, name) == ("2", "second")
        assert [line[0] for line in begun(file)] == ["0", "1", "2", "2", "3", "4", "5"]
        waited.append(float(at) - killed_at)
    assert min(waited) < 1.0


def test_workers_beside_a_healthy_one_repeat_no_step(file):
    """Covers: E9"""
    with Child(PROGRAM, file, "first", "slow") as first:
        first.hears("begins 0")
        with contextlib.ExitStack() as stack:
            others = [stack.enter_context(Child(PROGRAM, file, f"other{number}", "slow")) for number in range(3)]
            for other in others:
                other.hears("ready")
            assert asyncio.run(result(file)) == 15
        assert "is dead" not in "".join(other.errors for other in others)
    assert [(number, name) for number, name, _ in begun(file)] == [(str(number), "first") for number in range(6)]


def test_a_worker_whose_loop_is_blocked_keeps_its_runs(file):
    """Covers: E3"""
    with Child(PROGRAM, file, "first", "block") as first, Child(PROGRAM, file, "second", "no") as second:
        second.hears("ready")
        first.hears("begins 2")
        assert asyncio.run(result(file)) == 15
        assert second.errors == ""
    assert {name for _, name, _ in begun(file)} == {"first"}


def test_a_timer_of_a_dead_worker_fires_in_another_one(file):
    """Covers: A11"""
    app = Workflow("app", db=file)

    @app.workflow(id="sleeps")
    async def sleeps() -> None: ...

    with Child(PROGRAM, file, "second", "no") as first:
        first.hears("ready")

        async def start() -> float:
            began = time.time()
            _ = await sleeps.start()
            await state(app, "sleeps", "suspended")
            return began

        began = live(app, start)
        first.kill()
    with Child(PROGRAM, file, "third", "no") as second:
        assert asyncio.run(result(file, "sleeps")) == 100
        ((_, name, at),) = begun(file)
        assert name == "third"
        assert second.errors == ""
    assert 1.2 <= float(at) - began < 3.0


@pytest.mark.parametrize("workers", [2, 4])
def test_many_workers_share_many_runs_and_execute_each_step_once(file, workers):
    """Covers: B12"""
    code = """
        wf = Workflow("app", db=DB)

        @wf.task
        async def step(run: int, number: int) -> int:
            note(f"{run} {number}")
            await asyncio.sleep(0.001)
            return number

        @wf.workflow(id="run-{n}")
        async def run(n: int) -> int:
            return sum([await step(n, number) for number in range(5)])

        async def main():
            async with wf:
                say("ready")
                await asyncio.Event().wait()

        asyncio.run(main())
    """
    app = Workflow("app", db=file)

    @app.workflow(id="run-{n}")
    async def run(n: int) -> Any: ...

    async def drive() -> list[int]:
        started = await asyncio.gather(*(run.start(n) for n in range(60)))
        return await asyncio.gather(*(handle.result() for handle in started))

    with contextlib.ExitStack() as stack:
        for child in [stack.enter_context(Child(code, file)) for _ in range(workers)]:
            child.hears("ready")
        assert live(app, drive) == [10] * 60
    assert sorted(notes(file)) == sorted(f"{n} {number}" for n in range(60) for number in range(5))
