"""`durable runs cancel|pause|resume|retry`: on runs that are named, or on all that match a filter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from durable.api.app import Workflow
from durable.cli.exits import REFUSED, CommandError
from durable.cli.formatting import plain
from durable.cli.opening import Target, opened
from durable.cli.options import (
    complete_run_ids,
    filter_options,
    filters_of,
    finish,
    target_of,
    target_options,
    yes_option,
)
from durable.cli.output import confirm, count_of, print_json, say
from durable.core.failure import RestartPlan, rewind_note
from durable.core.records import Entry, Kind, RunRecord, RunState
from durable.errors import RunNotOpen, UsageError
from durable.store.base import LIST_PAGE_MAX

AT_ONCE: Final = 100
"""Requests of one bulk action that are on their way together: they share commits."""

NAMED_MAX: Final = 5
"""Run ids that a question about many names."""

Act = Callable[[Workflow, str], Awaitable[str]]
"""Does it to a run; returns what became of it."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a command does to runs."""

    verb: str
    act: Act
    states: tuple[RunState, ...]
    """The states in which it makes sense: what a filter without a state means."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which runs are meant."""

    target: Target
    ids: tuple[str, ...]
    where: dict[str, Any]
    every: bool


def choosing(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments and options that say which runs are meant."""
    fn = target_options(fn)
    fn = yes_option(fn)
    fn = click.option("--all", "every", is_flag=True, help="All runs for which it makes sense.")(fn)
    fn = filter_options(fn)
    return click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=complete_run_ids)(fn)


def choice_of(options: dict[str, Any]) -> Choice:
    """Take the choice of runs out of a command's options.

    Raises:
        CommandError: it names no runs, or names them twice.
    """
    where = filters_of(options)
    choice = Choice(target_of(options), options.pop("ids"), where, options.pop("every"))
    ways = [bool(choice.ids), bool(where), choice.every]
    if not any(ways):
        raise CommandError("no runs are named: give run ids, a filter such as --workflow NAME, or --all")
    if choice.ids and sum(ways) > 1:
        raise CommandError("runs are named by id and by a filter: give one of the two")
    return choice


# The commands ---------------------------------------------------------------------------------------------------------


@click.command("cancel")
@click.option("--because", "why", default="", metavar="TEXT", help="Why; kept with the run.")
@choosing
def cancel(why: str, yes: bool, as_json: bool, **options: Any) -> None:
    """Ask runs to cancel: no new step starts, their own clean-up still runs."""

    async def act(app: Workflow, run_id: str) -> str:
        if not await app.runs.cancel(run_id, reason=why):
            raise await _too_late(app, run_id, "it has ended and cannot be cancelled")
        record = await app.runs.get(run_id)
        return record.state.label if record.state.is_final else "asked to cancel"

    open_states = tuple(state for state in RunState if not state.is_final)
    finish(_act(choice_of(options), Action("cancel", act, open_states), yes, as_json))


@click.command("pause")
@choosing
def pause(yes: bool, as_json: bool, **options: Any) -> None:
    """Stop runs before their next step, until they are resumed."""

    async def act(app: Workflow, run_id: str) -> str:
        if not await app.runs.pause(run_id):
            raise await _too_late(app, run_id, "only a run that has not ended and is not set aside can be paused")
        record = await app.runs.get(run_id)
        return record.state.label if record.state is RunState.PAUSED else "asked to pause"

    states = (RunState.QUEUED, RunState.RUNNING, RunState.SUSPENDED)
    finish(_act(choice_of(options), Action("pause", act, states), yes, as_json))


@click.command("resume")
@choosing
def resume(yes: bool, as_json: bool, **options: Any) -> None:
    """Let paused runs go on."""

    async def act(app: Workflow, run_id: str) -> str:
        if not await app.runs.resume(run_id):
            raise await _too_late(app, run_id, "only a paused run can be resumed")
        return (await app.runs.get(run_id)).state.label

    finish(_act(choice_of(options), Action("resume", act, (RunState.PAUSED,)), yes, as_json))


@click.command("retry")
@click.option(
    "--from", "position", type=click.IntRange(1), metavar="POSITION",
    help="Discard what was recorded from this position of the history on, and go on from there.",
)  # fmt: skip
@choosing
def retry(position: int | None, yes: bool, as_json: bool, **options: Any) -> None:
    """Let runs that failed or were set aside go on.

    Says first what is dropped from the journal, and which effects that succeeded will run again.
    """
    choice = choice_of(options)
    if position is not None and len(choice.ids) != 1:
        raise CommandError("--from POSITION takes exactly one run id: positions differ between runs")
    if len(choice.ids) == 1:
        finish(_retry_one(choice, position, yes, as_json))
        return

    async def act(app: Workflow, run_id: str) -> str:
        plan = await app.runs.retry(run_id)
        return f"queued{f', repeats {plain(_names(plan.repeats))}' if plan.repeats else ''}"

    finish(_act(choice, Action("retry", act, (RunState.FAILED, RunState.SET_ASIDE)), yes, as_json))


async def _too_late(app: Workflow, run_id: str, wanted: str) -> RunNotOpen:
    return RunNotOpen(run_id, (await app.runs.get(run_id)).state.label, wanted)


# One run, with its plan -----------------------------------------------------------------------------------------------


async def _retry_one(choice: Choice, position: int | None, yes: bool, as_json: bool) -> None:
    run_id = choice.ids[0]
    async with opened(choice.target) as app:
        try:
            plan = await app.runs.plan_retry(run_id, position=position)
        except ValueError as error:
            raise CommandError(f"run {run_id!r}: {error}") from None
        if not as_json:
            journal = {entry.position: entry for entry in await _journal(app, run_id)}
            for line in plan_lines(run_id, plan, journal):
                say(line, err=True)
        if plan.drop:
            confirm(f"retry run {plain(run_id)!r}?", yes=yes)
        done = await app.runs.retry(run_id, position=position)
        if as_json:
            print_json({"id": run_id, "done": "queued", "dropped": done.drop, "repeats": done.repeats})
        else:
            say(f"run {run_id!r} is queued and goes on as soon as a worker takes it")


async def _journal(app: Workflow, run_id: str) -> list[Entry]:
    from durable.cli.runs import run_with_journal

    return (await run_with_journal(app, run_id))[1]


def plan_lines(run_id: str, plan: RestartPlan, journal: dict[int, Entry]) -> list[str]:
    """Return what a retry means, in words."""
    if not plan.drop:
        return [f"run {run_id!r}: nothing is dropped, it goes on from where it is"]
    dropped = [journal[position] for position in plan.drop if position in journal]
    kinds = [f"{_what(entry)} ({entry.position})" for entry in dropped if entry.kind is not Kind.RUN]
    entries = "1 entry is" if len(plan.drop) == 1 else f"{len(plan.drop):,} entries are"
    lines = [f"run {run_id!r}: {entries} dropped, at {rewind_note(plan.drop)}"]
    if kinds:
        lines.append(f"  what was recorded there: {_names(kinds)}")
    if plan.repeats:
        lines.append(f"  effects that succeeded and will run again: {', '.join(plan.repeats)}")
    else:
        lines.append("  no effect that succeeded will run again")
    return lines


def _what(entry: Entry) -> str:
    name = entry.name or entry.step_id or entry.kind.name.lower()
    return f"{name} {entry.status.name.lower()}"


def _names(names: Sequence[str], limit: int = 12) -> str:
    more = f", … {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


# Any number of runs ---------------------------------------------------------------------------------------------------


async def _act(choice: Choice, action: Action, yes: bool, as_json: bool) -> None:
    async with opened(choice.target) as app:
        if choice.ids:
            ids = list(dict.fromkeys(choice.ids))
        else:
            ids = await _matching(app, action, choice.where)
            if not ids:
                say("no runs match", err=True)
                return
            more = ", …" if len(ids) > NAMED_MAX else ""
            named = ", ".join(map(plain, ids[:NAMED_MAX]))
            confirm(f"{action.verb} {count_of(len(ids), 'run')} ({named}{more})?", yes=yes)
        results = await _all_at(app, action, ids)
    _report(ids, results, as_json)


async def _matching(app: Workflow, action: Action, where: dict[str, Any]) -> list[str]:
    if not where.get("states"):
        where = where | {"states": action.states}
    ids: list[str] = []
    before: RunRecord | None = None
    while page := await app.runs.list(**where, limit=LIST_PAGE_MAX, before=before):
        ids += [record.run_id for record in page]
        before = page[-1]
    return ids


async def _all_at(app: Workflow, action: Action, ids: list[str]) -> list[str | UsageError]:
    async def one(run_id: str) -> str | UsageError:
        try:
            return await action.act(app, run_id)
        except UsageError as error:
            # Of this run only; a store that fails ends the whole command.
            return error

    results: list[str | UsageError] = []
    for start in range(0, len(ids), AT_ONCE):
        results += await asyncio.gather(*map(one, ids[start : start + AT_ONCE]))
    return results


def _report(ids: list[str], results: list[str | UsageError], as_json: bool) -> None:
    errors = [result for result in results if isinstance(result, UsageError)]
    if len(ids) == 1 and errors and not as_json:
        raise errors[0]
    for run_id, result in zip(ids, results, strict=True):
        if as_json:
            print_json(
                {"id": run_id} | ({"error": str(result)} if isinstance(result, UsageError) else {"done": result})
            )
        else:
            say(
                str(result) if isinstance(result, UsageError) else f"run {run_id!r}: {result}",
                err=isinstance(result, UsageError),
            )
    if errors:
        if len(errors) == 1 and len(ids) == 1:
            raise errors[0]
        raise CommandError(f"{len(errors)} of {count_of(len(ids), 'run')} could not be changed", REFUSED)
