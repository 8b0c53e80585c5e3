"""Steps one after the other, with arguments and results of many types, a sleep and a signal."""

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

import durable
from tests.check.stage import application, job
from tests.support.replaying import Event

wf = application()


class Size(Enum):
    SMALL = 1
    LARGE = 2


@dataclass
class Receipt:
    order: str
    cents: int


@wf.task(retries=0)
async def charge(order: str, cents: int, currency: str = "EUR") -> Receipt:
    await job(20)
    return Receipt(order, cents)


@wf.task(retries=0)
async def reserve(item: str, size: Size, weight: float) -> list[int]:
    await job(10)
    return [1, 2, 3]


@wf.task(retries=0)
async def measure(item: str) -> Size:
    await job(5)
    return Size.LARGE


@wf.task(retries=0)
async def invoice(amount: Decimal, lines: list[int], extra: dict[str, int]) -> bytes:
    await job(15)
    return b"pdf"


@wf.task(retries=0)
async def mail(address: str, attachment: bytes) -> bool:
    await job(5)
    return True


@wf.workflow
async def main() -> list[object]:
    receipt = await charge("A-1", 990)
    size = await measure("shoe")
    lines = await reserve("shoe", size, 1.5)
    await durable.sleep(3600)
    document = await invoice(Decimal("9.90"), lines, {"vat": 20})
    sent = await mail("ada@example.org", document)
    answer = await wf.signal("approval")
    last = await charge("A-2", 100, currency="USD")
    return [receipt.cents, sent, answer, last.order]


EVENTS = (Event(9_000_000, lambda wf: wf.complete("run", "approval", "yes")),)
