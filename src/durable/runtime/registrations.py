"""What a run is registered for in the store, against what the code waits for at the end of the run's journal."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from durable.core.records import Entry, Kind, Status, Wait
from durable.runtime.waits import WaitOperation

if TYPE_CHECKING:
    from durable.runtime.histories import History
    from durable.runtime.rehearsal import Rehearsed

_OUTCOMES: Final = (Status.OK, Status.ERROR)


class Registrations:
    """The registrations of a run, and all that excuses one that the code does not ask for.

    Every registration was committed before or with the last entry, or after it; the same holds for what was withdrawn.
    So at the end of the journal each one is wanted, or withdrawn in the turn that follows the last entry, unless older
    code left it behind: then the journal, or a newer registration, or a change that is guarded, has taken its place.
    """

    def __init__(self, act: Rehearsed, history: History) -> None:
        self._open = act.frontier.open
        self._waits = history.waits
        wanted = [op.wait for op in self._open.values() if isinstance(op, WaitOperation)]
        self._passed = {*wanted, *act.outbox.unwaits}
        self._targets = {wait.target for wait in wanted}
        self._renewed = {wait.seq for wait in set(wanted).intersection(history.waits)}
        # A child that has begun has an entry of its own, and is waited for all the same.
        entries = [entry for entry in history.entries if not _is_begun_child(entry)]
        self._numbers = sorted({entry.seq for entry in entries if entry.seq is not None})
        self._step_ids = {entry.step_id for entry in history.entries}
        self._children = {f"r:{e.note}" for e in entries if e.kind is Kind.CHILD and e.status in _OUTCOMES}
        # A child with a step id that has begun may yet be asked for.
        self._children |= {f"r:{e.note}" for e in act.journal.unclaimed() if e.step_id is not None}
        self._patches = act.patches

    def first_unwanted(self) -> Wait | None:
        """Return a registration for something that the code neither waits for nor may pass over."""
        if not self._waits:
            return None
        at_new_step = self._stands_at_new_step()
        for wait in self._waits:
            if wait in self._passed or self._is_stale(wait) or self._is_guarded(wait):
                continue
            if (wait.seq > 0 and wait.seq in self._open) or not at_new_step:
                return wait
        return None

    def _is_stale(self, wait: Wait) -> bool:
        """Did older code leave it behind?"""
        if wait.seq < 0:
            # The numbers of steps with a step id differ between versions of the code; what they wait for does not.
            return wait.target in self._targets or wait.target in self._children
        return wait.seq in self._renewed or self._last_number(wait.seq) == wait.seq

    def _last_number(self, seq: int) -> int:
        """Return the largest recorded number up to `seq`."""
        place = bisect_right(self._numbers, seq)
        return self._numbers[place - 1] if place else 0

    def _is_guarded(self, wait: Wait) -> bool:
        """Does a change that is guarded by `patched` come between what is recorded and the wait?"""
        if wait.seq < 0:
            newest = self._numbers[-1] if self._numbers else 0
            return any(newest <= issued for issued in self._patches)
        return any(self._last_number(wait.seq) <= issued < wait.seq for issued in self._patches)

    def _stands_at_new_step(self) -> bool:
        """Does the body stand at a step with a step id of which nothing is recorded? What follows cannot be seen."""
        return any(op.step_id is not None and op.step_id not in self._step_ids for op in self._open.values())


def _is_begun_child(entry: Entry) -> bool:
    return entry.kind is Kind.CHILD and entry.status is Status.BEGUN
