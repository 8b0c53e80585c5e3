"""The order pipeline: killed between and in its steps, approved early and late, refused, out of stock, cancelled."""

import asyncio
from collections import Counter

from durable import Workflow
from tests.examples.support import Launcher, until_state

SCRIPT = "orders.py"


def bookings(start: Launcher) -> list[str]:
    """Return what the payment service booked, without its keys."""
    return [line.partition(" ")[2] for line in start.lines_of("account.txt")]


def warehouse(start: Launcher) -> list[str]:
    return sorted(start.lines_of("warehouse.txt"))


def test_an_order_killed_while_it_waits_is_charged_and_packed_once(start):
    first = start(SCRIPT, "run", "42", "--wait", "0")
    first.wait_for("waiting for")
    first.kill()
    second = start(SCRIPT, "run", "42", "--wait", "0")
    second.wait_for("order 42 in process")
    assert start(SCRIPT, "approve", "42").output() == ["noted"]
    assert "Receipt(order_id='42'" in second.output()[-1]
    assert bookings(start) == ["order 42 +990"]
    assert warehouse(start) == ["labelled order 42", "packed teapot for order 42"]


def test_an_order_killed_between_the_attempts_of_a_task_keeps_its_idempotency_key(start):
    """Covers: A4, A15"""
    first = start(SCRIPT, "run", "42", "--wait", "0")
    first.wait_for("the answer was lost")
    first.kill()
    start(SCRIPT, "approve", "42").output()
    start(SCRIPT, "run", "42", "--wait", "0").output()
    [key] = Counter(start.lines_of("payment-requests.txt"))
    assert start.lines_of("account.txt") == [f"{key} order 42 +990"]


def test_an_approval_may_come_before_the_order_and_the_first_one_stands(start):
    assert start(SCRIPT, "approve", "42").output() == ["noted"]
    assert start(SCRIPT, "approve", "42", "--refuse").output() == ["somebody answered before; the first answer stands"]
    assert "Receipt" in start(SCRIPT, "run", "42", "--wait", "0").output()[-1]


def test_a_refused_order_is_refunded(start):
    start(SCRIPT, "approve", "42", "--refuse").output()
    assert "came to nothing: Refused" in start(SCRIPT, "run", "42", "--wait", "0").output(1)[-1]
    assert bookings(start) == ["order 42 +990", "order 42 -990"]
    assert warehouse(start) == []


def test_an_order_for_what_is_not_there_is_refunded_and_not_tried_again_by_itself(start):
    start(SCRIPT, "approve", "42").output()
    arguments = ("run", "42", "--wait", "0", "--item", "unicorn")
    assert "OutOfStock('unicorn')" in start(SCRIPT, *arguments).output(1)[-1]
    assert "RunFailed" in start(SCRIPT, *arguments).output(1)[-1]
    assert bookings(start) == ["order 42 +990", "order 42 -990"]
    assert "packed unicorn for order 42" not in warehouse(start)


def test_a_cancelled_order_is_refunded(start):
    running = start(SCRIPT, "run", "42", "--wait", "3600")
    running.wait_for("charged")

    async def cancel() -> None:
        wf = Workflow("orders", db=start.folder / "durable.db")
        await until_state(wf, "order-42", "suspended")
        assert await wf.runs.cancel("order-42", reason="changed their mind")
        await wf.stop()

    asyncio.run(cancel())
    assert "RunCancelled" in running.output(1)[-1]
    assert bookings(start) == ["order 42 +990", "order 42 -990"]


def test_status_shows_what_happened(start):
    start(SCRIPT, "approve", "42").output()
    start(SCRIPT, "run", "42", "--wait", "0").output()
    head, *events = start(SCRIPT, "status", "42").output()
    assert head == "order-42: succeeded"
    assert sum("ServiceDown" in line for line in events) == 2
    assert {line.split()[2] for line in events} >= {"start", "charge", "sleep", "approval", "pack", "label", "finish"}


def test_an_order_that_does_not_exist_and_one_with_other_arguments_are_told(start):
    assert "run 'order-42' does not exist" in start(SCRIPT, "status", "42").output(2)[-1]
    start(SCRIPT, "approve", "42").output()
    start(SCRIPT, "run", "42", "--wait", "0").output()
    said = start(SCRIPT, "run", "42", "--wait", "0", "--cents", "1").output(2)
    assert "was started with other arguments" in said[-1]
