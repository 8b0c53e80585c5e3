"""`durable worker`: executes what is due until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Final

import click

from durable.api.app import Workflow
from durable.cli.exits import CommandError
from durable.cli.interruption import interruption
from durable.cli.loading import load_application
from durable.cli.options import code_db_option, complete_files, finish, json_option
from durable.cli.output import print_json, say
from durable.store.base import StoreStatus

LOOK_SECONDS: Final = 0.5
"""How often to see whether the store can still be used."""


@click.command("worker")
@click.argument("target", metavar="MODULE:APP", shell_complete=complete_files)
@code_db_option
@json_option
def command(target: str, db: str | None, as_json: bool) -> None:
    """Execute everything that is due, until SIGTERM or SIGINT.

    MODULE is a dotted module or a file (flows.py), APP the durable.Workflow in it; it may be left out if there is only
    one. Attempts in flight get a few seconds to end, then their runs are handed back.
    """
    app = load_application(target)
    if db is not None:
        app.use_db(db)
    if not app.workflows:
        raise CommandError(f"application {app.name!r} has no workflows: a worker would have nothing to execute")
    _log_to_stderr()
    finish(_serve(app, as_json))


def _log_to_stderr() -> None:
    """Show what durable logs, unless the user's code has set logging up."""
    if not logging.getLogger().handlers:
        logging.basicConfig(
            stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING
        )
        logging.getLogger("durable").setLevel(logging.INFO)


async def _serve(app: Workflow, as_json: bool) -> None:
    with interruption("stopping: attempts in flight may end; once more stops at once") as interrupted:
        try:
            await app.start()
            engine = await app._engine()
            _tell_serving(app, await engine.store.status(), as_json)
            while not interrupted.asked.is_set() and engine.lost is None:
                await _wait(interrupted.asked, LOOK_SECONDS)
            if engine.lost is not None:
                raise engine.lost
        finally:
            await app.stop()
    if as_json:
        print_json({"event": "stopped", "app": app.name})
    else:
        say("stopped")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def _tell_serving(app: Workflow, status: StoreStatus, as_json: bool) -> None:
    queues = sorted({spec.queue for spec in app._specs.values()})
    if as_json:
        print_json({
            "event": "serving", "app": app.name, "pid": os.getpid(), "database": status.location,
            "durability": status.durability, "notes": status.notes,
            "workflows": [{"name": q.workflow, "version": q.version, "group": q.group} for q in queues],
        })  # fmt: skip
    else:
        say(f"application {app.name} on {status.location} (durability {status.durability}), process {os.getpid()}")
        for note in status.notes:
            say(f"note: {note}")
        for queue in queues:
            version = f" version {queue.version}" if queue.version else ""
            group = f" in group {queue.group}" if queue.group != "default" else ""
            say(f"serving workflow {queue.workflow}{version}{group}")
    # Whoever started this process waits for these lines, also when they go into a pipe.
    sys.stdout.flush()
