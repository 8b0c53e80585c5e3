"""A run's journal as its body sees it: what is recorded is taken in order, what is new is appended.

Identity of an operation is its sequence number (or step id), checked against kind, name and digest of the arguments. An
entry that the code does not ask for, or asks for otherwise, raises `NonDeterminismError` before anything happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from durable.core.records import Entry, Kind, Status
from durable.errors import NonDeterminismError


class Identity(Protocol):
    """What tells an operation from all others of its run."""

    kind: Kind
    name: str
    digest: int
    note: str
    seq: int | None
    step_id: str | None


class Journal:
    """The entries of one run: a cursor over what was recorded, and the place where new ones go.

    Args:
        run_id: For messages.
        entries: What is recorded, from position 0 on; the store has checked that none is missing.
        began_at: Time of the first claim, in milliseconds: the body's time before the first entry.
    """

    __slots__ = (
        "_apart", "_cursor", "_end", "_newest_at", "_next", "_patches", "_recorded", "_run_id", "last_at", "rewound",
    )  # fmt: skip

    def __init__(self, run_id: str, entries: list[Entry], began_at: int) -> None:
        self._run_id = run_id
        # Rewind marks account for gaps; the body never saw what was dropped.
        self._recorded = [e for e in entries if e.kind is not Kind.RUN or e.name != "rewind"]
        self.rewound = len(self._recorded) < len(entries)
        """Was something of it dropped at some time?"""
        self._cursor = 1
        self._next = self._recorded[1] if len(self._recorded) > 1 else None
        self._end = entries[-1].position + 1 if entries else 0
        self._patches: dict[str, bool] = {}
        self._apart: dict[str, list[Entry]] = {}
        self.last_at = began_at
        """The body's time: that of the entry applied last."""
        # Marks of a rewind count here, and so does the start entry of a continuation: times never decrease.
        self._newest_at = max(began_at, entries[-1].at) if entries else began_at

    @property
    def start(self) -> Entry:
        """The entry that holds the arguments."""
        return self._recorded[0]

    @property
    def position(self) -> int:
        """Position of the next new entry."""
        return self._end

    @property
    def replaying(self) -> bool:
        """Is there a recorded entry that has not been taken?"""
        return self._next is not None

    def peek(self) -> Entry | None:
        """Return the next recorded entry, None at the end."""
        return self._next

    # Taking what is recorded ----------------------------------------------------------------------------------------

    def is_next(self, op: Identity) -> bool:
        """Is the next recorded entry this operation's?"""
        entry = self._next
        if entry is None:
            return False
        if op.seq is not None:
            return entry.seq == op.seq
        return entry.step_id == op.step_id and entry.seq is None and entry.step_id is not None

    def take(self, op: Identity) -> Entry:
        """Take the next entry, which is this operation's.

        Raises:
            NonDeterminismError: it recorded another kind, name or other arguments.
        """
        entry = self._next
        assert entry is not None
        if entry.kind is not op.kind or entry.name != op.name or entry.digest != op.digest:
            raise self.diverged(entry, describe(op))
        self._advance(entry)
        return entry

    def _check(self, entry: Entry, op: Identity) -> None:
        if entry.kind is not op.kind or entry.name != op.name or entry.digest != op.digest:
            raise self.diverged(entry, describe(op))

    def take_value(self, seq: int, name: str) -> Entry | None:
        """Take the next entry for a synchronous value; None at the end of the journal.

        Raises:
            NonDeterminismError: it recorded something else.
        """
        entry = self.peek()
        if entry is None:
            return None
        if (entry.kind, entry.seq, entry.name) != (Kind.VALUE, seq, name):
            raise self.diverged(entry, f"value {name!r} (operation {seq})")
        self._advance(entry)
        return entry

    def take_patch(self, name: str) -> bool | None:
        """Does this run take the new code of the change `name`? None: its journal ends here, and it does; record that.

        A run that has recorded something else at this place passed it with the old code. The first answer stands.
        """
        if name in self._patches:
            return self._patches[name]
        entry = self.peek()
        if entry is None:
            self._patches[name] = True
            return None
        new = entry.kind is Kind.VALUE and entry.seq is None and entry.name == patch_name(name)
        if new:
            self._advance(entry)
        self._patches[name] = new
        return new

    def take_any(self) -> Entry:
        """Take the next entry, whatever it is about; it concerns the run itself."""
        entry = self._next
        assert entry is not None
        self._advance(entry)
        return entry

    def _advance(self, entry: Entry) -> None:
        self._pass()
        at = entry.at
        if at > self.last_at and _moves_time(entry.kind, entry.status):
            self.last_at = at

    def _pass(self) -> None:
        cursor = self._cursor = self._cursor + 1
        self._next = self._recorded[cursor] if cursor < len(self._recorded) else None

    # Operations with a step id, which may be moved and inserted -----------------------------------------------------

    def set_apart(self) -> None:
        """Pass over the next entry, whose step id the code has not come to yet; it is taken when the code does."""
        entry = self._next
        assert entry is not None
        assert entry.step_id is not None
        self._pass()
        self._apart.setdefault(entry.step_id, []).append(entry)

    def take_apart(self, op: Identity) -> list[Entry]:
        """Take what was set apart for this operation's step id, in order.

        Raises:
            NonDeterminismError: it recorded another kind, name or other arguments.
        """
        entries = self._apart.pop(op.step_id or "", [])
        for entry in entries:
            self._check(entry, op)
            self.last_at = max(self.last_at, entry.at)
        return entries

    def take_later(self, ops: Mapping[str, Identity]) -> Entry | None:
        """Take the first entry further on that is of one of these operations, by step id; None if there is none.

        Raises:
            NonDeterminismError: it recorded another kind, name or other arguments.
        """
        for index in range(self._cursor, len(self._recorded)):
            entry = self._recorded[index]
            if entry.seq is None and entry.step_id is not None and entry.step_id in ops:
                self._check(entry, ops[entry.step_id])
                del self._recorded[index]
                self._next = self._recorded[self._cursor] if self._cursor < len(self._recorded) else None
                self.last_at = max(self.last_at, entry.at)
                return entry
        return None

    def left_over(self) -> Entry | None:
        """Return an entry that nobody has asked for, if there is one: the body has ended."""
        return self.peek() or next((entries[0] for entries in self._apart.values()), None)

    def unclaimed(self) -> list[Entry]:
        """Return what the body has not asked for yet: what was set apart, and what comes next."""
        apart = [entry for entries in self._apart.values() for entry in entries]
        return apart if self._next is None else [*apart, self._next]

    def diverged(self, entry: Entry, asked: str) -> NonDeterminismError:
        """Return the error that says what was recorded and what the code asks for."""
        return NonDeterminismError(self._run_id, entry.position, describe(entry), asked)

    # Appending what is new ------------------------------------------------------------------------------------------

    def append(self, now: int, kind: Kind, status: Status, fields: Mapping[str, Any]) -> Entry:
        """Return a new entry, with the next position and a time that does not decrease."""
        position = self._end
        self._end = position + 1
        self._newest_at = max(now, self._newest_at)
        if _moves_time(kind, status):
            self.last_at = self._newest_at
        return Entry(position, self._newest_at, kind, status, **fields)

    def append_outcome(
        self, now: int, op: Identity, status: Status, attempt: int, took: int, due_at: int, data: bytes
    ) -> Entry:
        """As `append`, for an outcome of an operation: the frequent case, without a mapping."""
        position = self._end
        self._end = position + 1
        if now > self._newest_at:
            self._newest_at = now
        self.last_at = self._newest_at
        return Entry(
            position, self.last_at, op.kind, status, op.seq, op.step_id, op.name, op.digest, attempt, took, due_at,
            op.note, data,
        )  # fmt: skip


def _moves_time(kind: Kind, status: Status) -> bool:
    """Does an entry change the body's time? Not a BEGUN of tasks and children.

    It may be recorded after the pump in which the operation was issued, and is taken in the middle of it on replay.
    """
    return status is not Status.BEGUN or kind is Kind.TIMER


def patch_name(name: str) -> str:
    """Return the name under which a patch is recorded."""
    return f"patched {name}"


def describe(op: Identity | Entry) -> str:
    """Return an operation or an entry in words, for messages."""
    identity = f"step id {op.step_id!r}" if op.step_id is not None else f"operation {op.seq}"
    return f"{op.kind.label} {op.name!r}{f' {op.note}' if op.note else ''} ({identity})"
