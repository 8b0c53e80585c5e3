"""A store in memory whose process dies where it is told to.

A *boundary* is a commit that changed a run. A process can die just before it and just after it. Whoever dies is told
nothing any more: the exception leaves the event loop at once, and that is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from durable.core.records import Entry, WorkerId
from durable.store.memory import MemoryStore
from durable.store.operations import Advance, Answer, Claim, Committed, Operation

When = Literal["before", "after"]

NO_DELAY: Final = -0.5
"""A spread with which takeovers are immediate, also the second one without a new entry: half of the delay less half."""


class Died(SystemExit):
    """The process dies here. It leaves the loop through every handler, as no other exception does."""


class CrashPoint(NamedTuple):
    """Where a process dies."""

    boundary: int
    """Number of the commit, from 1, counted over all lives of a play."""
    when: When

    def __str__(self) -> str:
        return f"{self.when} commit {self.boundary}"


class Recorded(NamedTuple):
    """An entry that a commit recorded."""

    run_id: str
    entry: Entry


class Boundary(NamedTuple):
    """A commit that changed a run."""

    number: int
    recorded: tuple[Recorded, ...] = ()
    claims_only: bool = False
    """It only takes up what is due: nothing of the run happens between the commit before and this one."""

    def points(self) -> list[CrashPoint]:
        """Return where a process can die at this commit, in order of time."""
        before = [] if self.claims_only else [CrashPoint(self.number, "before")]
        return [*before, CrashPoint(self.number, "after")]


class CrashingStore(MemoryStore):
    """A memory store that counts boundaries, and dies at those of a plan.

    Args:
        plan: Where to die, in order.
        on_commit: Told of each boundary once it is passed.
        before_death: Called when the process is about to die.
    """

    def __init__(
        self,
        plan: tuple[CrashPoint, ...],
        on_commit: Callable[[Boundary], None],
        before_death: Callable[[], None],
    ) -> None:
        super().__init__(spread=lambda: NO_DELAY)
        self._plan = list(plan)
        self._on_commit = on_commit
        self._before_death = before_death
        self.passed = 0
        """Boundaries so far."""
        self.died: list[CrashPoint] = []

    def peer(self) -> CrashingStore:
        return self

    def changed(self) -> bool:
        # One process at a time: there is nobody else who could have committed.
        return False

    def _commit(self, batch: tuple[Operation, ...], worker: WorkerId | None) -> Committed:
        number = self.passed + 1
        if all(isinstance(operation, Claim) for operation in batch):
            committed = super()._commit(batch, worker)
            if any(isinstance(outcome, Answer) and outcome.value for outcome in committed.outcomes):
                self._pass(Boundary(number, claims_only=True))
            return committed
        self._die_if(CrashPoint(number, "before"))
        committed = super()._commit(batch, worker)
        self._pass(Boundary(number, tuple(self._recorded(batch))))
        return committed

    def _pass(self, boundary: Boundary) -> None:
        self.passed = boundary.number
        self._on_commit(boundary)
        self._die_if(CrashPoint(boundary.number, "after"))

    def _die_if(self, point: CrashPoint) -> None:
        if self._plan[:1] == [point]:
            self.passed = point.boundary  # a commit that a process died before is not counted again
            self.died.append(self._plan.pop(0))
            self._before_death()
            raise Died(str(point))

    def _recorded(self, batch: tuple[Operation, ...]) -> Iterator[Recorded]:
        for operation in batch:
            if isinstance(operation, Advance):
                row = self._tables.runs.get(operation.run)
                for entry in operation.entries:
                    yield Recorded("" if row is None else row.run_id, entry)

    def bury_all(self) -> None:
        """Let every process that used the store be dead: what it asked for and was not told of is lost."""
        self._asked.clear()
        for worker in list(self._tables.workers):
            self.bury(worker)
        self._lives.clear()
