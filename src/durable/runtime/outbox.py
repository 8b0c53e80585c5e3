"""What an activation has produced and not yet handed to the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from durable.core.records import Entry, Wait
from durable.store.operations import Answer, Cancel, Extras, Outcome, Send, Settle, Start

if TYPE_CHECKING:
    from durable.runtime.steps import Operation

Request = Start | Settle | Send | Cancel
_ORDER = (Start, Settle, Send, Cancel)


class Call(NamedTuple):
    """A request that rides in an Advance, and the operation that wants its answer, if any does."""

    request: Request
    operation: Operation | None


class Outbox:
    """Collects entries and everything else of an Advance until the committer takes it."""

    __slots__ = ("calls", "consumed", "entries", "progress", "unwaits", "waits")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.waits: list[Wait] = []
        self.unwaits: list[Wait] = []
        self.calls: list[Call] = []
        self.consumed: list[int] = []
        self.progress: str | None = None

    def __bool__(self) -> bool:
        return bool(self.entries or self.calls or self.waits or self.unwaits or self.progress is not None)

    def take(self) -> tuple[tuple[Entry, ...], Extras | None, list[Call]]:
        """Return and forget the entries, the rest, and the calls in the order of their answers."""
        entries = tuple(self.entries)
        self.entries.clear()
        if not (self.calls or self.waits or self.unwaits or self.progress is not None):
            return entries, None, []
        calls = sorted(self.calls, key=lambda call: _ORDER.index(type(call.request)))
        extras = Extras(
            waits=tuple(self.waits),
            unwaits=tuple(self.unwaits),
            starts=tuple(c.request for c in calls if isinstance(c.request, Start)),
            settles=tuple(c.request for c in calls if isinstance(c.request, Settle)),
            sends=tuple(c.request for c in calls if isinstance(c.request, Send)),
            cancels=tuple(c.request for c in calls if isinstance(c.request, Cancel)),
            consumed=tuple(self.consumed),
            progress=self.progress,
        )
        self.waits.clear()
        self.unwaits.clear()
        self.calls.clear()
        self.consumed.clear()
        self.progress = None
        return entries, extras, calls


def answers_of(outcome: Outcome) -> tuple[Outcome, ...]:
    """Return the answers to the calls of an Advance."""
    value = outcome.value if isinstance(outcome, Answer) else ()
    return value if isinstance(value, tuple) else ()
