"""The processes of the campaign `clock`: workers, whose runs wait for times, and who starts those.

Every effect is a line in the ledger: `run label attempt pid moment`, where the moment is the monotonic clock's, which
nobody fakes. A body writes one, too, before it waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from typing import Any, Final

import durable
import durable.store.sqlite.store  # now, before this program forks
from durable import Workflow
from durable.backoff import constant
from durable.runtime.scope import TaskScope, current
from tests.torture._application import Flaky, Ledger, flow, job
from tests.torture._faketime import mend_sleep
from tests.torture._nursery import serve

APP: Final = "clocks"

WAITS_MS: Final[dict[str, tuple[int, ...]]] = {
    "naps": (150, 1_200, 900),
    "plain": (200, 1_100),
    "limit": (300, 1_300),
    "branches": (100, 700, 1_500),
    "postponed": (50,),
    "retry": (),
}
"""Workflows, and how long they wait, in the order in which they ask for it; under a second a run keeps its process."""

KINDS: Final = tuple(WAITS_MS)

POSTPONED_S: Final = 1.1
"""How long after its start a `postponed` run begins."""

BACKOFF_S: Final = {"soon": 0.3, "later": 1.2}
"""Tasks that fail at first, and the wait before they are tried again."""


def make_app(db: str, ledger: Ledger) -> Workflow:
    """Return the application: workflows that wait, and return what `durable.time` said before and after each wait."""
    app = Workflow(APP, db=db, strict=False)

    def line(run_id: str, label: str, attempt: int = 1) -> None:
        ledger.write(run_id, label, attempt, os.getpid(), time.monotonic())

    @app.task
    async def wake(run_id: str, label: str) -> None:
        line(run_id, label)

    @app.task
    async def works(seconds: float) -> None:
        await asyncio.sleep(seconds)

    for name, wait_s in BACKOFF_S.items():

        @app.task(name=name, retries=2, backoff=constant(wait_s))
        async def fails(run_id: str, label: str) -> None:
            scope = current.get()
            assert isinstance(scope, TaskScope)
            attempt = scope.attempt
            line(run_id, label, attempt)
            if attempt <= 2:
                raise Flaky(label, attempt)

    _declare_sequential(app, line)
    _declare_others(app, line)
    return app


def _declare_sequential(app: Workflow, line: Any) -> None:
    wake = job(app, "wake")

    @app.workflow(id="naps-{n}")
    async def naps(n: int) -> list[float]:
        seen = [durable.time()]
        for k, wait_ms in enumerate(WAITS_MS["naps"]):
            line(f"naps-{n}", f"before {k}")
            await (durable.sleep if k % 2 else asyncio.sleep)(wait_ms / 1000)
            seen.append(durable.time())
            await wake(f"naps-{n}", f"after {k}")
        return [*seen, durable.time()]

    @app.workflow(id="plain-{n}")
    def plain(n: int) -> list[float]:
        seen = [durable.time()]
        for k, wait_ms in enumerate(WAITS_MS["plain"]):
            line(f"plain-{n}", f"before {k}")
            durable.sleep(wait_ms / 1000)
            seen.append(durable.time())
            wake.sync(f"plain-{n}", f"after {k}")
        return [*seen, durable.time()]

    @app.workflow(id="limit-{n}")
    async def limit(n: int) -> list[float]:
        seen = [durable.time()]
        for k, wait_ms in enumerate(WAITS_MS["limit"]):
            line(f"limit-{n}", f"before {k}")
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await app.signal(f"never {k}")
            except TimeoutError:
                seen.append(durable.time())
                await wake(f"limit-{n}", f"after {k}")
        return [*seen, durable.time()]


def _declare_others(app: Workflow, line: Any) -> None:
    wake, works = job(app, "wake"), job(app, "works")

    @app.workflow(id="branches-{n}")
    async def branches(n: int) -> list[float]:
        seen = [durable.time()]

        async def branch(k: int, wait_ms: int) -> None:
            line(f"branches-{n}", f"before {k}")
            await asyncio.sleep(wait_ms / 1000)
            seen.append(durable.time())
            await wake(f"branches-{n}", f"after {k}")

        waits = enumerate(WAITS_MS["branches"])
        await asyncio.gather(*(branch(k, wait_ms) for k, wait_ms in waits), works(0.3))
        return [*seen, durable.time()]

    @app.workflow(id="postponed-{n}")
    async def postponed(n: int) -> list[float]:
        line(f"postponed-{n}", "begins")
        seen = [durable.time()]
        line(f"postponed-{n}", "before 0")
        await durable.sleep(WAITS_MS["postponed"][0] / 1000)
        await wake(f"postponed-{n}", "after 0")
        return [*seen, durable.time()]

    @app.workflow(id="retry-{n}")
    async def retry(n: int) -> list[float]:
        seen = [durable.time()]
        for name in BACKOFF_S:
            await job(app, name)(f"retry-{n}", name)
            seen.append(durable.time())
        return seen

    @app.workflow(id="late-{n}")
    async def late(n: int, due_s: float) -> float:
        await durable.sleep(due_s - durable.time())
        return time.time() - due_s


def main(role: list[str]) -> None:
    """Be a worker, or start runs."""
    db, ledger = sys.argv[1], Ledger(sys.argv[2])
    app = make_app(db, ledger)
    _write_warnings(Ledger(sys.argv[2] + ".warnings"))
    match role:
        case ["worker"]:
            asyncio.run(_work(app))
        case ["start", count, gap_s]:
            asyncio.run(_start(app, Ledger(sys.argv[2] + ".acks"), int(count), float(gap_s)))
        case ["start late", count, a_second, after_s]:
            asyncio.run(_start_late(app, int(count), float(a_second), float(after_s)))


def _write_warnings(ledger: Ledger) -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ledger.write(record.getMessage().replace("\n", " "))

    logger = logging.getLogger("durable")
    logger.addHandler(Handler(logging.WARNING))
    logger.propagate = False


async def _work(app: Workflow) -> None:
    async with app:
        await asyncio.Event().wait()


async def _start(app: Workflow, acks: Ledger, count: int, gap_s: float) -> None:
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        begun = time.monotonic()
        delay = {"delay": POSTPONED_S} if kind == "postponed" else {}
        await flow(app, kind).options(**delay).start(number)
        acks.write(f"{kind}-{number}", begun)
        await asyncio.sleep(gap_s)
    await app.stop()


async def _start_late(app: Workflow, count: int, a_second: float, after_s: float) -> None:
    first_s = time.time() + after_s

    async def start(numbers: Any) -> None:
        for number in numbers:
            await flow(app, "late").start(number, first_s + number / a_second)

    numbers = iter(range(count))
    await asyncio.gather(*(start(numbers) for _ in range(min(count, 50))))
    await app.stop()


if __name__ == "__main__":
    mend_sleep()
    serve(main)
