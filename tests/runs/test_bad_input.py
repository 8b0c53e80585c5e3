"""Bad input: each with an error that says what, where and what to do, and nothing lost."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import durable
from durable import DurableError, EncodeError, PayloadTooLarge, StoreCorrupt, StoreUnusable, UsageError, Workflow
from durable.backoff import constant
from tests.runs.kit import flow, live, state


def trivial(db: object) -> Workflow:
    app = Workflow("app", db=db)

    @app.task
    async def gives(x: object) -> object:
        return x

    @app.workflow
    async def run(x: object = 1) -> object:
        return await gives(x)

    return app


def call(app: Workflow, *args: object) -> object:
    return live(app, lambda: flow(app, "run")(*args))


# Values ---------------------------------------------------------------------------------------------------------------


async def test_an_argument_that_cannot_be_stored_is_refused_before_anything_is(app):
    @app.workflow
    async def run(order: object) -> None: ...

    for attempt in (run({"lines": [1, object()]}), run.start({"lines": [1, object()]})):
        with pytest.raises(EncodeError, match=r"arguments of workflow 'run' at .*order.*lines.*1.* is a object"):
            await attempt
    assert await app.runs.list() == []


async def test_a_result_of_a_workflow_that_cannot_be_stored_fails_the_run(app):
    """Covers: H8"""

    @app.workflow(id="run")
    async def run() -> object:
        return {"handle": open}

    with pytest.raises(EncodeError, match=r"result of workflow 'run' at .*handle"):
        await run()
    assert (await app.runs.get("run")).state.label == "failed"


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "kind", "why"),
    [
        ("x" * 20_000_000, PayloadTooLarge, "bytes"),
        (nested(2000), PayloadTooLarge, "deep|depth"),
        (nested(100_000), PayloadTooLarge, "deep|depth"),
        (lambda: None, EncodeError, "function"),
        (iter([1]), EncodeError, "iterator"),
    ],
    ids=["large", "deep", "very deep", "function", "iterator"],
)
@pytest.mark.parametrize("place", ["argument", "task", "workflow"])
async def test_values_that_are_too_large_too_deep_or_no_values(app, value, kind, why, place):
    """Covers: I3, I4, I5"""
    ran: list[int] = []

    @app.task(retries=3, backoff=constant(0))
    async def gives() -> object:
        ran.append(1)
        return value

    @app.workflow
    async def run(x: object = None) -> object:
        return (await gives()) and 1 if place == "task" else value if place == "workflow" else 1

    with pytest.raises(kind, match=why) as caught:
        await (run(value) if place == "argument" else run())
    assert {"argument": "arguments of workflow 'run'", "task": "result of task 'gives'"}.get(
        place, "result of workflow 'run'"
    ) in str(caught.value)
    assert len(str(caught.value)) < 2000
    assert ran == [1] * (place == "task")


async def test_a_body_may_catch_what_could_not_be_stored(app):
    @app.task
    async def gives() -> object:
        return object()

    @app.workflow
    async def run() -> str:
        try:
            await gives()
        except EncodeError as error:
            return error.label
        return ""

    assert await run() == "result of task 'gives'"


# Databases ------------------------------------------------------------------------------------------------------------


def test_a_directory_is_no_database(tmp_path):
    with pytest.raises(StoreUnusable, match=r"is a directory: name a file in it"):
        call(trivial(str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_a_missing_directory(tmp_path):
    with pytest.raises(StoreUnusable, match=r"there is no directory .*missing.*create it"):
        call(trivial(str(tmp_path / "missing" / "x.db")))


@pytest.fixture
def mortal() -> Iterator[None]:
    """Rights are checked for ordinary users only, so be one for the time of the test."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_read_only_place(tmp_path, what, mortal):
    """Covers: B7"""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.db")
        call(trivial(str(path)), 5)
        before = path.read_bytes()
        (path if what == "file" else Path(folder)).chmod(0o444 if what == "file" else 0o555)
        try:
            with pytest.raises(StoreUnusable, match=r"read-only|cannot be written"):
                call(trivial(str(path)), 6)
        finally:
            Path(folder).chmod(0o755)
            path.chmod(0o644)
        assert path.read_bytes() == before
        assert call(trivial(str(path)), 5) == 5


