"""How changes are written in the memory store: every way to change a row that more than one operation takes."""

from __future__ import annotations

from durable.core.decisions import arrivals, standing
from durable.core.decisions.standing import Change, Standing
from durable.core.records import Entry, Pending, RunKey, Wait, WorkerId
from durable.store._memory_tables import Row, Tables


class Changes:
    """What one commit changes, all at the same time `now`."""

    def __init__(self, tables: Tables, now: int) -> None:
        self.tables, self.now = tables, now
        self.due_soon: dict[RunKey, Row] = {}
        """Runs that were made due now; some may have been taken since."""

    def due(self) -> tuple[RunKey, ...]:
        """Return the runs that this commit made due now and that nobody owns."""
        return tuple(sorted(row.key for row in self.due_soon.values() if standing.is_due(row.life, self.now)))

    def tell(self, worker: WorkerId) -> tuple[tuple[RunKey, Pending], ...]:
        """Return what has arrived for the runs of a worker, and note that it was told."""
        noticed = [row for row in self.tables.owned_by(worker) if row.life.notice]
        pending = [(row.key, self.tables.pending(row)) for row in noticed]
        for row in noticed:
            row.life = standing.told(row.life)
        return tuple((key, told) for key, told in pending if arrivals.is_worth_telling(told))

    def apply(self, row: Row, change: Change) -> None:
        """Write what was decided about a run."""
        if change.entry is not None:
            self.append(row, change.entry)
        self.put(row, change.run)
        if change.forgets_waits:
            self.forget(row, tuple(row.waits))
        if change.has_ended:
            for waiter in self.tables.waiters(row.app, f"r:{row.run_id}"):
                self.wake(waiter)

    def put(self, row: Row, life: Standing) -> None:
        """Write where a run stands now."""
        if standing.became_due(row.life, life, self.now):
            self.due_soon[row.key] = row
        row.life = life
        self.tables.index(row)

    def wake(self, row: Row) -> None:
        """Let a run hear that something has arrived for it."""
        self.put(row, standing.woken(row.life, self.now))

    def append(self, row: Row, entry: Entry) -> None:
        """Write an entry into the journal."""
        row.journal[entry.position] = entry
        row.epochs[entry.position] = row.life.epoch

    def forget(self, row: Row, waits: tuple[Wait, ...]) -> None:
        """Drop waits that may or may not be registered."""
        for wait in waits:
            row.waits.pop(wait, None)
            if not row.waits_for(wait.target) and (runs := self.tables.waiting.get((row.app, wait.target))):
                runs.pop(row.key, None)
                if not runs:
                    del self.tables.waiting[row.app, wait.target]
