"""Sees what is acknowledged, recorded and executed, and says which promise was broken.

A campaign tells the witness which runs it starts and what it asks of them, and lets it `look` now and then: the witness
reads the journals, and how long the ledger is at that moment. Whatever the ledger gets from then on happened after what
was seen. In the end `check` compares all of it with a play without faults:

- O1  what was acknowledged is there;
- O2  a recorded entry never changes;
- O3  the entries of a journal were written under epochs that only grow;
- O4  every run comes to its end (the campaign waits with `come_to_the_end`);
- O5  an attempt that was recorded is not executed again, an attempt is repeated only after the death of the process
      that made it, an at-most-once task never;
- O6  a result is what it would have been without faults.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from durable import InMemoryStore, Workflow
from durable.core.records import Entry, Kind, RunRecord, RunState, Status
from tests.support.clock import VirtualClock
from tests.torture._application import APP, KINDS, MESSAGES, Flaky, Ledger, flow, make_app

NUMBERS: Final = 6
"""Arguments that workflows are called with: 0 to 5."""

PATIENCE_S: Final = 60.0

QUIET_AFTER_S: Final = 0.3
"""Time that an attempt which was released before a cancellation may take to write its line."""

Attempt = tuple[str, str, int]
"""Run, label and number of an attempt."""


@dataclass
class Watched:
    """A run that was started, and what its journal has shown."""

    kind: str
    n: int
    entries: list[Entry] = field(default_factory=list)
    continuation: int = 0
    signalled: bool = False
    sent: int = 0
    has_ended: bool = False
    cancelled_at: float = 0.0
    """When its cancellation was acknowledged, by the monotonic clock."""
    quiet_from: int = sys.maxsize
    """Size of the ledger from which on no step but its compensation may begin."""
    ended_from: int = sys.maxsize
    """Size of the ledger from which on nothing may happen: its end was seen."""


class Witness:
    """Watches the runs of one database through an application of its own.

    Args:
        app: The application that `make_app` makes, on the database to watch.
        ledger: The file in which its tasks write what they do.
    """

    def __init__(self, app: Workflow, ledger: str) -> None:
        self.app, self.ledger = app, ledger
        self.runs: dict[str, Watched] = {}
        self.open: dict[str, Watched] = {}
        self.killed: set[int] = set()
        """Processes that have died: what they were at may be repeated."""
        self.replaced: dict[int, int] = {}
        """Processes that live, but were taken for dead when the ledger had this size: what they began before may be
        repeated."""
        self.late: list[str] = []
        """What they began when they had lost it. One may be stopped between its look whether a run is its own and the
        first line of the task. That is a matter of microseconds; who counts these has to say how many are too many."""
        self.recorded: dict[Attempt, int] = {}
        """Size of the ledger when an attempt was first seen in a journal."""
        self.repeated = self.poisoned = 0
        self.violations: list[str] = []

    def wrong(self, run_id: str, what: str) -> None:
        """Note a broken promise."""
        self.violations.append(f"{run_id}: {what}")

    # Asking ---------------------------------------------------------------------------------------------------------

    def watch(self, run_id: str, kind: str, n: int) -> Watched:
        """Watch a run from now on."""
        run = self.runs[run_id] = self.open[run_id] = Watched(kind, n)
        return run

    async def signal(self, run_id: str, run: Watched) -> None:
        """Deliver the signal that an `approval` waits for."""
        run.signalled = await self.app.complete(run_id, "go", {"n": run.n})
        if not run.signalled:
            self.wrong(run_id, "the first signal was refused")

    async def send(self, run_id: str, run: Watched) -> None:
        """Send a `mailbox` its next message."""
        await self.app.send(run_id, "news", run.sent, id=f"{run_id} {run.sent}")
        run.sent += 1

    async def cancel(self, run_id: str, run: Watched) -> None:
        """Cancel a run, once it is there."""
        if await self.record(run_id) is not None:
            if not await self.app.runs.cancel(run_id):
                self.wrong(run_id, "its cancellation was refused")
            run.cancelled_at = time.monotonic()

    async def record(self, run_id: str) -> RunRecord | None:
        """Return what the store knows of a run."""
        engine = await self.app._engine()
        return await engine.store.run(APP, run_id)

    # Looking --------------------------------------------------------------------------------------------------------

    async def look(self, on_missing: Callable[[str, Watched], Awaitable[object]] | None = None) -> None:
        """Read the journals of open runs, and note what is recorded: it must not be executed again.

        Args:
            on_missing: What to do about a run that is not there.
        """
        engine = await self.app._engine()
        seen: list[Attempt] = []
        for run_id, run in list(self.open.items()):
            record = await self.record(run_id)
            if record is None:
                if on_missing is not None:
                    await on_missing(run_id, run)
                continue
            if record.continuation != run.continuation:
                run.continuation, run.entries = record.continuation, []
            fresh = await engine.store.journal(record.key, len(run.entries))
            run.entries += fresh
            seen += [(run_id, *attempt) for entry in fresh if (attempt := self._attempt_of(record, entry))]
            await self._take_note(run_id, run, record)
        self._note_sizes(seen)

    def _note_sizes(self, seen: list[Attempt]) -> None:
        """Whatever the ledger gets from now on happened after what was just seen."""
        size = os.path.getsize(self.ledger) if os.path.exists(self.ledger) else 0
        for item in seen:
            self.recorded.setdefault(item, size)
        now = time.monotonic()
        for run_id, run in list(self.open.items()):
            if run.cancelled_at and now - run.cancelled_at > QUIET_AFTER_S:
                run.quiet_from = min(run.quiet_from, size)
            if run.has_ended:
                run.ended_from = size
                del self.open[run_id]

    async def _take_note(self, run_id: str, run: Watched, record: RunRecord) -> None:
        if record.state.is_final:
            run.has_ended = True
        elif record.state is RunState.SET_ASIDE:
            if record.reason != "poisoned":
                self.wrong(run_id, f"is set aside: {record.reason}: {record.detail}")
            # Five deaths in a row without an entry do happen when somebody kills this often; an operator would retry.
            self.poisoned += 1
            await self.app.runs.retry(run_id)

    def _attempt_of(self, record: RunRecord, entry: Entry) -> tuple[str, int] | None:
        """Return the label and the attempt that a task's entry records."""
        if entry.kind is not Kind.TASK or entry.status is Status.BEGUN:
            return None
        event = self.app.runs._event(record, entry)
        if entry.status is Status.OK:
            return str(event.value), entry.attempt
        return (str(event.error.args[0]), entry.attempt) if isinstance(event.error, Flaky) else None

    async def come_to_the_end(
        self, each_time: Callable[[], Awaitable[object]], *, patience_s: float = PATIENCE_S
    ) -> None:
        """Look until every run has ended; those that do not are stuck.

        Args:
            each_time: What to do before each look.
            patience_s: Longest time for all of them.
        """
        limit = time.monotonic() + patience_s
        while self.open and time.monotonic() < limit:
            await each_time()
            await self.look()
            if self.open:
                await asyncio.sleep(0.02)
        for run_id in self.open:
            self.wrong(run_id, f"is stuck: {await self.record(run_id)}")

    # Checking -------------------------------------------------------------------------------------------------------

    async def check(self, expected: Expected, acknowledged: dict[str, Any]) -> None:
        """Compare what is there with what was promised.

        Args:
            expected: Results without faults.
            acknowledged: Results that callers were told, by run.
        """
        engine = await self.app._engine()
        for finding in await engine.store.check():
            self.wrong("database", finding)
        for run_id, run in self.runs.items():
            if run_id not in self.open:
                await self._check_run(run_id, run, expected.get((run.kind, run.n)), acknowledged.get(run_id))
        self._check_epochs(engine.store)
        self.check_ledger()

    async def _check_run(self, run_id: str, run: Watched, expected: Any, acknowledged: Any) -> None:
        record = await self.record(run_id)
        wanted = RunState.CANCELLED if run.kind == "doomed" else RunState.SUCCEEDED
        if record is None or record.state is not wanted:
            self.wrong(run_id, f"ended as {record}")
            return
        engine = await self.app._engine()
        journal = await engine.store.journal(record.key)
        if journal[: len(run.entries)] != run.entries:
            self.wrong(run_id, "an entry that was recorded has changed")
        if run.kind == "doomed":
            attempts = [self._attempt_of(record, entry) for entry in journal]
            self._check_compensation(run_id, {attempt[0] for attempt in attempts if attempt is not None})
            result = expected = f"RunCancelled: run {run_id!r} was cancelled"
        else:
            result = json.loads(json.dumps(await self.app.handle(run_id).result()))
        if result != expected:
            self.wrong(run_id, f"gave {result}, without faults it gives {expected}")
        if acknowledged is not None and acknowledged != expected:
            self.wrong(run_id, f"its caller was told {acknowledged}, expected {expected}")

    def _check_compensation(self, run_id: str, labels: set[str]) -> None:
        if "d0" in labels and not {"undo 0", "undo 1"} <= labels:
            self.wrong(run_id, f"was cancelled without its compensation: {sorted(labels)}")

    def _check_epochs(self, store: Any) -> None:
        """Look at a column that the contract does not show."""
        newest: dict[int, int] = {}
        rows = store._database.reading.execute("SELECT place >> 24, epoch FROM journal ORDER BY place").fetchall()
        for key, epoch in rows:
            if epoch < newest.get(key, 0):
                self.wrong(f"run number {key}", f"epoch {epoch} wrote after epoch {newest[key]}")
            newest[key] = epoch

    def check_ledger(self) -> None:
        """Look for what was executed and should not have been."""
        before: dict[Attempt, tuple[int, int]] = {}
        position = 0
        with open(self.ledger) as file:
            for line in file:
                run_id, label, attempt, pid = line.rstrip("\n").split("\t")
                self._check_line((run_id, label, int(attempt)), int(pid), position, before)
                position += len(line)

    def _check_line(self, attempt: Attempt, pid: int, position: int, before: dict[Attempt, tuple[int, int]]) -> None:
        run_id, label, _ = attempt
        run = self.runs.get(run_id)
        if run is not None and position >= run.ended_from:
            self._executed(run_id, f"{label} was executed after its end", pid)
        if run is not None and position >= run.quiet_from and not label.startswith("undo"):
            self._executed(run_id, f"{label} was executed after its cancellation was acknowledged", pid)
        if position >= self.recorded.get(attempt, sys.maxsize):
            self._executed(run_id, f"{label} was recorded, and executed again by {pid}", pid)
        earlier = before.get(attempt)
        if earlier is not None:
            self.repeated += 1
            by, at = earlier
            if by not in self.killed and at >= self.replaced.get(by, 0):
                what = f"{label} was executed by {by}, which was not killed, and again by {pid}"
                self._executed(run_id, what, by, pid)
            if label.startswith("o") and run_id.startswith("at_most_once"):
                self.wrong(run_id, f"{label} is at-most-once, and was executed twice")
        before[attempt] = pid, position

    def _executed(self, run_id: str, what: str, *by: int) -> None:
        if self.replaced.keys().isdisjoint(by):
            self.wrong(run_id, what)
        else:
            self.late.append(f"{run_id}: {what}")

    def report(self) -> dict[str, object]:
        """Return what happened, for people."""
        kinds = Counter(run.kind for run in self.runs.values())
        return {
            "runs": len(self.runs), "kinds": dict(kinds), "recorded": len(self.recorded), "repeated": self.repeated,
            "poisoned": self.poisoned,
        }  # fmt: skip


