"""What the committer does when the store does not say that it has written.

Covers: B1
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from durable import OutcomeUnknown, StoreUnavailable, Workflow
from durable.runtime import committer


@pytest.fixture(autouse=True)
def every_commit_of_one_run_is_inline(monkeypatch) -> None:
    """However slow the disk is at the moment."""
    monkeypatch.setattr(committer, "INLINE_SECONDS_MAX", 3600.0)


@pytest.mark.parametrize("applied", [True, False])
async def test_an_inline_commit_of_unknown_outcome_is_repeated_only_after_the_store_was_reopened(tmp_path, applied):
    """The same handle may resurrect what it reported as failed, so nothing is written with it any more."""
    app = Workflow("app", db=str(tmp_path / "durable.db"))
    charged: list[int] = []
    told: list[str] = []

    @app.task
    async def charge(order: int) -> int:
        charged.append(order)
        if len(charged) == 2:
            break_once(await app._engine(), told, applied=applied)
        return order

    @app.workflow(id="run")
    async def run() -> int:
        return sum([await charge(order) for order in range(4)])

    assert await run() == 6
    assert told[:2] == ["unknown", "reopened"]
    assert charged == [0, 1, 2, 3]
    positions = [event.position for event in await app.runs.history("run")]
    assert positions == list(range(len(positions)))
    await app.stop()


def break_once(engine: Any, told: list[str], *, applied: bool) -> None:
    """Let the next inline commit, whether it was made or not, report that nobody knows."""
    store = engine.store
    execute_now, reopen = store.execute_now, store.reopen

    def unknown(batch: Any, worker: Any) -> None:
        store.execute_now = execute_now
        if applied:
            execute_now(batch, worker)
        told.append("unknown")
        raise OutcomeUnknown("the disk answered nothing")

    async def reopened() -> None:
        await reopen()
        told.append("reopened")

    store.execute_now, store.reopen = unknown, reopened


async def test_no_answer_overtakes_what_was_told_and_is_not_heard_yet(tmp_path):
    """An older telling would be taken for the newest: a pause that was taken back, for one that holds.

    And an answer that came at the same time, but was heard earlier, let a step start after a cancellation.
    """
    app = Workflow("app", db=str(tmp_path / "durable.db"))
    commits: list[bool] = []

    @app.task
    async def step(number: int) -> int:
        return number

    @app.workflow(id="run")
    async def run() -> int:
        return sum([await step(number) for number in range(3)])

    @app.workflow(id="first")
    async def first() -> None: ...

    await first()
    engine = await app._engine()
    store: Any = engine.store
    execute_now, execute, collect = store.execute_now, store.execute, store.collect
    asked, heard = asyncio.Event(), asyncio.Event()

    async def collected_late(worker: str) -> Any:
        told = await collect(worker)
        asked.set()
        await heard.wait()
        return told

    def noted(how: Any, batch: Any, worker: Any) -> Any:
        commits.append(heard.is_set())
        return how(batch, worker)

    store.collect = collected_late
    store.execute_now, store.execute = partial(noted, execute_now), partial(noted, execute)
    engine.committer.collect()
    await asked.wait()
    running = asyncio.create_task(run())
    await asyncio.sleep(0.05)
    assert commits == []
    heard.set()
    assert await running == 3
    assert commits
    assert all(commits)
    await app.stop()


async def test_a_start_that_may_be_written_is_not_refused_by_a_failure_after_that(tmp_path):
    """The caller was told that nothing was started, and the run stood still, owned by a worker that did not know of it.

    Found by the simulation: the first commit was written and its answer lost, the repetition failed for certain.
    """
    app = Workflow("app", db=str(tmp_path / "durable.db"))
    executed: list[int] = []

    @app.workflow(id="first")
    async def first() -> None: ...

    @app.workflow(id="run")
    async def run() -> int:
        executed.append(1)
        return 3

    await first()
    store: Any = (await app._engine()).store
    execute = store.execute
    answers = [OutcomeUnknown("the answer was lost"), StoreUnavailable("the disk is full"), None]

    async def trouble(batch: Any, worker: Any) -> Any:
        error = answers.pop(0) if answers else None
        if isinstance(error, StoreUnavailable):
            raise error
        committed = await execute(batch, worker)
        if error is not None:
            raise error
        return committed

    store.execute = trouble
    assert await asyncio.wait_for(run(), 30) == 3
    assert executed == [1]
    assert not answers
    await app.stop()
