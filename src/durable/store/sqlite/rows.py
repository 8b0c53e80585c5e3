"""Rows and records: how entries and runs are laid out in their tables, and the checksum that guards an entry.

The checksum of the codec covers run, position, kind and bytes; here it goes on over the entry's other columns, since a
flipped bit in `status` or `seq` would be as wrong as one in the value.
"""

from __future__ import annotations

import json
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias
from zlib import crc32

from durable.codec.checksum import crc, pack_place
from durable.core.decisions.standing import Standing
from durable.core.records import Entry, Kind, Queue, Requests, RunKey, RunRecord, RunState, Status, WorkerRecord
from durable.errors import StoreCorrupt
from durable.store.sqlite.names import Names
from durable.store.sqlite.schema import POSITION_BITS, POSITIONS

EntryRow: TypeAlias = tuple[Any, ...]
"""place, epoch, at, kind, status, seq, name, digest, attempt, took, note, data, crc, step_id, due_at."""

ENTRY_COMMON: Final = 13
"""Columns up to here are all that most entries need; `step_id` and `due_at` follow."""

NO_SEQ: Final = -(2**63)
"""Stands for no sequence number in the checksum."""

BYTES_MAX: Final = 900_000_000
"""SQLite itself ends at a thousand million bytes a row."""

_pack_numbers = Struct(">qqqqqqq").pack
_SIGN: Final = 0x8000_0000


class Unstorable(Exception):
    """A value that no row can hold: text that is no Unicode, or a number over 64 bits."""


def clean(text: str) -> str:
    """Return text for people with what no database can hold (lone surrogates) written as escapes."""
    if text.isascii():
        return str(text)
    return text.encode("utf-8", "backslashreplace").decode()


def place_of(run: RunKey, position: int) -> int:
    """Return where an entry lies."""
    return run << POSITION_BITS | position


def places_of(run: RunKey) -> tuple[int, int]:
    """Return the places of a run's entries: from the first to behind the last."""
    return run << POSITION_BITS, (run + 1) << POSITION_BITS


def data_crc(run: RunKey, position: int, kind: int, data: bytes) -> int:
    """Return the checksum of bytes in their place as the signed number that a column of four bytes holds."""
    return (crc(run, position, kind, data) ^ _SIGN) - _SIGN


def arrival_crc(key: int, place: int, name: str, data: bytes, *, ok: bool = False) -> int:
    """Return the checksum of a promise or a message: its bytes, and under which name they will be looked for."""
    return data_crc(key, place, int(ok), b"%b\n%b" % (name.encode(errors="replace"), data))


def _entry_crc(
    run: RunKey, position: int, kind: int, data: bytes, numbers: bytes, name: str, note: str, step_id: str | None
) -> int:
    # The codec's checksum, continued: one call over the joined parts gives the same as one after the other.
    texts = f"{name}\n{note}\n{step_id or ''}".encode()
    return (crc32(b"".join((pack_place(run, position, kind), data, numbers, texts))) ^ _SIGN) - _SIGN


def entry_row(run: RunKey, epoch: int, entry: Entry) -> EntryRow:
    """Return an entry as a row. Bytes become a bytearray, which the driver takes twice as fast.

    Raises:
        Unstorable: it holds something that no row can.
    """
    position, at, kind, status, seq, step_id, name, digest, attempt, took, due_at, note, data = entry
    note = clean(note)
    kind_number, status_number = int(kind), int(status)
    if not 0 <= position < POSITIONS or len(data) > BYTES_MAX:
        raise Unstorable(f"an entry has at most {BYTES_MAX} bytes, and a run fewer than {POSITIONS} entries")
    try:
        numbers = _pack_numbers(at, status_number, NO_SEQ if seq is None else seq, digest, attempt, took, due_at)
        check = _entry_crc(run, position, kind_number, data, numbers, name, note, step_id)
    except Exception as error:
        raise Unstorable(str(error)) from error
    place = run << POSITION_BITS | position
    return (
        place, epoch, at, kind_number, status_number, seq, name, digest, attempt, took, note, bytearray(data), check,
        step_id, due_at,
    )  # fmt: skip


def entry_of(row: EntryRow) -> Entry:
    """Return the entry that a row of the journal holds.

    Raises:
        StoreCorrupt: the row does not match its checksum.
    """
    place, _, at, kind, status, seq, name, digest, attempt, took, note, data, check, step_id, due_at = row
    run, position = place >> POSITION_BITS, place & (POSITIONS - 1)
    try:
        numbers = _pack_numbers(at, status, NO_SEQ if seq is None else seq, digest, attempt, took, due_at)
        found = _entry_crc(run, position, kind, data, numbers, name, note, step_id)
    except Exception:  # noqa: BLE001 - damage may have made anything of a column
        found = None
    if found != check:
        raise StoreCorrupt(f"entry {position} of run {run} does not match its checksum: its bytes were changed on disk")
    try:
        # As Entry(…) does it, without its Python frame: ten thousand of them are read at once.
        return tuple.__new__(Entry, (
            position, at, _KINDS[kind], _STATUSES[status], seq, step_id, name, digest, attempt, took, due_at, note,
            data,
        ))  # fmt: skip
    except KeyError:
        raise StoreCorrupt(
            f"entry {position} of run {run} is of a kind or status that this version does not know"
        ) from None


