"""Random histories played against two stores at once: same batches, same answers, same reads.

The tiny model beside them is a ledger of what may never happen in one store either: an entry that changes, an epoch
that falls, a message received twice, a wake-up that was lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from durable.core.records import WorkerId, WorkerRecord
from durable.store.base import RunFilter
from durable.store.operations import Advance, Answer, Claim, Claimed, Committed, Fenced, Operation, Outcome, Rewind
from durable.testing.contract.choices import Choices
from durable.testing.contract.kit import ManualClock, Suite
from durable.testing.contract.malformed import malformed
from durable.testing.contract.plans import IDS, QUEUES, Planner, View
from durable.testing.contract.sides import Ledger, Side, agree

LONG_MS: Final = 20_000
"""Longer than any delay after a death, so that delays drawn at random cannot tell the stores apart."""

EVENTS: Final = (
    *["batch"] * 8, *["twice"] * 3, *["wait"] * 3, "collect", "leave", "die", "prune", "prune", "reopen", "close",
    "refuse", "look", "look",
)  # fmt: skip
"""What may happen next, as often as it stands here."""

Heard: TypeAlias = Callable[[Operation | str, object], object]
"""Is told of each call of the stores, and of what both have answered."""


def _ignore(call: Operation | str, answer: object) -> None:
    """Hear nothing."""


class History:
    """What happens to two stores, one event after the other.

    Args:
        suites: Make the two stores.
        heard: Told of each operation, or of another call by its name, and of its answer.
    """

    def __init__(self, suites: tuple[Suite, Suite], heard: Heard = _ignore) -> None:
        self.clock = ManualClock()
        self.sides = [Side(suite) for suite in suites]
        self.ledger = Ledger()
        self.view = View(self.clock.now, [])
        self._heard = heard
        self._workers = 0

    async def open(self) -> None:
        """Make and open both stores."""
        for side in self.sides:
            side.store = await side.suite.make_store()
            await side.store.open(self.clock)
        await self._register(2)

    async def close(self) -> None:
        """Close both stores."""
        for side in self.sides:
            await side.store.close()

    async def begin(self, choices: Choices) -> None:
        """Start some runs."""
        await self._execute(Planner(choices, self.view).opening(), None)

    async def go_on(self, choices: Choices) -> None:
        """Let something happen to both stores, and compare what they say.

        Raises:
            AssertionError: they differ, or what they say cannot be.
        """
        planner = Planner(choices, self.view)
        match planner.pick(EVENTS):
            case "batch":
                await self._execute(planner.batch(), planner.pick([None, *self.view.workers]))
            case "twice":
                await self._execute_twice([one for one in planner.batch() if not isinstance(one, Claim)])
            case "wait":
                self._pass_ms(planner.pick((1, 5, 50, LONG_MS)))
            case "collect":
                await self._collect_all()
            case "leave" | "die" as how:
                await self._leave(self.view.workers.pop(planner.pick((0, 1))), dies=how == "die")
            case "prune":
                await self._prune(planner.pick((0, 1, 60)), planner.pick((1, 100)))
            case "reopen":
                await self._reopen()
            case "close":
                await self._close_and_open()
            case "refuse":
                await self._refuse(planner)
            case _:
                await self._look(planner)

    # Events ----------------------------------------------------------------------------------------------------------

    async def _execute(self, batch: Sequence[Operation], worker: WorkerId | None) -> None:
        answers, outcomes = [], list[Outcome]()
        for side in self.sides:
            committed = await side.play(batch, worker)
            outcomes = committed.outcomes
            side.advanced = {IDS[operation.run] for operation in batch if isinstance(operation, Advance)}
            side.learn(await side.store.runs(RunFilter(), limit=1000))
            side.learn(committed)
            answers.append(side.shared(committed))
            if side is self.sides[0]:
                self._note(batch, committed)
        agree("answer", *answers)
        for operation, outcome in zip(batch, outcomes, strict=True):
            self._heard(operation, outcome)
        await self._compare()

    async def _execute_twice(self, batch: Sequence[Operation]) -> None:
        """As after a lost answer."""
        for _ in range(2 if batch else 0):
            await self._execute(batch, None)

    def _note(self, batch: Sequence[Operation], committed: Committed) -> None:
        """Tell the ledger what was received and heard, in the order in which it happened."""
        keys = self.sides[0].keys
        for operation, outcome in zip(batch, committed.outcomes, strict=True):
            if isinstance(operation, Advance) and operation.extras is not None and not isinstance(outcome, Fenced):
                run = self.view.runs.get(IDS[operation.run])
                # From who has left the run already, without entries, it is taken for a repetition and changes nothing.
                if run is not None and run.owner == operation.worker:
                    self.ledger.receive(keys[operation.run], operation.extras.consumed)
        for operation in batch:
            if isinstance(operation, Rewind) and (key := keys.get(IDS.index(operation.run_id))) is not None:
                self.ledger.rewound(key)
        told = [(one.record.key, one.pending) for one in _claimed(committed)]
        for key, pending in [*told, *committed.pending]:
            self.ledger.hear(key, pending.messages)
            run_id = IDS[next(place for place, known in keys.items() if known == key)]
            self.view.heard[run_id] = [int(message.data) for message in pending.messages]

    async def _collect_all(self) -> None:
        """Tell all workers what has arrived; the second time, that is nothing."""
        for worker in self.view.workers:
            await self._collect(worker)
            for side in self.sides:
                assert (await side.store.collect(worker)).pending == ()

    async def _collect(self, worker: WorkerId) -> None:
        answers = []
        for side in self.sides:
            committed = await side.store.collect(worker)
            side.learn(committed)
            answers.append(side.shared(committed))
            if side is self.sides[0]:
                self._note([], committed)
                self._heard("collect", committed.pending)
        agree("collected", *answers)

    async def _leave(self, worker: WorkerId, *, dies: bool) -> None:
        found = []
        owned = await self.sides[0].store.owned(worker)
        for side in self.sides:
            if dies:
                await side.suite.kill_worker(side.store, worker)
            else:
                await side.store.unregister(worker)
            expired = await side.store.expire()
            places = {key: place for place, key in side.keys.items()}
            found.append((expired.workers, sorted(places[key] for key in expired.runs)))
        agree("expired", *found)
        self._heard("expire" if dies else "unregister", owned)
        await self._register(1)
        self._pass_ms(LONG_MS)
        await self._compare()

    def _pass_ms(self, ms: int) -> None:
        """Let time pass; `LONG_MS` is longer than any delay."""
        self.clock.pass_ms(ms)
        self.view.now = self.clock.now

    async def _prune(self, ended_ms: int, limit: int) -> None:
        """Delete ended runs."""
        before = self.clock.now + 1 - ended_ms
        counts = [await side.store.prune(RunFilter(), finished_before=before, limit=limit) for side in self.sides]
        agree("pruned", *counts)
        self._heard("prune", counts[0])
        await self._compare()

    async def _refuse(self, planner: Planner) -> None:
        """Give both a batch that no store takes: they say why, and change nothing."""
        name, batch = malformed(planner)
        refusals = [await side.refusal(batch) for side in self.sides]
        assert refusals[0], f"a malformed batch was taken ({name}): {batch}"
        agree("refused", *refusals)
        self._heard(f"malformed: {name}", "refused")
        await self._compare()

    async def _look(self, planner: Planner) -> None:
        look = planner.look()
        found = [await side.look(look) for side in self.sides]
        agree(f"look {look}", *found)
        self._heard("look", found[0][0])

    async def _reopen(self) -> None:
        """After an unknown outcome."""
        for side in self.sides:
            await side.store.reopen()
        self._heard("reopen", None)
        await self._compare()

    async def _close_and_open(self) -> None:
        """Workers die of that."""
        dead = []
        for side in self.sides:
            await side.store.close()
            await side.store.open(self.clock)
            dead.append(sorted((await side.store.expire()).workers))
        agree("expired", *dead)
        assert dead[0] == sorted(self.view.workers)
        self._heard("close", None)
        self.view.workers.clear()
        await self._register(2)
        self._pass_ms(LONG_MS)
        await self._compare()

    async def _register(self, count: int) -> None:
        for _ in range(count):
            self._workers += 1
            worker = f"boot:1:0:w{self._workers}"
            for side in self.sides:
                await side.store.register(WorkerRecord(worker, os.getpid(), "host", "boot", self.clock.now, QUEUES))
            self.view.workers.append(worker)
        known = self.view.advances.items()
        self.view.advances = {run_id: advance for run_id, advance in known if advance.worker in self.view.workers}

    async def _compare(self) -> None:
        """Read everything on both sides; keep what plans need to know."""
        first, second = [await side.everything() for side in self.sides]
        agree("read", first, second)
        assert first[-1] == ("tuple", []), "a wake-up was lost"
        runs = await self.sides[0].store.runs(RunFilter(), limit=1000)
        self.ledger.check(runs, first[1])
        self.view.runs = {run.run_id: run for run in runs}
        self.view.journals = {run.run_id: journal for run, journal in zip(runs, first[1], strict=True)}
        self.view.may_limit = not any(run.deaths for run in runs)


def _claimed(committed: Committed) -> list[Claimed]:
    values = [outcome.value for outcome in committed.outcomes if isinstance(outcome, Answer)]
    return [one for value in values if isinstance(value, tuple) for one in value if isinstance(one, Claimed)]
