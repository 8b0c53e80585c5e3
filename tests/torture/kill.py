"""Kills real processes at random, and checks that nothing is lost, repeated or stuck.

Two or three workers and some direct callers execute mixed workflows on one SQLite file. One of them is killed with
`kill -9` every tenth of a second or so, the journals are read, and another one takes its place. `campaign(n, seed)`
kills n times; the seed decides on workflows, victims and moments, as far as real processes allow.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from durable import InMemoryStore
from durable.core.records import Entry, Kind, RunRecord, RunState, Status
from tests.torture._kill_program import APP, KINDS, MESSAGES, Flaky, Ledger, flow, make_app
from tests.torture._nursery import Nursery, is_alive, kill

N_DEFAULT = 1_000
NUMBERS = 6
"""Arguments that workflows are called with: 0 to 5."""

MEAN_GAP_S = 0.1
PATIENCE_S = 60.0
QUIET_AFTER_S = 0.3
"""Time that an attempt which was released before a cancellation may take to write its line."""


@dataclass(frozen=True)
class Crew:
    """Who executes the runs."""

    workers: int
    callers: int
    in_flight: int


WORKERS = Crew(workers=3, callers=2, in_flight=20)
"""Workers, and a few direct callers: what a caller that was killed has begun, a worker goes on with."""

CALLERS = Crew(workers=0, callers=8, in_flight=8)
"""Direct callers only: after a kill, the same call is made again."""

CALLERS_SHARE = 0.2
"""Share of the kills that hit a crew of callers."""


@dataclass
class Watched:
    """A run whose start was acknowledged, and what its journal has shown."""

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


class Campaign:
    """One campaign on one database."""

    def __init__(self, folder: str, kills: int, seed: int, crew: Crew = WORKERS) -> None:
        self.random = random.Random(seed)
        self.crew = crew
        self.kills = kills
        self.db = os.path.join(folder, "durable.db")
        self.ledger = os.path.join(folder, "ledger")
        self.app = make_app(self.db, Ledger(self.ledger))
        self.runs: dict[str, Watched] = {}
        self.open: dict[str, Watched] = {}
        self.workers: list[int] = []
        self.callers: dict[int, str] = {}
        self.killed: set[int] = set()
        self.recorded: dict[tuple[str, str, int], int] = {}
        """Size of the ledger when an attempt was first seen in a journal."""
        self.repeated = self.poisoned = 0
        self.violations: list[str] = []

    # The course of events -------------------------------------------------------------------------------------------

    async def play(self) -> None:
        with Nursery("tests.torture._kill_program", self.db, self.ledger) as nursery:
            try:
                await self._play(nursery)
            finally:
                await self.app.stop()

    async def _play(self, nursery: Nursery) -> None:
        done = 0
        while done < self.kills:
            await self._keep_busy(nursery)
            await asyncio.sleep(min(self.random.expovariate(1 / MEAN_GAP_S), 0.5))
            await self._deliver()
            victim = self.random.choice([*self.workers, *self.callers])
            if kill(victim):
                done += 1
                self.killed.add(victim)
            await self._look()
        await self._come_to_the_end(nursery)
        await self._check()

    async def _keep_busy(self, nursery: Nursery) -> None:
        self._keep_working(nursery)
        while len(self.open) < self.crew.in_flight:
            await self._start(nursery)

    def _keep_working(self, nursery: Nursery) -> None:
        for pid in self.workers:
            if not is_alive(pid) and pid not in self.killed:
                self._wrong("worker", f"{pid} ended by itself")
        self.workers = [pid for pid in self.workers if is_alive(pid)]
        while len(self.workers) < self.crew.workers:
            self.workers.append(nursery.spawn("worker"))
        self.callers = {pid: run_id for pid, run_id in self.callers.items() if is_alive(pid)}
        if not self.crew.workers:
            for run_id in self.open.keys() - self.callers.values():
                self._call(nursery, run_id, self.open[run_id])

    def _call(self, nursery: Nursery, run_id: str, run: Watched) -> None:
        self.callers[nursery.spawn("call", run.kind, run_id, str(run.n))] = run_id

    async def _start(self, nursery: Nursery) -> None:
        number = len(self.runs)
        kind = KINDS[number % len(KINDS)] if number < len(KINDS) else self.random.choice(KINDS)
        n = self.random.randrange(NUMBERS)
        run_id = f"{kind}-{number}"
        likely = 0.5 if self.crew.workers else 1.0
        run = Watched(kind, n)
        if len(self.callers) < self.crew.callers and self.random.random() < likely:
            self._call(nursery, run_id, run)
        else:
            await flow(self.app, kind).start(n, id=run_id)
        self.runs[run_id] = self.open[run_id] = run

    async def _deliver(self) -> None:
        """Send some of the signals and messages that runs wait for."""
        for run_id, run in self.open.items():
            if run.kind == "approval" and not run.signalled and self.random.random() < 0.5:
                run.signalled = await self.app.complete(run_id, "go", {"n": run.n})
                if not run.signalled:
                    self._wrong(run_id, "the first signal was refused")
            if run.kind == "doomed" and not run.cancelled_at and self.random.random() < 0.2:
                await self._cancel(run_id, run)
            if run.kind == "mailbox" and run.sent < MESSAGES and (await self._record(run_id)) is not None:
                for _ in range(self.random.randrange(3)):
                    if run.sent < MESSAGES:
                        await self.app.send(run_id, "news", run.sent, id=f"{run_id} {run.sent}")
                        run.sent += 1

    async def _cancel(self, run_id: str, run: Watched) -> None:
        if await self._record(run_id) is not None:
            if not await self.app.runs.cancel(run_id):
                self._wrong(run_id, "its cancellation was refused")
            run.cancelled_at = time.monotonic()

    async def _record(self, run_id: str) -> RunRecord | None:
        engine = await self.app._engine()
        return await engine.store.run(APP, run_id)

    async def _come_to_the_end(self, nursery: Nursery) -> None:
        """Let everything end, now that nobody is killed any more."""
        limit = time.monotonic() + PATIENCE_S
        while self.open and time.monotonic() < limit:
            self._keep_working(nursery)
            await self._deliver()
            await self._look(again=True)
            await asyncio.sleep(0.05)
        for run_id in self.open:
            record = await self._record(run_id)
            self._wrong(run_id, f"is stuck: {record}")

    # Looking --------------------------------------------------------------------------------------------------------

    async def _look(self, *, again: bool = False) -> None:
        """Read the journals of open runs, and note what is recorded: it must not be executed again."""
        engine = await self.app._engine()
        seen: list[tuple[str, str, int]] = []
        for run_id, run in list(self.open.items()):
            record = await self._record(run_id)
            if record is None:
                # A caller that was killed before its start was acknowledged.
                callers = {caller for pid, caller in self.callers.items() if is_alive(pid)}
                if self.crew.workers and run_id not in callers:
                    await flow(self.app, run.kind).start(run.n, id=run_id)
                continue
            if record.continuation != run.continuation:
                run.continuation, run.entries = record.continuation, []
            fresh = await engine.store.journal(record.key, len(run.entries))
            run.entries += fresh
            seen += [(run_id, *attempt) for entry in fresh if (attempt := self._attempt_of(record, entry))]
            await self._take_note(run_id, run, record)
        self._note_sizes(seen)

    def _note_sizes(self, seen: list[tuple[str, str, int]]) -> None:
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
                self._wrong(run_id, f"is set aside: {record.reason}: {record.detail}")
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

    # Checking -------------------------------------------------------------------------------------------------------

    def _wrong(self, run_id: str, what: str) -> None:
        self.violations.append(f"{run_id}: {what}")

    async def _check(self) -> None:
        engine = await self.app._engine()
        for finding in await engine.store.check():
            self._wrong("database", finding)
        acks = self._acknowledged_results()
        expected = await fault_free()
        for run_id, run in self.runs.items():
            if run_id not in self.open:
                await self._check_run(run_id, run, expected.get((run.kind, run.n)), acks.get(run_id))
        self._check_ledger()

    async def _check_run(self, run_id: str, run: Watched, expected: Any, acknowledged: Any) -> None:
        record = await self._record(run_id)
        wanted = RunState.CANCELLED if run.kind == "doomed" else RunState.SUCCEEDED
        if record is None or record.state is not wanted:
            self._wrong(run_id, f"ended as {record}")
            return
        engine = await self.app._engine()
        journal = await engine.store.journal(record.key)
        if journal[: len(run.entries)] != run.entries:
            self._wrong(run_id, "an entry that was recorded has changed")
        if run.kind == "doomed":
            attempts = [self._attempt_of(record, entry) for entry in journal]
            self._check_compensation(run_id, {attempt[0] for attempt in attempts if attempt is not None})
            expected = f"RunCancelled: run {run_id!r} was cancelled"
            if acknowledged not in (None, expected):
                self._wrong(run_id, f"its caller was told {acknowledged}, expected {expected}")
            return
        result = json.loads(json.dumps(await self.app.handle(run_id).result()))
        if result != expected:
            self._wrong(run_id, f"gave {result}, without faults it gives {expected}")
        if acknowledged is not None and acknowledged != expected:
            self._wrong(run_id, f"its caller was told {acknowledged}, expected {expected}")

    def _check_compensation(self, run_id: str, labels: set[str]) -> None:
        if "d0" in labels and not {"undo 0", "undo 1"} <= labels:
            self._wrong(run_id, f"was cancelled without its compensation: {sorted(labels)}")

    def _acknowledged_results(self) -> dict[str, Any]:
        try:
            with open(self.ledger + ".acks") as file:
                return {run_id: json.loads(text) for run_id, text in (line.rstrip("\n").split("\t") for line in file)}
        except FileNotFoundError:
            return {}

    def _check_ledger(self) -> None:
        before: dict[tuple[str, str, int], int] = {}
        position = 0
        with open(self.ledger) as file:
            for line in file:
                run_id, label, attempt, pid = line.rstrip("\n").split("\t")
                self._check_line((run_id, label, int(attempt)), int(pid), position, before)
                position += len(line)

    def _check_line(
        self, attempt: tuple[str, str, int], pid: int, position: int, before: dict[tuple[str, str, int], int]
    ) -> None:
        run_id, label, _ = attempt
        run = self.runs.get(run_id)
        if run is not None and position >= run.ended_from:
            self._wrong(run_id, f"{label} was executed after its end")
        if run is not None and position >= run.quiet_from and not label.startswith("undo"):
            self._wrong(run_id, f"{label} was executed after its cancellation was acknowledged")
        if position >= self.recorded.get(attempt, sys.maxsize):
            self._wrong(run_id, f"{label} was recorded, and executed again by {pid}")
        earlier = before.get(attempt)
        if earlier is not None:
            self.repeated += 1
            if earlier not in self.killed:
                self._wrong(run_id, f"{label} was executed by {earlier}, which was not killed, and again by {pid}")
            if label.startswith("o") and run_id.startswith("at_most_once"):
                self._wrong(run_id, f"{label} is at-most-once, and was executed twice")
        before[attempt] = pid

    def report(self) -> dict[str, object]:
        """Return what happened, for people."""
        kinds = Counter(run.kind for run in self.runs.values())
        return {
            "runs": len(self.runs), "kinds": dict(kinds), "recorded": len(self.recorded), "repeated": self.repeated,
            "poisoned": self.poisoned,
        }  # fmt: skip


async def fault_free() -> dict[tuple[str, int], Any]:
    """Return what every workflow gives for every argument when nobody is killed."""
    app = make_app(InMemoryStore(), Ledger(os.devnull))

    async def result(kind: str, n: int) -> Any:
        handle = await flow(app, kind).start(n, id=f"{kind} {n}")
        if kind == "approval":
            await handle.signal("go", {"n": n})
        for number in range(MESSAGES if kind == "mailbox" else 0):
            await handle.send("news", number)
        return json.loads(json.dumps(await handle.result()))

    calls = [(kind, n) for kind in KINDS for n in range(NUMBERS) if kind != "doomed"]
    async with app:
        return dict(zip(calls, await asyncio.gather(*(result(kind, n) for kind, n in calls)), strict=True))


def campaign(n: int, seed: int) -> int:
    """Kill n times, and return how many violations were found."""
    logging.getLogger("durable").setLevel(logging.ERROR)
    by_callers = round(n * CALLERS_SHARE)
    return _play(WORKERS, n - by_callers, seed) + _play(CALLERS, by_callers, seed)


def _play(crew: Crew, kills: int, seed: int) -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="durable-kill-", ignore_cleanup_errors=True) as folder:
        play = Campaign(folder, kills, seed, crew)
        asyncio.run(play.play())
    seconds = time.monotonic() - began
    print(f"seed {seed}: {kills} kills in {seconds:.1f} s, {crew}, {play.report()}", file=sys.stderr)
    for violation in play.violations[:20]:
        print(f"seed {seed}: {violation}", file=sys.stderr)
    return len(play.violations)
