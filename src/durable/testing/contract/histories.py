"""Random histories played against two stores at once: same batches, same answers, same reads.

The tiny model beside them is a ledger of what may never happen in one store either: an entry that changes, an epoch
that falls, a message received twice, a wake-up that was lost.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from unittest import TestCase

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from durable.core.failure import dropped_positions
from durable.core.records import Entry, Message, RunKey, RunRecord, RunState, WorkerId, WorkerRecord
from durable.core.states import CLAIMABLE
from durable.store.base import RunFilter, RunStore
from durable.store.memory import MemoryStore
from durable.store.operations import (
    Advance,
    Answer,
    Claim,
    Claimed,
    Committed,
    Existing,
    Fenced,
    Operation,
    Rewind,
    Started,
)
from durable.testing.contract.kit import APP, ManualClock, Suite
from durable.testing.contract.plans import IDS, PROMISES, QUEUES, Planner, View

T = TypeVar("T")

LONG_MS = 20_000
"""Longer than any delay after a death, so that delays drawn at random cannot tell the stores apart."""


class MemorySuite:
    """How to make a `MemoryStore` and let its workers die: the other side of a differential."""

    async def make_store(self) -> RunStore:
        return MemoryStore()

    async def make_peer(self, store: RunStore) -> RunStore:
        assert isinstance(store, MemoryStore)
        return store.peer()

    async def kill_worker(self, store: RunStore, worker: WorkerId) -> None:
        assert isinstance(store, MemoryStore)
        store.bury(worker)


class Side:
    """One of the two stores, and how it calls what plans name."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.store: RunStore
        self.keys: dict[int, RunKey] = {99: 987_654}
        self.numbers: dict[int, int] = {}
        self.advanced: set[str] = set()
        """Runs advanced in this batch: what another Advance is told of one may be from before or after that."""

    async def play(self, batch: Sequence[Operation], worker: WorkerId | None) -> Committed:
        """Execute a plan."""
        return await self.store.execute([self._bound(operation) for operation in batch], worker)

    def _bound(self, operation: Operation) -> Operation:
        if isinstance(operation, Claim):
            return operation._replace(runs=tuple(self.keys.get(place, -1) for place in operation.runs))
        if isinstance(operation, Rewind):
            return operation._replace(unread=tuple(self.numbers[message] for message in operation.unread))
        if not isinstance(operation, Advance):
            return operation
        bound = operation._replace(run=self.keys.get(operation.run, -1 - operation.run))
        if operation.extras is None:
            return bound
        consumed = tuple(self.numbers[message] for message in operation.extras.consumed)
        return bound._replace(extras=operation.extras._replace(consumed=consumed))

    def learn(self, found: object) -> None:
        """Remember the keys and numbers in an answer."""
        match found:
            case Message():
                self.numbers[int(found.data)] = found.number
            case RunRecord():
                self.keys[IDS.index(found.run_id)] = found.key
            case tuple() | list():
                for one in found:
                    self.learn(one)
            case _:
                pass

    def shared(self, found: object) -> Any:
        """Return an answer in the names that both stores share, each record with its type."""
        match found:
            case Committed():
                places = {key: place for place, key in self.keys.items()}
                pending = sorted((places[key], self.shared(one)) for key, one in found.pending)
                return [self.shared(one) for one in found.outcomes], sorted(places[key] for key in found.due), pending
            case Started() | Existing() if found.record.run_id in self.advanced:
                return found.record.run_id
            case Message():
                return found._replace(number=0)
            case RunRecord():
                is_delayed = found.deaths > 0 and found.state is RunState.QUEUED
                return replace(found, key=0, due_at=None if is_delayed else found.due_at)
            case tuple() | list():
                shared = [self.shared(one) for one in found]
                if found and all(isinstance(one, Claimed) for one in found):
                    shared.sort(key=repr)
                return type(found).__name__, shared
            case _:
                return found

    async def everything(self) -> list[Any]:
        """Return all that can be read, in shared names."""
        store = self.store
        runs = await store.runs(RunFilter(), limit=1000)
        self.learn(runs)
        is_delayed = any(run.deaths and run.state is RunState.QUEUED for run in runs)
        return [
            [self.shared(run) for run in runs],
            [await store.journal(run.key) for run in runs],
            [await store.last_entry(run.key) for run in runs],
            [await store.promise(APP, promise) for promise in PROMISES],
            await store.count(RunFilter()),
            sorted(worker.worker_id for worker in await store.workers()),
            [self.shared(await store.owned(worker.worker_id)) for worker in await store.workers()],
            None if is_delayed else [await store.next_due([queue]) for queue in QUEUES],
            self.shared(await store.sweep()),
        ]


