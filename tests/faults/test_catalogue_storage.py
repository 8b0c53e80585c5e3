"""Rows of section B: what the disk, the file and other programs do to a store while it works."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from durable import Workflow
from durable.core.records import Entry
from durable.errors import StoreUnavailable
from durable.store.base import RunFilter
from durable.store.operations import Done
from durable.store.sqlite import SQLiteRunStore, connection, database
from durable.store.sqlite import faults as fault_points
from durable.store.sqlite import store as store_module
from tests.runs.kit import eventually, flow, live
from tests.store.sqlite_kit import advance, child, do, finish, finished, opened, said, start, started, task
from tests.store.test_sqlite_faults import small_disk
from tests.store.test_sqlite_workers import Watch


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    fault_points.disarm()


def positions(entries: list[Entry]) -> list[int]:
    return [entry.position for entry in entries]


# A disk that refuses -------------------------------------------------------------------------------------------------


def fifty_steps(db: str, size: int) -> tuple[Workflow, list[int]]:
    """Return an application whose run records fifty results of that size, and the list of what it executed."""
    app, ran = Workflow("app", db=db), list[int]()

    @app.task
    async def step(number: int) -> str:
        ran.append(number)
        return random.Random(number).randbytes(size // 2).hex()

    @app.workflow(id="run")
    async def run() -> int:
        return len({await step(number) for number in range(50)})

    return app, ran


def test_work_waits_for_a_full_disk_and_goes_on_by_itself_when_there_is_space_again(tmp_path, caplog):
    """Covers: B2, B22"""
    with small_disk(tmp_path / "disk", 10) as disk:
        app, ran = fifty_steps(str(disk / "x.db"), 50_000)
        filler = disk / "filler"

        async def main() -> tuple[int, float, int]:
            filler.write_bytes(b"x" * (9 << 20))
            async with app:
                waiting = asyncio.ensure_future((await app.workflows["run"].start()).result())
                await eventually(lambda: "does not accept writes, work waits" in caplog.text)
                executed = len(ran)
                filler.unlink()
                began = time.monotonic()
                return await waiting, time.monotonic() - began, executed

        result, seconds, executed = live(app, main)
        assert result == 50
        assert executed < 50
        assert ran == list(range(50)), "nothing was executed again"
        assert seconds < 10
        assert "accepts writes again" in caplog.text


async def test_a_log_that_cannot_be_copied_for_want_of_space_does_no_harm(tmp_path, monkeypatch):
    """Covers: B3"""
    monkeypatch.setattr(database, "CHECKPOINT_COMMITS", 1 << 30)
    with small_disk(tmp_path / "disk", 8) as disk:
        async with opened(disk / "x.db") as store:
            (run,) = await started(store, "r")
            for position in range(1, 31):
                await do(store, advance(run, task(position, bytes(100_000))))
            filler = disk / "filler"
            with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(b"x" * 4096)
            before = os.path.getsize(disk / "x.db")
            assert not store._database.checkpoint()
            assert not store._database.checkpoint()
            assert os.path.getsize(disk / "x.db") < before + 3_000_000, "there was no space to copy the log to"
            assert len(await store.journal(run.key)) == 31
            filler.unlink()
            assert await do(store, advance(run, task(31))) is Done.DONE
            assert store._database.checkpoint()
            assert positions(await store.journal(run.key)) == list(range(32))
            assert await store.check() == []


def test_a_file_that_cannot_be_written_any_more_is_told_and_tried_again_without_haste(tmp_path, caplog):
    """Covers: B7"""
    app, ran = fifty_steps(str(tmp_path / "x.db"), 10)
    tried: list[float] = []
    mended = threading.Event()

    def read_only() -> None:
        if mended.is_set():
            return
        tried.append(time.monotonic())
        fault_points.arm("before-begin", read_only)
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode = sqlite3.SQLITE_READONLY
        raise error

    async def main() -> int:
        async with app:
            handle = await app.workflows["run"].start()
            await eventually(lambda: len(ran) > 3)
            fault_points.arm("before-begin", read_only)
            await eventually(lambda: tried and time.monotonic() - tried[0] > 0.8)
            mended.set()
            return await handle.result()

    assert live(app, main) == 50
    assert ran == list(range(50))
    assert 3 <= len(tried) < 15, "it is tried again, and not all the time"
    assert "it cannot be written; give this user the right to write the file and its directory" in caplog.text


# The log -------------------------------------------------------------------------------------------------------------

LEAVES_A_LOG = """
    async def main():
        async with opened(sys.argv[1], "boot:other") as store:
            (run,) = (await store.execute([start("r", worker="boot:other")], "boot:other")).outcomes
            for position in range(1, int(sys.argv[2])):
                await store.execute([advance(run.record, task(position, bytes(position * 10)))], "boot:other")
            os.kill(os.getpid(), 9)
    asyncio.run(main())
