"""Where a failed run goes on: which outcomes made it fail, and what has to be dropped to try them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from durable.core.records import Entry, Kind, Status

ORIGIN_ATTRIBUTE = "__durable_origin__"
"""Exceptions that a step delivered into a body carry `(position of the outcome, next sequence number then)` here."""


class Origin(NamedTuple):
    """The recorded outcome that an exception came from."""

    position: int
    next_seq: int


def origins(error: BaseException) -> list[Origin]:
    """Return the outcomes that led to `error`, following causes, contexts and group members, earliest first."""
    found = {value for item in _reachable(error) if (value := getattr(item, ORIGIN_ATTRIBUTE, None)) is not None}
    return sorted(found)


def _reachable(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo = [error]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        todo += [other for other in (item.__cause__, item.__context__) if other is not None]
        if isinstance(item, BaseExceptionGroup):
            todo += item.exceptions


def format_origins(found: Iterable[Origin]) -> str:
    """Return origins as the note of a final entry."""
    return " ".join(f"{position}:{next_seq}" for position, next_seq in found)


def parse_origins(note: str) -> list[Origin]:
    """Return what `format_origins` wrote; nothing for any other note."""
    pairs = [item.partition(":") for item in note.split()]
    return [Origin(int(a), int(b)) for a, colon, b in pairs if colon and a.isdigit() and b.isdigit()]


class RestartPlan(NamedTuple):
    """What going on after a failure means."""

    drop: tuple[int, ...]
    """Positions of the entries to delete, ascending."""
    repeats: tuple[str, ...]
    """Effects that succeeded and would run again, as `name (position)`; empty: going on repeats nothing."""


def plan_restart(journal: Sequence[Entry]) -> RestartPlan:
    """Return what to drop so that a failed run goes on from the step that failed.

    The final entry lists the outcomes that made it fail. Their earliest is p, and s the next sequence number at p:
    those outcomes go (with their failed attempts), and every entry of an operation numbered s or more, since the body
    may take another way after p. Operations with a step_id that were recorded after p go too, for the same reason.
    """
    final = journal[-1]
    found = parse_origins(final.note)
    if not found:
        return RestartPlan((final.position,), ())
    first = found[0]
    failed = {_key(entry) for entry in journal if entry.position in {origin.position for origin in found}}
    gone = [entry for entry in journal[1:] if _key(entry) in failed or _is_after(entry, first)]
    gone += [final] if final not in gone else []
    return _plan(gone)


def plan_discard(journal: Sequence[Entry], position: int) -> RestartPlan:
    """Return what to drop so that a run goes on from `position`: everything recorded there and later.

    The marks of earlier rewinds stay: they account for gaps, which may lie before `position`.

    Raises:
        ValueError: `position` is not in the journal, or is its start entry.
    """
    if position < 1 or position > journal[-1].position:
        raise ValueError(f"position {position}: the journal has positions 1 to {journal[-1].position}")
    return _plan([entry for entry in journal if entry.position >= position and not _is_mark(entry)])


def _is_after(entry: Entry, first: Origin) -> bool:
    if entry.seq is not None:
        return entry.seq >= first.next_seq
    return entry.position > first.position and not _is_mark(entry)


def _is_mark(entry: Entry) -> bool:
    """Is it what a rewind has left?"""
    return entry.kind is Kind.RUN and entry.name == "rewind"


def _plan(gone: list[Entry]) -> RestartPlan:
    effects = (Kind.TASK, Kind.CHILD, Kind.START, Kind.CALL, Kind.MESSAGE)
    repeats = [f"{e.name or e.step_id} ({e.position})" for e in gone if e.kind in effects and e.status is Status.OK]
    return RestartPlan(tuple(sorted(entry.position for entry in gone)), tuple(repeats))


def _key(entry: Entry) -> tuple[int | None, str | None, str]:
    return (
        entry.seq,
        entry.step_id,
        "" if entry.seq is not None or entry.step_id is not None else f"@{entry.position}",
    )


def rewind_note(drop: Sequence[int]) -> str:
    """Return the note of a `rewind` entry: the dropped positions as ranges, `3-5 8`."""
    ranges: list[list[int]] = []
    for position in sorted(drop):
        if ranges and position == ranges[-1][1] + 1:
            ranges[-1][1] = position
        else:
            ranges.append([position, position])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def dropped_positions(note: str, *, below: int = 1 << 24) -> set[int]:
    """Return the positions under `below` that the note of a `rewind` entry lists; what reads otherwise lists none.

    The bound keeps a damaged note from naming more positions than any journal has.
    """
    found: set[int] = set()
    for item in note.split():
        first, _, last = item.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            found.update(range(int(first), min(int(last or first) + 1, below)))
    return found
