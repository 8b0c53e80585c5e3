"""A look into SQLite's log before SQLite recovers it: do commits lie behind damage?

Theory of operation. Recovery reads the log (`x.db-wal`) from its beginning to the first frame whose checksum is wrong,
and takes that for the tail which a crash has torn. One flipped bit thus loses every commit behind it, without a word;
and if the log had been copied into the database, older pages from before the damage come to stand before newer ones.

A torn tail is the rule after a loss of power, so a wrong checksum says nothing. What follows it does. The checksum of a
frame goes on from that of the frame before, and a writer begins a transaction behind the last one only when that is
committed. So with durability `full` a frame that goes on from a *commit frame* proves that this commit had been
flushed: of the transaction under way when the power fails any sectors may survive, its commit frame too, but nothing
that goes on from there. Two proofs, then, that acknowledged commits lie behind the damage:

- behind the sound part, a frame of the same generation (the *salts* of the log) goes on from a commit frame;
- the sound part is shorter than what a checkpoint had copied, which the mark in the lock file knows (`logmark.py`).

The first does not hold where commits are not flushed (`relaxed`), and where what recovery has found was built upon
before it was flushed. So the mark says whether a `relaxed` commit was the last, and a log that was recovered is
brought into the database and cut before anything is added (`Database._open`).

What cannot be told from a torn tail: damage in the last transaction of a log of which no checkpoint has copied it; and
in the last frame of the one before it, where the header of that frame lies over the edge of a sector (2 of 64 do).

Nothing is locked and nothing is changed. `-wal` may be opened and closed at any time: SQLite locks the other files.

Source: SQLite's database file format, section 4, "The Write-Ahead Log"; in `wal.c`, `walIndexRecover`.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from io import FileIO
from typing import Final, NamedTuple

from durable.store.sqlite.filelock import holder_pid
from durable.store.sqlite.place import index_of, is_empty, wal_of

ORDERS: Final = {0x377F0682: "little", 0x377F0683: "big"}
"""Byte order of the words that are summed, by the first word of a log."""

PAGE_SIZES: Final = frozenset(1 << power for power in range(9, 17))
PAGE_SIZE_USUAL: Final = 4096

WORD: Final = 0xFFFFFFFF

FRAMES_AT_ONCE: Final = 256
"""About a megabyte: larger blocks leave the processor's cache, smaller ones cost more instructions a frame."""

SECTOR: Final = 512
"""What a disk writes whole or not at all."""

HEADER: Final = struct.Struct(">IIII8sII")
FRAME_HEADER: Final = struct.Struct(">II8sII")

DAMAGED: Final = (
    "{0!r}: its log {1!r} is damaged at byte {2:,}, and commits that were acknowledged lie behind: SQLite would leave "
    "them out without a word. Nothing was changed. Keep a copy of both files, and restore a backup or go on without "
    "what was recorded since, with 'durable doctor --accept-loss --db {0}'"
)

Sums = tuple[int, int]


class Copied(NamedTuple):
    """How much of which log a checkpoint has copied into the database."""

    salts: bytes
    frames: int


class Known(NamedTuple):
    """What is known of a log before it is looked into."""

    copied: Copied | None = None
    is_flushed: bool = True
    """Was each commit flushed before the next one began?"""


class LogDamage(NamedTuple):
    """Damage with acknowledged commits behind it."""

    at: int
    """Where the first frame begins that SQLite would not take; 0 if it is the header."""
    sound_bytes: int
    """How much may serve: up to the last commit before the damage, nothing if the database has more than that."""

    def told(self, path: str) -> str:
        """Say it of the log of this database."""
        return DAMAGED.format(path, wal_of(path), self.at)


class Header(NamedTuple):
    """What a log says of itself."""

    is_sound: bool
    page_size: int
    order: str
    salts: bytes
    sums: Sums

    def end_of(self, frames: int) -> int:
        """Return where so many frames end."""
        return HEADER.size + frames * (FRAME_HEADER.size + self.page_size)


class Frame(NamedTuple):
    """One page as a transaction left it."""

    page: int
    size: int
    """Pages of the database after the commit that this frame ends; 0 within a transaction, or if that is not sure."""
    salts: bytes
    sums: Sums
    """The checksum that it carries …"""
    summed: Sums | None
    """… and the one that it has if it goes on from what the frame before carries; None if that was of no interest."""
    content: memoryview


def is_to_be_recovered(path: str) -> bool:
    """Will whoever opens the database recover a log?

    Not while somebody has it open: then its index knows what the log holds. Nor beside an empty file: SQLite removes
    the log of a database that is gone.
    """
    return not is_empty(path) and not is_empty(wal_of(path)) and holder_pid(index_of(path)) is None


def find_damage(path: str, known: Known) -> LogDamage | None:
    """Return the damage in the log of a database behind which acknowledged commits lie, None without."""
    found = _look(path, known)
    # Somebody may write meanwhile. What is damaged is so a second time.
    return None if found is None or _look(path, known) != found else found


def salts_of(path: str) -> bytes:
    """Return what names the generation of a database's log; nothing without a sound log."""
    try:
        with open(wal_of(path), "rb", buffering=0) as file:
            header = _header(file.read(HEADER.size))
    except OSError:
        return b""
    return header.salts if header is not None and header.is_sound else b""


def _look(path: str, known: Known) -> LogDamage | None:
    try:
        with open(wal_of(path), "rb", buffering=0) as file:
            header = _header(file.read(HEADER.size))
            if header is None:
                return None
            judge = _behind_damage if header.is_sound else _behind_header
            return judge(header, _frames(file, header), known)
    except OSError:
        return None  # There is no log, or SQLite cannot read it either and will say so.


