"""A web application whose orders survive it: requests start runs and send signals, the same process executes them.

    python examples/fastapi_app.py            # then look at http://127.0.0.1:8000/docs

    curl -X POST localhost:8000/orders -H 'content-type: application/json' -d '{"order_id": "42", "cents": 990}'
    curl localhost:8000/orders/42
    curl -X POST localhost:8000/orders/42/approval -H 'content-type: application/json' -d '{"by": "ada"}'
    curl 'localhost:8000/orders/42?wait=5'

Kill it with kill -9 between any two of these lines and start it again. Several such processes on one database share
the work. Needs `pip install '.[examples]'`. The database is ./durable.db; the warehouse's book is ./warehouse.txt.
"""

import argparse
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import FastAPI, HTTPException, Query
from pydantic import BaseModel, Field

import durable
from durable import Workflow

WAREHOUSE = Path("warehouse.txt")

wf = Workflow("shop")


class NewOrder(BaseModel):
    order_id: str = Field(pattern=r"^[\w-]{1,40}$")
    cents: int = Field(gt=0)


class Approval(BaseModel):
    by: str


class Shipment(BaseModel):
    order_id: str
    approved_by: str


class OrderState(BaseModel):
    id: str
    state: str
    shipment: Shipment | None = None


# What is durable ------------------------------------------------------------------------------------------------------


@wf.task
async def reserve(order_id: str) -> None:
    with WAREHOUSE.open("a") as book:
        book.write(f"reserved {order_id}\n")


@wf.task
async def ship(order_id: str) -> None:
    with WAREHOUSE.open("a") as book:
        book.write(f"shipped {order_id}\n")


@wf.workflow(id="order-{order_id}")
async def order(order_id: str, cents: int) -> Shipment:
    await reserve(order_id)
    durable.logger.info("order %s waits for its approval", order_id)
    approval: Approval = await wf.signal("approval", result_type=Approval)
    await ship(order_id)
    return Shipment(order_id=order_id, approved_by=approval.by)


# What is on the web ---------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    # A worker for as long as the application lives. It takes up what a predecessor left, and on shutdown hands back
    # what is open.
    async with wf:
        yield


app = FastAPI(title="A durable shop", lifespan=lifespan)


@app.post("/orders", status_code=202)
async def place(new: NewOrder) -> OrderState:
    # The answer goes out when the run is on disk, not when it is done. The same request again finds the same run: a
    # client that got no answer simply repeats it.
    try:
        handle = await order.start(new.order_id, new.cents)
    except durable.InputMismatch as error:
        raise HTTPException(409, str(error)) from error
    return OrderState(id=handle.id, state=await handle.status())


@app.get("/orders/{order_id}")
async def look(order_id: str, wait: Annotated[float, Query(ge=0, le=30)] = 0) -> OrderState:
    handle: durable.RunHandle[Shipment] = wf.handle(f"order-{order_id}")
    try:
        if wait:
            # A long poll: the answer comes as soon as the order has ended, or after `wait` seconds as it is then.
            with contextlib.suppress(TimeoutError):
                await handle.result(timeout=wait)
        state = await handle.status()
        return OrderState(id=handle.id, state=state, shipment=await handle if state == "succeeded" else None)
    except durable.RunNotFound as error:
        raise HTTPException(404, str(error)) from error


@app.post("/orders/{order_id}/approval")
async def approve(order_id: str, approval: Approval) -> dict[str, bool]:
    # Delivered once: whoever comes second learns that they did. The order may wait already, or later.
    return {"first": await wf.complete(f"order-{order_id}", "approval", approval)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A durable shop.")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("durable.workflow").setLevel(logging.INFO)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port)
