"""A data pipeline: fetch, then save item by item, each one a checkpoint with a name of its own.

    python examples/pipeline.py users

Kill it, run it again: nothing is fetched again, and only what was not saved yet is saved. Another source, another run.
"""

import asyncio
import sys
from pathlib import Path

from pydantic import BaseModel

from durable import Workflow
from durable.backoff import exponential

SAVED = Path("saved.txt")

wf = Workflow("my-app")


class Item(BaseModel):
    number: int
    title: str


class Batch(BaseModel):
    source: str
    items: list[Item]


@wf.task(retries=3, backoff=exponential(base=2, max=60))
async def fetch_data(source: str) -> Batch:
    # Stands for a slow request. What it returns is recorded, and is a Batch again when it is read back.
    print(f"fetching {source}", flush=True)
    await asyncio.sleep(0.5)
    return Batch(source=source, items=[Item(number=n, title=f"{source} {n}") for n in range(12)])


@wf.task
async def save_result(item: Item) -> str:
    await asyncio.sleep(0.1)
    with SAVED.open("a") as file:
        file.write(f"{item.title}\n")
    print(f"saved {item.title}", flush=True)
    return f"row-{item.number}"


@wf.workflow(id="pipeline-{source}")
async def run_pipeline(source: str) -> list[str]:
    data = await fetch_data(source)
    rows = []
    for i, item in enumerate(data.items):
        # Without step_id a step is known by its place in the order of calls. With one it is known by that name, and
        # steps may be added or moved between two runs of the program.
        rows.append(await save_result(item, step_id=f"item-{i}"))
    return rows


if __name__ == "__main__":
    rows = asyncio.run(run_pipeline(source=sys.argv[1] if len(sys.argv) > 1 else "users"))
    print(f"{len(rows)} rows, from {rows[0]} to {rows[-1]}")
