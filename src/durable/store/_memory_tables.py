"""The tables of the memory store: rows, and the two questions asked of them (what has arrived, who waits).

`_memory_changes` and `_memory_operations` are the only modules that change them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from durable.core.decisions import arrivals
from durable.core.decisions.standing import Standing
from durable.core.records import (
    Entry,
    Message,
    Pending,
    PromiseRecord,
    Queue,
    RunKey,
    RunRecord,
    RunState,
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
    parent_id: str | None
    deadline_at: int | None
    tags: dict[str, str]
    life: Standing
    """All of it that changes, in one record that is replaced as a whole."""
    worker: WorkerId | None = None
    """Who claimed it last."""
    journal: dict[int, Entry] = field(default_factory=dict)
    """By position, in order; a rewind leaves gaps."""
    epochs: dict[int, int] = field(default_factory=dict)
    """Under which epoch each entry was written."""
    waits: dict[Wait, None] = field(default_factory=dict)
    letters: dict[str, Letter] = field(default_factory=dict)
    """By message id, in order of arrival."""

    @property
    def app(self) -> str:
        """The application that the run belongs to."""
        return self.queue.app

    @property
    def owner(self) -> WorkerId | None:
        """Who owns the run now."""
        return self.worker if self.life.state is RunState.RUNNING else None

    def last_entry(self) -> Entry:
        """Return the newest entry; there is always one."""
        return self.journal[self.life.next_position - 1]

    def unread(self) -> tuple[Message, ...]:
        """Return the messages that nobody has received, oldest first."""
        return tuple(letter.message for letter in self.letters.values() if not letter.read)

    def waits_for(self, target: str) -> bool:
        """Is this target registered?"""
        return any(wait.target == target for wait in self.waits)

    def record(self) -> RunRecord:
        """Return the run as others see it."""
        life = self.life
        return RunRecord(
            key=self.key, run_id=self.run_id, queue=self.queue, state=life.state, epoch=life.epoch, owner=self.owner,
            due_at=life.due_at, created_at=self.created_at, started_at=life.started_at, finished_at=life.finished_at,
            digest=life.digest, note=life.note, parent_id=self.parent_id, continuation=life.continuation,
            deaths=life.deaths, active_ms=life.active_ms, deadline_at=self.deadline_at, requests=life.requests,
            reason=life.reason, detail=life.detail, progress=life.progress, tags=dict(self.tags),
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
        """Bring the indexes up to date after a change."""
        _keep(self.claimable, row, row.life.state in CLAIMABLE and row.life.due_at is not None)
        _keep(self.running, row, row.life.state is RunState.RUNNING)

    def owned_by(self, worker: WorkerId) -> list[Row]:
        """Return the runs of a worker, oldest first."""
        return sorted((row for row in self.running.values() if row.worker == worker), key=lambda row: row.key)

    def waiters(self, app: str, target: str) -> list[Row]:
        """Return the runs that wait for a promise or a run."""
        return list(self.waiting.get((app, target), {}).values())

    def is_there(self, row: Row, wait: Wait) -> bool:
        """Has what the run waits for arrived, and not been consumed?"""
        if wait.target.startswith("m:"):
            return any(f"m:{message.name}" == wait.target for message in row.unread())
        return self._settled(row, wait) is not None

    def is_anything_there(self, row: Row) -> bool:
        """Has anything arrived that the run waits for?"""
        return any(self.is_there(row, wait) for wait in row.waits)

    def pending(self, row: Row) -> Pending:
        """Return everything that has arrived for a run and has not been consumed."""
        found = (timed for wait in row.waits if (timed := self._settled(row, wait)) is not None)
        return arrivals.pending(row.life.requests, row.life.cancel_reason, found, row.unread())

    def _settled(self, row: Row, wait: Wait) -> arrivals.Timed | None:
        """Return what a wait for a promise or run has come to."""
        kind, name = wait.target[:2], wait.target[2:]
        if kind == "r:":
            target = self.by_id.get((row.app, name))
            if target is None:
                return arrivals.of_run(wait, None, None, b"")
            return arrivals.of_run(wait, target.life.state, target.life.finished_at, target.last_entry().data)
        promise = self.promises.get((row.app, name)) if kind == "p:" else None
        return None if promise is None else arrivals.of_promise(wait, promise.record)


def _keep(index: dict[RunKey, Row], row: Row, belongs: bool) -> None:
    if belongs:
        index[row.key] = row
    else:
        index.pop(row.key, None)
