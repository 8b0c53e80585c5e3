"""A body that keeps its worker's loop for long: told with where it came to, and what to do.

Covers: E3
"""

from __future__ import annotations

import logging
import time

from durable.runtime import activation


async def test_a_body_that_blocks_is_told_with_the_time_and_the_place_it_came_to(app, caplog, monkeypatch):
    caplog.set_level(logging.WARNING, "durable.workflow")
    monkeypatch.setattr(activation, "SLOW_PUMP_SECONDS", 0.0)

    @app.task
    async def nothing() -> None: ...

    @app.workflow(id="run")
    async def blocks() -> None:
        time.sleep(0.06)
        await nothing()

    await blocks()
    first = next(r.getMessage() for r in caplog.records if "kept its worker's loop" in r.getMessage())
    assert "run 'run' kept its worker's loop for 0.1 s" in first
    assert f"before it came to blocks: {__file__}:" in first
    assert "into a task, a plain (def) one for what blocks" in first
