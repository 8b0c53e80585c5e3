"""The life of a run in the memory store: every change of a row that more than one operation brings about."""

from __future__ import annotations

from typing import Final

from durable.core.records import Entry, Pending, Reason, Requests, RunKey, RunState, Wait, WorkerId
from durable.core.states import RunEvent, after
from durable.store._memory_tables import Row, Tables

ENDINGS: Final = {
    RunState.SUCCEEDED: RunEvent.RETURNED,
    RunState.FAILED: RunEvent.RAISED,
    RunState.CANCELLED: RunEvent.CANCEL_FINISHED,
}


class Life:
    """What can happen to runs in one commit, all at the same time `now`."""

    def __init__(self, tables: Tables, now: int) -> None:
        self.tables, self.now = tables, now
        self._moved: dict[RunKey, Row] = {}

    def due(self) -> tuple[RunKey, ...]:
        """Return the runs that this commit made due now and that nobody owns."""
        rows = (row for row in self._moved.values() if row.is_claimable)
        return tuple(sorted(row.key for row in rows if row.due_at is not None and row.due_at <= self.now))

    def tell(self, worker: WorkerId) -> tuple[tuple[RunKey, Pending], ...]:
        """Return what has arrived for the runs of a worker, and note that it was told."""
        told = []
        for row in self.tables.owned_by(worker):
            if row.notice and (pending := self.tables.pending(row)) != Pending():
                told.append((row.key, pending))
            row.notice = False
        return tuple(told)

    def take(self, row: Row, worker: WorkerId | None) -> None:
        """Give a run to a worker under a new epoch."""
        row.owner, row.left_by, row.notice = worker, None, False
        row.epoch += 1
        row.started_at = self.now if row.started_at is None else row.started_at
        self.move(row, RunEvent.CLAIMED, due_at=None)

    def give_back(self, row: Row, *, delay_ms: int = 0, event: RunEvent = RunEvent.RELEASED) -> None:
        """Take a run from its owner; it is due now or after a delay."""
        row.owner, row.notice = None, False
        self.move(row, event, due_at=self.now + delay_ms)

    def poison(self, row: Row, detail: str) -> None:
        """Set aside a run whose owner died once too often."""
        self.give_back(row, event=RunEvent.OWNER_DIED)
        self.set_aside(row, Reason.POISONED, detail)

    def wake(self, row: Row) -> None:
        """Let a run hear that something has arrived for it: its owner, or the one who claims it next."""
        if row.state is RunState.RUNNING:
            row.notice = True
        elif row.state is RunState.SUSPENDED:
            self.move(row, RunEvent.WOKEN, due_at=self.sooner(row))

    def end(self, row: Row, state: RunState, reason: str, detail: str) -> None:
        """Bring a run to its end, and wake whoever waits for that."""
        self.move(row, ENDINGS[state], due_at=None)
        row.finished_at, row.reason, row.detail = self.now, reason, detail
        row.requests, row.cancel_reason = Requests.NONE, ""
        self.forget(row, tuple(row.waits))
        for waiter in self.tables.waiters(row.app, f"r:{row.run_id}"):
            self.wake(waiter)

    def set_aside(self, row: Row, reason: str, detail: str) -> None:
        """Keep a run from going on until someone acts."""
        self.move(row, RunEvent.CANNOT_GO_ON, due_at=None)
        row.reason, row.detail = reason, detail

    def move(self, row: Row, event: RunEvent, *, due_at: int | None) -> None:
        """Change the state of a run: the one place that does."""
        if row.state is RunState.SET_ASIDE or row.state.is_final:
            row.reason, row.detail, row.finished_at = "", "", None
        row.state, row.due_at = after(row.state, event), due_at
        self.reindex(row)

    def reindex(self, row: Row) -> None:
        """Note that a run is new, or has another state or time."""
        self.tables.index(row)
        self._moved[row.key] = row

    def sooner(self, row: Row) -> int:
        """Return when a run is due that becomes due now, or was due already."""
        return self.now if row.due_at is None else min(row.due_at, self.now)

    def append(self, row: Row, entry: Entry) -> None:
        """Write an entry, the newest one."""
        row.journal[entry.position] = entry
        row.epochs[entry.position] = row.epoch
        row.next_position = entry.position + 1
        row.deaths = 0

    def forget(self, row: Row, waits: tuple[Wait, ...]) -> None:
        """Drop waits that may or may not be registered."""
        for wait in waits:
            row.waits.pop(wait, None)
            if not row.waits_for(wait.target) and (runs := self.tables.waiting.get((row.app, wait.target))):
                runs.pop(row.key, None)
                if not runs:
                    del self.tables.waiting[row.app, wait.target]
