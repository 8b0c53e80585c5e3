"""Opens an application for a command: from the user's code, or from a database alone."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from durable.api.app import DEFAULT_DB, Workflow
from durable.api.stores import store_maker
from durable.cli.exits import STORE, CommandError, NoSuchApplication
from durable.cli.loading import load_application
from durable.codec.json_codec import JsonCodec
from durable.errors import StoreError
from durable.runtime.clock import SystemClock
from durable.runtime.histories import RunReader
from durable.store.base import RunFilter, RunStore
from durable.store.sqlite.url import parse_url


@dataclass(frozen=True, slots=True)
class Target:
    """What the options of a command say about where to look."""

    db: str | None = None
    app: str | None = None
    code: str | None = None
    """`MODULE:APP`: the application's own code."""

    @property
    def location(self) -> str:
        """The database that is meant when no code says another one."""
        return self.db or os.environ.get("DURABLE_DB") or DEFAULT_DB


def check_exists(location: str) -> None:
    """Refuse a database that is not there: looking at one must not create it.

    Raises:
        CommandError: there is no such file.
        UsageError: the text names no database.
    """
    path = parse_url(location).path
    if not os.path.lexists(path):
        raise CommandError(
            f"database {location!r} does not exist: name one with --db or DURABLE_DB, or start a run, which creates it",
            STORE,
        )


@asynccontextmanager
async def opened_store(target: Target) -> AsyncIterator[RunStore]:
    """Open the database alone; for looking at all applications."""
    check_exists(target.location)
    store = store_maker(target.location, JsonCodec())()
    try:
        await store.open(SystemClock())
        yield store
    finally:
        with suppress(StoreError):
            await store.close()


@asynccontextmanager
async def opened(target: Target, *, run_ids: Sequence[str] = ()) -> AsyncIterator[Workflow]:
    """Open an application: that of `--code`, that of `--app`, or the only one in the database.

    Args:
        target: What the options say.
        run_ids: Runs that the command names: of several applications, the only one that has all of them is meant.

    Raises:
        NoSuchApplication: the database holds no runs of it, or of several applications.
        CommandError: the database or the code is not there.
    """
    app = await _application(target, run_ids)
    try:
        yield app
    finally:
        # What was asked for is done; that this process has ended, others notice by themselves.
        with suppress(StoreError):
            await app.stop()


@asynccontextmanager
async def opened_for_all(target: Target) -> AsyncIterator[tuple[Workflow | None, bool]]:
    """Open the application that the options name, or one of the database's to look at the runs of all of them.

    Yields the application, None if the database has no runs, and whether the runs of all are meant because it has
    those of several.
    """
    names: set[str] = set()
    if target.code is None and target.app is None:
        async with opened_store(target) as store:
            names = await applications(store)
        if not names:
            yield None, False
            return
    async with opened(replace(target, app=min(names)) if names else target) as app:
        yield app, len(names) > 1


async def _application(target: Target, run_ids: Sequence[str]) -> Workflow:
    if target.code is not None:
        app = load_application(target.code)
        if target.app is not None and target.app != app.name:
            raise CommandError(
                f"--app {target.app!r} and --code {target.code!r} disagree: the code's application is {app.name!r}"
            )
        if target.db is not None:
            app.use_db(target.db)
        if isinstance(app.db, (str, os.PathLike)):
            check_exists(os.fspath(app.db))
        return app
    async with opened_store(target) as store:
        name = await name_of_application(store, target, run_ids)
    return Workflow(name, db=target.location)


async def name_of_application(store: RunReader, target: Target, run_ids: Sequence[str] = ()) -> str:
    """Return the application that is meant: of several, the only one that has all runs of these ids.

    Raises:
        NoSuchApplication: none or several could be.
    """
    if target.app is not None:
        if await store.count(RunFilter(app=target.app)):
            return target.app
        others = sorted(await applications(store))
        have = f"it has {', '.join(map(repr, others))}" if others else "it has no runs at all"
        raise NoSuchApplication(f"database {target.location!r} has no runs of application {target.app!r}; {have}")
    names = await applications(store)
    if not names:
        raise NoSuchApplication(
            f"database {target.location!r} has no runs; start one, or name another database with --db"
        )
    if len(names) > 1 and run_ids:
        names = {name for name in names if await _has_all(store, name, run_ids)} or names
    if len(names) > 1:
        text = ", ".join(map(repr, sorted(names)))
        raise NoSuchApplication(
            f"database {target.location!r} has runs of several applications ({text}): name one with --app"
        )
    return names.pop()


async def _has_all(store: RunReader, app: str, run_ids: Sequence[str]) -> bool:
    return all([await store.run(app, run_id) is not None for run_id in run_ids])


async def applications(store: RunReader) -> set[str]:
    """Return the applications that have runs."""
    return {queue.app for queue in await store.tally(RunFilter())}
