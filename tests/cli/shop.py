"""The user's code in tests of the command line: copied to where a command runs, and imported there."""

import asyncio
import enum
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import durable
from durable import Workflow
from durable.backoff import constant
from durable.runtime.clock import Alarm, SystemClock


class Past(SystemClock):
    """A clock that was left behind: what it times happened some days ago."""

    def __init__(self, days: int) -> None:
        self._behind = days * 86_400_000

    def now_ms(self) -> int:
        return super().now_ms() - self._behind

    def has_come(self, at_ms: int) -> bool:
        return super().has_come(at_ms + self._behind)

    def ring_at(self, at_ms: int, callback: Callable[[], object]) -> Alarm:
        return super().ring_at(at_ms + self._behind, callback)


wf = Workflow("shop", default_backoff=constant(0.01), clock=Past(int(os.environ.get("SHOP_DAYS_AGO", "0"))))


@dataclass
class Receipt:
    order_id: str
    cents: int


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


def note(line: str) -> None:
    """Append to the ledger, in one write."""
    with open("ledger", "ab", buffering=0) as ledger:
        ledger.write(f"{line}\n".encode())


async def gate(name: str) -> None:
    """Wait until the test creates a file."""
    while not os.path.exists(name):  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(0.01)


@wf.task
async def charge(order_id: str, cents: int) -> Receipt:
    note(f"charge {order_id}")
    return Receipt(order_id, cents)


@wf.task(retries=2)
async def flaky(name: str) -> str:
    note(f"flaky {name}")
    if Path("ledger").read_text().count(f"flaky {name}\n") < 2:
        raise ConnectionError("refused \x1b[31mred")
    return "ok"


@wf.task(retries=0)
async def broken(text: str) -> None:
    if not os.path.exists("mended"):
        raise ValueError(text)


@wf.task
async def item(number: int) -> int:
    if number >= 2:
        await gate(f"gate-{number}")
    note(f"item {number}")
    return number


@wf.workflow(id="order-{order_id}")
async def order(order_id: str, cents: int = 0) -> Receipt:
    return await charge(order_id, cents)


@wf.workflow(id="bad-{text}")
async def bad(text: str) -> None:
    await charge(text, 1)
    await broken(text)


@wf.task
async def refund(text: str) -> None:
    note(f"refund {text}")


@wf.workflow(id="repaid-{text}")
async def repaid(text: str) -> None:
    try:
        await broken(text)
    finally:
        await refund(text)


@wf.workflow(id="retried-{name}")
async def retried(name: str) -> str:
    durable.progress(1, 2, "half")
    return await flaky(name)


@wf.workflow(id="items-{count}")
async def items(count: int) -> int:
    return sum([await item(number) for number in range(count)])


@wf.workflow(id="approval-{order_id}")
async def approval(order_id: str) -> object:
    return await wf.signal("approval")


@wf.workflow(id="inbox-{name}")
async def inbox(name: str) -> list[object]:
    return [await wf.receive("mail"), await wf.receive("mail")]


@wf.workflow(id="stuck-{name}")
async def stuck(name: str) -> None:
    await asyncio.Event().wait()


@wf.workflow(id="naps-{name}")
async def naps(name: str) -> None:
    await durable.sleep(86_400)


@wf.workflow(id=durable.unique)
async def fresh() -> str:
    return await wf.signal("approval")


@wf.workflow
def plain(number: int) -> int:
    return number + 1


@wf.workflow(id="secret-{name}")
async def odd(name: str) -> object:
    return {"nan": float("nan"), "text": "a\x1b[31m\nb", "pair": (1, 2)}


@wf.workflow(id="typed")
async def typed(
    text: str = "", number: int = 0, ratio: float = 0.0, flag: bool = False, size: Size = Size.SMALL,
    receipt: Receipt | None = None, many: list[int] | None = None, anything=None, /, **more: str,
) -> str:  # fmt: skip
    return repr((text, number, ratio, flag, size, receipt, many, anything, more))


def helper() -> None:
    """Neither a task nor a workflow."""
