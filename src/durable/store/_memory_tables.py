"""The tables of the memory store: rows, and the two questions asked of them (what has arrived, who waits).

Rows are plain mutable records; `_memory_operations` is the only module that changes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from durable.core.records import (
    Entry,
    Message,
    Pending,
    PromiseRecord,
    Queue,
    Requests,
    RunKey,
    RunRecord,
    RunState,
    Settled,
    Wait,
    WorkerId,
    WorkerRecord,
)
from durable.core.states import CLAIMABLE


@dataclass(slots=True)
class Letter:
    """A message in a mailbox; it stays when it is read, so that its id is known."""

    message: Message
    read: bool = False


@dataclass(slots=True)
class Row:
    """A run with all that belongs to it."""

    key: RunKey
    run_id: str
    queue: Queue
    created_at: int
    digest: int
    note: str
    due_at: int | None
    parent_id: str | None
    deadline_at: int | None
    tags: dict[str, str]
    state: RunState = RunState.QUEUED
    epoch: int = 0
    owner: WorkerId | None = None
    left_by: WorkerId | None = None
    """Whose Advance gave the run away under the epoch it still has: recognises that Advance when it is repeated."""
    notice: bool = False
    """Something arrived while the run was owned, and its owner has not been told."""
    started_at: int | None = None
    finished_at: int | None = None
    continuation: int = 0
    deaths: int = 0
    active_ms: int = 0
    requests: Requests = Requests.NONE
    cancel_reason: str = ""
    reason: str = ""
    detail: str = ""
    progress: str = ""
    journal: dict[int, Entry] = field(default_factory=dict)
    """By position, in order; a rewind leaves gaps."""
    epochs: dict[int, int] = field(default_factory=dict)
    """Under which epoch each entry was written."""
    next_position: int = 0
    waits: dict[Wait, None] = field(default_factory=dict)
    letters: dict[str, Letter] = field(default_factory=dict)
    """By message id, in order of arrival."""

    @property
    def app(self) -> str:
        """The application that the run belongs to."""
        return self.queue.app

    @property
    def is_claimable(self) -> bool:
        """May the run be claimed once its time has come?"""
        return self.state in CLAIMABLE and self.due_at is not None

    def last_entry(self) -> Entry:
        """Return the newest entry; there is always one."""
        return self.journal[self.next_position - 1]

    def unread(self) -> tuple[Message, ...]:
        """Return the messages that nobody has received, oldest first."""
        return tuple(letter.message for letter in self.letters.values() if not letter.read)

    def waits_for(self, target: str) -> bool:
        """Is this target registered?"""
        return any(wait.target == target for wait in self.waits)

    def record(self) -> RunRecord:
        """Return the run as others see it."""
        return RunRecord(
            key=self.key, run_id=self.run_id, queue=self.queue, state=self.state, epoch=self.epoch, owner=self.owner,
            due_at=self.due_at, created_at=self.created_at, started_at=self.started_at, finished_at=self.finished_at,
            digest=self.digest, note=self.note, parent_id=self.parent_id, continuation=self.continuation,
            deaths=self.deaths, active_ms=self.active_ms, deadline_at=self.deadline_at, requests=self.requests,
            reason=self.reason, detail=self.detail, progress=self.progress, tags=dict(self.tags),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Promise:
    """A settled promise, and the token of the request that settled it."""

    record: PromiseRecord
    token: str


@dataclass(slots=True)
class Tables:
    """Everything that a database would hold."""

    runs: dict[RunKey, Row] = field(default_factory=dict)
    """By key, oldest first."""
    by_id: dict[tuple[str, str], Row] = field(default_factory=dict)
    """By application and run id."""
    claimable: dict[RunKey, Row] = field(default_factory=dict)
    running: dict[RunKey, Row] = field(default_factory=dict)
    waiting: dict[tuple[str, str], dict[RunKey, Row]] = field(default_factory=dict)
    """By application and target: the runs that have registered a wait for it."""
    promises: dict[tuple[str, str], Promise] = field(default_factory=dict)
    workers: dict[WorkerId, WorkerRecord] = field(default_factory=dict)
    dead: set[WorkerId] = field(default_factory=set)
    """Workers that have died and have not been found yet."""
    last_key: RunKey = 0
    last_message: int = 0
    version: int = 0
    """Grows with each commit."""

    def index(self, row: Row) -> None:
        """Bring the indexes up to date after a change of state, owner or `due_at`."""
        _keep(self.claimable, row, row.is_claimable)
        _keep(self.running, row, row.state is RunState.RUNNING)

    def owned_by(self, worker: WorkerId) -> list[Row]:
        """Return the runs of a worker, oldest first."""
        return sorted((row for row in self.running.values() if row.owner == worker), key=lambda row: row.key)

    def waiters(self, app: str, target: str) -> list[Row]:
        """Return the runs that wait for a promise or a run."""
        return list(self.waiting.get((app, target), {}).values())

    def has_arrived(self, row: Row) -> bool:
        """Is there anything that keeps the run from being suspended?"""
        return bool(row.requests) or any(self.is_there(row, wait) for wait in row.waits)

    def is_there(self, row: Row, wait: Wait) -> bool:
        """Has what the run waits for arrived, and not been consumed?"""
        if wait.target.startswith("m:"):
            return any(f"m:{message.name}" == wait.target for message in row.unread())
        return self._settled(row, wait) is not None

    def pending(self, row: Row) -> Pending:
        """Return everything that has arrived for a run and has not been consumed."""
        found = [timed for wait in row.waits if (timed := self._settled(row, wait)) is not None]
        settled = tuple(settled for _, settled in sorted(found, key=lambda timed: (timed[0], timed[1].seq)))
        return Pending(row.requests, row.cancel_reason, settled, row.unread())

    def _settled(self, row: Row, wait: Wait) -> tuple[int, Settled] | None:
        """Return what a wait for a promise or run has come to, and when."""
        kind, name = wait.target[:2], wait.target[2:]
        if kind == "r:":
            return _ended(wait, self.by_id.get((row.app, name)))
        promise = self.promises.get((row.app, name))
        if kind != "p:" or promise is None:
            return None
        record = promise.record
        return record.settled_at or 0, Settled(wait.seq, wait.target, record.ok, record.data)


def _ended(wait: Wait, target: Row | None) -> tuple[int, Settled] | None:
    if target is None:
        return 0, Settled(wait.seq, wait.target, ok=False, data=b"", missing=True)
    if not target.state.is_final:
        return None
    ok = target.state is RunState.SUCCEEDED
    return target.finished_at or 0, Settled(wait.seq, wait.target, ok, target.last_entry().data)


def _keep(index: dict[RunKey, Row], row: Row, belongs: bool) -> None:
    if belongs:
        index[row.key] = row
    else:
        index.pop(row.key, None)
