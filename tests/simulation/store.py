"""The simulated store: the memory store, reached over a line on which everything can go wrong.

Each simulated process has a connection of its own. A call travels to the database, takes effect, and its answer travels
back; each way takes time. A call may fail for certain, or with an unknown outcome whether it took effect or not; its
process may crash or stop anywhere on the way. What takes effect is decided by the memory store, the executable
specification, and told to the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from durable.core.records import (
    Entry,
    Inbox,
    PromiseRecord,
    Queue,
    RunKey,
    RunRecord,
    RunState,
    Wait,
    WorkerId,
    WorkerRecord,
)
from durable.errors import OutcomeUnknown, StoreUnavailable, StoreUnusable
from durable.store.base import JOURNAL_PAGE_MAX, Clock, Expired, RunFilter, StoreStatus
from durable.store.memory import MemoryStore
from durable.store.operations import Committed, Operation

if TYPE_CHECKING:
    from tests.simulation.world import Process

T = TypeVar("T")


class Fate(Enum):
    """What becomes of one call."""

    DONE = "done"
    FAILED = "failed"
    """Not written, and the caller is told so."""
    LOST = "unknown, not written"
    UNANSWERED = "unknown, written"


class Request:
    """A batch on its way."""

    __slots__ = ("batch", "commit", "committed", "delay_us", "dropped", "error", "fate", "fault", "future", "worker")

    def __init__(
        self, future: asyncio.Future[Committed], batch: tuple[Operation, ...], worker: WorkerId | None, fate: Fate
    ) -> None:
        self.future = future
        self.batch = batch
        self.worker = worker
        self.fate = fate
        self.fault: Callable[[], None] | None = None
        """What happens between its effect and its answer."""
        self.delay_us = 0
        """How much longer than usual it takes to arrive."""
        self.dropped = False
        """Its process died, or connected anew, before it arrived."""
        self.committed: Committed | None = None
        self.commit = 0
        """The number of its commit."""
        self.error: Exception | None = None


class SimStore:
    """One connection of one process."""

    remembers = True

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self.memory: MemoryStore = process.world.memory.peer()
        self.on_the_way: list[Request] = []
        self._last_arrival_us = 0
        self._last_answer_us = 0
        self._must_reopen = False
        self._own_changes = 0
        self._seen_changes = 0
        process.connections.append(self)

    @property
    def process(self) -> Process:
        """The process that it belongs to."""
        return self._process

    # The line -------------------------------------------------------------------------------------------------------

    def execute(self, batch: Sequence[Operation], worker: WorkerId | None = None) -> Awaitable[Committed]:
        world = self._world
        if self._must_reopen:
            world.violate("a batch was executed after an unknown outcome without reopening the store")
        request = Request(self._process.loop.create_future(), tuple(batch), worker, world.faults.fate())
        world.asked(self._process, "execute", request)
        self.on_the_way.append(request)
        # In the order of the calls.
        due_us = world.now_us + world.faults.latency_us() + request.delay_us
        arrival = self._last_arrival_us = max(self._last_arrival_us + 1, due_us)
        world.at_us(arrival, self._arrive, request)
        return request.future

    def _arrive(self, request: Request) -> None:
        if request.dropped:
            return
        self.on_the_way.remove(request)
        self._take_effect(request)
        self._world.at_us(self._answer_us(self._world.faults.latency_us()), self._travel_back, request)
        if request.fault is not None:
            request.fault()

    def _answer_us(self, latency_us: int) -> int:
        """Return when an answer comes: answers come in the order of the effects, as from a single writer."""
        self._last_answer_us = max(self._last_answer_us + 1, self._world.now_us + latency_us)
        return self._last_answer_us

    def _take_effect(self, request: Request) -> None:
        if self._process.has_lost_store:
            request.error = StoreUnusable("simulated: the store is beyond use")
        elif request.fate is Fate.FAILED:
            request.error = StoreUnavailable("simulated: the write failed")
        elif request.fate is Fate.LOST:
            request.error = OutcomeUnknown("simulated: the outcome is unknown (not written)")
        else:
            try:
                request.committed = self.memory._commit(request.batch, request.worker)
            except Exception as error:
                request.error = error
            else:
                model = self._world.model
                if model.committed(request.batch, request.committed):
                    self._has_changed()
                request.commit = model.commits
            if request.fate is Fate.UNANSWERED:
                request.error = OutcomeUnknown("simulated: the outcome is unknown (written)")

    def _travel_back(self, request: Request) -> None:
        self._process.loop.call_soon(self._answer, request)

    def _answer(self, request: Request) -> None:
        """Tell the caller; on its own loop, so a process that has stopped hears of it later."""
        world = self._world
        world.note(self._process, "answered", request.fate.value)
        if request.future.done():
            return
        if request.error is not None:
            self._must_reopen = isinstance(request.error, OutcomeUnknown)
            request.future.set_exception(request.error)
            return
        assert request.committed is not None
        # The next callback but one takes the answer in: what became ready before that did not know of it.
        self._process.loop.call_soon(self._answered, request)
        request.future.set_result(request.committed)

    def _answered(self, request: Request) -> None:
        assert request.committed is not None
        self._world.model.answered(self, request.batch, request.committed, request.commit)

    async def _write(self, what: str, apply: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Let a write that is no batch take effect."""
        fate = self._world.faults.fate()
        self._world.asked(self._process, what, None)
        await self._travel()
        if fate is Fate.FAILED:
            raise StoreUnavailable(f"simulated: {what} failed")
        if fate is Fate.LOST:
            raise OutcomeUnknown(f"simulated: the outcome of {what} is unknown (not written)")
        result = at_once(apply())
        detour_us = self._world.faults.detour_us()
        if detour_us or self._last_answer_us >= self._world.now_us:
            await self._wait_until(self._answer_us(detour_us))
        if fate is Fate.UNANSWERED:
            raise OutcomeUnknown(f"simulated: the outcome of {what} is unknown (written)")
        return result

    async def _read(self, what: str, read: Callable[..., Coroutine[Any, Any, T]], *args: Any, **options: Any) -> T:
        self._world.asked(self._process, what, None)
        if self._world.faults.read_fails():
            raise StoreUnavailable(f"simulated: {what} failed")
        await self._travel()
        answer = at_once(read(*args, **options))
        await self._travel()  # it may be out of date by then
        return answer

    async def _travel(self) -> None:
        """Take some time, or none: a local database answers at once, most of the time."""
        us = self._world.faults.detour_us()
        if us:
            await self._wait_until(self._world.now_us + us)

    async def _wait_until(self, at_us: int) -> None:
        come: asyncio.Future[None] = self._process.loop.create_future()
        self._world.at_us(at_us, self._process.loop.call_soon, _wake, come)
        await come

    # Life -----------------------------------------------------------------------------------------------------------

    async def open(self, clock: Clock) -> None:
        await self._travel()
        await self.memory.open(clock)

    async def close(self) -> None:
        while self.on_the_way:
            await asyncio.wait([request.future for request in self.on_the_way])
        self.close_now()

    def close_now(self) -> None:
        if not self._process.loop.is_dead:
            self.memory.close_now()

    async def reopen(self) -> None:
        """Connect anew: what was on its way arrives now or never."""
        fate = self._world.faults.fate()
        self._world.asked(self._process, f"reopen {fate.value}", None)
        for request in self.on_the_way:
            request.dropped = True
        self.on_the_way.clear()
        await self._travel()
        if fate is Fate.FAILED:
            raise StoreUnavailable("simulated: reopening failed")
        if fate is not Fate.LOST:
            await self.memory.reopen()
        if fate is not Fate.DONE:
            raise OutcomeUnknown("simulated: whether it was reopened is unknown")
        self._must_reopen = False

    # Other writes ---------------------------------------------------------------------------------------------------

    async def collect(self, worker: WorkerId) -> Committed:
        committed = await self._write("collect", lambda: self.memory.collect(worker))
        if committed.pending:
            self._has_changed()
        self._world.model.told(self._process, committed.pending)
        return committed

    async def sweep(self) -> tuple[RunKey, ...]:
        return await self._write("sweep", self._sweep)

    async def _sweep(self) -> tuple[RunKey, ...]:
        found = await self.memory.sweep()
        if found:
            self._world.violate(f"a sweep found runs whose wake-up was lost: {found}")
        return found

    async def prune(self, where: RunFilter, *, finished_before: int, limit: int) -> int:
        return await self._write(
            "prune", lambda: self.memory.prune(where, finished_before=finished_before, limit=limit)
        )

    async def register(self, worker: WorkerRecord) -> None:
        # It lives for the others from the moment in which it asks: SQLite's locks are taken first.
        self._process.workers.append(worker.worker_id)
        await self._write(f"register {worker.worker_id}", lambda: self.memory.register(worker))
        self._has_changed()

    async def unregister(self, worker: WorkerId) -> None:
        await self._write(f"unregister {worker}", lambda: self._unregister(worker))

    async def _unregister(self, worker: WorkerId) -> None:
        self._world.model.unregistered(worker)
        await self.memory.unregister(worker)
        self._world.model.look()
        self._has_changed()

    def beat(self) -> None:
        self.memory.beat()

    async def expire(self) -> Expired:
        return await self._write("expire", self._expire)

    async def _expire(self) -> Expired:
        expired = await self.memory.expire()
        self._world.model.expired(expired)
        if expired.workers:
            self._has_changed()
        return expired

    # Reads ----------------------------------------------------------------------------------------------------------

    def changed(self) -> bool:
        foreign = self._world.changes - self._own_changes
        seen, self._seen_changes = self._seen_changes, foreign
        return seen != foreign

    def _has_changed(self) -> None:
        self._own_changes += 1
        self._world.changes += 1

    async def registered(self, worker: WorkerId) -> bool:
        known = await self._read("registered", self.memory.registered, worker)
        if not known:
            self._world.model.let_go(self._process)
        return known

    async def workers(self) -> list[WorkerRecord]:
        return await self._read("workers", self.memory.workers)

    async def next_due(self, queues: Sequence[Queue], runs: Sequence[RunKey] = ()) -> int | None:
        return await self._read("next_due", self.memory.next_due, queues, runs)

    async def run(self, app: str, run_id: str) -> RunRecord | None:
        return await self._read("run", self.memory.run, app, run_id)

    async def run_by_key(self, key: RunKey) -> RunRecord | None:
        return await self._read("run_by_key", self.memory.run_by_key, key)

    async def runs(self, where: RunFilter, *, limit: int = 100, before: RunKey | None = None) -> list[RunRecord]:
        return await self._read("runs", self.memory.runs, where, limit=limit, before=before)

    async def count(self, where: RunFilter) -> dict[RunState, int]:
        return await self._read("count", self.memory.count, where)

    async def tally(self, where: RunFilter) -> dict[Queue, dict[RunState, int]]:
        return await self._read("tally", self.memory.tally, where)

    async def waits(self, run: RunKey) -> list[Wait]:
        return await self._read("waits", self.memory.waits, run)

    async def inbox(self, run: RunKey) -> Inbox:
        return await self._read("inbox", self.memory.inbox, run)

    async def owned(self, worker: WorkerId) -> list[RunRecord]:
        return await self._read("owned", self.memory.owned, worker)

    async def journal(self, run: RunKey, start: int = 0, limit: int = JOURNAL_PAGE_MAX) -> list[Entry]:
        return await self._read("journal", self.memory.journal, run, start, limit)

    async def last_entry(self, run: RunKey) -> Entry | None:
        return await self._read("last_entry", self.memory.last_entry, run)

    async def promise(self, app: str, promise_id: str) -> PromiseRecord | None:
        return await self._read("promise", self.memory.promise, app, promise_id)

    async def status(self) -> StoreStatus:
        return await self.memory.status()

    async def check(self) -> list[str]:
        return await self.memory.check()


class InlineStore(SimStore):
    """A connection over which a batch may be executed at once, as on SQLite when nothing else is under way."""

    def execute_now(self, batch: Sequence[Operation], worker: WorkerId | None = None) -> Committed | None:
        world = self._world
        if self.on_the_way or self._last_answer_us > world.now_us or world.faults.is_in_the_way():
            return None  # an answer is still to come, which must come first
        request = Request(self._process.loop.create_future(), tuple(batch), worker, world.faults.fate())
        world.asked(self._process, "execute now", request)
        self._take_effect(request)
        if request.error is not None:
            self._must_reopen = isinstance(request.error, OutcomeUnknown)
            raise request.error
        assert request.committed is not None
        world.model.answered(self, request.batch, request.committed, request.commit)
        return request.committed


def at_once(coro: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine of the memory store, which awaits nothing."""
    try:
        coro.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the memory store waits for something")


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