"""


def left_behind(path: Path, entries: int) -> None:
    """Leave a database whose newest commits are in its log, as a process that was killed does."""
    child(LEAVES_A_LOG, path, entries).communicate()
    assert os.path.getsize(f"{path}-wal") > 0


async def test_of_a_log_that_ends_anywhere_whole_commits_count_and_nothing_else(tmp_path):
    """Covers: B10"""
    path = tmp_path / "x.db"
    left_behind(path, 40)
    log = Path(f"{path}-wal").read_bytes()
    source = random.Random(11)
    lengths = set()
    for number in range(20):
        copy = tmp_path / f"{number}.db"
        shutil.copy(path, copy)
        cut = source.randrange(len(log) + 1)
        torn = bytearray(log[:cut]) + source.randbytes(source.randrange(600))
        Path(f"{copy}-wal").write_bytes(torn)
        async with opened(copy) as store:
            runs = await store.runs(RunFilter())
            entries = await store.journal(runs[0].key) if runs else []
            assert positions(entries) == list(range(len(entries)))
            assert all(entry.data == bytes(entry.position * 10) for entry in entries[1:])
            assert await store.check() == []
            lengths.add(len(entries))
    assert len(lengths) > 7, "the log was cut at many places"


async def test_a_program_that_reads_for_long_lets_the_log_grow_and_holds_up_nobody(tmp_path, monkeypatch):
    """Covers: B13"""
    monkeypatch.setattr(store_module, "LOG_BYTES_WARN", 1 << 20)
    monkeypatch.setattr(database, "CHECKPOINT_COMMITS", 100)
    path = tmp_path / "x.db"
    async with opened(path) as store:
        (run,) = await started(store, "r")
        assert not any("log" in note for note in (await store.status()).notes)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        seen = reader.execute("SELECT count(*) FROM journal").fetchone()
        for position in range(1, 300):  # the log would have been copied, and begun again, twice by now
            assert await do(store, advance(run, task(position, bytes(1_000)))) is Done.DONE
        grown = os.path.getsize(f"{path}-wal")
        assert grown > 300 * 4_096
        assert reader.execute("SELECT count(*) FROM journal").fetchone() == seen
        assert any("log" in note for note in (await store.status()).notes)
        reader.close()
        assert store._database.checkpoint()
        await do(store, advance(run, task(300)))
        assert os.path.getsize(f"{path}-wal") == grown, "it is written from its beginning again"


RECOVERS = """
    from durable.store.sqlite import database

    async def main():
        if sys.argv[2] == "halfway":
            use_wal = database.use_wal
            def and_stop(connection, path):
                use_wal(connection, path)
                connection.execute("SELECT count(*) FROM journal").fetchall()  # the log's index is made by now
                print("halfway", flush=True)
                sys.stdin.readline()
            database.use_wal = and_stop
        print("ready", flush=True)
        async with opened(sys.argv[1], f"boot:{os.getpid()}") as store:
            (run,) = await store.runs(__import__("durable.store.base").store.base.RunFilter())
            print(len(await store.journal(run.key)), flush=True)
    asyncio.run(main())
