"""The reference workload: one run of each kind, executed by one process while something goes wrong, then judged.

    act(db, ledger)        in the process that the fault hits: starts, asks, awaits, writes down what is acknowledged
    judge(db, ledger, …)   in another process, without faults: looks, lets a worker finish what is left, compares

The acknowledgements are lines in `LEDGER.acks`, written when the call had returned: `started run`, `signalled run`,
`sent run number`, `cancelled run`, `result run json`, `stopped`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from durable import OutcomeUnknown, StoreUnavailable, Workflow
from durable.core.records import Kind, Requests, RunRecord, RunState, signal_id
from tests.torture._application import APP, MESSAGES, Ledger, flow, make_app
from tests.torture._witness import Watched, Witness, fault_free

T = TypeVar("T")

PAUSE_S: Final = 0.001
"""How long a task takes: there are many rounds."""

Runs = tuple[tuple[str, int], ...]

RUNS: Final[Runs] = (
    ("steps", 1), ("threaded", 1), ("branches", 1), ("retries", 2), ("waits_for_retry", 1), ("at_most_once", 1),
    ("sleeper", 1), ("approval", 1), ("mailbox", 1), ("rounds", 1), ("nested", 2), ("doomed", 2),
)  # fmt: skip
"""Workflows and their arguments."""

CALL_AGAIN_S: Final = 0.05
"""What a client waits before it repeats a call that the store could not take."""


def run_id_of(kind: str, n: int) -> str:
    """Return the id of the run that a workload starts for this kind."""
    return f"{kind}-{n}"


class Client:
    """Calls an application as a patient client does, and writes down what is acknowledged."""

    def __init__(self, app: Workflow, acks: Ledger, patience: int = 0) -> None:
        self.app, self._acks, self._patience = app, acks, patience
        self.refused = 0
        """Calls that were refused because the store did not accept them, and made again."""

    async def _surely(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except (StoreUnavailable, OutcomeUnknown):
                if self.refused >= self._patience:
                    raise
                self.refused += 1
                await asyncio.sleep(CALL_AGAIN_S)

    async def play(self, runs: Runs) -> None:
        """Start everything, ask what there is to ask, and await all results."""
        await asyncio.gather(*(self._play(kind, n) for kind, n in runs))

    async def _play(self, kind: str, n: int) -> None:
        run_id = run_id_of(kind, n)
        handle = await self._surely(lambda: flow(self.app, kind).start(n, id=run_id))
        self._acks.write("started", run_id)
        await self._ask(kind, run_id, n)
        try:
            result: object = await self._surely(handle.result)
        except Exception as error:
            if kind != "doomed" or type(error).__name__ != "RunCancelled":
                raise
            result = f"{type(error).__name__}: {error}"
        self._acks.write("result", run_id, json.dumps(result))

    async def _ask(self, kind: str, run_id: str, n: int) -> None:
        if kind == "approval":
            await self._surely(lambda: self.app.complete(run_id, "go", {"n": n}))
            self._acks.write("signalled", run_id)
        elif kind == "mailbox":
            for number in range(MESSAGES):
                await self._surely(lambda number=number: self._send(run_id, number))  # type: ignore[misc]
                self._acks.write("sent", run_id, number)
        elif kind == "doomed":
            await asyncio.sleep(0.02)
            await self._surely(lambda: self.app.runs.cancel(run_id))
            self._acks.write("cancelled", run_id)

    async def _send(self, run_id: str, number: int) -> None:
        await self.app.send(run_id, "news", number, id=f"{run_id} {number}")


async def act(db: object, ledger: str, *, runs: Runs = RUNS, patience: int = 0) -> int:
    """Play the workload in this process; return 0.

    Args:
        db: The database.
        ledger: Where tasks write what they do.
        runs: What to execute.
        patience: Most calls to make again when the store does not accept them.
    """
    acks = Ledger(ledger + ".acks")
    app = make_app(db, Ledger(ledger), pause_s=PAUSE_S)
    client = Client(app, acks, patience)
    async with app:
        await client.play(runs)
    acks.write("stopped")
    return 0


# Judging --------------------------------------------------------------------------------------------------------------


def acknowledged(ledger: str) -> list[list[str]]:
    """Return what was acknowledged, in order; a line that was cut short was not."""
    try:
        with open(ledger + ".acks") as file:
            return [line.rstrip("\n").split("\t") for line in file if line.endswith("\n")]
    except FileNotFoundError:
        return []


class Judge:
    """Looks at a database after the fault, lets the work come to its end, and compares."""

    def __init__(self, db: object, ledger: str, dead: set[int], runs: Runs, patience_s: float) -> None:
        self.app = make_app(db, Ledger(ledger), pause_s=PAUSE_S)
        self.witness = Witness(self.app, ledger)
        self.witness.killed |= dead
        self._acks = acknowledged(ledger)
        self._runs = runs
        self._expected = fault_free(runs)
        self._patience_s = patience_s

    async def judge(self) -> list[str]:
        """Return the promises that were broken."""
        witness = self.witness
        for kind, n in self._runs:
            witness.watch(run_id_of(kind, n), kind, n)
        try:
            await witness.look()
            await self._check_acknowledged()
            await self._ask_again()
            async with self.app:
                await witness.come_to_the_end(_nothing, patience_s=self._patience_s)
                results = {words[1]: json.loads(words[2]) for words in self._acks if words[0] == "result"}
                await witness.check(self._expected, results)
        finally:
            await self.app.stop()
        return witness.violations

    async def _check_acknowledged(self) -> None:
        """Look whether everything that was acknowledged is there (O1), before anybody executes anything."""
        for what, *words in self._acks:
            if what != "stopped" and not await self._is_there(what, *words):
                self.witness.wrong(words[0], f"{' '.join((what, *words[1:]))} was acknowledged and is lost")

    async def _is_there(self, what: str, run_id: str, detail: str = "") -> bool:
        record = await self.witness.record(run_id)
        if record is None:
            return False
        store = (await self.app._engine()).store
        match what:
            case "signalled":
                return await store.promise(APP, signal_id(run_id, "go")) is not None
            case "cancelled":
                return await self._is_cancelled(record)
            case "result":
                return record.state.is_final
        # Messages are compared in the end: the result of their run lists them all, once, in order.
        return True

    async def _is_cancelled(self, record: RunRecord) -> bool:
        journal = await (await self.app._engine()).store.journal(record.key)
        was_applied = any(entry.kind is Kind.RUN and entry.name == "cancel" for entry in journal)
        return was_applied or bool(record.requests & Requests.CANCEL) or record.state is RunState.CANCELLED

    async def _ask_again(self) -> None:
        """Do what a client does that got no answer: the same again, under the same ids."""
        asked = {(words[0], *words[1:3]) for words in self._acks}
        for kind, n in self._runs:
            run_id = run_id_of(kind, n)
            run = self.witness.runs[run_id]
            if ("started", run_id) not in asked:
                await flow(self.app, kind).start(n, id=run_id)
            await self._ask_run_again(kind, run_id, run, asked)

    async def _ask_run_again(self, kind: str, run_id: str, run: Watched, asked: set[Any]) -> None:
        if kind == "approval" and ("signalled", run_id) not in asked:
            # It may have been delivered before, without an answer: then this says False.
            await self.app.complete(run_id, "go", {"n": run.n})
        if kind == "mailbox" and run_id in self.witness.open:
            run.sent = sum(("sent", run_id, str(number)) in asked for number in range(MESSAGES))
            while run.sent < MESSAGES:
                await self.witness.send(run_id, run)
        if kind == "doomed" and ("cancelled", run_id) not in asked:
            record = await self.witness.record(run_id)
            # Asked again after it was applied, it would be another cancellation, of the compensation.
            if record is None or not await self._is_cancelled(record):
                await self.witness.cancel(run_id, run)


async def _nothing() -> None:
    pass


def judge(db: str, ledger: str, dead: set[int], *, runs: Runs = RUNS, patience_s: float = 20.0) -> list[str]:
    """Return the promises that were broken on a database, after finishing what was left to do.

    Args:
        db: The database.
        ledger: Where tasks wrote what they did.
        dead: Processes that died; what they were at may be repeated.
        runs: What was to be executed.
        patience_s: Longest time for all runs to end.
    """
    if not os.path.exists(ledger):
        Ledger(ledger)
    return asyncio.run(Judge(db, ledger, dead, runs, patience_s).judge())
