"""An order: charge, wait, ask somebody, pack and label at once; refund when anything goes wrong after the charge.

    python examples/orders.py run 42          # until it is approved; kill it anywhere and run it again
    python examples/orders.py approve 42      # from another terminal, before, during or after (--refuse: the other way)
    python examples/orders.py status 42

Everything is kept in the working directory: durable's database in ./durable.db, and what the outside world saw (a
payment service, a warehouse) in ./account.txt and ./warehouse.txt. `--item unicorn` orders something that is not there.
"""

import argparse
import asyncio
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import durable
from durable import Workflow
from durable.backoff import constant

REQUESTS = Path("payment-requests.txt")
ACCOUNT = Path("account.txt")
WAREHOUSE = Path("warehouse.txt")

wf = Workflow("orders")


# The outside world ----------------------------------------------------------------------------------------------------


class ServiceDown(Exception):
    pass


class Refused(Exception):
    pass


class OutOfStock(Exception):
    pass


def append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


class PaymentService:
    """A payment service on a bad day, which is the same one for each order.

    The first request for a key never arrives. The second one takes the money, and then the answer is lost: the caller
    cannot know. The third one finds its key in the account, and takes nothing.
    """

    def charge(self, key: str, order_id: str, cents: int) -> str:
        append(REQUESTS, key)
        if lines(REQUESTS).count(key) == 1:
            self.fail("connection refused")
        if self.book(key, order_id, cents):
            self.fail("the answer was lost")
        return f"receipt-{key[:8]}"

    def refund(self, key: str, order_id: str, cents: int) -> None:
        self.book(key, order_id, -cents)

    def fail(self, text: str) -> None:
        print(f"payment service: {text}", flush=True)
        raise ServiceDown(text)

    def book(self, key: str, order_id: str, cents: int) -> bool:
        is_new = not any(line.startswith(key) for line in lines(ACCOUNT))
        if is_new:
            append(ACCOUNT, f"{key} order {order_id} {cents:+}")
        return is_new


# The order ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Receipt:
    order_id: str
    payment: str
    approved_by: str


@wf.task(retries=5, backoff=constant(0.2), retry_on=ServiceDown)
async def charge(order_id: str, cents: int) -> str:
    # The key is the same for every attempt of this step, and another one for every other step. Without it, the second
    # and third request would both take the money.
    return PaymentService().charge(durable.idempotency_key(), order_id, cents)


@wf.task
async def refund(order_id: str, cents: int) -> None:
    PaymentService().refund(durable.idempotency_key(), order_id, cents)


@wf.task(give_up_on=OutOfStock)
async def pack(order_id: str, item: str) -> None:
    if item == "unicorn":
        raise OutOfStock(item)  # trying again would not make one
    append(WAREHOUSE, f"packed {item} for order {order_id}")


@wf.task
async def label(order_id: str) -> None:
    append(WAREHOUSE, f"labelled order {order_id}")


@wf.workflow(id="order-{order_id}")
async def order(order_id: str, item: str, cents: int, wait: float) -> Receipt:
    payment = await charge(order_id, cents)
    durable.logger.info("charged; the customer may change their mind for %g s", wait)
    try:
        # A row in the database. Days would cost no more, and the deadline stays where it is over any number of crashes.
        await durable.sleep(wait)
        durable.logger.info("waiting for: python examples/orders.py approve %s", order_id)
        answer = await wf.signal("approval")
        if not answer["approved"]:
            raise Refused(f"by {answer['by']}")
        # Both at once. When one fails, the other is cancelled; it may have taken effect all the same.
        async with asyncio.TaskGroup() as group:
            group.create_task(pack(order_id, item))
            group.create_task(label(order_id))
    except (Exception, asyncio.CancelledError):
        # Compensation is ordinary code. It runs when a step failed, when somebody said no, and when the run is
        # cancelled (`durable runs cancel order-42`); and after a crash in here, it goes on in here.
        durable.logger.info("refunding")
        await refund(order_id, cents)
        raise
    return Receipt(order_id, payment, answer["by"])


# The command line -----------------------------------------------------------------------------------------------------


async def run(order_id: str, item: str, cents: int, wait: float) -> int:
    print(f"order {order_id} in process {os.getpid()}", flush=True)
    began = time.monotonic()
    try:
        receipt = await order(order_id, item, cents, wait)
    except (Refused, ExceptionGroup, durable.RunError) as error:  # a TaskGroup raises groups
        print(f"the order came to nothing: {error!r}")
        return 1
    print(f"{receipt} after {time.monotonic() - began:.1f} s")
    return 0


async def approve(order_id: str, *, refuse: bool) -> int:
    answer = {"approved": not refuse, "by": os.environ.get("USER", "somebody")}
    first = await wf.complete(f"order-{order_id}", "approval", answer)
    print("noted" if first else "somebody answered before; the first answer stands")
    return 0


async def status(order_id: str) -> int:
    handle = wf.handle(f"order-{order_id}")
    print(f"{handle.id}: {await handle.status()}")
    for event in await wf.runs.history(handle.id):
        outcome = repr(event.error or event.value).removeprefix("None")
        print(f"  {event.at:%H:%M:%S}  {event.kind:<8} {event.name:<9} {event.status:<6} {outcome}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="An order that survives crashes.")
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="take an order to its end")
    running.add_argument("--item", default="teapot")
    running.add_argument("--cents", type=int, default=990)
    running.add_argument("--wait", type=float, default=3.0, metavar="SECONDS", help="time to change one's mind")
    approving = commands.add_parser("approve", help="say yes to an order")
    approving.add_argument("--refuse", action="store_true", help="say no")
    looking = commands.add_parser("status", help="show what happened so far")
    for command in (running, approving, looking):
        command.add_argument("order_id", metavar="ORDER")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("durable.workflow").setLevel(logging.INFO)
    try:
        if options.command == "run":
            return asyncio.run(run(options.order_id, options.item, options.cents, options.wait))
        if options.command == "approve":
            return asyncio.run(approve(options.order_id, refuse=options.refuse))
        return asyncio.run(status(options.order_id))
    except durable.UsageError as error:  # no such order, or the same order with other arguments
        print(error)
        return 2


if __name__ == "__main__":
    sys.exit(main())
