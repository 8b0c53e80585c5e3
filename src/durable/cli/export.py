"""`durable runs export`: the history of a run as a file, for tests that replay it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from durable.cli.exits import CommandError
from durable.cli.loading import load_application
from durable.cli.opening import Target, name_of_application
from durable.cli.options import finish, run_id_argument, target_of, target_options
from durable.cli.output import print_json, say
from durable.cli.reading import opened_reader
from durable.errors import RunNotFound
from durable.runtime.histories import History, read_history, to_json


@click.command("export")
@run_id_argument
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it there.")
@target_options
def export(run_id: str, output: Path | None, as_json: bool, **options: Any) -> None:
    """Print the history of a run, or write it to a file.

    It holds everything that a replay needs, values included, as JSON: durable.testing.assert_replays takes it.
    """
    history = finish(_read(target_of(options), run_id))
    if output is None:
        click.echo(to_json(history), nl=False)
        return
    try:
        output.write_text(to_json(history), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"file {str(output)!r} cannot be written: {error.strerror}") from None
    if as_json:
        print_json({"id": run_id, "file": str(output), "entries": len(history.entries)})
    else:
        say(f"the history of run {run_id!r} is in {str(output)!r}: {len(history.entries):,} entries")


async def _read(target: Target, run_id: str) -> History:
    db: object = target.location
    name = target.app
    if target.code is not None:
        app = load_application(target.code)
        db, name = target.db or app.db, name or app.name
    async with opened_reader(db) as reader:
        if name is None:
            name = await name_of_application(reader, target)
        record = await reader.run(name, run_id)
        if record is None:
            raise RunNotFound(run_id, name)
        return await read_history(reader, record)
