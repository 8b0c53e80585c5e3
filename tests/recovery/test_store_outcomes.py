"""What the committer does when the store does not say that it has written.

Covers: B1
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import OutcomeUnknown, Workflow
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


async def test_no_inline_commit_overtakes_what_was_told_and_is_not_heard_yet(tmp_path):
    """An older telling would be taken for the newest: a pause that was taken back, for one that holds."""
    app = Workflow("app", db=str(tmp_path / "durable.db"))
    inline: list[bool] = []

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
    execute_now, collect = store.execute_now, store.collect
    heard = asyncio.Event()

    async def collected_late(worker: str) -> Any:
        told = await collect(worker)
        await heard.wait()
        return told

    def noted(batch: Any, worker: Any) -> Any:
        inline.append(heard.is_set())
        return execute_now(batch, worker)

    store.collect, store.execute_now = collected_late, noted
    collecting = asyncio.create_task(engine.claims._collect())
    await asyncio.sleep(0)
    assert await run() == 3
    assert inline == []
    heard.set()
    await collecting
    await run.run("again")
    assert inline
    assert all(inline)
    await app.stop()
