"""Calls of an application that stops while it opens its database."""

from __future__ import annotations

import asyncio

import pytest

from durable import Workflow
from durable.core.records import WorkerRecord
from durable.errors import StoreUnavailable
from durable.store.memory import MemoryStore


class SlowStore(MemoryStore):
    """A store in which it takes a while to register."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.answered = asyncio.Event()

    def peer(self) -> MemoryStore:
        return self

    async def register(self, worker: WorkerRecord) -> None:
        self.asked.set()
        await self.answered.wait()
        await super().register(worker)


async def test_a_call_of_an_application_that_stops_while_it_opens_its_database_is_told_so():
    """It was told StopAsyncIteration."""
    store = SlowStore()
    app = Workflow("app", db=store)

    @app.workflow
    async def nothing() -> None:
        """End at once."""

    call = asyncio.ensure_future(nothing())
    await store.asked.wait()
    stop = asyncio.ensure_future(app.stop())
    await asyncio.sleep(0)
    store.answered.set()
    with pytest.raises(StoreUnavailable, match="stopped"):
        await call
    await stop