class Ledger:
    """What was true of one store before, to compare with what is true now."""

    def __init__(self) -> None:
        self._runs: dict[RunKey, RunRecord] = {}
        self._journals: dict[tuple[RunKey, int], dict[int, Entry]] = {}
        self._received: dict[RunKey, set[int]] = {}

    def check(self, runs: list[RunRecord], journals: list[list[Entry]]) -> None:
        """Compare all runs with what was known of them."""
        for run, journal in zip(runs, journals, strict=True):
            assert (run.owner is not None) == (run.state is RunState.RUNNING)
            assert (run.finished_at is not None) == run.state.is_final
            assert run.due_at is None or run.state in CLAIMABLE or run.epoch == 0
            before = self._runs.get(run.key)
            assert before is None or (before.epoch <= run.epoch and before.continuation <= run.continuation)
            self._check_journal(run, {entry.position: entry for entry in journal})
        self._runs = {run.key: run for run in runs}

    def _check_journal(self, run: RunRecord, journal: dict[int, Entry]) -> None:
        marks = [entry.note for entry in journal.values() if entry.name == "rewind"]
        dropped = {position for note in marks for position in dropped_positions(note)}
        assert dropped | journal.keys() >= set(range(max(journal)))
        for position, entry in self._journals.get((run.key, run.continuation), {}).items():
            assert journal.get(position, entry) == entry
            assert position in journal or position in dropped
        self._journals[run.key, run.continuation] = journal

    def receive(self, run: RunKey, messages: tuple[int, ...]) -> None:
        """Note that messages were received."""
        self._received.setdefault(run, set()).update(messages)

    def rewound(self, run: RunKey) -> None:
        """Note that a run may receive again."""
        self._received.pop(run, None)

    def hear(self, run: RunKey, messages: tuple[Message, ...]) -> None:
        """Check that nobody is told of what was received."""
        assert not self._received.get(run, set()) & {int(message.data) for message in messages}


def agree(path: str, first: Any, second: Any) -> None:
    """Compare what two stores said, and name the first place where they differ.

    Raises:
        AssertionError: they differ.
    """
    if isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        for place, (one, other) in enumerate(zip(first, second, strict=True)):
            agree(f"{path}[{place}]", one, other)
    elif type(first) is not type(second) or first != second:
        raise AssertionError(f"the stores differ at {path}:\n  {first!r}\n  {second!r}")