"""


def test_processes_that_find_a_log_to_recover_wait_for_the_one_that_does_even_if_it_dies(tmp_path):
    """Covers: B24"""
    path = tmp_path / "x.db"
    left_behind(path, 60)
    first = child(RECOVERS, path, "halfway")
    assert [said(first), said(first)] == ["ready", "halfway"]
    others = [child(RECOVERS, path, "whole") for _ in range(2)]
    assert [said(other) for other in others] == ["ready"] * 2
    first.kill()
    first.communicate()
    assert [finished(other) for other in others] == ["60\n"] * 2


# Transactions --------------------------------------------------------------------------------------------------------


class Watched:
    """Follows the statements of one connection, and notes what writes outside of `BEGIN IMMEDIATE`."""

    def __init__(self) -> None:
        self.begun = ""
        self.writes = 0
        self.wrong: list[str] = []

    def see(self, statement: str) -> None:
        first = statement.split(None, 1)[0].upper().rstrip(";")
        if first == "BEGIN":
            self.begun = statement.strip().upper()
        elif first in ("COMMIT", "ROLLBACK", "END"):
            self.begun = ""
        elif first in ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER"):
            self.writes += 1
            if self.begun != "BEGIN IMMEDIATE":
                self.wrong.append(statement)


async def test_no_transaction_that_has_read_begins_to_write(tmp_path, monkeypatch):
    """Covers: B14"""
    watched: list[Watched] = []
    connect = connection.connect

    def and_watch(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made = connect(*arguments, **options)
        watched.append(Watched())
        made.set_trace_callback(watched[-1].see)
        if not options["writes"]:
            assert made.execute("PRAGMA query_only").fetchone() == (1,)
        return made

    monkeypatch.setattr(database, "connect", and_watch)
    async with opened(tmp_path / "x.db") as store, opened(tmp_path / "x.db", "boot:peer") as peer:
        runs = await started(store, "a", "b", "c")
        await store.execute([advance(run, task(1)) for run in runs])
        await store.execute([finish(runs[0], 2)])
        store._locks._held.pop("boot:1:0:w1").close()
        assert len((await peer.expire()).runs) == 2
        assert await peer.prune(RunFilter(), finished_before=1 << 62, limit=10) == 1
        await peer.collect("boot:peer")
        await peer.sweep()
        await peer.reopen()
        assert await peer.check() == []
    assert [statement for one in watched for statement in one.wrong] == []
    assert sum(one.writes > 0 for one in watched) >= 2


SLOW_FLUSH = """
    from durable.store.sqlite import faults

    async def main():
        async with opened(sys.argv[1], "boot:slow") as store:
            run = (await store.execute([start("r", worker="boot:slow")], "boot:slow")).outcomes[0].record
            faults.arm("commit", lambda: (print("flushing", flush=True), sys.stdin.readline()))
            print((await store.execute([advance(run, task(1))], "boot:slow")).outcomes[0].name, flush=True)
            print(await store.registered("boot:slow"), flush=True)
    asyncio.run(main())
"""


async def test_a_worker_whose_flush_takes_long_is_not_taken_for_dead(tmp_path):
    """Covers: B20, E5"""
    path = tmp_path / "x.db"
    async with opened(path) as store:
        watch = store._observer._clock = Watch()
        worker = child(SLOW_FLUSH, path)
        assert said(worker) == "flushing"
        for seconds in (0, 60, 300, 599):  # of lease time and more, in which it makes no progress
            watch.now = 1_000.0 + seconds
            assert (await store.expire()).workers == ()
        assert worker.stdin is not None
        worker.stdin.write("go on\n")
        worker.stdin.flush()
        assert [said(worker), said(worker)] == ["DONE", "True"]
        worker.communicate(timeout=20)


# Names ---------------------------------------------------------------------------------------------------------------


def test_a_relative_name_is_resolved_once(tmp_path, monkeypatch):
    """Covers: B19"""
    monkeypatch.chdir(tmp_path)
    store = SQLiteRunStore("x.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert store.path == str(tmp_path / "x.db")
    assert store.peer().path == store.path


def test_an_application_stays_with_its_file_when_the_working_directory_changes(tmp_path, monkeypatch):
    """It made a second database in the new directory, and executed everything again.

    Covers: B19
    """
    monkeypatch.chdir(tmp_path)
    app, ran = fifty_steps("x.db", 10)
    assert live(app, flow(app, "run")) == 50
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert live(app, flow(app, "run")) == 50
    assert ran == list(range(50))
    assert os.listdir(tmp_path / "elsewhere") == []


# Nobody can switch safety off ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "off", "OFF", "normal", "0", "extra", ""])
def test_there_is_no_level_at_which_a_kill_would_lose_something(tmp_path, name):
    """Covers: B21"""
    with pytest.raises(Exception, match="'full' or 'relaxed'"):
        Workflow("app", db=f"sqlite:///{tmp_path}/x.db?durability={name}")


async def test_the_level_in_force_does_not_depend_on_what_the_file_says(tmp_path):
    """Covers: B21"""
    path = tmp_path / "x.db"
    async with opened(path):
        pass
    other = sqlite3.connect(path)
    other.execute("PRAGMA synchronous = OFF")
    other.close()
    async with opened(path) as store:
        assert store._database.writing is not None
        assert store._database.writing.execute("PRAGMA synchronous").fetchone() == (2,)
        assert (await store.status()).durability == "full"


# Other programs ------------------------------------------------------------------------------------------------------


async def test_a_program_that_locks_the_file_by_itself_delays_writes_and_loses_none(tmp_path, monkeypatch):
    """Covers: B12"""
    monkeypatch.setattr(database, "BUSY_MS", 50)
    path = tmp_path / "x.db"
    async with opened(path) as store:
        (run,) = await started(store, "r")
        shell = sqlite3.connect(path, isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another program holds it locked"):
            await do(store, advance(run, task(1)))
        shell.execute("COMMIT")
        shell.close()
        assert await do(store, advance(run, task(1))) is Done.DONE
        await store.execute([start("s")])
