"""A run that is owned and executed by nobody goes on.

Of some 200,000 runs that four processes contended for on a busy machine, one stood still, owned by a living worker, and
it was not found out why. One way to that was found later (`test_store_outcomes`); should there be others, it must not
be for ever.
"""

from __future__ import annotations

import asyncio
import logging

import pytest

from durable import Workflow
from durable.runtime import claims
from durable.runtime.claims import Claims


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(claims, "SWEEP_SECONDS", 0.1)
    monkeypatch.setattr(claims, "EXPIRE_SECONDS", 0.05)


async def test_a_run_whose_claim_was_not_heard_goes_on(quick, file, monkeypatch, caplog):
    wf = Workflow("app", db=file)

    @wf.workflow
    async def run() -> str:
        return "done"

    lost: list[object] = []
    take_up = Claims._take_up

    def lose_the_first(self, claimed):
        if lost:
            return take_up(self, claimed)
        lost.append(claimed)
        return None

    monkeypatch.setattr(Claims, "_take_up", lose_the_first)
    async with wf:
        handle = await run.start()
        assert await handle.result(timeout=30) == "done"
    assert len(lost) == 1
    complaints = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(complaints) == 1
    assert "is owned and not executed" in complaints[0]


async def test_a_run_that_executes_is_left_alone(quick, file, monkeypatch, caplog):
    wf = Workflow("app", db=file)
    executed: list[int] = []
    swept = asyncio.Event()
    hand_back = Claims._hand_back_idle

    async def watched(self):
        await hand_back(self)
        swept.set()

    monkeypatch.setattr(Claims, "_hand_back_idle", watched)

    @wf.task
    async def long() -> None:
        executed.append(1)
        for _ in range(3):
            swept.clear()
            await swept.wait()

    @wf.workflow
    async def run() -> str:
        await long()
        return "done"

    async with wf:
        assert await (await run.start()).result(timeout=30) == "done"
    assert executed == [1]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