class Machine(RuleBasedStateMachine):
    """Plays the same history against two stores."""

    suites: tuple[Suite, Suite]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.sides = [Side(suite) for suite in self.suites]
        self.ledger = Ledger()
        self.view = View(self.clock.now, [])
        self._workers = 0
        self.do(self._open())

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to its end on the loop of this history."""
        return self.runner.run(coroutine)

    async def _open(self) -> None:
        for side in self.sides:
            side.store = await side.suite.make_store()
            await side.store.open(self.clock)
        await self._register(2)

    def teardown(self) -> None:
        """Close both stores."""
        for side in self.sides:
            self.do(side.store.close())
        self.runner.close()

    # Rules -----------------------------------------------------------------------------------------------------------

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Start some runs."""
        self.do(self._execute(Planner(data.draw, self.view).opening(), None))

    @rule(data=st.data())
    def execute(self, data: st.DataObject) -> None:
        """Play one batch."""
        batch = Planner(data.draw, self.view).batch()
        worker = data.draw(st.sampled_from([None, *self.view.workers]))
        self.do(self._execute(batch, worker))

    @rule(data=st.data(), repeats=st.booleans())
    def execute_more(self, data: st.DataObject, repeats: bool) -> None:
        """Play one batch, and the same again, as after a lost answer."""
        batch = [one for one in Planner(data.draw, self.view).batch() if not isinstance(one, Claim)]
        if batch:
            self.do(self._execute(batch, None))
        if batch and repeats:
            self.do(self._execute(batch, None))

    @rule(ms=st.sampled_from([1, 5, 50, LONG_MS]))
    def wait(self, ms: int) -> None:
        """Let time pass."""
        self.clock.pass_ms(ms)
        self.view.now = self.clock.now

    @rule()
    def collect(self) -> None:
        """Tell all workers what has arrived; the second time, that is nothing."""
        for worker in self.view.workers:
            self.do(self._collect(worker))
            for side in self.sides:
                assert self.do(side.store.collect(worker)).pending == ()

    @rule(place=st.integers(0, 1), dies=st.booleans())
    def leave(self, place: int, dies: bool) -> None:
        """Let a worker die, or end in peace; another one comes."""
        self.do(self._leave(self.view.workers.pop(place), dies=dies))

    @rule(ended_ms=st.sampled_from([0, 1, 60]), limit=st.sampled_from([1, 100]))
    def prune(self, ended_ms: int, limit: int) -> None:
        """Delete ended runs."""
        before = self.clock.now + 1 - ended_ms
        counts = [self.do(side.store.prune(RunFilter(), finished_before=before, limit=limit)) for side in self.sides]
        agree("pruned", *counts)
        self.do(self._compare())

    @rule(closes=st.booleans())
    def reopen(self, closes: bool) -> None:
        """Reopen both stores, or close and open them: workers die of that."""
        self.do(self._close_and_open() if closes else self._reopen())

    # Steps -----------------------------------------------------------------------------------------------------------

    async def _execute(self, batch: Sequence[Operation], worker: WorkerId | None) -> None:
        answers = []
        for side in self.sides:
            committed = await side.play(batch, worker)
            side.advanced = {IDS[operation.run] for operation in batch if isinstance(operation, Advance)}
            side.learn(await side.store.runs(RunFilter(), limit=1000))
            side.learn(committed)
            answers.append(side.shared(committed))
            if side is self.sides[0]:
                self._note(batch, committed)
        agree("answer", *answers)
        await self._compare()

    def _note(self, batch: Sequence[Operation], committed: Committed) -> None:
        """Tell the ledger what was received and heard, in the order in which it happened."""
        keys = self.sides[0].keys
        for operation, outcome in zip(batch, committed.outcomes, strict=True):
            if isinstance(operation, Advance) and operation.extras is not None and not isinstance(outcome, Fenced):
                self.ledger.receive(keys[operation.run], operation.extras.consumed)
        for operation in batch:
            if isinstance(operation, Rewind) and (key := keys.get(IDS.index(operation.run_id))) is not None:
                self.ledger.rewound(key)
        told = [(one.record.key, one.pending) for one in _claimed(committed)]
        for key, pending in [*told, *committed.pending]:
            self.ledger.hear(key, pending.messages)
            run_id = IDS[next(place for place, known in keys.items() if known == key)]
            self.view.heard[run_id] = [int(message.data) for message in pending.messages]

    async def _collect(self, worker: WorkerId) -> None:
        answers = []
        for side in self.sides:
            committed = await side.store.collect(worker)
            side.learn(committed)
            answers.append(side.shared(committed))
            if side is self.sides[0]:
                self._note([], committed)
        agree("collected", *answers)

    async def _leave(self, worker: WorkerId, *, dies: bool) -> None:
        found = []
        for side in self.sides:
            if dies:
                await side.suite.kill_worker(side.store, worker)
            else:
                await side.store.unregister(worker)
            expired = await side.store.expire()
            places = {key: place for place, key in side.keys.items()}
            found.append((expired.workers, sorted(places[key] for key in expired.runs)))
        agree("expired", *found)
        await self._register(1)
        self.wait_long()
        await self._compare()

    def wait_long(self) -> None:
        """Let every delay pass."""
        self.clock.pass_ms(LONG_MS)
        self.view.now = self.clock.now

    async def _reopen(self) -> None:
        for side in self.sides:
            await side.store.reopen()
        await self._compare()

    async def _close_and_open(self) -> None:
        dead = []
        for side in self.sides:
            await side.store.close()
            await side.store.open(self.clock)
            dead.append(sorted((await side.store.expire()).workers))
        agree("expired", *dead)
        assert dead[0] == sorted(self.view.workers)
        self.view.workers.clear()
        await self._register(2)
        self.wait_long()
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


def differential(
    suite: Suite, other: Suite | None = None, *, examples: int = 50, steps: int = 40, shrinks: bool = False
) -> type[TestCase]:
    """Return a test case that plays random histories against two stores and compares everything.

    Args:
        suite: Makes the store under test (`StoreContract` or anything with its three methods, all overridden).
        other: Makes the store to compare with; `MemorySuite` if it is not given.
        examples: Histories to play, of up to `steps` steps each.
        shrinks: Look for a shorter history that fails, which takes minutes; the first one found is shown otherwise.
    """

    class Histories(Machine):
        suites = (suite, other or MemorySuite())

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    profile = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=checks,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if shrinks else [])],
    )
    case: type[TestCase] = Histories.TestCase
    case.settings = profile  # type: ignore[attr-defined]
    return case
