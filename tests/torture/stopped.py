"""Real workers that are stopped (SIGSTOP) while they execute, and continued (T10): zombies, and those that only paused.

Mixed workflows are executed by three workers, as in `kill`. Half of the rounds stop a worker until the others have
taken it for dead and its runs over; then it goes on with whatever it was at. Nothing that it writes may be stored,
nothing that it has lost may begin, and it has to come back under a new name. The other half stop a worker for less than
the lease time: its runs stay its own, and not one step is executed twice.

A worker that happens to be stopped while it writes blocks the others: it cannot be taken over, and goes on with its
runs. `blocked` counts those.

Covers: E1, E6, E7, E17
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any, Final

from durable.store.processes import is_stopped, process_name
from tests.torture._nursery import Nursery
from tests.torture._outcome import Outcome
from tests.torture._rounds import play, scratch
from tests.torture.kill import Campaign, Crew

N_DEFAULT: Final = 200
"""Zombies, and as many pauses."""

CREW: Final = Crew(workers=3, callers=0, in_flight=8)

LEASE_S: Final = 1.0
"""How long a worker may be stopped; 30 s, unless an operator says otherwise."""

PAUSE_S: Final = (0.0, 0.5)
"""Bounds of the time of a pause."""

TAKEOVER_MAX_S: Final = 3 * LEASE_S
SETTLED_S: Final = 0.5
"""Time in which a takeover that was waiting for a write of its victim comes to its turn, once that goes on."""

LATE_SHARE: Final = 0.05
"""Tasks for each zombie that may begin although they were lost: see `Witness.late`. Without a look before each attempt
there were 20 for 100 zombies."""

ROUND: Final = 10
"""Strikes in a round."""

COUNTED: Final = ("zombies", "blocked", "pauses", "runs", "steps", "repeated", "late")

JOBS: Final = 12
PATIENCE_S: Final = 180.0


class Stopping(Campaign):
    """Stops workers instead of killing them."""

    def __init__(self, folder: str, strikes: int, seed: int) -> None:
        super().__init__(folder, strikes, seed, CREW)
        self.counts: Counter[str] = Counter()
        self.taken: set[str] = set()
        """Names of workers that were taken for dead."""

    async def _strike(self, nursery: Nursery, victim: int) -> bool:
        name = await self._name_of(victim) if victim in self.workers else None
        if name is None:
            return False  # it has not begun yet, or is a caller, which is no worker
        self.taken.discard(name)  # a registration that was on its way may have brought it back
        enough = asyncio.Event()
        stop(victim)
        # Beside this, for it may have to wait: the victim may have been stopped while it held the write lock.
        business = asyncio.create_task(self._business(nursery, enough))
        try:
            await self._while_stopped(victim, name)
        finally:
            os.kill(victim, signal.SIGCONT)
        counts = await self._continued(victim, name)
        enough.set()
        await business
        return counts

    async def _business(self, nursery: Nursery, enough: asyncio.Event) -> None:
        """Keep everything else going."""
        while not enough.is_set():
            await self._keep_busy(nursery)
            await self._deliver()
            await self.witness.look(self._start_again)
            await asyncio.sleep(0.02)

    async def _while_stopped(self, victim: int, name: str) -> None:
        raise NotImplementedError

    async def _continued(self, victim: int, name: str) -> bool:
        """See what becomes of a worker that goes on; return whether it was stopped as intended."""
        raise NotImplementedError

    async def _names(self) -> dict[str, int]:
        engine = await self.witness.app._engine()
        return {worker.worker_id: worker.pid for worker in await engine.store.workers()}

    async def _name_of(self, victim: int) -> str | None:
        return next((name for name, pid in (await self._names()).items() if pid == victim), None)

    async def _comes(self, seconds: float, what: Callable[[dict[str, int]], bool]) -> bool:
        """Wait until something is so of the registered workers, at most that long; return whether it is."""
        limit = time.monotonic() + seconds
        while True:
            if (is_so := what(await self._names())) or time.monotonic() >= limit:
                return is_so
            await asyncio.sleep(0.01)


class Zombies(Stopping):
    """Workers that are stopped until others have their runs."""

    role = ("worker", str(LEASE_S))

    async def _while_stopped(self, victim: int, name: str) -> None:
        if await self._comes(TAKEOVER_MAX_S, lambda names: name not in names):
            self.counts["zombies"] += 1
            self.taken.add(name)
            self.witness.replaced[victim] = os.path.getsize(self.ledger)
        else:
            self.counts["blocked"] += 1

    async def _continued(self, victim: int, name: str) -> bool:
        if name not in self.taken:
            if await self._comes(SETTLED_S, lambda names: name not in names):
                self.witness.wrong("worker", f"{victim} was taken for dead when it had gone on")
            return False
        if not await self._comes(TAKEOVER_MAX_S, lambda names: victim in names.values()):
            self.witness.wrong("worker", f"{victim} was taken for dead, goes on, and has not begun anew")
        return True


class Pauses(Stopping):
    """Workers that are stopped for less than the time after which they are dead."""

    async def _while_stopped(self, victim: int, name: str) -> None:
        await asyncio.sleep(self.random.uniform(*PAUSE_S))

    async def _continued(self, victim: int, name: str) -> bool:
        self.counts["pauses"] += 1
        if name not in await self._names():
            self.witness.wrong("worker", f"{victim} was taken for dead although it was stopped for a moment only")
        return True


KINDS: Final[dict[str, type[Stopping]]] = {"zombies": Zombies, "pauses": Pauses}


def stop(pid: int) -> None:
    """Stop a process, and return once it stands still."""
    name = process_name(pid)
    os.kill(pid, signal.SIGSTOP)
    limit = time.monotonic() + 20
    while not is_stopped(name):
        assert time.monotonic() < limit, f"process {pid} does not stop"
        time.sleep(0.0005)


def one_round(kind: str, strikes: int, seed: int) -> dict[str, Any]:
    """Stop workers of one database that often, and return what was found."""
    logging.getLogger("durable").setLevel(logging.ERROR)
    with scratch("stopped") as folder:
        campaign = KINDS[kind](str(folder), strikes, seed)
        asyncio.run(campaign.play())
    witness = campaign.witness
    counts = Counter(campaign.counts)
    counts.update(
        runs=len(witness.runs), steps=len(witness.recorded), repeated=witness.repeated, late=len(witness.late)
    )
    return {"violations": witness.violations, "counts": counts, "late": witness.late}


def campaign(n: int, seed: int) -> Outcome:
    """Make n zombies, and pause as often."""
    sizes = [min(ROUND, n - first) for first in range(0, n, ROUND)]
    rounds = chain.from_iterable(
        [("zombies", size, seed + number * ROUND), ("pauses", size, seed + number * ROUND)]
        for number, size in enumerate(sizes)
    )
    outcome = Outcome()
    counts: Counter[str] = Counter()
    late: list[str] = []
    for played in play("tests.torture.stopped:one_round", rounds, jobs=JOBS, patience_s=PATIENCE_S):
        kind, _, number = played.arguments
        where = f"{kind} from seed {number}"
        if played.failure:
            outcome.violations.append(f"{where}: the round {played.failure}")
            continue
        outcome.violations += [f"{where}: {wrong}" for wrong in played.result["violations"]]
        late += [f"{where}: {wrong}" for wrong in played.result["late"]]
        counts.update(played.result["counts"])
    if too_many(len(late), counts["zombies"]):
        outcome.violations += late
    outcome.facts.update({name: counts[name] for name in COUNTED})
    return outcome


def too_many(late: int, zombies: int) -> bool:
    """Did more begin too late than chance explains?"""
    return late > max(1, LATE_SHARE * zombies)
