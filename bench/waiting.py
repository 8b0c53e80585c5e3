"""Waiting for what only the database tells."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(question: Callable[[], Awaitable[bool]], every_s: float) -> None:
    """Return when the answer is yes; ask again and again."""
    while not await question():  # noqa: ASYNC110 - what it waits for happens in other processes and in the store
        await asyncio.sleep(every_s)
