"""What no store takes: a malformed batch is its maker's mistake, and is refused before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from durable.core.records import ID_BYTES_MAX, Kind
from durable.store.operations import Advance, Continue, Finish, Operation, Rewind, Send, Settle, Start

PROMISE_ID_BYTES_MAX: Final = 2 * ID_BYTES_MAX + 1
"""Longest promise id: that of a signal is a run id, a line feed and a name."""


def check_batch(batch: Sequence[Operation]) -> None:
    """Check what can be told from the batch alone.

    Raises:
        ValueError: the batch breaks a rule of `durable.store.operations`, or holds an id that is too long.
    """
    if not batch:
        raise ValueError("a batch holds at least one operation, this one is empty")
    runs = [operation.run for operation in batch if isinstance(operation, Advance)]
    if len(set(runs)) < len(runs):
        raise ValueError("a run appears in at most one Advance of a batch")
    for operation in batch:
        check_operation(operation)


def check_operation(operation: Operation) -> None:
    match operation:
        case Start():
            check_id("run id", operation.run_id)
            for tag in operation.tags:
                check_id("tag name", tag[0])
                check_id("tag", tag[1], least=0)
        case Settle():
            check_id("promise id", operation.promise_id, most=PROMISE_ID_BYTES_MAX)
        case Send():
            check_id("message id", operation.message_id)
            check_id("message name", operation.name)
        case Advance():
            _check_advance(operation)
        case Rewind():
            _check_rewind(operation)
        case _:
            pass


def _check_advance(advance: Advance) -> None:
    entries, then, extras = advance.entries, advance.then, advance.extras
    if any(entry.position != entries[0].position + place for place, entry in enumerate(entries)):
        raise ValueError(f"run {advance.run}: the entries of an Advance have consecutive positions")
    if isinstance(then, Finish) and not (entries and then.state.is_final):
        raise ValueError(f"run {advance.run}: a Finish has a final state and a final entry, not {then.state.label}")
    if isinstance(then, Continue) and entries:
        raise ValueError(f"run {advance.run}: an Advance that continues as new carries no entries")
    if extras is not None:
        inner: list[Operation] = [*extras.starts, *extras.settles, *extras.sends]
        for operation in inner:
            check_operation(operation)


def _check_rewind(rewind: Rewind) -> None:
    mark = rewind.mark
    if (mark.kind, mark.name) != (Kind.RUN, "rewind"):
        raise ValueError(f"run {rewind.run_id!r}: the mark of a Rewind is an entry RUN rewind, not {mark.name!r}")
    if any(not 0 < position < mark.position for position in rewind.drop):
        raise ValueError(f"run {rewind.run_id!r}: a Rewind drops entries between the start entry and its mark")


def check_id(what: str, text: str, *, least: int = 1, most: int = ID_BYTES_MAX) -> None:
    """Check the length of an id in bytes, and that a database can store it.

    Raises:
        ValueError: it is empty or too long, holds NUL, or is no Unicode text (a lone surrogate).
    """
    if not least <= len(text.encode()) <= most or "\0" in text:
        raise ValueError(f"{what} {text[:40]!r} must be {least} to {most} bytes of UTF-8 without NUL")