_KINDS: Final = {int(kind): kind for kind in Kind}
_STATUSES: Final = {int(status): status for status in Status}
_STATES: Final = {int(state): state for state in RunState}
_REQUESTS: Final = {number: Requests(number) for number in range(4)}

RUN_COLUMNS: Final = """
    r.key, r.id, r.queue, r.state, r.epoch, r.owner, r.due_at, r.created_at, r.started_at, r.moved_at, r.digest, r.note,
    r.parent_id, r.continuation, r.deaths, r.active_ms, r.deadline_at, r.requests, r.reason, r.detail, r.progress,
    r.tags, CASE WHEN r.deaths > 0 THEN r.died_at
        < (SELECT max(place) FROM journal WHERE place >= r.key << 24 AND place < (r.key + 1) << 24) & 16777215
    END
"""
"""Columns of a run for `run_of`; the last one says whether an entry was recorded since an owner died."""


def run_of(row: tuple[Any, ...], names: Names) -> RunRecord:
    """Return the record of a run from `RUN_COLUMNS`."""
    (
        key, run_id, queue, state, epoch, owner, due_at, created_at, started_at, moved_at, digest, note,
        parent_id, continuation, deaths, active_ms, deadline_at, requests, reason, detail, progress, tags, progressed,
    ) = row  # fmt: skip
    try:
        return RunRecord(
            key=key,
            run_id=run_id,
            queue=names.queue_name(queue),
            state=_STATES[state],
            epoch=epoch,
            owner=names.worker_name(owner) if owner > 0 else None,
            due_at=due_at,
            created_at=created_at,
            started_at=started_at,
            finished_at=moved_at if state >= RunState.SUCCEEDED else None,
            digest=digest,
            note=note,
            parent_id=parent_id,
            continuation=continuation,
            deaths=0 if progressed else deaths,
            active_ms=active_ms,
            deadline_at=deadline_at,
            requests=_REQUESTS[requests],
            reason=reason,
            detail=detail,
            progress=progress,
            tags=json.loads(tags) if tags else {},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(
            f"run number {key} holds what no run can hold ({error!r}): its row was changed on disk"
        ) from error


STANDING_COLUMNS: Final = """
    r.key, r.parent_id, r.state, r.epoch, r.owner, r.notice, r.due_at, r.started_at, r.moved_at, r.digest, r.note,
    r.deaths, r.died_at, r.requests, r.cancel_reason, r.reason, r.detail, r.continuation, r.active_ms, r.progress,
    (SELECT max(place) FROM journal WHERE place >= r.key << 24 AND place < (r.key + 1) << 24),
    (SELECT at FROM journal WHERE place >= r.key << 24 AND place < (r.key + 1) << 24 ORDER BY place DESC LIMIT 1)
"""
"""Columns of a run for `found_of`."""


class Found(NamedTuple):
    """A run as it was read under the lock."""

    key: RunKey
    parent_id: str | None
    run: Standing
    worker: int
    """Who claimed it last, 0 if that is not known any more."""


def found_of(row: tuple[Any, ...]) -> Found:
    """Return a run from `STANDING_COLUMNS`."""
    (
        key, parent_id, state, epoch, owner, notice, due_at, started_at, moved_at, digest, note, deaths, died_at,
        requests, cancel_reason, reason, detail, continuation, active_ms, progress, place, last_at,
    ) = row  # fmt: skip
    newest = -1 if place is None else place & (POSITIONS - 1)
    run = Standing(
        _STATES[state], epoch, owner < 0, bool(notice), due_at, started_at, moved_at, newest + 1, last_at or 0, digest,
        note, 0 if newest > died_at else deaths, _REQUESTS[requests], cancel_reason, reason, detail, continuation,
        active_ms, progress,
    )  # fmt: skip
    return Found(key, parent_id, run, abs(owner))


def standing_row(run: Standing, worker: int) -> tuple[object, ...]:
    """Return where a run stands as the values of `queries.PUT`, without its key."""
    owner = worker if run.state is RunState.RUNNING else -worker if run.was_left else 0
    return (
        int(run.state), run.epoch, owner, int(run.notice), run.due_at, run.started_at, run.moved_at, run.digest,
        clean(run.note), run.deaths, run.next_position - 1 if run.deaths else 0, int(run.requests),
        clean(run.cancel_reason), clean(run.reason), clean(run.detail), run.continuation, run.active_ms,
        clean(run.progress),
    )  # fmt: skip


def worker_of(row: tuple[Any, ...]) -> WorkerRecord:
    """Return the record of a worker: id, process, host, boot, start, queues as JSON.

    Raises:
        StoreCorrupt: a column holds what no worker has.
    """
    worker, pid, host, boot_id, started_at, queues = row
    try:
        return WorkerRecord(
            worker, pid, host, boot_id, started_at, tuple(Queue(*queue) for queue in json.loads(queues))
        )
    except (TypeError, ValueError) as error:
        raise StoreCorrupt(f"worker {worker!r} cannot be read: its columns were changed on disk ({error})") from error
