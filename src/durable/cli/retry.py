"""`durable runs retry`: says first what going on means, and asks if it repeats what succeeded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from durable.api.app import Workflow
from durable.cli.acts import NAMED_MAX, Choice, all_at, choice_of, choosing, ids_of, named, report
from durable.cli.exits import CommandError
from durable.cli.formatting import plain
from durable.cli.opening import opened
from durable.cli.options import WholeType, finish
from durable.cli.output import confirm, count_of, print_json, say
from durable.cli.runs import run_with_journal
from durable.core.failure import RestartPlan, rewind_note
from durable.core.records import Entry, Kind, RunState
from durable.errors import UsageError

STATES: Final = (RunState.FAILED, RunState.SET_ASIDE)

REPEATING_SHOWN: Final = 20
"""Runs that repeat something which are named one by one, when many are retried."""


@click.command("retry")
@click.option(
    "--from", "position", type=WholeType(1), metavar="POSITION",
    help="Discard what was recorded from this position of the history on, and go on from there.",
)  # fmt: skip
@choosing
def retry(position: int | None, yes: bool, as_json: bool, **options: Any) -> None:
    """Let runs that failed or were set aside go on.

    Says first what is dropped from the journal, and which effects that succeeded will run again. It asks if there are
    any, with --from, and with a filter.
    """
    choice = choice_of(options)
    if position is not None and len(choice.ids) != 1:
        raise CommandError("--from POSITION takes exactly one run id: positions differ between runs")
    finish(_retry(choice, position, yes, as_json))


async def _retry(choice: Choice, position: int | None, yes: bool, as_json: bool) -> None:
    async with opened(choice.target, run_ids=choice.ids) as app:
        ids = await ids_of(app, choice, STATES)
        if not ids:
            say("no runs match", err=True)
            return
        found = await all_at(ids, lambda run_id: app.runs.plan_retry(run_id, position=position))
        plans = {run_id: plan for run_id, plan in zip(ids, found, strict=True) if isinstance(plan, RestartPlan)}
        if not as_json:
            for line in await _lines(app, plans):
                say(line, err=True)
        if plans and (not choice.ids or position is not None or any(plan.repeats for plan in plans.values())):
            confirm(f"retry {f'run {plain(ids[0])!r}' if len(ids) == 1 else named(ids)}?", yes=yes)
        done = await all_at(ids, lambda run_id: app.runs.retry(run_id, position=position))
    _tell(ids, done, as_json)


def _tell(ids: Sequence[str], done: Sequence[RestartPlan | UsageError], as_json: bool) -> None:
    if as_json:
        for run_id, plan in zip(ids, done, strict=True):
            if isinstance(plan, RestartPlan):
                print_json({"id": run_id, "done": "queued", "dropped": plan.drop, "repeats": plan.repeats})
            else:
                print_json({"id": run_id, "error": str(plan)})
    elif len(ids) == 1 and isinstance(done[0], RestartPlan):
        say(f"run {ids[0]!r} is queued and goes on as soon as a worker takes it")
        return
    report(ids, ["queued" if isinstance(plan, RestartPlan) else plan for plan in done], quiet=as_json)


# What it means, in words ----------------------------------------------------------------------------------------------


async def _lines(app: Workflow, plans: Mapping[str, RestartPlan]) -> list[str]:
    """Return what the retries mean: of few runs everything, of many which repeat something."""
    if len(plans) > NAMED_MAX:
        return _repeating_lines(plans)
    lines: list[str] = []
    for run_id, plan in plans.items():
        journal = {entry.position: entry for entry in (await run_with_journal(app, run_id))[1]}
        lines += plan_lines(run_id, plan, journal)
    return lines


def _repeating_lines(plans: Mapping[str, RestartPlan]) -> list[str]:
    repeating = [f"run {run_id!r} will repeat {names(plan.repeats)}" for run_id, plan in plans.items() if plan.repeats]
    if not repeating:
        return ["no effect that succeeded will run again"]
    more = len(repeating) - REPEATING_SHOWN
    return [*repeating[:REPEATING_SHOWN], *([f"and {count_of(more, 'more run')}"] if more > 0 else [])]


def plan_lines(run_id: str, plan: RestartPlan, journal: Mapping[int, Entry]) -> list[str]:
    """Return what a retry means, in words."""
    if not plan.drop:
        return [f"run {run_id!r}: nothing is dropped, it goes on from where it is"]
    dropped = [journal[position] for position in plan.drop if position in journal]
    kinds = [f"{_what(entry)} ({entry.position})" for entry in dropped if entry.kind is not Kind.RUN]
    entries = "1 entry is" if len(plan.drop) == 1 else f"{len(plan.drop):,} entries are"
    lines = [f"run {run_id!r}: {entries} dropped, at {rewind_note(plan.drop)}"]
    if kinds:
        lines.append(f"  what was recorded there: {names(kinds)}")
    if plan.repeats:
        lines.append(f"  effects that succeeded and will run again: {', '.join(plan.repeats)}")
    else:
        lines.append("  no effect that succeeded will run again")
    return lines


def _what(entry: Entry) -> str:
    return f"{entry.label or entry.step_id or entry.kind.label} {entry.status.name.lower()}"


def names(texts: Sequence[str], limit: int = 12) -> str:
    """Return texts in a row, not all if there are many."""
    more = f", … {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more
