"""The two sides of a differential: how each store is called and read, what must agree, and a ledger beside them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from durable.core.failure import dropped_positions
from durable.core.records import Entry, Message, RunKey, RunRecord, RunState, WorkerId
from durable.core.states import CLAIMABLE
from durable.store.base import RunFilter, RunStore
from durable.store.memory import MemoryStore
from durable.store.operations import Advance, Claim, Claimed, Committed, Existing, Operation, Rewind, Started
from durable.testing.contract.kit import APP, Suite
from durable.testing.contract.plans import IDS, PROMISES, QUEUES, Look


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
        runs, workers = await store.runs(RunFilter(), limit=1000), await store.workers()
        self.learn(runs)
        is_delayed = any(run.deaths and run.state is RunState.QUEUED for run in runs)
        asked: tuple[list[Coroutine[Any, Any, Any]], ...] = (
            [store.journal(run.key) for run in runs],
            [store.last_entry(run.key) for run in runs],
            [store.promise(APP, promise) for promise in PROMISES],
            [store.count(RunFilter())],
            [store.owned(worker.worker_id) for worker in workers],
            [] if is_delayed else [store.next_due([queue]) for queue in QUEUES],
            [store.waits(run.key) for run in runs],
            [store.inbox(run.key) for run in runs],
            [store.sweep()],
        )
        # All at once, since most of the time goes into changes of thread.
        found = iter(await asyncio.gather(*(one for some in asked for one in some)))
        journals, *more, waits, inboxes, swept = [[next(found) for _ in some] for some in asked]
        return [
            [self.shared(run) for run in runs],
            journals,
            sorted(worker.worker_id for worker in workers),
            *(self.shared(some) for some in (*more, inboxes)),
            [sorted(some) for some in waits],
            self.shared(swept[0]),
        ]

    async def look(self, look: Look) -> list[Any]:
        """Return what some reads with arguments say, in shared names."""
        store, key = self.store, self.keys.get(look.run, -1)
        before = None if look.before is None else self.keys[look.before]
        found, also = await store.run(APP, IDS[look.run]), await store.run_by_key(key)
        return [
            [self.shared(run) for run in await store.runs(look.where, limit=look.limit, before=before)],
            await store.count(look.where),
            await store.tally(look.where),
            await store.journal(key, look.start, look.limit),
            self.shared(found), self.shared(also),
            [await store.registered(worker) for worker in look.workers],
            await store.check(),
        ]  # fmt: skip

    async def refusal(self, batch: Sequence[Operation]) -> str:
        """Return how a malformed batch is refused, without numbers: they may be keys."""
        try:
            await self.play(batch, None)
        except ValueError as error:
            return re.sub(r"\d+", "", f"{type(error).__name__}: {error}")
        return ""


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
        kinds = list(map(type, first))
        if first == second and kinds == list(map(type, second)) and not any(map(_holds_more, kinds)):
            return
        for place, (one, other) in enumerate(zip(first, second, strict=True)):
            agree(f"{path}[{place}]", one, other)
    elif type(first) is not type(second) or first != second:
        raise AssertionError(f"the stores differ at {path}:\n  {first!r}\n  {second!r}")


@cache
def _holds_more(kind: type) -> bool:
    return issubclass(kind, list | tuple)