Calls = Iterable[tuple[str, int]]
"""Workflows and their arguments."""

Expected = dict[tuple[str, int], Any]
"""What they give."""

ALL_CALLS: Final = tuple((kind, n) for kind in KINDS for n in range(NUMBERS))


def fault_free(calls: Calls = ALL_CALLS) -> Expected:
    """Return what workflows give when nothing goes wrong, in no time: on a virtual clock."""
    clock = VirtualClock()
    app = make_app(InMemoryStore(), Ledger(os.devnull), pause_s=0.0, clock=clock)
    clock.busy = lambda: any(act.computing for engine in app._engines.values() for act in engine.active.values())
    with clock.runner() as runner:
        return runner.run(_results(app, [call for call in calls if call[0] != "doomed"]))


async def _results(app: Workflow, calls: list[tuple[str, int]]) -> Expected:
    async def result(kind: str, n: int) -> Any:
        handle = await flow(app, kind).start(n, id=f"{kind} {n}")
        if kind == "approval":
            await handle.signal("go", {"n": n})
        for number in range(MESSAGES if kind == "mailbox" else 0):
            await handle.send("news", number)
        return json.loads(json.dumps(await handle.result()))

    async with app:
        results = await asyncio.gather(*(result(kind, n) for kind, n in calls))
        return dict(zip(calls, results, strict=True))
