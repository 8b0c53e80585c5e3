"""A task that ends its process: found dead, and set aside when it does so every time."""

from __future__ import annotations

import asyncio
import sys

import pytest

from durable import Workflow
from tests.runs.kit import state


def program(db: str) -> Workflow:
    app = Workflow("app", db=db)

    @app.task
    async def leaves(code: int) -> None:
        sys.exit(code)

    @app.task
    async def lasts() -> None:
        await asyncio.Event().wait()

    @app.workflow(id="bad")
    async def bad() -> None:
        await leaves(3)

    @app.workflow(id="good")
    async def good() -> None:
        await lasts()

    return app


async def serve(app: Workflow) -> None:
    async with app:
        await asyncio.Event().wait()


def test_a_task_that_ends_its_process_every_time_is_poisoned_and_named_and_others_are_not(tmp_path, caplog) -> None:
    """Covers: A21, H7"""
    db = str(tmp_path / "durable.db")

    async def start() -> None:
        app = program(db)
        for name in ("bad", "good"):
            _ = await app.workflows[name].start()
        await app.stop()

    async def look() -> dict[str, tuple[str, str, int]]:
        app = program(db)
        await state(app, "bad", "set aside")
        runs = {run.run_id: (run.state.label, run.reason, run.deaths) for run in await app.runs.list()}
        await app.stop()
        return runs

    asyncio.run(start())
    for _ in range(5):
        with pytest.raises(SystemExit) as ended:
            asyncio.run(serve(program(db)))
        assert ended.value.code == 3
    assert "task 'leaves' of run 'bad' of app called sys.exit(3): this process ends" in caplog.text
    runs = asyncio.run(look())
    assert runs["bad"][:2] == ("set aside", "poisoned")
    assert runs["good"][0] == "queued"
    assert runs["good"][2] == 0
