"""Kills real processes at random, and checks that nothing is lost, repeated or stuck.

Two or three workers and some direct callers execute mixed workflows on one SQLite file. One of them is killed with
`kill -9` every tenth of a second or so, the journals are read, and another one takes its place. `campaign(n, seed)`
kills n times; the seed decides on workflows, victims and moments, as far as real processes allow.

Covers: A3, A4, A14, A25
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
from dataclasses import dataclass
from typing import Any

from tests.torture._application import KINDS, MESSAGES, Ledger, flow, make_app
from tests.torture._nursery import Nursery, is_alive, kill
from tests.torture._witness import NUMBERS, Watched, Witness, fault_free

N_DEFAULT = 1_000
MEAN_GAP_S = 0.1


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


class Campaign:
    """One campaign on one database."""

    role: tuple[str, ...] = ("worker",)
    """What workers are told to be."""

    def __init__(self, folder: str, kills: int, seed: int, crew: Crew = WORKERS) -> None:
        self.random = random.Random(seed)
        self.crew = crew
        self.kills = kills
        self.db = os.path.join(folder, "durable.db")
        self.ledger = os.path.join(folder, "ledger")
        self.witness = Witness(make_app(self.db, Ledger(self.ledger)), self.ledger)
        self._expected = fault_free()
        self.workers: list[int] = []
        self.callers: dict[int, str] = {}

    async def play(self) -> None:
        """Kill as often as asked, let everything come to its end, and check."""
        with Nursery("tests.torture._kill_program", self.db, self.ledger) as nursery:
            try:
                await self._play(nursery)
            finally:
                await self.witness.app.stop()

    async def _play(self, nursery: Nursery) -> None:
        done = 0
        while done < self.kills:
            await self._keep_busy(nursery)
            await asyncio.sleep(min(self.random.expovariate(1 / MEAN_GAP_S), 0.5))
            await self._deliver()
            done += await self._strike(nursery, self.random.choice([*self.workers, *self.callers]))
            await self.witness.look(self._start_again)

        async def go_on() -> None:
            self._keep_working(nursery)
            await self._deliver()

        await self.witness.come_to_the_end(go_on)
        await self.witness.check(self._expected, self._acknowledged_results())

    async def _strike(self, nursery: Nursery, victim: int) -> bool:
        """Kill a process, and return whether it was there to be killed."""
        if was_alive := kill(victim):
            self.witness.killed.add(victim)
        return was_alive

    async def _keep_busy(self, nursery: Nursery) -> None:
        self._keep_working(nursery)
        while len(self.witness.open) < self.crew.in_flight:
            await self._start(nursery)

    def _keep_working(self, nursery: Nursery) -> None:
        for pid in self.workers:
            if not is_alive(pid) and pid not in self.witness.killed:
                self.witness.wrong("worker", f"{pid} ended by itself")
        self.workers = [pid for pid in self.workers if is_alive(pid)]
        while len(self.workers) < self.crew.workers:
            self.workers.append(nursery.spawn(*self.role))
        self.callers = {pid: run_id for pid, run_id in self.callers.items() if is_alive(pid)}
        if not self.crew.workers:
            for run_id in self.witness.open.keys() - self.callers.values():
                self._call(nursery, run_id, self.witness.open[run_id])

    def _call(self, nursery: Nursery, run_id: str, run: Watched) -> None:
        self.callers[nursery.spawn("call", run.kind, run_id, str(run.n))] = run_id

    async def _start(self, nursery: Nursery) -> None:
        number = len(self.witness.runs)
        kind = KINDS[number % len(KINDS)] if number < len(KINDS) else self.random.choice(KINDS)
        n = self.random.randrange(NUMBERS)
        run_id = f"{kind}-{number}"
        likely = 0.5 if self.crew.workers else 1.0
        is_called = len(self.callers) < self.crew.callers and self.random.random() < likely
        if not is_called:
            await flow(self.witness.app, kind).start(n, id=run_id)
        run = self.witness.watch(run_id, kind, n)
        if is_called:
            self._call(nursery, run_id, run)

    async def _start_again(self, run_id: str, run: Watched) -> None:
        """A caller was killed before its start was acknowledged."""
        callers = {caller for pid, caller in self.callers.items() if is_alive(pid)}
        if self.crew.workers and run_id not in callers:
            await flow(self.witness.app, run.kind).start(run.n, id=run_id)

    async def _deliver(self) -> None:
        """Send some of the signals and messages that runs wait for."""
        witness = self.witness
        for run_id, run in witness.open.items():
            if run.kind == "approval" and not run.signalled and self.random.random() < 0.5:
                await witness.signal(run_id, run)
            if run.kind == "doomed" and not run.cancelled_at and self.random.random() < 0.2:
                await witness.cancel(run_id, run)
            if run.kind == "mailbox" and run.sent < MESSAGES and (await witness.record(run_id)) is not None:
                for _ in range(min(self.random.randrange(3), MESSAGES - run.sent)):
                    await witness.send(run_id, run)

    def _acknowledged_results(self) -> dict[str, Any]:
        try:
            with open(self.ledger + ".acks") as file:
                return {run_id: json.loads(text) for run_id, text in (line.rstrip("\n").split("\t") for line in file)}
        except FileNotFoundError:
            return {}


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
    witness = play.witness
    print(f"seed {seed}: {kills} kills in {seconds:.1f} s, {crew}, {witness.report()}", file=sys.stderr)
    for violation in witness.violations[:20]:
        print(f"seed {seed}: {violation}", file=sys.stderr)
    return len(witness.violations)