# Proofs ---------------------------------------------------------------------------------------------------------------


def _behind_damage(header: Header, frames: Iterator[Frame], known: Known) -> LogDamage | None:
    """Follow the log as SQLite does, and look for a proof behind the end that SQLite sees."""
    sound = committed = 0
    is_proven = False
    before: Frame | None = None
    for number, frame in enumerate(frames, 1):
        if frame.salts == header.salts:
            if sound == number - 1 and frame.page and frame.sums == frame.summed:
                sound = number
                committed = number if frame.size else committed
            elif known.is_flushed and before is not None and _is_built_on(frame, before, header.order):
                is_proven = True
                break
        before = frame
    was_copied = known.copied is not None and known.copied.salts == header.salts and known.copied.frames > committed
    if not is_proven and not was_copied:
        return None
    return LogDamage(header.end_of(sound), header.end_of(committed) if committed and not was_copied else 0)


def _behind_header(header: Header, frames: Iterator[Frame], known: Known) -> LogDamage | None:
    """Look for a proof in a log of which SQLite would take nothing."""
    before: Frame | None = None
    for number, frame in enumerate(frames, 1):
        was_copied = frame.size and known.copied == (frame.salts, number)
        if was_copied or (known.is_flushed and before is not None and _is_built_on(frame, before, header.order)):
            return LogDamage(0, 0)
        before = frame
    return None


def _is_built_on(frame: Frame, before: Frame, order: str) -> bool:
    """Does the frame go on from a commit frame? That one may itself be damaged, in its content or in its checksum."""
    if not before.size or not frame.page or frame.salts != before.salts:
        return False
    if frame.sums == frame.summed:
        return True
    return before.summed is not None and _summed(frame.content, order, [before.summed]) == [frame.sums]


# Reading --------------------------------------------------------------------------------------------------------------


def _header(content: bytes) -> Header | None:
    """Read the header, None if there is no whole one; what a damaged one does not say is taken to be as usual."""
    if len(content) < HEADER.size:
        return None
    magic, _, page_size, _, salts, *sums = HEADER.unpack(content)
    order = ORDERS.get(magic, sys.byteorder)
    is_sound = magic in ORDERS and page_size in PAGE_SIZES and _header_sums(content, order) == tuple(sums)
    if not is_sound:
        return Header(False, page_size if page_size in PAGE_SIZES else PAGE_SIZE_USUAL, sys.byteorder, b"", (0, 0))
    return Header(True, page_size, order, salts, (sums[0], sums[1]))


def _header_sums(content: bytes, order: str) -> Sums:
    first = second = 0
    for even, odd in struct.iter_unpack("<II" if order == "little" else ">II", content[: HEADER.size - 8]):
        first = first + even + second & WORD
        second = second + odd + first & WORD
    return first, second


def _frames(file: FileIO, header: Header) -> Iterator[Frame]:
    """Return all whole frames in the order of the file, those of former generations too."""
    frame_bytes = FRAME_HEADER.size + header.page_size
    before = header.sums
    place = HEADER.size
    while block := memoryview(file.read(frame_bytes * FRAMES_AT_ONCE)):
        parts = [block[start : start + frame_bytes] for start in range(0, len(block) - frame_bytes + 1, frame_bytes)]
        if not parts:
            return
        heads = [FRAME_HEADER.unpack_from(part) for part in parts]
        carried = [(head[3], head[4]) for head in heads]
        summed: list[Sums] | list[None] = [None] * len(parts)
        if not header.is_sound or any(head[2] == header.salts for head in heads):
            summed = _summed(block[: len(parts) * frame_bytes], header.order, [before, *carried[:-1]])
        for (page, size, salts, *_), part, sums, right in zip(heads, parts, carried, summed, strict=True):
            # A header over the edge of a sector may be half of a former generation, after a loss of power: a commit
            # that never was. Only the frame's own checksum tells; the end of the frame before may be as it was.
            is_whole = place % SECTOR <= SECTOR - FRAME_HEADER.size or sums == right
            yield Frame(page, size if is_whole else 0, salts, sums, right, part)
            place += frame_bytes
        before = carried[-1]


def _summed(block: memoryview, order: str, before: Sequence[Sums]) -> list[Sums]:
    """Return the checksums of the frames in a block, each going on from the one before.

    For each two words, SQLite adds the first and the second sum to the first one, and the second word and the first sum
    to the second one. Here every frame has a lane of 64 bits in a long integer, so that one addition of Python makes it
    for all of them: four times as fast as word by word.
    """
    count = len(before)
    words = array("I")
    words.frombytes(block)
    if order != "little":
        words.byteswap()
    a_frame = len(words) // count
    lanes = array("I", bytes(8 * count))

    def column(place: int) -> int:
        lanes[::2] = words[place::a_frame]
        return int.from_bytes(lanes, "little")

    mask = int.from_bytes(WORD.to_bytes(8, "little") * count, "little")
    first, second = (_to_lanes([sums[which] for sums in before]) for which in (0, 1))
    for place in (0, *range(FRAME_HEADER.size // 4, a_frame, 2)):
        first = first + column(place) + second & mask
        second = second + column(place + 1) + first & mask
    return list(zip(_from_lanes(first, count), _from_lanes(second, count), strict=True))


def _to_lanes(values: list[int]) -> int:
    return int.from_bytes(struct.pack(f"<{len(values)}Q", *values), "little")


def _from_lanes(lanes: int, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}Q", lanes.to_bytes(8 * count, "little"))
