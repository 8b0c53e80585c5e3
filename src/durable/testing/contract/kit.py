"""What the facts are told with: a clock under control, a store to ask, and short words for common records."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import pytest

from durable.core.failure import rewind_note
from durable.core.records import (
    Entry,
    Kind,
    Pending,
    Queue,
    Reason,
    RunKey,
    RunRecord,
    RunState,
    Status,
    Wait,
    WorkerId,
    WorkerRecord,
)
from durable.store.base import RunStore
from durable.store.operations import (
    Advance,
    Answer,
    Claim,
    Claimed,
    Committed,
    Done,
    Extras,
    Finish,
    GoOn,
    Operation,
    Outcome,
    Send,
    SetAside,
    Settle,
    Start,
    Started,
    Suspend,
    Then,
)

APP: Final = "app"
QUEUE: Final = Queue(APP, "flow", "1", "group")
W1: Final = "boot:1:0:w1"
W2: Final = "boot:1:0:w2"
"""Two workers that are registered when a fact begins."""
T0: Final = 1_700_000_000_000
"""When every fact begins."""


class ManualClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now: int = T0) -> None:
        self.now = now

    def now_ms(self) -> int:
        return self.now

    def pass_ms(self, ms: int) -> None:
        self.now += ms


class Suite(Protocol):
    """What an implementer provides; see `StoreContract`."""

    async def make_store(self) -> RunStore: ...
    async def make_peer(self, store: RunStore) -> RunStore: ...
    async def kill_worker(self, store: RunStore, worker: WorkerId) -> None: ...


# Records -------------------------------------------------------------------------------------------------------------


def start(run_id: str, **changes: Any) -> Start:
    """Return a Start with everything that a fact does not care about."""
    return Start(QUEUE, run_id, b"input", 7)._replace(**changes)


def task(position: int, data: bytes = b"value", **changes: Any) -> Entry:
    """Return the entry of a task that succeeded."""
    return Entry(position, T0, Kind.TASK, Status.OK, seq=position, name="task", data=data)._replace(**changes)


def final(position: int, data: bytes = b"result", status: Status = Status.OK) -> Entry:
    """Return the entry with which a run ends."""
    return Entry(position, T0, Kind.RUN, status, name="finish", data=data)


def cancel_entry(position: int) -> Entry:
    """Return the entry that consumes a cancel request."""
    return Entry(position, T0, Kind.RUN, Status.OK, name="cancel")


def received(position: int) -> Entry:
    """Return the entry of a message."""
    return Entry(position, T0, Kind.MESSAGE, Status.OK, seq=position, name="mail")


def mark(position: int, *dropped: int) -> Entry:
    """Return the entry that a rewind leaves behind."""
    return Entry(position, T0, Kind.RUN, Status.OK, name="rewind", note=rewind_note(dropped))


def advance(run: RunRecord, *entries: Entry, then: Then | None = None, active_ms: int = 0, **extras: Any) -> Advance:
    """Return an Advance by the owner that `run` shows."""
    assert run.owner is not None, "only an owner advances a run"
    more = Extras(**extras) if extras else None
    return Advance(run.key, run.owner, run.epoch, entries, GoOn() if then is None else then, more, active_ms)


def settle(promise_id: str, data: bytes = b"answer", *, ok: bool = True, token: str = "t") -> Settle:  # noqa: S107
    """Return a Settle; the token names a request, it is no secret."""
    return Settle(APP, promise_id, ok, data, token)


def send(run_id: str, message_id: str, name: str = "mail", data: bytes = b"text") -> Send:
    """Return a Send."""
    return Send(APP, run_id, message_id, name, data)


def same(found: object, expected: object) -> bool:
    """Is this the same outcome? Named tuples of different types may be equal, as `Started(run) == Existing(run)` is."""
    if isinstance(expected, list | tuple):
        if type(found) is not type(expected) or len(found) != len(expected):
            return False
        return all(map(same, found, expected))
    return type(found) is type(expected) and found == expected


# The laboratory ------------------------------------------------------------------------------------------------------


@dataclass
class Lab:
    """An opened store, two workers, and ways to bring a run into each state."""

    suite: Suite
    store: RunStore
    clock: ManualClock = field(default_factory=ManualClock)
    peers: list[RunStore] = field(default_factory=list)

    async def peer(self) -> RunStore:
        """Return another opened store on the same data; the fact is skipped where there is none."""
        peer = await self.suite.make_peer(self.store)
        self.peers.append(peer)
        await peer.open(self.clock)
        return peer

    async def register(self, worker: WorkerId, queues: tuple[Queue, ...] = (QUEUE,)) -> None:
        """Register a worker of this process."""
        await self.store.register(WorkerRecord(worker, os.getpid(), "host", "boot", self.clock.now, queues))

    async def kill(self, worker: WorkerId) -> None:
        """Let a worker die without a word."""
        await self.suite.kill_worker(self.store, worker)

    async def batch(self, *operations: Operation, worker: WorkerId | None = None) -> Committed:
        """Execute operations as one batch."""
        return await self.store.execute(list(operations), worker)

    async def do(self, operation: Operation) -> Outcome:
        """Execute one operation."""
        return (await self.batch(operation)).outcomes[0]

    async def done(self, operation: Operation) -> None:
        """Execute one operation that has nothing to say."""
        assert await self.do(operation) is Done.DONE

    async def claim(
        self,
        worker: WorkerId = W1,
        *,
        queues: tuple[Queue, ...] = (QUEUE,),
        runs: tuple[RunKey, ...] = (),
        limit: int = 100,
    ) -> tuple[Claimed, ...]:
        """Claim what is due."""
        outcome = await self.do(Claim(worker, queues, runs, limit))
        assert isinstance(outcome, Answer)
        assert isinstance(outcome.value, tuple)
        return outcome.value

    async def claim_run(self, run_id: str, worker: WorkerId = W1) -> Claimed:
        """Claim one run that is due."""
        (claimed,) = await self.claim(worker, queues=(), runs=((await self.record(run_id)).key,))
        return claimed

    async def record(self, run_id: str) -> RunRecord:
        """Return a run that is there."""
        record = await self.store.run(APP, run_id)
        assert record is not None, f"run {run_id!r} is gone"
        return record

    async def state(self, run_id: str) -> RunState:
        """Return the state of a run that is there."""
        return (await self.record(run_id)).state

    async def journal(self, run_id: str) -> list[Entry]:
        """Return the whole journal of a run."""
        return await self.store.journal((await self.record(run_id)).key)

    async def positions(self, run_id: str) -> list[int]:
        """Return the positions in the journal of a run."""
        return [entry.position for entry in await self.journal(run_id)]

    async def collected(self, worker: WorkerId = W1) -> dict[RunKey, Pending]:
        """Return what a worker is told now."""
        return dict((await self.store.collect(worker)).pending)

    # Runs in each state ----------------------------------------------------------------------------------------------

    async def queued(self, run_id: str, **changes: Any) -> RunRecord:
        """Return a run that has never been claimed."""
        outcome = await self.do(start(run_id, **changes))
        assert isinstance(outcome, Started)
        return outcome.record

    async def running(self, run_id: str, worker: WorkerId = W1, **changes: Any) -> RunRecord:
        """Return a run that a worker owns, with its start entry only."""
        record = await self.queued(run_id, worker=worker, **changes)
        assert record.owner == worker
        return record

    async def suspended(self, run_id: str, *targets: str, due_at: int | None = None, **changes: Any) -> RunRecord:
        """Return a run that waits; the waits are numbered from 1."""
        run = await self.running(run_id, **changes)
        waits = tuple(Wait(seq, target) for seq, target in enumerate(targets, 1))
        await self.done(advance(run, then=Suspend(due_at), waits=waits))
        return await self.record(run_id)

    async def ended(
        self, run_id: str, state: RunState = RunState.SUCCEEDED, data: bytes = b"result", **changes: Any
    ) -> RunRecord:
        """Return a run that has ended at position 1."""
        run = await self.running(run_id, **changes)
        status = Status.OK if state is RunState.SUCCEEDED else Status.ERROR
        await self.done(advance(run, final(1, data, status), then=Finish(state)))
        return await self.record(run_id)

    async def set_aside(self, run_id: str, reason: Reason = Reason.CODE_CHANGED, **changes: Any) -> RunRecord:
        """Return a run that cannot go on."""
        run = await self.running(run_id, **changes)
        await self.done(advance(run, then=SetAside(reason, "detail")))
        return await self.record(run_id)

    async def taken(self, run_id: str, worker: WorkerId = W1) -> RunRecord:
        """Claim a run that is due, and return it as its new owner sees it."""
        return (await self.claim_run(run_id, worker)).record


def at(record: RunRecord, epoch: int) -> RunRecord:
    """Return a run as it would be under another epoch."""
    return replace(record, epoch=epoch)


def fact(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Turn `async def test_…(self, lab, …)` into a plain test on a loop and a fresh store of its own."""

    def run(self: Suite, **parameters: Any) -> None:
        asyncio.run(_in_lab(self, test, parameters))

    signature = inspect.signature(test)
    kept = [parameter for name, parameter in signature.parameters.items() if name != "lab"]
    run.__name__, run.__qualname__, run.__module__ = test.__name__, test.__qualname__, test.__module__
    run.__signature__ = signature.replace(parameters=kept, return_annotation=None)  # type: ignore[attr-defined]
    return run


async def _in_lab(suite: Suite, test: Callable[..., Awaitable[None]], parameters: dict[str, Any]) -> None:
    store = await suite.make_store()
    lab = Lab(suite, store)
    try:
        await store.open(lab.clock)
        await lab.register(W1)
        await lab.register(W2)
        await test(suite, lab, **parameters)
    finally:
        for opened in (*lab.peers, store):
            await opened.close()


class ContractPart:
    """What the implementer's class provides to every part of the suite."""

    async def make_store(self) -> RunStore:
        """Return a new, empty store that has not been opened."""
        raise NotImplementedError("a subclass of StoreContract makes the store that is tested")

    async def make_peer(self, store: RunStore) -> RunStore:
        """Return another store on the same data, not opened."""
        pytest.skip("make_peer is not overridden: this store has no peers")

    async def kill_worker(self, store: RunStore, worker: WorkerId) -> None:
        """Let a worker that registered through `store` look dead from now on, without a word to the store."""
        pytest.skip("kill_worker is not overridden: workers of this store cannot be killed by a test")
