"""The contract of a store: `RunStore`, and what its reads take and return.

A user's own store passes any object that fits; `durable.testing.contract` is the suite that proves it. Outcomes of
writes are four: done or refused (returned), failed for certain (`StoreUnavailable`: nothing was written, the same
batch may be executed again), or unknown (`OutcomeUnknown`: call `reopen`, then execute the same batch again).

A store reads, locks and writes. What an operation answers and what it makes of a run is decided by the pure functions
of `durable.core.decisions`, which take what was read and return what is to be written: a store has no rules of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

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
from durable.store.operations import Committed, Operation

JOURNAL_PAGE_MAX = 10_000
"""Most entries that one `journal` call returns."""

LIST_PAGE_MAX = 1_000
"""Most runs that one `runs` call returns."""


class Clock(Protocol):
    """The only source of time."""

    def now_ms(self) -> int:
        """Return milliseconds since the epoch, UTC."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; every condition that is given must hold."""

    app: str | None = None
    workflow: str | None = None
    group: str | None = None
    states: tuple[RunState, ...] = ()
    id_prefix: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    created_from: int | None = None
    created_before: int | None = None
    finished_before: int | None = None
    parent_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What `doctor` and every status line show."""

    location: str
    kind: str
    """memory, sqlite, …"""
    durability: str
    """full, relaxed or memory: what is shown wherever status is shown."""
    schema_version: int
    notes: tuple[str, ...] = ()
    """Warnings an operator should read, a sentence each."""


@dataclass(frozen=True, slots=True)
class Expired:
    """What a look for dead workers did."""

    workers: tuple[WorkerId, ...] = ()
    runs: tuple[RunKey, ...] = ()
    """Runs taken back (due at once or a little later), or set aside as poisoned."""


class RunStore(Protocol):
    """Durable home of journals, timers and queues.

    All methods but `open`, `changed`, `beat` and `close_now` need an opened store. A store is used from one event loop
    at a time; it may be closed and opened again on another. Several stores on one database, in one process or many, see
    each other's commits. A worker lives no longer than the store through which it registered.
    """

    @property
    def remembers(self) -> bool:
        """Does the store outlive the process? False for memory."""

    async def open(self, clock: Clock) -> None:
        """Connect, create or migrate the schema, and check that this can serve as a store. Idempotent.

        Raises:
            StoreUnusable: it cannot: wrong file, newer version, no rights, network file system.
            StoreUnavailable: it cannot now.
        """

    async def close(self) -> None:
        """Finish what is under way, and disconnect. Idempotent, also before `open`.

        Workers that registered through this store and were not unregistered are dead from now on.
        """

    def close_now(self) -> None:
        """As `close`, from plain code and without the loop, for an interpreter that ends or a loop that is gone."""

    async def reopen(self) -> None:
        """Drop all connections and connect again, after an unknown outcome. Raises as `open`.

        Workers that registered through this store are told again what has arrived for their runs and is not consumed:
        they may have been told in an answer that was lost.
        """

    def execute(self, batch: Sequence[Operation], worker: WorkerId | None = None) -> Awaitable[Committed]:
        """Execute the operations as one transaction, durable when the awaitable is done.

        Operations take effect in the order: starts, advances, all others as listed, claims. A run appears in at most
        one Advance, and not both in a Start and an Advance. Atomic: all or nothing, but a refused operation refuses
        only itself. Never re-entrant: the answer comes in a later iteration of the loop. Cancelling the awaitable takes
        nothing back. Batches take effect in the order of the calls, and the answers to these and to `collect` come in
        that order: each telling of a run is newer than the one before. What an Advance is told of a run that another
        one of the batch advances may be from before or after that.

        Args:
            batch: At least one operation.
            worker: Whose notices to collect into `Committed.pending`; None collects none.

        Raises:
            ValueError: the batch is malformed (`durable.store.checks`): nothing was written.
            StoreUnavailable: nothing was written, for certain.
            OutcomeUnknown: it may or may not have been written; `reopen` comes next.
            StoreError: the store cannot serve any more.
        """

    def changed(self) -> bool:
        """May anybody else have committed since the last call?

        Cheap (microseconds). A hint: it may be True for own commits, and polling is the truth.
        """

    async def collect(self, worker: WorkerId) -> Committed:
        """Return what has arrived for runs that `worker` owns, as `Committed.pending`, with no outcomes."""

    async def next_due(self, queues: Sequence[Queue], runs: Sequence[RunKey] = ()) -> int | None:
        """Return the earliest `due_at` among claimable runs of these queues and these runs, None if there is none.

        It may lie in the past.
        """

    async def sweep(self) -> tuple[RunKey, ...]:
        """Make due every suspended run that something it waits for has reached without waking it; return them.

        The transactions wake runs themselves; this finds what they missed, should they.
        """

    async def run(self, app: str, run_id: str) -> RunRecord | None:
        """Return one run, by its id."""

    async def run_by_key(self, key: RunKey) -> RunRecord | None:
        """Return one run, by the store's own key."""

    async def runs(self, where: RunFilter, *, limit: int = 100, before: RunKey | None = None) -> list[RunRecord]:
        """Return runs, newest first: keys fall. `before` is the key of the last one of the page before."""

    async def count(self, where: RunFilter) -> dict[RunState, int]:
        """Return how many runs are in each state; states without runs are left out."""

    async def tally(self, where: RunFilter) -> dict[Queue, dict[RunState, int]]:
        """Return how many runs are in each state, queue by queue; a queue or state with none is left out."""

    async def waits(self, run: RunKey) -> list[Wait]:
        """Return what a run is registered for, in no particular order."""

    async def inbox(self, run: RunKey) -> Inbox:
        """Return what was delivered to a run, as far as it is kept: all its signals, and its unread messages.

        Raises:
            StoreCorrupt: a value does not match its checksum.
        """

    async def owned(self, worker: WorkerId) -> list[RunRecord]:
        """Return the runs that `worker` owns."""

    async def journal(self, run: RunKey, start: int = 0, limit: int = JOURNAL_PAGE_MAX) -> list[Entry]:
        """Return entries from position `start` on, in order.

        Raises:
            StoreCorrupt: an entry does not match its checksum.
        """

    async def last_entry(self, run: RunKey) -> Entry | None:
        """Return the newest entry of a run: for a finished run, its final one."""

    async def promise(self, app: str, promise_id: str) -> PromiseRecord | None:
        """Return a promise, None if nobody has settled it."""

    async def register(self, worker: WorkerRecord) -> None:
        """Say that a worker lives, before it claims anything (else it gets nothing). Again: replaces what it claims."""

    async def unregister(self, worker: WorkerId) -> None:
        """Say that a worker ends; runs that it still owns become due at once. Idempotent."""

    def beat(self) -> None:
        """Say that the registered worker makes progress; called every few seconds from its event loop. Cheap."""

    async def expire(self) -> Expired:
        """Take back the runs of workers that are dead, and forget those workers.

        What becomes of each run: `core.decisions.takeovers`. A worker that finds itself forgotten (`registered` is
        False) drops all its runs and registers under a new id.
        """

    async def registered(self, worker: WorkerId) -> bool:
        """Is the worker still known?"""

    async def workers(self) -> list[WorkerRecord]:
        """Return all registered workers that have not been found dead."""

    async def prune(self, where: RunFilter, *, finished_before: int, limit: int) -> int:
        """Delete up to `limit` ended runs (with journal, waits, messages, signals) and return how many went.

        The earliest ended go first. A run for whose end another one has registered a wait, or whose parent is open,
        stays.
        """

    async def status(self) -> StoreStatus:
        """Return what an operator should know."""

    async def check(self) -> list[str]:
        """Look for damage (checksums, gaps in journals, orphans); return one sentence for each finding."""
