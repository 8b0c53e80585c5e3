"""The processes of the campaigns `kill` and `stopped`: workers, and callers of one workflow."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

from durable import Workflow
from durable.store.sqlite import Limits, SQLiteRunStore
from tests.torture._application import Ledger, flow, make_app
from tests.torture._nursery import serve


def main(role: list[str]) -> None:
    """Be a worker, which may be told after how many seconds a worker that is stopped is dead, or call one workflow."""
    logging.getLogger("durable").setLevel(logging.ERROR)  # deaths are what this is about
    if role[0] == "worker":
        limits = Limits(stopped_s=float(role[1])) if len(role) > 1 else None
        store = SQLiteRunStore(sys.argv[1], limits=limits)
        asyncio.run(_work(make_app(store, Ledger(sys.argv[2]))))
        return
    app = make_app(sys.argv[1], Ledger(sys.argv[2]))
    _, kind, run_id, n = role
    call = flow(app, kind).options(id=run_id)
    result = asyncio.run(_call(call, int(n)))
    Ledger(sys.argv[2] + ".acks").write(run_id, json.dumps(result))


async def _call(call: Any, n: int) -> Any:
    try:
        return await call(n)
    except Exception as error:  # whatever it is, the campaign compares it with what was to be expected
        return f"{type(error).__name__}: {error}"


async def _work(app: Workflow) -> None:
    async with app:
        await asyncio.Event().wait()


if __name__ == "__main__":
    serve(main)
