"""Opening: migrations that may be interrupted and may race, and everything that cannot serve as a store."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
from pathlib import Path

import pytest

from durable.errors import StoreCorrupt, StoreUnusable
from durable.store.base import RunFilter
from durable.store.sqlite import SQLiteRunStore, place
from durable.store.sqlite.connection import check_version_of_library, connect, runner, version_notes
from durable.store.sqlite.filelock import FileLock
from durable.store.sqlite.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION, migrate
from tests.store.sqlite_kit import (
    Clock,
    Crash,
    child,
    crash_before,
    finished,
    opened,
    said,
    started,
    tell,
)


def refusal(path, error: type[Exception] = StoreUnusable) -> str:
    """Open a file that cannot serve, and return what is said about it."""

    async def attempt() -> None:
        store = SQLiteRunStore(path)
        try:
            await store.open(Clock())
        finally:
            await store.close()

    with pytest.raises(error) as raised:
        asyncio.run(attempt())
    return str(raised.value)


# Migrations ----------------------------------------------------------------------------------------------------------


def test_a_migration_interrupted_at_any_statement_is_done_by_the_next(tmp_path) -> None:
    """Covers: A18"""
    for nth in itertools.count():
        path = str(tmp_path / f"{nth}.db")
        connection = connect(path, durability="full", busy_ms=1000, create=True, writes=True)
        try:
            crash_before(nth, migrate(path, 1), runner(connection))
        except Crash:
            connection.close()
        else:
            connection.close()
            break
        again = connect(path, durability="full", busy_ms=1000, create=True, writes=True)
        version = again.execute("PRAGMA user_version").fetchone()[0]
        tables = again.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        assert (version, tables) == (0, 0) or version == SCHEMA_VERSION
        again.close()
        asyncio.run(_usable(Path(path)))
    assert nth > len(MIGRATIONS[0])


async def _usable(path: Path) -> None:
    async with opened(path) as store:
        await started(store, "r")
        assert await store.check() == []


def test_a_migration_with_nothing_to_do_writes_nothing(tmp_path) -> None:
    path = tmp_path / "x.db"
    asyncio.run(_usable(path))
    before = path.read_bytes()
    asyncio.run(_usable_again(path))
    assert path.read_bytes() == before


async def _usable_again(path) -> None:
    async with opened(path, None) as store:
        assert len(await store.runs(RunFilter())) == 1


def test_eight_processes_open_a_fresh_file_at_once(tmp_path) -> None:
    """Covers: F14"""
    code = """
        async def main():
            print("ready", flush=True)
            sys.stdin.readline()
            me = f"boot:{os.getpid()}:0:w"
            async with opened(sys.argv[1], me) as store:
                committed = await store.execute([start(f"{os.getpid()}-{n}", worker=me) for n in range(5)], me)
                assert all(outcome.record.owner == me for outcome in committed.outcomes)
        asyncio.run(main())
    """
    for attempt in range(3):
        path = tmp_path / f"{attempt}.db"
        children = [child(code, path) for _ in range(8)]
        for process in children:
            assert said(process) == "ready"
        for process in children:
            tell(process)
        for process in children:
            finished(process)

        async def look(path=path) -> None:
            async with opened(path, None) as store:
                assert len(await store.runs(RunFilter())) == 40
                await store.expire()
                assert await store.check() == []
                assert await store.workers() == []

        asyncio.run(look())


# Refusals ------------------------------------------------------------------------------------------------------------


def test_a_directory_is_refused(tmp_path) -> None:
    assert "is a directory: name a file in it" in refusal(tmp_path)


def test_a_missing_directory_is_not_created(tmp_path) -> None:
    assert "there is no directory" in refusal(tmp_path / "none" / "x.db")
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"dear diary, " * 1000)
    assert "is not a SQLite database" in refusal(path)
    assert path.read_bytes() == b"dear diary, " * 1000
    assert os.listdir(tmp_path) == ["x.db"]


def test_something_that_is_no_file_is_refused(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.db")
    assert "not a regular file" in refusal(tmp_path / "pipe.db")


def test_a_database_of_another_application_is_refused_and_left_alone(tmp_path) -> None:
    path = tmp_path / "x.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes(text)")
    other.close()
    before = path.read_bytes()
    assert "a database of another application" in refusal(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.db"]


def test_a_refusal_leaves_a_lock_file_that_was_there(tmp_path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"dear diary, " * 1000)
    (tmp_path / "x.db.lock").touch()
    refusal(path)
    assert sorted(os.listdir(tmp_path)) == ["x.db", "x.db.lock"]


async def test_a_store_that_was_refused_opens_once_the_file_is_sound(tmp_path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"dear diary, " * 1000)
    store = SQLiteRunStore(path)
    with pytest.raises(StoreUnusable):
        await store.open(Clock())
    path.unlink()
    await store.open(Clock())
    assert not FileLock(f"{path}.lock").is_new
    assert await store.check() == []
    await store.close()


async def test_a_lock_file_that_another_process_took_away_is_not_relied_on(tmp_path) -> None:
    """A process that finds no store removes the lock file it made; somebody may hold that file open already."""
    path = tmp_path / "x.db"
    store = SQLiteRunStore(path)
    theirs = FileLock(f"{path}.lock")
    theirs.acquire()
    ours = store._database.file_lock()
    assert not ours.is_new
    os.unlink(theirs.path)
    theirs.close()
    await store.open(Clock())
    assert store._database.lock is not None
    assert store._database.lock is not ours
    assert not store._database.lock.is_stale()
    await store.close()


def test_a_newer_version_is_refused_without_writing(tmp_path) -> None:
    """Covers: B23, L6"""
    path = tmp_path / "x.db"
    asyncio.run(_usable(path))
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    newer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    newer.close()
    before = path.read_bytes()
    text = refusal(path)
    assert "newer version of durable" in text
    assert f"schema {SCHEMA_VERSION + 1}, this one knows {SCHEMA_VERSION}" in text
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused(tmp_path) -> None:
    path = tmp_path / "x.db"
    asyncio.run(_usable(path))
    data = bytearray(path.read_bytes())
    data[100:4096] = b"\xff" * 3996  # the page that describes the tables, behind the header
    path.write_bytes(data)
    assert "damaged" in refusal(path, StoreCorrupt)


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_cannot_be_written_is_refused(tmp_path, what: str) -> None:
    """Covers: B7"""
    path = tmp_path / "x.db"
    asyncio.run(_usable(path))
    os.chmod(tmp_path, 0o777 if what == "file" else 0o555)
    os.chmod(path, 0o444 if what == "file" else 0o666)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and folder != tmp_path.parents[-1] and str(folder).count(os.sep) > 1:
            os.chmod(folder, folder.stat().st_mode | 0o111)
    code = """
        from durable.errors import StoreUnusable
        if os.getuid() == 0:
            os.setgid(65534), os.setuid(65534)
        async def main():
            try:
                await SQLiteRunStore(sys.argv[1]).open(Clock())
            except StoreUnusable as error:
                print(error)
        asyncio.run(main())
    """
    try:
        text = finished(child(code, path))
    finally:
        os.chmod(tmp_path, 0o755)
    if "No module named" in text or "Permission denied" in text:
        pytest.skip("an unprivileged user cannot read this checkout")
    assert f"the {what}" in text
    assert "read-only for this user" in text


MOUNTS = """\
21 1 8:1 / / rw - ext4 /dev/vda rw
30 21 0:40 / /mnt/share rw,relatime shared:1 - nfs4 host:/x rw
31 21 0:41 / /mnt/my\\040disk rw - cifs //host/x rw
32 21 0:42 / /mnt/fuse rw - fuse.sshfs x rw
33 30 8:2 / /mnt/share/local rw - xfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/x.db", "ext4"),
        ("/mnt/x.db", "ext4"),
        ("/mnt/share/x.db", "nfs4"),
        ("/mnt/shared/x.db", "ext4"),
        ("/mnt/my disk/x.db", "cifs"),
        ("/mnt/fuse/a/b.db", "fuse.sshfs"),
        ("/mnt/share/local/x.db", "xfs"),
    ],
)
def test_the_mount_table_says_where_a_file_lies(path: str, kind: str) -> None:
    """Covers: B15"""
    assert place.file_system_of(path, MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"])
def test_a_network_file_system_is_refused(tmp_path, monkeypatch, kind: str) -> None:
    """Covers: B15"""
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 0:1 / {tmp_path} rw - {kind} host rw\n")
    monkeypatch.setattr(place, "MOUNTS", str(table))
    text = refusal(tmp_path / "x.db")
    assert f"a network file system ({kind})" in text
    assert not (tmp_path / "x.db").exists()


def test_a_symbolic_link_leads_to_the_same_files(tmp_path) -> None:
    """Covers: B19"""
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "x.db")
    assert SQLiteRunStore(tmp_path / "link.db").path == str(tmp_path / "real" / "x.db")


