"""Rows of sections I and L about values: secrets that stay secret, and bytes that nobody can read."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from durable import RunSetAside, Workflow
from durable.codec import CodecChain, Encryption, JsonCodec, KeyRing
from tests.runs.kit import Apps, eventually, flow, state

SECRET = "canary-7c1f"


def secretive(apps: Apps) -> Workflow:
    """Return an application in whose every value the secret stands."""
    pytest.importorskip("cryptography", reason="comes with the extra `crypto`")
    keys = KeyRing({"k1": bytes(range(32))}, primary="k1")
    app = apps(codec=CodecChain(JsonCodec(), Encryption(keys)))

    @app.task(retries=1, backoff=lambda earlier: 0.0)
    async def fails(text: str) -> None:
        raise ValueError(f"wrong {text}")

    @app.task
    async def gives(text: str) -> list[str]:
        return [text]

    @app.workflow(id="run")
    async def run(text: str) -> Any:
        values = [await gives(text), await app.signal("go"), await app.receive("box")]
        try:
            await fails(text)
        except ValueError as error:
            return [*values, str(error)]

    @app.workflow(id="failing")
    async def failing(text: str) -> None:
        await fails(text)

    return app


async def test_no_secret_is_in_any_file_nor_in_the_log_when_values_are_encrypted(tmp_path, caplog):
    """The message of a failed run's error stood in its record, and in the log.

    Covers: I14
    """
    caplog.set_level(logging.DEBUG, "durable")
    apps = Apps(str(tmp_path / "x.db"))
    app = secretive(apps)
    try:
        async with app:
            handle = await flow(app, "run").start(SECRET)
            await handle.signal("go", SECRET)
            await handle.send("box", {"key": SECRET})
            result = await handle.result()
            assert result == [[SECRET], SECRET, {"key": SECRET}, f"wrong {SECRET}"]
            _ = await flow(app, "failing").start(SECRET)
            await state(app, "failing", "failed")
            files = [path for path in tmp_path.rglob("*") if path.is_file()]
            assert any(path.suffix == ".db" for path in files)
            assert [path.name for path in files if SECRET.encode() in path.read_bytes()] == []
    finally:
        await apps.stop()
    assert SECRET not in caplog.text
    assert [path.name for path in files if path.exists() and SECRET.encode() in path.read_bytes()] == []


DAMAGES = {
    "another codec": b"Z",
    "cut": b"J[1,",
    "nothing": b"",
    "deep": b"J" + b"[" * 5_000,
}


@pytest.mark.parametrize("what", DAMAGES)
async def test_a_value_that_cannot_be_decoded_concerns_its_run_only_and_its_bytes_are_kept(tmp_path, what):
    """Covers: G10, I12, L14"""
    path = tmp_path / "x.db"
    apps = Apps(str(path))
    release = asyncio.Event()

    def program() -> Workflow:
        app = apps()
        app._options = replace(app._options, grace_ms=10)

        @app.task
        async def value(n: int) -> int:
            return n

        @app.task
        async def waits() -> None:
            await release.wait()

        @app.workflow(id="run-{n}")
        async def run(n: int) -> int:
            first = await value(n)
            await waits()
            return first

        return app

    try:
        app = program()
        async with app:
            for n in range(3):
                _ = await flow(app, "run").start(n)
            await eventually(lambda: _recorded(path) == 3)
        (_, good), bad = _value_of_run_1(path), DAMAGES[what]
        _replace_value_of_run_1(path, bad)
        release.set()
        app = program()
        async with app:
            assert [await app.handle(f"run-{n}").result() for n in (0, 2)] == [0, 2]
            await state(app, "run-1", "set aside")
            with pytest.raises(RunSetAside, match=r"unreadable|corrupt"):
                await app.handle("run-1").result()
        assert _value_of_run_1(path)[1] == bad
        _replace_value_of_run_1(path, good)  # as a worker sees it that can read it
        app = program()
        async with app:
            assert await app.handle("run-1").result() == 1
    finally:
        await apps.stop()


def _recorded(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (count,) = connection.execute("SELECT count(*) FROM journal WHERE kind = 1").fetchone()
    connection.close()
    return int(count)


def _value_of_run_1(path: Path) -> tuple[int, bytes]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT key FROM runs WHERE id = 'run-1'").fetchall()
    key = rows[0][0]
    place, data = connection.execute(
        "SELECT place, data FROM journal WHERE kind = 1 AND place >> 24 = ?", (key,)
    ).fetchone()
    connection.close()
    return place, bytes(data)


def _replace_value_of_run_1(path: Path, data: bytes) -> None:
    """Put bytes in place of a recorded value, with a checksum that fits, as a newer version might have written them."""
    from durable.store.sqlite.rows import entry_of, entry_row

    place, _ = _value_of_run_1(path)
    connection = sqlite3.connect(path)
    row = connection.execute(
        "SELECT place, epoch, at, kind, status, seq, name, digest, attempt, took, note, data, crc, step_id, due_at "
        "FROM journal WHERE place = ?", (place,),
    ).fetchone()  # fmt: skip
    entry = entry_of(row)._replace(data=data)
    connection.execute("DELETE FROM journal WHERE place = ?", (place,))
    new = entry_row(place >> 24, row[1], entry)
    connection.execute(
        "INSERT INTO journal(place, epoch, at, kind, status, seq, name, digest, attempt, took, note, data, crc, "
        f"step_id, due_at) VALUES ({', '.join('?' * 15)})", new,
    )  # fmt: skip
    connection.commit()
    connection.close()
