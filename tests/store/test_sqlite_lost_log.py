"""A log that was removed, or an older copy put in the file's place, is noticed; nothing else is taken for it (B9)."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from subprocess import Popen

import pytest

from durable.errors import StoreUnavailable, StoreUnusable
from durable.store.base import RunFilter
from durable.store.operations import Done
from durable.store.sqlite import accept_loss, logmark
from durable.store.sqlite import faults as fault_points
from durable.store.sqlite.filelock import FileLock
from durable.store.sqlite.logmark import LogMark, Numbers
from tests.store.sqlite_kit import advance, child, do, opened, said, started, task

pytestmark = pytest.mark.skipif(not logmark.WORKS, reason="the lock of this system hides what it locks")

WRITER = """
    from durable.store.sqlite import faults as fault_points

    def stop():
        os.write(1, b"stopped\\n")  # in one piece, as the other thread may say something too
        sys.stdin.readline()

    async def main():
        path, commits, first, last = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
        store = SQLiteRunStore(path)
        await store.open(Clock())
        if first != "-":
            fault_points.arm(first, stop)
        await store.register(worker("boot:writer"))
        (started,) = (await store.execute([start("r", worker="boot:writer")])).outcomes
        for position in range(1, commits):
            if position == commits - 1 and last != "-":
                fault_points.arm(last, stop)
            await store.execute([advance(started.record, task(position))])
        os.write(1, b"written\\n")
        sys.stdin.readline()
    asyncio.run(main())
"""


def killed(process: Popen[str]) -> None:
    """Kill a child that has said that it waits."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.communicate()


def killed_writer(path: Path, commits: int, *, first: str = "-", last: str = "-") -> None:
    """Let a process write a run `r` of so many entries, and die: then, or at a point of its first or last commit."""
    writer = child(WRITER, path, commits, first, last)
    while (word := said(writer)) != ("written" if first == last == "-" else "stopped"):
        assert word == "written", word
    killed(writer)


async def positions(path: Path) -> list[int]:
    """Return the positions in the journal of the run `r`."""
    async with opened(path, None) as store:
        run = await store.run("app", "r")
        return [] if run is None else [entry.position for entry in await store.journal(run.key)]


async def refusal(path: Path) -> str:
    """Open a file that lacks commits, and return what is said about it."""
    with pytest.raises(StoreUnusable) as raised:
        await positions(path)
    return str(raised.value)


@pytest.mark.parametrize("commits", [1, 30, 700])
async def test_a_log_removed_after_a_crash_is_noticed_until_the_loss_is_accepted(tmp_path: Path, commits: int) -> None:
    """Covers: B9"""
    """Covers: B9"""
    path = tmp_path / "x.db"
    killed_writer(path, commits)
    os.rename(f"{path}-wal", tmp_path / "kept")
    for _ in range(2):
        text = await refusal(path)
        assert f"its log '{path}-wal' was removed" in text
        assert f"durable doctor --accept-loss --db {path}" in text
    accept_loss(str(path))
    found = await positions(path)
    assert found == list(range(len(found)))
    assert len(found) < commits, "what was in the log only is lost"
    async with opened(path) as store:
        await started(store, "after")
        assert await store.check() == []
    assert (await positions(path)) == found


async def test_a_log_that_is_put_back_is_as_good_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    killed_writer(path, 30)
    os.rename(f"{path}-wal", tmp_path / "kept")
    await refusal(path)
    os.rename(tmp_path / "kept", f"{path}-wal")
    assert await positions(path) == list(range(30))


async def test_an_older_copy_in_the_place_of_the_file_is_noticed(tmp_path: Path) -> None:
    """Covers: B9, L3"""
    path = tmp_path / "x.db"
    async with opened(path) as store:
        await started(store, "before")
    shutil.copy(path, tmp_path / "copy.db")
    async with opened(path) as store:
        await started(store, "after")
    assert not os.path.exists(f"{path}-wal")
    shutil.copy(tmp_path / "copy.db", path)
    assert "an older copy was put in its place" in await refusal(path)
    async with opened(tmp_path / "copy.db", None) as store:
        assert [run.run_id for run in await store.runs(RunFilter())] == ["before"]
    os.unlink(f"{path}.lock")
    async with opened(path, None) as store:
        assert [run.run_id for run in await store.runs(RunFilter())] == ["before"], "restored as the manual says"


async def test_a_new_database_in_the_place_of_a_deleted_one_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    killed_writer(path, 3)
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink()
    assert await positions(path) == []
    async with opened(path) as store:
        await started(store, "r")
    assert await positions(path) == [0]


async def test_another_database_beside_the_mark_is_no_loss(tmp_path: Path) -> None:
    path, other = tmp_path / "x.db", tmp_path / "other.db"
    for name in (path, other):
        killed_writer(name, 3)
    shutil.copy(f"{path}.lock", f"{other}.lock")
    assert await positions(other) == [0, 1, 2]


