"""Options that several commands take, as decorators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from durable.cli.exits import CommandError
from durable.cli.formatting import parse_duration, parse_moment
from durable.cli.opening import Target, opened_store
from durable.codec.tagging import is_utf8
from durable.core.records import RunState
from durable.store.base import RunFilter

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

COMPLETIONS_MAX: Final = 50
"""Run ids that a shell is offered: the newest."""

STATES: Final = [state.label.replace(" ", "-") for state in RunState]


class TextType(click.ParamType[str]):
    """Text that a database can be asked for: bytes that are no text come from the shell as lone surrogates."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return a str."""
        text = str(value)
        if not is_utf8(text):
            self.fail(f"{text!r} is no text: it holds bytes that are no UTF-8", param, ctx)
        return text


TEXT: Final = TextType()


def db_option(fn: F) -> F:
    """Add `--db`, for commands that need no code."""
    return _db_option("DURABLE_DB, else durable.db")(fn)


def code_db_option(fn: F) -> F:
    """Add `--db`, for commands that are given the application's code: what that says comes before the environment."""
    return _db_option("what the application's code says, else DURABLE_DB, else durable.db")(fn)


def _db_option(default: str) -> Callable[[F], F]:
    text = f"Database: a path or a URL such as sqlite:///orders.db. Default: {default}."
    return click.option("--db", metavar="URL", help=text)


def json_option(fn: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a line, for programs.")(fn)


def yes_option(fn: F) -> F:
    """Add `--yes`."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(fn)


def target_options(fn: F) -> F:
    """Add `--db`, `--app`, `--code` and `--json`: for commands that work on a database without user code."""
    fn = json_option(fn)
    fn = click.option(
        "--code", metavar="MODULE:APP", shell_complete=complete_files,
        help="The application's own code: for its database, the types of its values, and its keys.",
    )(fn)  # fmt: skip
    fn = click.option("--app", type=TEXT, metavar="NAME", help="Application; needed when the database holds several.")(
        fn
    )
    return _db_option("with --code what the code says, else DURABLE_DB, else durable.db")(fn)


def target_of(options: dict[str, Any]) -> Target:
    """Take the target out of a command's options."""
    return Target(options.pop("db"), options.pop("app"), options.pop("code", None))


def run_id_argument(fn: F) -> F:
    """Add the argument ID, completed in the shell."""
    return click.argument("run_id", type=TEXT, metavar="ID", shell_complete=complete_run_ids)(fn)


def complete_run_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return run ids for the shell to complete; none if the database cannot be read."""
    found: list[str] = []
    # A completion has nowhere to say what is wrong.
    with suppress(Exception):
        found = finish(_run_ids(Target(ctx.params.get("db"), ctx.params.get("app")), incomplete))
    return found


def complete_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete the name of a file; what is in it, only importing it could tell."""
    return [CompletionItem(incomplete, type="file")]


async def _run_ids(target: Target, prefix: str) -> list[str]:
    where = RunFilter(app=target.app, id_prefix=prefix or None)
    async with opened_store(target) as store:
        return [record.run_id for record in await store.runs(where, limit=COMPLETIONS_MAX)]


class WholeType(click.ParamType[int]):
    """A whole number that is not too small."""

    name = "number"

    def __init__(self, least: int) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return an int."""
        try:
            number = int(value)
        except ValueError:
            number = None
        if number is None or number < self._least:
            self.fail(f"{str(value)!r} is no whole number of at least {self._least}", param, ctx)
        return number


class DurationType(click.ParamType[timedelta]):
    """`30d`, `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a timedelta."""
        if not isinstance(value, str):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class MomentType(click.ParamType[datetime]):
    """A date, a time, or a duration ago."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a datetime with a zone."""
        if not isinstance(value, str):
            return value
        try:
            return parse_moment(value, datetime.now().astimezone())
        except ValueError as error:
            self.fail(str(error), param, ctx)


def filter_options(fn: F) -> F:
    """Add the options that choose runs."""
    for option in reversed((
        click.option("--workflow", type=TEXT, metavar="NAME", help="Runs of this workflow."),
        click.option(
            "--state", "states", multiple=True, type=click.Choice(STATES), help="In this state; several may be given."
        ),
        click.option(
            "--tag", "tags", type=TEXT, multiple=True, metavar="NAME[=VALUE]",
            help="Runs with this tag, or all these.",
        ),
        click.option("--prefix", type=TEXT, metavar="TEXT", help="Runs whose id begins so."),
        click.option("--parent", type=TEXT, metavar="ID", help="Children of this run."),
        click.option(
            "--reason", type=TEXT, metavar="TEXT", help="Runs with this reason, such as 'code changed'."
        ),
        click.option("--since", type=MomentType(), help="Created then or later: 2026-11-21T14:30, or 2h (ago)."),
        click.option("--until", type=MomentType(), help="Created before then."),
    )):  # fmt: skip
        fn = option(fn)
    return fn


def filters_of(options: dict[str, Any]) -> dict[str, Any]:
    """Take the filters out of a command's options, as `Runs.list` wants them; those that were not given are left out.

    Raises:
        CommandError: a tag is no tag.
    """
    taken = {
        name: options.pop(name)
        for name in ("workflow", "states", "tags", "prefix", "parent", "reason", "since", "until")
    }
    where = {
        "workflow": taken["workflow"], "states": taken["states"], "id_prefix": taken["prefix"],
        "tags": _tags(taken["tags"]), "created_from": taken["since"], "created_before": taken["until"],
        "parent": taken["parent"], "reason": taken["reason"],
    }  # fmt: skip
    return {name: value for name, value in where.items() if value}


def _tags(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if any(not name for name, _, _ in pairs):
        raise CommandError("--tag wants a name, or a name and a value: customer=42")
    return {name: value for name, _, value in pairs}


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine on a loop of its own."""
    return asyncio.run(coroutine)
