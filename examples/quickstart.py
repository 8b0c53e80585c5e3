"""The smallest useful program. Kill it in the middle, run it again: it goes on where it was.

    python examples/quickstart.py

Its database is ./durable.db; without that file it begins anew.
"""

import asyncio

import durable
from durable import Workflow
from durable.backoff import exponential

wf = Workflow("quickstart")  # its runs are kept in ./durable.db


@wf.task(retries=3, backoff=exponential(base=2, max=60), timeout=30)
async def charge(order_id: str, cents: int) -> str:
    print(f"charging {cents} cents", flush=True)
    return f"receipt-{order_id}"


@wf.task
async def pack(order_id: str) -> None:
    print("packing", flush=True)


@wf.task
async def label(order_id: str) -> None:
    print("labelling", flush=True)


@wf.workflow(id="order-{order_id}")
async def order(order_id: str, cents: int) -> str:
    receipt = await charge(order_id, cents)  # recorded: never charged again, whatever happens from here on
    await durable.sleep(3)  # ends when it was going to end, also if the process is dead meanwhile
    await asyncio.gather(pack(order_id), label(order_id))
    return receipt


if __name__ == "__main__":
    print(asyncio.run(order(order_id="42", cents=990)))
