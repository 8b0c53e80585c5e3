"""Commits behind damage in the log are not given up without a word, and no torn tail is taken for damage (B11, B10)."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from durable.errors import StoreCorrupt
from durable.store.base import RunFilter
from durable.store.sqlite import accept_loss, logmark
from durable.store.sqlite.filelock import FileLock
from durable.store.sqlite.logcheck import Copied, Known, find_damage, salts_of
from durable.store.sqlite.logmark import LogMark, find_log_damage
from durable.store.sqlite.reading import reading
from tests.store.sqlite_kit import opened, started
from tests.store.test_sqlite_lost_log import killed_writer, positions

pytestmark = pytest.mark.skipif(not logmark.WORKS, reason="the lock of this system hides what it locks")

HEADER: Final = 32
FRAME: Final = 24 + 4096
COMMITS: Final = 12


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a database whose process was killed: all its commits are in the log only."""
    folder = tmp_path_factory.mktemp("written")
    killed_writer(folder / "x.db", COMMITS)
    return folder


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "copy")
    return tmp_path / "copy" / "x.db"


def wal(path: Path) -> Path:
    return Path(f"{path}-wal")


def ends(path: Path) -> list[int]:
    """Return where each transaction in the log ends."""
    content = wal(path).read_bytes()
    frames = range(HEADER, len(content), FRAME)
    return [at + FRAME for at in frames if content[at + 4 : at + 8] != bytes(4)]


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(wal(path).read_bytes())
    content[at] ^= 1 << bit
    wal(path).write_bytes(content)


def files(path: Path) -> dict[str, bytes]:
    return {
        file.name: file.read_bytes() for file in path.parent.iterdir() if file.suffix != ".db-shm" and file.is_file()
    }


# Damage --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["the header", "the first frame", "the middle", "the last but one"])
async def test_commits_behind_a_flipped_bit_are_not_given_up_without_a_word(path: Path, where: str) -> None:
    """SQLite takes the damaged frame for the end: the run had three entries in place of twelve (campaign `bitflips`).

    Covers: B11
    """
    places = {"the header": 20, "the first frame": HEADER + 1000, "the middle": ends(path)[5] + 30}
    at = places.get(where, ends(path)[-2] - 5)
    frame_at = 0 if where == "the header" else HEADER + (at - HEADER) // FRAME * FRAME
    flip(path, at)
    before = files(path)
    for _ in range(2):
        with pytest.raises(StoreCorrupt) as raised:
            await positions(path)
        assert f"'{path}': its log '{path}-wal' is damaged at byte {frame_at:,}, and commits" in str(raised.value)
        assert f"durable doctor --accept-loss --db {path}" in str(raised.value)
        with pytest.raises(StoreCorrupt, match="is damaged at byte"), reading(path):
            pass
        assert files(path) == before


def test_every_bit_of_the_log_but_for_its_last_transaction_is_guarded(path: Path) -> None:
    """Of a commit that one other follows, the bit that makes it a commit is not: see the next test."""
    content = wal(path).read_bytes()
    last = ends(path)[-2]
    source = random.Random(1)
    whole_header = [(at, bit) for at in range(HEADER) for bit in range(8)]
    headers = [
        (at, source.randrange(8)) for frame in range(HEADER, ends(path)[-3], FRAME) for at in range(frame, frame + 24)
    ]
    anywhere = [(source.randrange(HEADER, last), source.randrange(8)) for _ in range(60)]
    flag = range(last - FRAME + 4, last - FRAME + 8)
    for at, bit in source.sample(whole_header, 60) + source.sample(headers, 60) + anywhere:
        wal(path).write_bytes(content)
        flip(path, at, bit)
        assert find_log_damage(str(path)) is not None or at in flag, (at, bit)


async def test_damage_in_the_last_transaction_looks_like_a_torn_tail(path: Path) -> None:
    """The known limit: nobody can tell it from a commit that a loss of power interrupted."""
    flip(path, ends(path)[-1] - 5)
    assert await positions(path) == list(range(COMMITS - 1))


