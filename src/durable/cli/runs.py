"""`durable runs`: the group, and the commands that look at runs without changing them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Final

import click

from durable.api.app import Workflow
from durable.cli import describe, drawing
from durable.cli.formatting import cut, duration, moment, plain
from durable.cli.opening import Target, opened, opened_store
from durable.cli.options import filter_options, filters_of, finish, run_id_argument, target_of, target_options
from durable.cli.output import STATE_STYLES, as_row, make_console, print_json, print_table, say
from durable.cli.steps import Timeline, timeline_of
from durable.core.records import Entry, RunKey, RunRecord, RunState, Wait
from durable.store.base import LIST_PAGE_MAX, RunFilter

_ACTS: Final = ("cancel", "pause", "resume", "retry", "signal", "send")
_LOOKS: Final = ("list", "show", "history")


class RunsGroup(click.Group):
    """The group; commands that act are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names: looking first."""
        return [*_LOOKS, *_ACTS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command."""
        if cmd_name in _ACTS:
            module = importlib.import_module(
                "durable.cli.messages" if cmd_name in ("signal", "send") else "durable.cli.acts"
            )
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
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most runs to list.")
@target_options
def list_(limit: int, as_json: bool, **options: Any) -> None:
    """List runs, newest first."""
    where = filters_of(options)
    finish(_list(target_of(options), where, limit, as_json))


async def _list(target: Target, where: dict[str, Any], limit: int, as_json: bool) -> None:
    records: list[RunRecord] = []
    waits: dict[RunKey, list[Wait]] = {}
    now = 0
    if target.code is not None or target.app is not None or not await is_empty(target):
        async with opened(target) as app:
            records, now = await some_runs(app, where, limit), app.clock.now_ms()
            store = (await app._engine()).store
            waits = {r.key: await store.waits(r.key) for r in records if r.state is RunState.SUSPENDED}
    if as_json:
        for record in records:
            print_json(describe.record_json(record, waits.get(record.key, ())))
        return
    if not records:
        say("no runs" + (" match" if where else ""), err=True)
        return
    rows = [
        as_row(
            r.run_id, r.queue.workflow, r.state.label, moment(r.created_at), describe.elapsed(r, now),
            describe.condition(r, now, waits.get(r.key, ())),
        )
        for r in records
    ]  # fmt: skip
    print_table(make_console(), ("id", "workflow", "state", "created", "took", "remark"), rows, state_column=2)
    if len(records) == limit:
        say(f"the newest {limit} are shown; --limit shows more", err=True)


async def is_empty(target: Target) -> bool:
    """Does the database hold no runs at all? That is no error for commands that take many."""
    async with opened_store(target) as store:
        return not await store.runs(RunFilter(), limit=1)


async def some_runs(app: Workflow, where: dict[str, Any], limit: int) -> list[RunRecord]:
    """Return the newest runs that match, at most `limit`, page by page."""
    found: list[RunRecord] = []
    while len(found) < limit:
        size = min(limit - len(found), LIST_PAGE_MAX)
        page = await app.runs.list(**where, limit=size, before=found[-1] if found else None)
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
    async with opened(target) as app:
        record, journal = await run_with_journal(app, run_id)
        waits = await (await app._engine()).store.waits(record.key)
        sight = Sight(app, record, journal, waits, app.clock.now_ms())
        if as_json:
            print_json(_show_json(sight))
        else:
            print_run(sight, every=every)


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything that is known of a run."""

    app: Workflow
    record: RunRecord
    journal: list[Entry]
    waits: list[Wait]
    now: int

    @property
    def timeline(self) -> Timeline:
        """Its steps."""
        return timeline_of(self.record, self.journal, self.now, self.waits)


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


def print_run(sight: Sight, *, every: bool = False) -> None:
    """Print everything about a run."""
    from rich.text import Text

    app, record, journal = sight.app, sight.record, sight.journal
    console = make_console()
    title = Text("run       ", "bold")
    title.append(f"{plain(record.run_id)}  ").append(record.state.label, STATE_STYLES[record.state.label])
    console.print(title)
    for line in describe.head_lines(record, sight.now):
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
    for line in describe.waiting_lines(record, sight.waits, sight.now):
        console.print(Text(plain(line), STATE_STYLES[record.state.label]))
    if record.state.is_final and journal and journal[-1].data and not record.reason:
        console.print(f"result    {cut(describe.value_line(app, record, journal[-1]), console.width - 10)}")


def _show_json(sight: Sight) -> dict[str, Any]:
    app, record, journal, timeline = sight.app, sight.record, sight.journal, sight.timeline
    made = describe.record_json(record, sight.waits)
    made["steps"] = [
        {
            "step": step.number, "title": step.title, "arguments": step.note, "outcome": step.outcome.value,
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
@click.option("--from", "start", type=click.IntRange(0), default=0, help="First position to print.")
@click.option("--traceback", is_flag=True, help="Print the tracebacks of errors.")
@target_options
def history(run_id: str, start: int, traceback: bool, as_json: bool, **options: Any) -> None:
    """Print the journal of a run, an entry a line."""
    finish(_history(target_of(options), run_id, start, traceback, as_json))


async def _history(target: Target, run_id: str, start: int, traceback: bool, as_json: bool) -> None:
    async with opened(target) as app:
        record, journal = await run_with_journal(app, run_id)
        journal = [entry for entry in journal if entry.position >= start]
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
            entry.position, duration((entry.at - begin) / 1000), entry.kind.name.lower(), entry.status.name.lower(),
            entry.step_id if entry.seq is None else entry.seq, entry.name, entry.attempt or "",
            describe.value_line(app, record, entry),
        )
        for entry in journal
    ]  # fmt: skip
    print_table(make_console(), ("position", "at", "kind", "status", "step", "name", "attempt", "value"), rows)


def _print_traceback(app: Workflow, record: RunRecord, entry: Entry) -> None:
    event = describe.event_of(app, record, entry)
    text = getattr(event.error, "__durable_traceback__", "")
    if text:
        click.echo(f"\nposition {entry.position}:\n{plain(text, lines=True).rstrip()}")
