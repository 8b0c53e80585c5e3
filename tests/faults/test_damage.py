"""What campaigns have found about damaged files and reads that fail: each a story of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from durable.errors import StoreCorrupt, StoreUnavailable
from durable.store.operations import Done, Send, Settle
from durable.store.sqlite import SQLiteRunStore, reads
from durable.store.sqlite import faults as fault_points
from durable.store.sqlite.rows import entry_of, run_of, worker_of
from tests.store.sqlite_kit import W1, advance, do, opened, started, task


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    fault_points.disarm()


def damage() -> sqlite3.DatabaseError:
    """Return what SQLite raises for a damaged page, and for a read that failed with EIO."""
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def fails() -> None:
    raise damage()


class Reads:
    """Reads the version of SQLite, after having failed a few times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def __call__(self, reader: reads.Reader) -> Any:
        self.failures -= 1
        if self.failures >= 0:
            raise damage()
        return reader.connection.execute("SELECT 1").fetchall()


@pytest.mark.parametrize("how", ["_read_now", "_browse"])
async def test_b6_a_read_that_fails_once_is_made_again(tmp_path, how: str) -> None:
    """One EIO set runs aside as corrupt: SQLite says of both that the image is malformed (campaign `io`)."""
    async with opened(tmp_path / "x.db") as store:
        read: Callable[[Reads], Any] = getattr(store, how)
        assert read(Reads(1)) == [(1,)]
        with pytest.raises(StoreCorrupt, match="is damaged"):
            read(Reads(2))
        assert read(Reads(0)) == [(1,)]


async def test_b6_a_batch_that_meets_damage_is_refused_once_before_the_store_is_given_up(tmp_path) -> None:
    async with opened(tmp_path / "x.db") as store:
        (run,) = await started(store, "r")
        for position in (1, 2):
            fault_points.arm("before-commit", fails)
            with pytest.raises(StoreUnavailable, match="read once more"):
                await store.execute([advance(run, task(position))], W1)
            assert await do(store, advance(run, task(position))) is Done.DONE
        for error in (StoreUnavailable, StoreCorrupt):
            fault_points.arm("before-commit", fails)
            with pytest.raises(error):
                await store.execute([advance(run, task(3))], W1)


async def test_a_long_read_that_cannot_connect_is_told_in_words_of_the_contract(tmp_path, monkeypatch) -> None:
    """`runs()` raised what SQLite had raised, out of `await wf.start()` (campaign `io`)."""
    async with opened(tmp_path / "x.db") as store:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR

        def refuse() -> sqlite3.Connection:
            raise error

        monkeypatch.setattr(store._database, "connect_reader", refuse)
        with pytest.raises(StoreUnavailable, match="reading or writing failed"):
            store._browse(Reads(0))


def test_b11_an_entry_or_a_run_with_a_column_of_another_type_is_damage() -> None:
    """A flipped header makes NULL or a number of a text; the checksum raised struct.error (campaign `bitflips`)."""
    row = (1 << 24, 1, 0, 1, 0, None, "task", 0, 1, 0, "", b"", 0, None, 0)
    for place, value in ((2, None), (6, 7), (11, "text")):
        with pytest.raises(StoreCorrupt, match="does not match its checksum"):
            entry_of((*row[:place], value, *row[place + 1 :]))
    with pytest.raises(StoreCorrupt, match="holds what no run can hold"):
        run_of((1, "r", 1, 99, *[0] * 19), names=_AnyNames())  # type: ignore[arg-type]


class _AnyNames:
    def queue_name(self, number: int) -> None:
        return None


@pytest.mark.parametrize("queues", [None, "{", 5, "[1]"])
def test_b11_a_worker_with_a_column_of_another_type_is_damage(queues: object) -> None:
    """A file after a power failure without flushes raised TypeError out of `open` (seed 0 of the control)."""
    with pytest.raises(StoreCorrupt, match="worker 'w' cannot be read: its columns were changed on disk"):
        worker_of(("w", 1, "host", "boot", 0, queues))


async def test_b11_a_changed_name_of_a_message_or_outcome_of_a_promise_is_noticed(tmp_path) -> None:
    """The checksum was over the bytes alone: a message with another name was waited for in vain (`bitflips`)."""
    async with opened(tmp_path / "x.db") as store:
        (run,) = await started(store, "r")
        await store.execute([Send("app", "r", "m", "news", b"1"), Settle("app", "p", True, b"1", "t")], None)
        assert await store.check() == []
        _change(store, "UPDATE messages SET name = 'neus'")
        _change(store, "UPDATE promises SET ok = 0")
        with pytest.raises(StoreCorrupt, match="message 'neus'"):
            await store.inbox(run.key)
        with pytest.raises(StoreCorrupt, match="promise 'p'"):
            await store.promise("app", "p")
        assert len(await store.check()) == 2


async def test_b11_an_index_that_leads_to_another_run_is_noticed(tmp_path, monkeypatch) -> None:
    """A flipped row number in the index of ids gave the result of another run (campaign `bitflips`)."""
    async with opened(tmp_path / "x.db") as store:
        await started(store, "r", "other")
        monkeypatch.setattr(reads, "ID_OF_RUN", "SELECT id FROM runs WHERE key = ? + 1")
        with pytest.raises(StoreCorrupt, match="the index of ids is damaged"):
            await store.run("app", "r")


async def test_b11_a_damaged_tree_is_found_without_walking_through_it(tmp_path) -> None:
    """In a tree with a circle a statement may never end; `check` went on after SQLite had found it (`powerloss`)."""
    async with opened(tmp_path / "x.db") as store:
        await started(store, *(f"r{number}" for number in range(5)))
        _change(store, "CREATE TABLE extra(a)")
        (root,) = store._database.writing.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'runs_id'"
        ).fetchone()
    path = tmp_path / "x.db"
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 + 8 : (root - 1) * 4096 + 12] = b"\xff" * 4
    path.write_bytes(content)
    async with opened(path, None) as store:
        found = await store.check()
        assert found
        assert all("SQLite finds: " in sentence or "is damaged" in sentence for sentence in found)


def _change(store: SQLiteRunStore, sql: str) -> None:
    assert store._database.writing is not None
    store._database.writing.execute(sql)
