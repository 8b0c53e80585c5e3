"""`durable runs cancel|pause|resume`: on runs that are named, or on all that match a filter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from durable.api.app import Workflow
from durable.cli.exits import REFUSED, CommandError
from durable.cli.formatting import plain
from durable.cli.opening import Target, opened
from durable.cli.options import (
    TEXT,
    complete_run_ids,
    filter_options,
    filters_of,
    finish,
    target_of,
    target_options,
    yes_option,
)
from durable.cli.output import confirm, count_of, print_json, say
from durable.core.records import RunRecord, RunState
from durable.errors import RunNotOpen, UsageError
from durable.store.base import LIST_PAGE_MAX

T = TypeVar("T")

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
    return click.argument("ids", type=TEXT, metavar="[ID]...", nargs=-1, shell_complete=complete_run_ids)(fn)


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


async def _too_late(app: Workflow, run_id: str, wanted: str) -> RunNotOpen:
    return RunNotOpen(run_id, (await app.runs.get(run_id)).state.label, wanted)


# Any number of runs ---------------------------------------------------------------------------------------------------


async def _act(choice: Choice, action: Action, yes: bool, as_json: bool) -> None:
    async with opened(choice.target, run_ids=choice.ids) as app:
        ids = await ids_of(app, choice, action.states)
        if not ids:
            say("no runs match", err=True)
            return
        if not choice.ids:
            confirm(f"{action.verb} {named(ids)}?", yes=yes)
        results = await all_at(ids, lambda run_id: action.act(app, run_id))
    if as_json:
        for run_id, result in zip(ids, results, strict=True):
            print_json(
                {"id": run_id, "done": result} if isinstance(result, str) else {"id": run_id, "error": str(result)}
            )
    report(ids, results, quiet=as_json)


def named(ids: Sequence[str]) -> str:
    """Return how many runs are meant, and the first of them."""
    more = ", …" if len(ids) > NAMED_MAX else ""
    return f"{count_of(len(ids), 'run')} ({', '.join(map(plain, ids[:NAMED_MAX]))}{more})"


async def ids_of(app: Workflow, choice: Choice, states: tuple[RunState, ...]) -> list[str]:
    """Return the runs that are meant: those that are named, or those that match, in these states if none are given."""
    if choice.ids:
        return list(dict.fromkeys(choice.ids))
    where = choice.where if choice.where.get("states") else choice.where | {"states": states}
    ids: list[str] = []
    before: RunRecord | None = None
    while page := await app.runs.list(**where, limit=LIST_PAGE_MAX, before=before):
        ids += [record.run_id for record in page]
        before = page[-1]
    return ids


async def all_at(ids: Sequence[str], act: Callable[[str], Awaitable[T]]) -> list[T | UsageError]:
    """Return what `act` returns for each run, or why it could not be done to that one."""

    async def one(run_id: str) -> T | UsageError:
        try:
            return await act(run_id)
        except UsageError as error:
            # Of this run only; a store that fails ends the whole command.
            return error

    results: list[T | UsageError] = []
    for start in range(0, len(ids), AT_ONCE):
        results += await asyncio.gather(*map(one, ids[start : start + AT_ONCE]))
    return results


def report(ids: Sequence[str], results: Sequence[str | UsageError], *, quiet: bool) -> None:
    """Tell what became of each run; `quiet`, if that was told.

    Raises:
        UsageError: the only run could not be changed.
        CommandError: some of several could not.
    """
    errors = [result for result in results if isinstance(result, UsageError)]
    if len(ids) == 1 and errors:
        raise errors[0]
    for run_id, result in zip(ids, results, strict=True):
        if not quiet:
            failed = isinstance(result, UsageError)
            say(str(result) if failed else f"run {run_id!r}: {result}", err=failed)
    if errors:
        raise CommandError(f"{len(errors)} of {count_of(len(ids), 'run')} could not be changed", REFUSED)
