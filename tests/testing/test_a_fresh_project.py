"""What a new user does: a folder of his own, a workflow with a deliberate mistake, and pytest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SHOP = """
from datetime import timedelta

import durable
from durable import Workflow
from durable.backoff import exponential

wf = Workflow("shop", db="sqlite:///shop.db")
mails: list[str] = []  # stands for a mail server


@wf.task(retries=3, backoff=exponential(base=2))
async def charge(order_id: str) -> str:
    raise ConnectionError("no payment service in tests")


@wf.workflow(id="order-{order_id}")
async def order(order_id: str) -> str:
    receipt = await charge(order_id)
    mails.append(f"thank you for {order_id}")  # the mistake: an effect outside a task
    await durable.sleep(timedelta(days=30))
    answer = await wf.signal("review")
    return f"{receipt}: {answer}"
"""

TESTS = """
import time
from datetime import UTC, datetime, timedelta

import pytest

import shop
from durable.testing import CrashMatrixFailed, Fake, crash_matrix, steps_of


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def test_an_order_takes_a_month(durable_app, durable_clock):
    wf = durable_app(shop.wf)
    charged = Fake("receipt 1", fails=[TimeoutError(), TimeoutError()])
    began, real = durable_clock.now, time.perf_counter()
    with wf.override(shop.charge, charged):
        async with wf:
            handle = await shop.order.start("42")
            await durable_clock.advance(days=29)
            assert await handle.status() == "suspended"
            await handle.signal("review", "great")
            assert await handle.result() == "receipt 1: great"
            steps = await steps_of(handle)
    assert steps["charge"].attempts == charged.count == 3
    assert durable_clock.now - began == timedelta(days=30, seconds=2 + 4)
    assert time.perf_counter() - real < 1


async def test_a_second_test_begins_with_nothing(durable_app, durable_clock):
    wf = durable_app(shop.wf)
    assert await wf.runs.list() == []
    with wf.override(shop.charge, Fake("receipt 2")):
        handle = await shop.order.start("42")
        await handle.signal("review", "fine")
        assert await shop.order("42") == "receipt 2: fine"


def test_crashes_change_nothing():
    with shop.wf.override(shop.charge, Fake("receipt 1")):
        crash_matrix(shop.order, "42", signals={"review": "great"}, watch={"mails": shop.mails})


async def test_crashes_change_nothing_on_a_loop():
    with shop.wf.override(shop.charge, Fake("receipt 1")), pytest.raises(CrashMatrixFailed):
        crash_matrix(shop.order, "42", signals={"review": "great"}, watch={"mails": shop.mails})
"""

BEFORE_COROUTINES = {
    "auto": "",
    "strict": "@pytest.mark.asyncio\n",
    "anyio": "@pytest.mark.anyio\n",
}
OPTIONS = {
    "auto": ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"],
    "strict": ["-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"],
    "anyio": ["-p", "no:asyncio"],
}


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as a user does, but with warnings as errors."""
    (folder / "pytest.ini").write_text("[pytest]\n")  # the folder is a project of its own
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("DURABLE", "PYTEST", "COV"))
    }
    command = [sys.executable, "-W", "error", "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-q", *options]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )  # fmt: skip


@pytest.mark.parametrize("mode", OPTIONS)
def test_the_mistake_is_found_between_its_two_lines_and_a_month_takes_no_time(mode, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    tests = re.sub("^async def test", f"{BEFORE_COROUTINES[mode]}async def test", TESTS, flags=re.MULTILINE)
    (tmp_path / "test_shop.py").write_text(tests)
    done = run_pytest(tmp_path, *OPTIONS[mode])
    text = done.stdout
    assert "1 failed, 3 passed" in text, text + done.stderr
    assert "FAILED test_shop.py::test_crashes_change_nothing - " in text
    lines = SHOP.splitlines()
    before = lines.index("    receipt = await charge(order_id)") + 1
    for shown in (
        "`mails: 'thank you for 42'` happened twice, without a crash once",
        f"shop.py:{before}: receipt = await charge(order_id)    (step 1: task 'charge')",
        f"> shop.py:{before + 1}: mails.append(",
        f"shop.py:{before + 2}: await durable.sleep(timedelta(days=30))    (step 2: sleep)",
    ):
        assert shown in text, text
    assert not (tmp_path / "shop.db").exists()
