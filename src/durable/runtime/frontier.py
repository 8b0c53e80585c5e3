"""The operations that a body has issued and whose outcomes it has not seen: their identity, and how they meet entries.

The journal's next entry belongs to one of them, or to the one that the body issues next; anything else is a divergence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from durable.core.ids import CallIds
from durable.core.records import Entry, Status
from durable.core.replay import Journal
from durable.errors import BusyLoop, NonDeterminismError, UsageError
from durable.runtime.loop import BodyLoop
from durable.runtime.steps import MISSING, Operation

OPEN_MAX: Final = 10_000
"""Operations that may be open at once before the run is set aside as a busy loop (design §3)."""


class Frontier:
    """Where the body of one activation stands."""

    __slots__ = ("_begun_early", "_journal", "_loop", "_memory_ids", "_step_ids", "open", "seq", "timers")

    def __init__(self, journal: Journal, loop: BodyLoop) -> None:
        self._journal = journal
        self._loop = loop
        self.seq = 0
        """Operations issued, those with a step_id apart."""
        self.open: dict[int, Operation] = {}
        self.timers: dict[int, int] = {}
        """When open operations want `timer_came`, by key."""
        self._step_ids: dict[str, int] = {}
        self._memory_ids: CallIds | None = None
        self._begun_early: set[int] = set()
        """Steps with a step id that were inserted into recorded history: they begin before the journal is exhausted."""

    # Issuing --------------------------------------------------------------------------------------------------------

    def issue(self, op: Operation) -> None:
        """Give an operation its identity.

        Raises:
            Evicted: the activation has ended.
            ForbiddenInWorkflow: not the body asks.
            UsageError: its step id was used before.
        """
        act = op.act
        act.refuse_outside()
        if op.step_id is None:
            self.seq += 1
            op.seq = op.key = self.seq
        else:
            op.key = self._name_step(op.step_id, act.run_id)
        if len(self.open) >= OPEN_MAX:
            text = f"more than {OPEN_MAX:,} operations are open at once; bound them, as durable.map(limit=) does"
            raise act.halted(BusyLoop(text))
        if act.host.options.on_step is not None:
            act.host.options.on_step(act, op.kind, op.name, op.key)
        self.open[op.key] = op
        try:
            op.issued(begun=self._take_begun(op))
        except BaseException:
            del self.open[op.key]
            raise
        if act.interruptions:
            act.notice_swallowed_cancel()

    def number_value(self) -> int:
        """Return the number of a synchronous value, which is an operation that never waits."""
        self.seq += 1
        return self.seq

    def _name_step(self, step_id: str, run_id: str) -> int:
        if step_id in self._step_ids:
            raise UsageError(f"run {run_id!r}: step id {step_id!r} is used twice; step ids are unique within a run")
        key = self._step_ids[step_id] = -len(self._step_ids) - 1
        return key

    def next_memory_id(self, name: str) -> str:
        """Return the name of the next call of a task for a store that knows steps by name."""
        if self._memory_ids is None:
            self._memory_ids = CallIds()
        return self._memory_ids.next(name)

    def takes_next(self) -> bool:
        """Is the journal's next entry that of the next operation to be issued?"""
        entry = self._journal.peek()
        return entry is not None and entry.seq == self.seq + 1

    def withdraw(self, op: Operation) -> bool:
        """Forget an operation whose branch was cancelled; return False if it was not open."""
        self.timers.pop(op.key, None)
        return self.open.pop(op.key, None) is not None

    # Meeting entries ------------------------------------------------------------------------------------------------

    def _take_begun(self, op: Operation) -> bool:
        """Take the entry that was recorded when the operation was issued, if there was one."""
        entry = self._journal.peek()
        if entry is None or entry.status is not Status.BEGUN or not self._journal.is_next(op):
            return False
        op.recorded(self._take(op))
        return True

    def _take(self, op: Operation) -> Entry:
        try:
            return self._journal.take(op)
        except NonDeterminismError as error:
            raise op.act.halted(error) from None

    def take_inline(self, op: Operation) -> Entry | None:
        """Return the outcome of an operation just issued, if applying it now is what a pump would do; else begin it.

        That is so when the journal's next entry is this operation's and no other callback is ready. Yielding would
        come to the same, at ten times the cost.
        """
        journal = self._journal
        if op.step_id is not None and (outcome := self._take_apart(op)) is not None:
            return outcome
        while journal.is_next(op) and self._loop.is_blocked and not self._is_cancelling():
            entry = self._take(op)
            if entry.status in (Status.OK, Status.ERROR):
                del self.open[op.key]
                return entry
            op.recorded(entry)
        if op.act.live:
            op.begin()
        return None

    def _take_apart(self, op: Operation) -> Entry | None:
        """Return the outcome of an operation with a step id, if the journal has come by it before the code did."""
        try:
            entries = self._journal.take_apart(op)
        except NonDeterminismError as error:
            raise op.act.halted(error) from None
        for entry in entries:
            if entry.status in (Status.OK, Status.ERROR):
                del self.open[op.key]
                return entry
            op.recorded(entry)
        return None

    def _is_cancelling(self) -> bool:
        task = asyncio.current_task(self._loop)
        return task is not None and task._must_cancel  # type: ignore[attr-defined]

    def replay(self, entry: Entry) -> bool:
        """Apply the next recorded entry, which is about an operation; the loop is blocked.

        Returns False if something has to happen first.

        Raises:
            NonDeterminismError: the body asks for something else.
        """
        key = entry.seq if entry.seq is not None else self._step_ids.get(entry.step_id or "", 0)
        op = self.open.get(key)
        if op is None:
            return self._replay_out_of_turn(entry)
        self._apply(op, self._journal.take(op))
        return True

    def _apply(self, op: Operation, entry: Entry) -> None:
        if entry.status in (Status.OK, Status.ERROR):
            del self.open[op.key]
            op.deliver(entry, MISSING)
        else:
            op.recorded(entry)

    def _replay_out_of_turn(self, entry: Entry) -> bool:
        """Go on although nobody asks for the next entry: steps with a step id may have been moved or inserted."""
        if entry.seq is None and entry.step_id is not None:
            self._journal.set_apart()
            return True
        named = {op.step_id: op for op in self.open.values() if op.step_id is not None}
        later = self._journal.take_later(named)
        if later is not None:
            self._apply(named[later.step_id or ""], later)
            return True
        if not named:
            raise self._journal.diverged(entry, "nothing there: no such operation is open")
        for op in named.values():
            if op.key not in self._begun_early:
                self._begun_early.add(op.key)
                op.begin()
        return False

    def begin_all(self) -> None:
        """Begin what is open: the journal is exhausted."""
        for op in list(self.open.values()):
            if op.key not in self._begun_early:
                op.begin()

    def ring(self, has_come: Callable[[int], bool]) -> None:
        """Tell the operations whose times have come, in the order of these."""
        for _, key in sorted((at, key) for key, at in self.timers.items() if has_come(at)):
            del self.timers[key]
            self.open[key].timer_came()

    def close(self, op: Operation) -> None:
        """The outcome of an operation is recorded live."""
        del self.open[op.key]
        self.timers.pop(op.key, None)
        op.closed()