async def test_a_second_name_of_the_file_is_a_warning(tmp_path) -> None:
    """Covers: B19"""
    async with opened(tmp_path / "x.db") as store:
        os.link(tmp_path / "x.db", tmp_path / "y.db")
        assert any("hard links" in note for note in (await store.status()).notes)


async def test_status_says_what_an_operator_should_know(tmp_path) -> None:
    """Covers: B21"""
    async with opened(tmp_path / "x.db", durability="relaxed") as store:
        status = await store.status()
    assert (status.kind, status.durability, status.schema_version) == ("sqlite", "relaxed", SCHEMA_VERSION)
    assert status.location == str(tmp_path / "x.db")
    assert any("relaxed" in note for note in status.notes)


@pytest.mark.parametrize(
    ("version", "notes"),
    [
        ((3, 40, 1), 1),
        ((3, 44, 6), 0),
        ((3, 44, 5), 1),
        ((3, 50, 7), 0),
        ((3, 51, 2), 1),
        ((3, 51, 3), 0),
        ((4, 0, 0), 0),
    ],
)
def test_versions_with_the_wal_reset_bug_are_named(version: tuple[int, ...], notes: int) -> None:
    """Covers: B18"""
    assert len(version_notes(version)) == notes


def test_an_old_sqlite_is_refused() -> None:
    with pytest.raises(StoreUnusable, match=r"has SQLite 3\.39\.4, durable needs 3\.40\.0"):
        check_version_of_library((3, 39, 4))


async def test_settings_are_those_that_the_design_asks_for(tmp_path) -> None:
    """Covers: A24, B18, B21"""
    async with opened(tmp_path / "x.db") as store:
        connection = store._database.writing
        found = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in (
                "journal_mode",
                "synchronous",
                "wal_autocheckpoint",
                "mmap_size",
                "trusted_schema",
                "application_id",
            )
        }
    assert found == {
        "journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0, "mmap_size": 0, "trusted_schema": 0,
        "application_id": APPLICATION_ID,
    }  # fmt: skip