@pytest.mark.parametrize("content", [b"this is no database, but a letter\n" * 50, b"\x00" * 8192, os.urandom(4096)])
def test_a_file_that_is_no_database_is_refused_and_left_alone(file, content):
    Path(file).write_bytes(content)
    with pytest.raises((StoreUnusable, StoreCorrupt)) as caught:
        call(trivial(file))
    assert "durable.db" in str(caught.value)
    assert Path(file).read_bytes() == content


def test_a_database_of_something_else_is_refused_and_left_alone(file):
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE runs (x)")
        connection.execute("INSERT INTO runs VALUES (1)")
        connection.commit()
    with pytest.raises(StoreUnusable, match=r"durable.db"):
        call(trivial(file))
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT * FROM runs").fetchall() == [(1,)]


def test_a_database_of_a_newer_version_is_refused_and_left_alone(file):
    """Covers: B23, L6"""
    assert call(trivial(file), 5) == 5
    with closing(sqlite3.connect(file)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        if version:
            connection.execute(f"PRAGMA user_version = {version + 1}")
        else:
            assert "meta" in names
            columns = [row[1] for row in connection.execute("PRAGMA table_info(meta)")]
            key = next(row for row in connection.execute("SELECT * FROM meta") if "version" in str(row[0]))
            connection.execute(f"UPDATE meta SET {columns[1]} = ? WHERE {columns[0]} = ?", (int(key[1]) + 1, key[0]))
        connection.commit()
    with pytest.raises(StoreUnusable, match=r"newer|version"):
        call(trivial(file), 6)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_a_damaged_database_says_so(file):
    app = trivial(file)

    async def many() -> None:
        await asyncio.gather(*(flow(app, "run")(f"{n} " * 300) for n in range(100)))
        await app.stop()

    asyncio.run(many())
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = connection.execute("PRAGMA page_size").fetchone()[0]
    data = bytearray(Path(file).read_bytes())
    for number in range(2, len(data) // page):
        data[number * page : number * page + 64] = b"\xff" * 64
    Path(file).write_bytes(data)
    with pytest.raises((StoreCorrupt, StoreUnusable), match=r"durable.db"):
        call(trivial(file), "0 " * 300)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://x.db", "sqlite:x.db", "sqlite:/x.db", "sqlite3:///x.db", "sqlte:///x.db", "postgres//x", "mysql://h/x",
        "sqlite:///", "sqlite:///x.db?durabilty=relaxed", "sqlite:///x.db?durability=maybe", "sqlite:///:memory:",
        ":memory:", "", "folder/",
    ],
)  # fmt: skip
def test_a_url_with_a_typo_is_refused_with_what_to_write(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DurableError) as caught:
        call(trivial(url))
    assert isinstance(caught.value, (UsageError, StoreUnusable))
    assert any(
        word in str(caught.value) for word in ("sqlite:///", "InMemoryStore", "durability", "there is no directory")
    )
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_the_database(tmp_path, monkeypatch):
    monkeypatch.setenv("DURABLE_DB", str(tmp_path / "named.db"))
    monkeypatch.chdir(tmp_path)
    assert call(trivial(None), 3) == 3
    assert (tmp_path / "named.db").exists()
    assert not (tmp_path / "durable.db").exists()


async def test_a_lost_database_ends_all_waits_with_its_error(file, monkeypatch):
    """Covers: B8"""
    monkeypatch.setattr("durable.store.sqlite.database.IDENTITY_EVERY_S", 0.0)
    app = Workflow("app", db=file)
    gate = asyncio.Event()

    @app.task
    async def waits() -> None:
        await gate.wait()

    @app.workflow(id="run")
    async def run() -> None:
        await waits()

    waiting = asyncio.create_task(run())
    await state(app, "run", "running")
    os.rename(file, file + ".away")
    gate.set()
    with pytest.raises(StoreUnusable, match="was deleted while it was open"):
        async with asyncio.timeout(10):
            await waiting
    await app.stop()