async def test_what_a_checkpoint_had_copied_is_missed_even_at_the_end(tmp_path: Path) -> None:
    """Older pages would come to stand before newer ones that the database has.

    Covers: B11
    """
    path = tmp_path / "x.db"
    async with opened(path) as store:
        await started(store, "r")
        with store._writer._mutex:
            assert store._database.rest()
        shutil.copytree(tmp_path, tmp_path.parent / "kept")
    path = tmp_path.parent / "kept" / "x.db"
    sound = wal(path).read_bytes()
    assert find_log_damage(str(path)) is None
    for at in (3, ends(path)[-1] - 5, ends(path)[-1] - FRAME):
        wal(path).write_bytes(sound)
        flip(path, at)
        with pytest.raises(StoreCorrupt, match="is damaged at byte"):
            await positions(path)
    wal(path).write_bytes(sound[:-FRAME])
    with pytest.raises(StoreCorrupt, match="is damaged at byte"):
        await positions(path)
    kept = accept_loss(str(path))
    assert kept is not None
    assert wal(path).stat().st_size == 0, "the database has all of it"
    assert await positions(path) == [0]


async def test_an_accepted_loss_cuts_the_log_before_the_damage_and_keeps_what_it_was(path: Path) -> None:
    flip(path, ends(path)[6] + 30)
    damaged = wal(path).read_bytes()
    for number in (1, 2):
        wal(path).write_bytes(damaged)
        kept = accept_loss(str(path))
        assert kept == f"{path}-wal.damaged-{number}"
        assert Path(kept).read_bytes() == damaged
        assert wal(path).read_bytes() == damaged[: ends(path)[6]]
    found = await positions(path)
    assert 0 < len(found) < COMMITS
    assert found == list(range(len(found)))


async def test_a_file_that_somebody_has_open_is_not_examined(path: Path) -> None:
    """Its index knows what the log holds, and nothing is recovered."""
    with closing(sqlite3.connect(path)) as shell:
        assert shell.execute("SELECT count(*) FROM journal").fetchone() == (COMMITS,)
        flip(path, HEADER + 1000)
        assert find_log_damage(str(path)) is None
        assert accept_loss(str(path)) is None
        assert await positions(path) == list(range(COMMITS))


async def test_a_damaged_log_of_a_database_that_is_gone_is_no_loss(path: Path) -> None:
    flip(path, HEADER + 1000)
    for name in (path, Path(f"{path}.lock")):
        name.unlink()
    assert await positions(path) == []


# No false alarms -----------------------------------------------------------------------------------------------------


