"""A typed program, as users write it: clean under mypy strict and pyright strict.

A comment after `reveal_type` is what both checkers must say, without module names; `test_types.py` compares.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_type, reveal_type

import durable
from durable import RunHandle, Workflow
from durable.api.context import GeneratorContext
from durable.backoff import exponential

wf = Workflow("typed", db="typed.db", default_retries=2, default_backoff=exponential(base=2, max=60))


@dataclass
class Receipt:
    """What a customer gets."""

    order_id: str
    cents: int


@wf.task
async def charge(order_id: str, cents: int = 0) -> Receipt:
    return Receipt(order_id, cents)


@wf.task(retries=3, timeout=timedelta(seconds=30), retry_on=(OSError, TimeoutError))
async def label(order_id: str) -> str:
    return f"label of {order_id}"


@wf.task
def pack(order_id: str, *, items: list[int]) -> int:
    return len(items)


@wf.task(at_most_once=True)
def weigh(order_id: str) -> float:
    return 1.5


class Shop:
    """A task may be a method."""

    @wf.task
    async def sell(self, item: str) -> bool:
        return bool(item)


@wf.workflow(id="order-{order_id}", timeout=60, version="2")
async def order(order_id: str, cents: int) -> Receipt:
    await reveal_type(charge(order_id, cents))  # Coroutine[Any, Any, Receipt]
    await reveal_type(charge(order_id, step_id="named"))  # Coroutine[Any, Any, Receipt]
    reveal_type(await charge(order_id, cents=cents))  # Receipt
    reveal_type(await charge(order_id, step_id="named"))  # Receipt
    reveal_type(await label(order_id))  # str
    reveal_type(pack(order_id, items=[1]))  # int
    reveal_type(pack(order_id, items=[1], step_id="named"))  # int
    await reveal_type(pack.aio(order_id, items=[1]))  # Coroutine[Any, Any, int]
    reveal_type(await pack.aio(order_id, items=[1], step_id="named"))  # int
    reveal_type(label.sync(order_id))  # str
    reveal_type(weigh("x"))  # float
    reveal_type(await asyncio.gather(charge(order_id), label(order_id)))  # tuple[Receipt, str]
    reveal_type(durable.time())  # float
    reveal_type(await durable.time.aio())  # float
    reveal_type(durable.now())  # datetime
    reveal_type(durable.random())  # float
    reveal_type(durable.uuid4())  # UUID
    reveal_type(durable.run_id())  # str
    reveal_type(durable.patched("change"))  # bool
    await durable.sleep(timedelta(days=1))
    await durable.sleep.aio(5)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(charge(order_id, cents))
    reveal_type(task.result())  # Receipt
    return await charge(order_id, cents)


@wf.workflow
async def bare(pages: int = 1) -> list[str]:
    return ["page"] * pages


@wf.workflow
def plain(order_id: str) -> int:
    reveal_type(bare.sync(2))  # list[str]
    return pack(order_id, items=[1, 2])


@wf.workflow(name="generated")
def generated(ctx: GeneratorContext, number: int) -> Generator[object, object, int]:
    x = yield ctx.run(charge, "42")
    yield ctx.sleep(2)
    return number if x is None else number + 1


async def calls() -> None:
    await reveal_type(order("42", 990))  # Coroutine[Any, Any, Receipt]
    reveal_type(await order(order_id="42", cents=990))  # Receipt
    reveal_type(await order.run("my-id", "42", cents=990))  # Receipt
    reveal_type(await order.aio("42", 990))  # Receipt
    reveal_type(order.sync("42", 990))  # Receipt
    reveal_type(plain("42"))  # int
    reveal_type(plain.run("my-id", "42"))  # int
    reveal_type(await plain.aio("42"))  # int
    reveal_type(await bare())  # list[str]
    reveal_type(await generated(7))  # int
    reveal_type(order.id_for("42", 1))  # str


async def starts() -> None:
    _ = await reveal_type(order.start("42", 990))  # Coroutine[Any, Any, RunHandle[Receipt]]
    handle = await order.start(order_id="42", cents=990)
    _ = reveal_type(handle)  # RunHandle[Receipt]
    reveal_type(await handle)  # Receipt
    reveal_type(await handle.result(timeout=timedelta(minutes=1)))  # Receipt
    reveal_type(await handle.status())  # str
    reveal_type(await handle.cancel("reason"))  # bool
    reveal_type(handle.id)  # str
    _ = reveal_type(await order.start("42", 990, delay=60, tags={"customer": "ada"}))  # RunHandle[Receipt]
    _ = reveal_type(await order.options(at=datetime.now().astimezone()).start("42", 990))  # RunHandle[Receipt]
    reveal_type(await order.options(id=durable.unique)("42", 990))  # Receipt
    _ = reveal_type(await plain.start("42"))  # RunHandle[int]
    _ = reveal_type(wf.handle("some-id"))  # RunHandle[Any]
    reveal_type(await wf.complete("order-42", "approval", {"by": "ada"}))  # bool


async def holds() -> None:
    """The same as assertions, which fail at the line that is wrong."""
    _: Coroutine[Any, Any, Receipt] = charge("42")
    await _
    assert_type(await charge("42", step_id="one"), Receipt)
    assert_type(pack("42", items=[]), int)
    assert_type(await order("42", 1), Receipt)
    await assert_type(await order.start("42", 1), RunHandle[Receipt])
    assert_type(await (await order.start("42", 1)).result(), Receipt)
    assert_type(await (await bare.start()).result(), list[str])
    assert_type(durable.uuid4(), uuid.UUID)
    async with wf as same:
        assert_type(same, Workflow)