# Declarations and calls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "x"}, r"codec='x': expected a codec such as"),
        ({"clock": 5}, r"clock=5: expected a clock such as"),
        ({"strict": "x"}, r"strict='x': expected True or False"),
        ({"db": "a\nb"}, r"db='a\\nb': a path with control characters"),
        ({"db": "\ud800"}, r"db='\\ud800': a path with control characters or lone surrogates"),
        ({"default_retries": "x"}, r"default_retries='x': expected a whole number from 0"),
        ({"default_backoff": 5}, r"default_backoff=5: expected a strategy such as"),
    ],
)
def test_an_option_of_an_application_that_cannot_be_used_is_named(options, message) -> None:
    with pytest.raises(UsageError, match=message):
        Workflow("app", **options)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"limit": "x"}, r"limit='x': expected a whole number from 1"),
        ({"states": "failed"}, r"states='failed': expected several states; state= takes one"),
        ({"tags": 5}, r"tags=5: expected names with values"),
        ({"before": 5}, r"before=5: expected the last run of the page before"),
    ],
)
async def test_a_filter_of_another_kind_is_named(app, filters, message):
    with pytest.raises(UsageError, match=message):
        await app.runs.list(**filters)


async def test_an_unknown_filter_of_a_bulk_request_is_named_with_those_there_are(app):
    with pytest.raises(UsageError, match=r"stat: no such filter; there are created_before, .*state.*workflow"):
        await app.runs.cancel_all(stat="queued")


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (lambda _: durable.progress("half"), r"done='half', total=None\): expected numbers"),  # type: ignore[arg-type]
        (lambda _: durable.progress(1, 2, b"x"), r"message=b'x'\): expected a string"),  # type: ignore[arg-type]
        (lambda _: durable.map(None, [1]), r"task=None\): expected a task"),  # type: ignore[arg-type]
        (lambda task: durable.map(task, None), r"items=None\): expected a list"),  # type: ignore[arg-type]
        (lambda _: durable.continue_as_new(1, 2), r"continue_as_new\(\) of workflow 'run': too many positional"),
    ],
)
async def test_what_a_body_asks_for_in_vain_is_told_in_the_body(app, wish, message):
    @app.task
    async def gives(x: object) -> object:
        return x

    @app.workflow
    async def run() -> str:
        with pytest.raises(UsageError, match=message):
            await wish(gives)
        return "went on"

    assert await run() == "went on"


def test_a_generator_workflow_without_a_context_is_refused_with_the_form_it_has() -> None:
    app = Workflow("app", db="unused.db")
    with pytest.raises(UsageError, match=r"'.*flow' takes nothing: its first parameter is the context, as in def flow"):

        @app.workflow
        def flow():
            yield


async def test_a_call_that_took_the_context_for_an_argument_is_told_so(app):
    @app.workflow
    def flow(order):
        yield order

    with pytest.raises(UsageError, match="too many positional arguments; the first parameter of a generator is the"):
        await flow(1)


async def test_a_function_for_map_that_cannot_be_awaited_is_named(app):
    @app.workflow
    async def run() -> None:
        await durable.map(str, [1])

    with pytest.raises(UsageError, match=r"was given <class 'str'>, which returned a str: expected a task"):
        await run()


async def test_a_wait_for_a_result_that_takes_too_long_says_that_the_run_goes_on(app):
    @app.workflow(id="run")
    async def run() -> None:
        await app.signal("never")

    handle = await run.start()
    with pytest.raises(TimeoutError, match=r"run 'run' had not ended after 0.01; it goes on"):
        await handle.result(timeout=0.01)


def test_an_unknown_option_of_a_declaration_is_named_with_the_one_that_was_meant() -> None:
    app = Workflow("app", db="unused.db")
    with pytest.raises(UsageError, match=r"@wf.task\(retry=…\): no such option \(did you mean retry_on=\?\); there"):
        app.task(retry=3)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match=r"@wf.workflow\(retries=…\): no such option; there are: id, name, version"):
        app.workflow(retries=3)  # type: ignore[call-overload]