def torn(content: bytes, start: int, source: random.Random) -> bytes:
    """Return what a loss of power may leave of everything behind `start`: any of its sectors, zeros, rubbish."""
    left = bytearray(content)
    share = source.choice((0.1, 0.5, 0.9))
    missing = source.choice((bytes, random.Random(2).randbytes))
    for sector in range(start // 512 * 512, len(content), 512):
        first, end = max(start, sector), min(sector + 512, len(content))
        if source.random() < share:
            left[first:end] = missing(end - first)
    return bytes(left[: source.choice((len(left), source.randrange(start, len(left))))])


def with_rubbish(content: bytes, start: int) -> bytes:
    """Return a log with rubbish in one sector of the transaction that begins there."""
    sector = start // 512 * 512 + 1024
    return content[:sector] + b"\xa5" * 512 + content[sector + 512 :]


def test_a_torn_last_transaction_is_no_damage(path: Path) -> None:
    """Covers: B10"""
    content, start = wal(path).read_bytes(), ends(path)[-2]
    source = random.Random(3)
    for _ in range(100):
        wal(path).write_bytes(torn(content, start, source))
        assert find_log_damage(str(path)) is None
    wal(path).write_bytes(with_rubbish(content, ends(path)[-4]))
    assert find_log_damage(str(path)) is not None, "several would be"


async def test_relaxed_commits_may_be_torn(tmp_path: Path) -> None:
    """Covers: B10"""
    path = tmp_path / "x.db"
    async with opened(path, durability="relaxed") as store:
        for number in range(5):
            await started(store, f"r{number}")
        shutil.copytree(tmp_path, tmp_path.parent / "relaxed")
    path = tmp_path.parent / "relaxed" / "x.db"
    sound = wal(path).read_bytes()
    wal(path).write_bytes(with_rubbish(sound, ends(path)[-4]))
    assert find_damage(str(path), Known()) is not None, "with full durability it would be damage"
    assert find_log_damage(str(path)) is None
    lock = FileLock(f"{path}.lock")
    LogMark(lock.fd).clear()
    lock.close()
    async with opened(path, None) as store:
        assert [run.run_id for run in await store.runs(RunFilter())] == ["r1", "r0"]
        assert await store.check() == []


async def test_one_full_commit_makes_those_before_it_sure(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(path, durability="relaxed") as relaxed, opened(path, "boot:full") as full:
        lock = FileLock(f"{path}.lock")
        for number in range(2):
            await started(relaxed, f"relaxed-{number}")
            assert not LogMark(lock.fd).known().is_flushed
            await started(full, f"full-{number}")
            assert LogMark(lock.fd).known().is_flushed
        lock.close()


async def test_frames_of_a_former_generation_are_no_damage(path: Path) -> None:
    """A log that was copied is written from its beginning again, and the old frames lie behind."""
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("PRAGMA wal_autocheckpoint = 0")
        shell.execute("PRAGMA wal_checkpoint(RESTART)")
        for number in range(2):
            shell.execute(f"CREATE TABLE new_{number}(x)")  # a table's name takes no parameter
            kept = path.parent / f"kept-{number}"
            kept.mkdir()
            for name in (path, wal(path)):
                shutil.copy(name, kept)
            copy = kept / "x.db"
            assert len(ends(copy)) > number + 1, "old frames are there"
            assert find_damage(str(copy), Known()) is None
            flip(copy, HEADER + 1000)
            assert (find_damage(str(copy), Known()) is None) == (number == 0)


def test_half_a_header_of_a_former_generation_makes_no_commit(tmp_path: Path) -> None:
    """After a loss of power the store refused a sound file: 5 of 20,000 in a campaign.

    The header of a frame lay over the edge of a sector. Its first half was that of a commit of the former generation,
    its second half and the next frame belonged to the transaction that the power failure had torn.

    The end of a page may be the same in both generations, so that the frame before is right although its last sector
    did not arrive: no proof either.

    Covers: B10
    """
    path = tmp_path / "x.db"
    bytes_of = random.Random(2).randbytes

    def content() -> bytes:
        return bytes_of(2_900) + bytes(600)

    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for pragma in ("page_size = 4096", "journal_mode = WAL", "wal_autocheckpoint = 0", "synchronous = FULL"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("CREATE TABLE pages(page INTEGER PRIMARY KEY, content BLOB)")
        db.executemany("INSERT INTO pages VALUES (?, ?)", [(page, content()) for page in range(80)])
        db.execute("PRAGMA wal_checkpoint(RESTART)")
        for page in range(80):
            db.execute("UPDATE pages SET content = ? WHERE page = ?", (content(), page))
        assert ends(path)[:80] == [HEADER + FRAME * number for number in range(1, 81)]
        db.execute("PRAGMA wal_checkpoint(RESTART)")
        db.execute("UPDATE pages SET content = ? WHERE page = 0", (content(),))
        flushed = wal(path).read_bytes()
        start = HEADER + FRAME
        db.execute("BEGIN")
        db.executemany("UPDATE pages SET content = ? WHERE page = ?", [(content(), page) for page in range(80)])
        db.execute("COMMIT")
        arrived = wal(path).read_bytes()
    source = random.Random(1)
    assert sum(at % 512 > 488 for at in range(start, start + 79 * FRAME, FRAME)) == 2
    for _ in range(60):
        left = bytearray(flushed)
        for at in range(start // 512 * 512, start + 81 * FRAME, 512):
            if source.random() < 0.97:
                left[max(at, start) : at + 512] = arrived[max(at, start) : at + 512]
        wal(path).write_bytes(left)
        assert find_damage(str(path), Known()) is None


async def test_a_log_that_was_recovered_begins_anew(path: Path) -> None:
    """Else two losses of power could mix what one transaction has left with what the next one wrote in its place."""
    wal(path).write_bytes(wal(path).read_bytes()[: -FRAME // 2])
    async with opened(path, None):
        assert wal(path).stat().st_size == 0


# The checksums -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [512, 8192])
def test_a_log_is_followed_exactly_as_far_as_sqlite_does(tmp_path: Path, page_size: int) -> None:
    path = tmp_path / "x.db"
    frames = small_log(path, page_size)
    assert find_damage(str(path), Known(Copied(salts_of(str(path)), frames))) is None
    assert find_damage(str(path), Known(Copied(salts_of(str(path)), frames + 1))) is not None
    assert find_damage(str(path), Known(Copied(b"12345678", frames + 1))) is None, "of another generation"


def test_a_log_of_a_machine_with_the_other_byte_order_is_followed_as_well(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    frames = small_log(path, 512)
    content = bytearray(wal(path).read_bytes())
    content[3] ^= 1
    content[24:32] = struct.pack(">II", *checksum(content[:24], (0, 0), content[3] == 0x83))
    sums = struct.unpack(">II", content[24:32])
    for at in range(HEADER, len(content), 24 + 512):
        summed = content[at : at + 8] + content[at + 24 : at + 24 + 512]
        sums = checksum(summed, sums, content[3] == 0x83)
        content[at + 16 : at + 24] = struct.pack(">II", *sums)
    wal(path).write_bytes(content)
    assert find_damage(str(path), Known(Copied(salts_of(str(path)), frames))) is None
    content[HEADER + 100] ^= 1
    wal(path).write_bytes(content)
    assert find_damage(str(path), Known()) is not None


def small_log(path: Path, page_size: int) -> int:
    """Leave a database with a log of 300 transactions or more, and return how many frames it has."""
    with closing(sqlite3.connect(path.with_name("origin.db"), isolation_level=None)) as shell:
        for setting in (
            f"page_size = {page_size}",
            "journal_mode = WAL",
            "wal_autocheckpoint = 0",
            "synchronous = OFF",
        ):
            shell.execute(f"PRAGMA {setting}")
        shell.execute("CREATE TABLE t(x)")
        for number in range(300):
            shell.execute("INSERT INTO t VALUES(?)", (random.Random(number).randbytes(page_size // 3),))
        shutil.copy(path.with_name("origin.db"), path)
        shutil.copy(path.with_name("origin.db-wal"), wal(path))
        _, frames, _ = shell.execute("PRAGMA wal_checkpoint").fetchone()
    return int(frames)


def checksum(content: bytes | bytearray, sums: tuple[int, ...], is_big: bool) -> tuple[int, int]:
    """Return the checksum as the description of the format has it."""
    first, second = sums
    for even, odd in words(content, is_big):
        first = (first + even + second) % 2**32
        second = (second + odd + first) % 2**32
    return first, second


def words(content: bytes | bytearray, is_big: bool) -> Iterator[tuple[int, int]]:
    yield from struct.iter_unpack(">II" if is_big else "<II", content)


@pytest.mark.parametrize("text", [b"", b"\0" * 80, b"x" * 200, b"\0" * 72 + b"12 34"])
def test_a_lock_file_that_says_nothing_is_no_proof(text: bytes) -> None:
    known = logmark.known_of(text)
    assert known.is_flushed
    assert known.copied is None or known.copied.frames == 34


@pytest.mark.parametrize("content", [b"", b"\0" * 31, b"\0" * 32, b"\0" * 100_000, os.urandom(100_000)])
def test_what_is_no_log_is_not_damaged(tmp_path: Path, content: bytes) -> None:
    wal(tmp_path / "x.db").write_bytes(content)
    assert find_damage(str(tmp_path / "x.db"), Known()) is None
