"""A run that one version of Python began and another one ends: `python -m tests.faults.other_pythons` records it.

The database of a run that waits in its middle is kept as SQL, one file for each version, in `recorded/`. Record all of
them anew (with each Python, nothing but msgspec is needed) when this workflow or the tables change; after the first
release only the files of new versions are added.
"""

from __future__ import annotations

import asyncio
import enum
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import durable
from durable import Workflow
from durable.codec import JsonCodec

FOLDER: Final = Path(__file__).parent / "recorded"

PRAGMAS: Final = ("application_id", "user_version")
"""What a file has beside its tables, and a dump leaves out."""


class Colour(enum.Enum):
    RED = "red"


class Refused(Exception):
    """An error of the user's own."""


@dataclass
class Order:
    number: int
    colour: Colour
    lines: list[tuple[str, Decimal]] = field(default_factory=list)


ORDER: Final = Order(42, Colour.RED, [("tea", Decimal("9.90"))])

EXPECTED: Final[dict[str, Any]] = {
    "order": ORDER,
    "values": [0.1 + 0.2, 2**70, {1: "one", "1": "text"}, {"a", "b"}, b"\x00\xff", datetime(2026, 1, 1, tzinfo=UTC)],
    "refused": ["Refused", ("no", 3), ["told twice"]],
    "group": ["ValueError: left"],
    "first": ["b", "d", "a", "c"],
    "drawn": True,
    "go": timedelta(days=1),
}


def make_app(db: str, begun: bool) -> Workflow:
    """Return the application; one that goes on with a run that has `begun` executes none of its first tasks."""
    app = Workflow("pythons", db=db, codec=JsonCodec(tracebacks=False), default_retries=0)

    @app.task
    async def give(value: Any, ms: int = 0) -> Any:
        assert not begun, f"{value!r} was recorded"
        await asyncio.sleep(ms / 1000)
        return value

    @app.task
    def refuse(*arguments: Any) -> None:
        assert not begun
        error = Refused(*arguments)
        error.add_note("told twice")
        raise error

    @app.task
    async def fail(error: Exception) -> None:
        assert not begun
        raise error

    @app.task
    async def last(number: int) -> int:
        return number + 1

    @app.workflow(id="run")
    async def run(order: Order) -> dict[str, Any]:
        found: dict[str, Any] = {"order": await give(order)}
        found["values"] = [await give(value) for value in EXPECTED["values"]]
        try:
            await refuse.aio("no", 3)
        except Refused as error:
            found["refused"] = [type(error).__name__, error.args, error.__notes__]
        try:
            async with asyncio.TaskGroup() as group:
                for wrong in (ValueError("left"), KeyError("right")):
                    group.create_task(_both(fail, wrong))
        except* (ValueError, KeyError) as errors:
            found["group"] = [f"{type(error).__name__}: {error}" for error in errors.exceptions]
        tasks = {asyncio.create_task(give(name, ms)) for name, ms in zip("abcd", (90, 10, 130, 50), strict=True)}
        found["first"] = [await task for task in asyncio.as_completed(tasks)]
        drawn = (durable.random(), durable.uuid4(), durable.time())
        found["drawn"] = await give_same(drawn)
        async with asyncio.timeout(3600 * 24 * 365 * 100):
            found["go"] = await app.signal("go")
        assert await last(41) == 42
        return found

    @app.task
    async def keep(text: str) -> str:
        assert not begun
        return text

    async def give_same(drawn: tuple[object, ...]) -> bool:
        """Record what was drawn as an argument: its digest has to be the same when the run goes on."""
        return await keep(repr(drawn)) == repr(drawn)

    async def _both(task: Any, error: Exception) -> None:
        await asyncio.sleep(0.02)
        await task(error)

    return app


def dump(db: str) -> str:
    """Return a database as SQL."""
    with closing(sqlite3.connect(db)) as connection:
        pragmas = [f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};" for name in PRAGMAS]
        return "\n".join([*pragmas, *connection.iterdump(), ""])


def restore(text: str, db: str) -> None:
    """Make a database from SQL."""
    with closing(sqlite3.connect(db)) as connection:
        connection.executescript(text)


async def begin(db: str) -> None:
    """Execute the run up to its middle."""
    app = make_app(db, begun=False)
    async with app:
        handle = await app.workflows["run"].start(ORDER)
        while await handle.status() != "suspended":  # noqa: ASYNC110 - a client has no other way
            await asyncio.sleep(0.01)


async def go_on(db: str) -> Any:
    """Execute the rest of the run, and return its result."""
    app = make_app(db, begun=True)
    async with app:
        await app.complete("run", "go", EXPECTED["go"])
        return await app.handle("run").result(timeout=20)


def main() -> None:
    """Record the run with this Python."""
    with tempfile.TemporaryDirectory() as folder:
        db = f"{folder}/x.db"
        asyncio.run(begin(db))
        path = FOLDER / f"python-{sys.version_info[0]}.{sys.version_info[1]}.sql"
        path.write_text(dump(db))
        print(f"{path.name}: {len(path.read_text())} characters")


if __name__ == "__main__":
    main()
