"""`durable runs`: the group, and the commands that look at runs without changing them."""

from __future__ import annotations

import importlib
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import click

from durable.api.app import Workflow
from durable.cli import describe, drawing
from durable.cli.calls import Called, called_with
from durable.cli.exits import CommandError
from durable.cli.formatting import duration, plain, short_moment
from durable.cli.groups import Group
from durable.cli.hints import Hints, hints_for
from durable.cli.opening import Target, opened, opened_for_all, opened_store
from durable.cli.options import (
    WholeType,
    filter_options,
    filters_of,
    finish,
    run_id_argument,
    target_of,
    target_options,
)
from durable.cli.output import STATE_STYLES, as_row, make_console, print_json, print_table, say
from durable.cli.steps import Timeline, timeline_of
from durable.core.records import Entry, RunKey, RunRecord, RunState, Wait
from durable.errors import StoreError
from durable.store.base import LIST_PAGE_MAX, RunFilter, RunStore

_ACTS: Final = ("cancel", "pause", "resume", "retry", "signal", "send")
_LOOKS: Final = ("list", "show", "history", "export")

_MODULES: Final = {"retry": "retry", "signal": "messages", "send": "messages", "export": "export"}
"""Where a command is that this module does not hold; the others are in `acts`."""


class RunsGroup(Group):
    """The group; commands that other modules hold are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names: looking first."""
        return [*_LOOKS, *_ACTS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command."""
        if cmd_name in _ACTS or cmd_name in _MODULES:
            module = importlib.import_module(f"durable.cli.{_MODULES.get(cmd_name, 'acts')}")
            made = getattr(module, cmd_name)
            assert isinstance(made, click.Command)
            return made
        return super().get_command(ctx, cmd_name)


@click.group("runs", cls=RunsGroup)
def command() -> None:
    """Look at runs, and act on them.

    These commands need only the database. Values of classes that are not loaded are shown as undecodable; --code
    MODULE:APP loads the application.
    """


@command.command("list")
@filter_options
@click.option("--limit", type=WholeType(1), metavar="N", default=50, show_default=True, help="Most runs to list.")
@target_options
def list_(limit: int, as_json: bool, **options: Any) -> None:
    """List runs, newest first; of all applications in the database, unless one is named."""
    where = filters_of(options)
    finish(_list(target_of(options), where, limit, as_json))


async def _list(target: Target, where: dict[str, Any], limit: int, as_json: bool) -> None:
    records: list[RunRecord] = []
    async with opened_for_all(target) as (app, is_several):
        if app is not None:
            listed = await _listed(app, where, limit, every_app=is_several)
            records = listed.records
            if as_json:
                await _print_list_json(app, listed)
            elif records:
                _print_list(listed, with_app=is_several)
    if not records and not as_json:
        say("no runs" + (" match" if where else ""), err=True)
    if len(records) == limit and not as_json:
        say(f"the newest {limit} are shown; --limit shows more", err=True)


@dataclass(frozen=True, slots=True)
class Listed:
    """Runs, and what those wait for that are suspended."""

    records: list[RunRecord]
    waits: dict[RunKey, list[Wait]]
    now: int


async def _listed(app: Workflow, where: dict[str, Any], limit: int, *, every_app: bool) -> Listed:
    store = (await app._engine()).store
    await expire(store)
    wanted = app.runs._filter(**{"state": None} | dict.fromkeys(_FILTERS) | {"states": ()} | where)
    records = await some_runs(store, replace(wanted, app=None) if every_app else wanted, limit)
    waits = {r.key: await store.waits(r.key) for r in records if r.state is RunState.SUSPENDED}
    return Listed(records, waits, app.clock.now_ms())


_FILTERS: Final = ("workflow", "id_prefix", "tags", "created_from", "created_before", "parent", "reason")


async def expire(store: RunStore) -> None:
    """Take back the runs of processes that are gone, as any worker would, so that they are not shown as running."""
    with suppress(StoreError):  # a database that cannot be written can be looked at
        await store.expire()


async def _print_list_json(app: Workflow, listed: Listed) -> None:
    store = (await app._engine()).store
    for record in listed.records:
        called = _called(app, record, await store.journal(record.key, 0, 1))
        print_json(describe.record_json(record, called, listed.waits.get(record.key, ())))


def _print_list(listed: Listed, *, with_app: bool) -> None:
    now = listed.now
    rows = [
        as_row(
            r.run_id, *([r.queue.app] if with_app else []), r.queue.workflow, r.state.label,
            short_moment(r.created_at, now), describe.elapsed(r, now),
            describe.condition(r, now, listed.waits.get(r.key, ())),
        )
        for r in listed.records
    ]  # fmt: skip
    headers = ("id", *(["app"] if with_app else []), "workflow", "state", "created", "took", "remark")
    print_table(make_console(), headers, rows, state_column=headers.index("state"))


async def is_empty(target: Target) -> bool:
    """Does the database hold no runs at all? That is no error for commands that take many."""
    async with opened_store(target) as store:
        return not await store.runs(RunFilter(), limit=1)


async def some_runs(store: RunStore, where: RunFilter, limit: int) -> list[RunRecord]:
    """Return the newest runs that match, at most `limit`, page by page."""
    found: list[RunRecord] = []
    while len(found) < limit:
        size = min(limit - len(found), LIST_PAGE_MAX)
        page = await store.runs(where, limit=size, before=found[-1].key if found else None)
        found += page
        if len(page) < size:
            break
    return found


# One run --------------------------------------------------------------------------------------------------------------


@command.command("show")
@run_id_argument
@click.option("--all", "every", is_flag=True, help=f"Draw all steps, not only {drawing.STEPS_SHOWN}.")
@target_options
def show(run_id: str, every: bool, as_json: bool, **options: Any) -> None:
    """Show one run: its state, and its steps on a time axis."""
    finish(_show(target_of(options), run_id, every, as_json))


async def _show(target: Target, run_id: str, every: bool, as_json: bool) -> None:
    async with opened(target, run_ids=[run_id]) as app:
        store = (await app._engine()).store
        await expire(store)
        record, journal = await run_with_journal(app, run_id)
        waits = await store.waits(record.key)
        sight = Sight(app, record, journal, waits, app.clock.now_ms())
        if as_json:
            print_json(_show_json(sight))
        else:
            print_run(sight, hints_for(target), every=every)


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything that is known of a run."""

    app: Workflow
    record: RunRecord
    journal: list[Entry]
    waits: list[Wait]
    now: int

    @property
    def called(self) -> Called | None:
        """The arguments, if they can be read here."""
        return _called(self.app, self.record, self.journal)

    @property
    def timeline(self) -> Timeline:
        """Its steps."""
        return timeline_of(self.record, self.journal, self.now, self.waits)


def _called(app: Workflow, record: RunRecord, journal: list[Entry]) -> Called | None:
    return called_with(app, record, journal[0]) if journal and describe.is_start(journal[0]) else None


async def run_with_journal(app: Workflow, run_id: str) -> tuple[RunRecord, list[Entry]]:
    """Return a run and its journal.

    Raises:
        RunNotFound: there is none of that id.
    """
    record = await app.runs.get(run_id)
    store = (await app._engine()).store
    journal: list[Entry] = []
    while page := await store.journal(record.key, len(journal) and journal[-1].position + 1):
        journal += page
    return record, journal


def print_run(sight: Sight, hints: Hints, *, every: bool = False) -> None:
    """Print everything about a run."""
    from rich.text import Text

    app, record, journal = sight.app, sight.record, sight.journal
    console = make_console()
    title = Text("run       ", "bold")
    title.append(f"{plain(record.run_id)}  ").append(record.state.label, STATE_STYLES[record.state.label])
    console.print(title)
    for line in describe.head_lines(record, sight.called, sight.now, journal[-1].at if journal else None):
        console.print(line)
    timeline = sight.timeline
    if timeline.steps:
        console.print()
        width, marks = console.width, drawing.marks_for(console.encoding)
        for text in drawing.draw(
            timeline, width, marks, lambda entry: describe.error_line(app, record, entry), every=every
        ):
            console.print(text)
    console.print()
    for line in describe.waiting_lines(record, sight.waits, sight.now, hints):
        console.print(Text(plain(line), STATE_STYLES[record.state.label]))
    if record.state.is_final and journal and journal[-1].data and not record.reason:
        console.print(f"result    {describe.value_line(app, record, journal[-1], describe.SHOWN_CHARS)}")


def _show_json(sight: Sight) -> dict[str, Any]:
    app, record, journal, timeline = sight.app, sight.record, sight.journal, sight.timeline
    made = describe.record_json(record, sight.called, sight.waits)
    by_position = {entry.position: describe.arguments_json(app, record, entry) for entry in journal}
    made["steps"] = [
        {
            "step": step.number, "title": step.title, "arguments": by_position.get(step.positions[0]),
            "note": step.note, "outcome": step.outcome.value,
            "began_seconds": (step.begin - timeline.begin) / 1000,
            "took_seconds": None if step.end is None else (step.end - step.begin) / 1000,
            "attempts": step.attempts, "errors": [describe.error_line(app, record, entry) for _, entry in step.errors],
            "positions": step.positions,
        }
        for step in timeline.steps
    ]  # fmt: skip
    if record.state.is_final and journal:
        last = describe.entry_json(app, record, journal[-1])
        made |= {name: last[name] for name in ("value", "error", describe.UNDECODABLE) if name in last}
        if "value" in made:
            made["result"] = made.pop("value")
    return made


@command.command("history")
@run_id_argument
@click.option("--from", "start", type=WholeType(0), metavar="POSITION", default=0, help="First position to print.")
@click.option("--traceback", is_flag=True, help="Print the tracebacks of errors.")
@target_options
def history(run_id: str, start: int, traceback: bool, as_json: bool, **options: Any) -> None:
    """Print the journal of a run, an entry a line; `at` is the time since its first execution."""
    finish(_history(target_of(options), run_id, start, traceback, as_json))


async def _history(target: Target, run_id: str, start: int, traceback: bool, as_json: bool) -> None:
    async with opened(target, run_ids=[run_id]) as app:
        record, whole = await run_with_journal(app, run_id)
        journal = [entry for entry in whole if entry.position >= start]
        if whole and not journal:
            raise CommandError(
                f"run {run_id!r}: position {start}: its journal has positions {whole[0].position} to "
                f"{whole[-1].position}"
            )
        if as_json:
            for entry in journal:
                print_json(describe.entry_json(app, record, entry))
            return
        _print_history(app, record, journal)
        for entry in journal if traceback else ():
            _print_traceback(app, record, entry)


def _print_history(app: Workflow, record: RunRecord, journal: list[Entry]) -> None:
    begin = record.started_at or record.created_at
    rows = [
        as_row(
            entry.position, _since((entry.at - begin) / 1000), entry.kind.label, entry.status.name.lower(),
            entry.step_id if entry.seq is None else entry.seq, entry.label, entry.attempt or "",
            describe.value_line(app, record, entry),
        )
        for entry in journal
    ]  # fmt: skip
    print_table(make_console(), ("position", "at", "kind", "status", "step", "name", "attempt", "value"), rows)


def _since(seconds: float) -> str:
    """Return a time since the first execution; a run that waited for it was started before."""
    return f"{duration(-seconds)} before" if seconds < 0 else duration(seconds)


def _print_traceback(app: Workflow, record: RunRecord, entry: Entry) -> None:
    event = describe.event_of(app, record, entry)
    text = getattr(event.error, "__durable_traceback__", "")
    if text:
        click.echo(f"\nposition {entry.position}:\n{plain(text, lines=True).rstrip()}")