# No false alarms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["before-begin", "before-commit", "commit", "committed", "before-mark"])
async def test_a_crash_at_any_point_of_the_first_commit_is_no_loss(tmp_path: Path, point: str) -> None:
    path = tmp_path / "x.db"
    killed_writer(path, 3)
    for _ in range(2):
        killed_writer(path, 1, first=point)
    assert await positions(path) == [0, 1, 2]
    async with opened(path) as store:
        await started(store, "after")
    assert await positions(path) == [0, 1, 2]


async def test_a_crash_before_a_checkpoint_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    killed_writer(path, 499, last="before-checkpoint")
    assert await positions(path) == list(range(499))


async def test_a_program_that_opens_the_file_after_a_crash_and_copies_the_log_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    killed_writer(path, 30)
    with closing(sqlite3.connect(path)) as shell:
        assert shell.execute("SELECT count(*) FROM journal").fetchone() == (30,)
    assert not os.path.exists(f"{path}-wal"), "SQLite removes the log that it has copied"
    assert await positions(path) == list(range(30))


async def test_processes_that_come_and_go_are_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(path) as store:
        (run,) = await started(store, "r")
        position = 1
        for round_ in range(3):
            async with opened(path, f"boot:{round_}") as other:
                for writer in (store, other, store):
                    assert await do(writer, advance(run, task(position))) is Done.DONE
                    position += 1
    assert await positions(path) == list(range(position))


async def test_commits_after_the_checkpoint_of_another_process_are_noticed_as_well(tmp_path: Path) -> None:
    """Covers: B9"""
    path = tmp_path / "x.db"
    async with opened(path) as other:
        writer = child(WRITER, path, 1, "-", "-")
        assert said(writer) == "written"
        await started(other, "theirs")
        with other._writer._mutex:
            assert other._database.rest()
        mark = Path(f"{path}.lock").read_bytes()
        assert mark[:1] == logmark.DUE
        killed(writer)
        await started(other, "newest")
        assert Path(f"{path}.lock").read_bytes()[:1] == logmark.NOW
        shutil.copy(path, tmp_path / "main.db")
        shutil.copy(f"{path}.lock", tmp_path / "main.db.lock")
    assert "lacks commits" in await refusal(tmp_path / "main.db")


async def test_most_commits_write_nothing_for_it(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(path) as store:
        (run,) = await started(store, "r")
        first = Path(f"{path}.lock").read_bytes()
        for position in range(1, 300):
            await do(store, advance(run, task(position)))
        assert Path(f"{path}.lock").read_bytes() == first
        connection = store._database.writing
        assert connection is not None
        assert connection.execute("SELECT value FROM meta WHERE name = 'log'").fetchone() == (1,)


async def test_relaxed_commits_leave_no_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(path, durability="relaxed") as store:
        await started(store, "r")
    lock = FileLock(f"{path}.lock")
    assert LogMark(lock.fd).read() is None
    lock.close()


async def test_a_mark_that_cannot_be_written_costs_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "no space left")

    path = tmp_path / "x.db"
    async with opened(path) as store:
        monkeypatch.setattr(os, "pwrite", full)
        await started(store, "r")
        monkeypatch.undo()
    assert await positions(path) == [0]


# The mark ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mark(tmp_path: Path):
    lock = FileLock(str(tmp_path / "x.lock"))
    yield LogMark(lock.fd)
    lock.close()


def test_a_mark_is_read_as_it_was_written(mark: LogMark) -> None:
    assert mark.read() is None
    assert mark.is_due()
    mark.write(Numbers(2**63 - 1, 41))
    assert mark.read() == Numbers(2**63 - 1, 41)
    assert not mark.is_due()
    mark.let_begin()
    assert mark.is_due()
    assert mark.read() == Numbers(2**63 - 1, 41), "what is due is still known"
    mark.write(Numbers(2**63 - 1, 42))
    assert (mark.read(), mark.is_due()) == (Numbers(2**63 - 1, 42), False)
    mark.clear()
    assert mark.read() is None


def test_the_first_commit_of_each_process_begins_a_generation(mark: LogMark) -> None:
    mark.write(Numbers(1, 1))
    assert LogMark(mark._fd).is_due()


@pytest.mark.parametrize("text", [b"\n", b"+", b"+ 1", b"x 1 2\n", b"+ one 2\n", b"+ 1 2 3\n", b"\0" * 64])
def test_what_is_no_mark_says_nothing(mark: LogMark, text: bytes) -> None:
    os.pwrite(mark._fd, text, 0)
    assert mark.read() is None


def test_a_database_without_a_number_is_never_marked(mark: LogMark) -> None:
    mark.write(Numbers(None, 1))
    assert mark.read() is None
    assert not mark.is_due(), "nothing is gained by counting on"


def test_a_loss_is_not_accepted_while_somebody_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.touch()
    lock = FileLock(f"{path}.lock")
    lock.acquire()
    with pytest.raises(StoreUnavailable, match="is being written by another process"):
        accept_loss(str(path))
    lock.close()
    accept_loss(str(path))


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    fault_points.disarm()
