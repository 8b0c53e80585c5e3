"""A disk that loses its power: replays a log of system calls, and shows what may be left at any moment.

Theory of operation. A file's content is what was there at its last flush, and the calls since then, in order, none of
which is sure. When the power fails, of each write any set of its 512-byte sectors may have arrived, a change of length
may have happened or not, and a file that grew may show zeros or rubbish where no data arrived. Names are made and
removed in the order of the calls, any number of the last ones may be missing until the directory is flushed: not even a
file that was flushed itself is sure of its name. That is what POSIX promises, and less than most file systems keep.

The log is what `_shim.c` writes: a header for each call, then its bytes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from tests.torture._shim import File

SECTOR: Final = 512

SURVIVAL: Final = (0.0, 0.02, 0.5, 0.98, 1.0)
"""Shares of the unflushed sectors that arrive; one of them is drawn for each power failure."""

RUBBISH: Final = 0.3
"""Share of the failures after which a file that grew shows rubbish where no data arrived."""

HEADER: Final = Struct("<BBHIQq")


class Record(NamedTuple):
    """One call."""

    kind: str
    """m: a remark; c, o: created, opened; w: written; s: flushed; t: cut; u: removed."""
    file: File
    inode: int
    offset: int
    data: bytes


def records(log: Path) -> Iterator[Record]:
    """Return the calls in a log."""
    text = log.read_bytes()
    place = 0
    while place < len(text):
        kind, file, _, length, inode, offset = HEADER.unpack_from(text, place)
        place += HEADER.size
        yield Record(chr(kind), File(file), inode, offset, text[place : place + length])
        place += length


@dataclass
class Content:
    """The bytes of one file: those that are sure, and the calls that are not."""

    sure: bytearray = field(default_factory=bytearray)
    pending: list[Record] = field(default_factory=list)

    def flush(self) -> None:
        """Everything is sure now."""
        for record in self.pending:
            _apply(self.sure, record)
        self.pending.clear()

    def after_power_loss(self, source: random.Random, share: float) -> bytes:
        """Return what may be left."""
        left = bytearray(self.sure)
        if not self.pending:
            return bytes(left)
        rubbish = source.random() < RUBBISH
        for record in self.pending:
            if record.kind == "t":
                if source.random() < share:
                    _apply(left, record)
                continue
            _grow(left, _end_of(record), source, share, rubbish=rubbish)
            _write_sectors(left, record, source, share)
        return bytes(left)


def _end_of(record: Record) -> int:
    return record.offset + len(record.data)


def _apply(content: bytearray, record: Record) -> None:
    end = _end_of(record)
    if record.kind == "t":
        del content[record.offset :]
        content.extend(bytes(record.offset - len(content)))
        return
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[record.offset : end] = record.data


def _grow(content: bytearray, end: int, source: random.Random, share: float, *, rubbish: bool) -> None:
    """Let a file become longer than it was, or not."""
    missing = end - len(content)
    if missing > 0 and source.random() < max(share, 0.5):
        content.extend(source.randbytes(missing) if rubbish else bytes(missing))


def _write_sectors(content: bytearray, record: Record, source: random.Random, share: float) -> None:
    """Write those sectors that arrive. What lies behind the end of the file is lost."""
    for start, piece in sectors_of(record):
        if share >= 1.0 or (share > 0.0 and source.random() < share):
            end = start + len(piece)
            if end > len(content):
                content.extend(bytes(end - len(content)))
            content[start:end] = piece


def sectors_of(record: Record) -> Iterator[tuple[int, bytes]]:
    """Return the parts of a write that arrive or not, each by itself."""
    start = record.offset
    while start < _end_of(record):
        end = min((start // SECTOR + 1) * SECTOR, _end_of(record))
        yield start, record.data[start - record.offset : end - record.offset]
        start = end


class Disk:
    """The files of one database as a log of calls leaves them."""

    def __init__(self) -> None:
        self._contents: dict[int, Content] = {}
        """By a number for each file that ever was: the kernel gives inodes again."""
        self._numbers: dict[int, int] = {}
        """Number of the file that has an inode now."""
        self._sure_names: dict[str, int] = {}
        self._pending_names: list[tuple[str, int | None]] = []

    def play(self, record: Record) -> None:
        """Let one more call happen."""
        match record.kind:
            case "c":
                number = self._numbers[record.inode] = len(self._contents)
                self._contents[number] = Content()
                self._pending_names.append((record.data.decode(), number))
            case "w" | "t":
                self._contents[self._numbers[record.inode]].pending.append(record)
            case "u":
                self._pending_names.append((record.data.decode(), None))
            case "s" if record.file is File.FOLDER:
                self._sure_names = self._names(len(self._pending_names))
                self._pending_names.clear()
            case "s":
                self._contents[self._numbers[record.inode]].flush()
            case _:
                pass

    def _names(self, pending: int) -> dict[str, int]:
        """Return the names after so many of the calls that are not sure."""
        names = dict(self._sure_names)
        for name, number in self._pending_names[:pending]:
            if number is None:
                names.pop(name, None)
            else:
                names[name] = number
        return names

    def after_power_loss(self, source: random.Random) -> dict[str, bytes]:
        """Return what may be left of each file."""
        share = source.choice(SURVIVAL)
        names = self._names(source.randint(0, len(self._pending_names)))
        return {
            name: self._contents[number].after_power_loss(source, share)
            for name, number in names.items()
            # The index belongs to processes: whoever opens the database first makes it anew.
            if not name.endswith("-shm")
        }


def put(files: dict[str, bytes], folder: Path) -> None:
    """Write what is left into a folder, and nothing else."""
    for old in folder.iterdir():
        if old.is_file():
            old.unlink()
    for name, content in files.items():
        (folder / os.path.basename(name)).write_bytes(content)
