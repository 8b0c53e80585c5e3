"""`durable prune`: retention policies, by age and by number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import click

from durable.api.app import Workflow
from durable.api.runs import state_of
from durable.cli.exits import CommandError
from durable.cli.opening import Target, opened
from durable.cli.options import TEXT, DurationType, WholeType, finish, target_of, target_options, yes_option
from durable.cli.output import confirm, count_of, print_json, say
from durable.cli.runs import is_empty
from durable.core.records import RunKey, RunState
from durable.store.base import LIST_PAGE_MAX, RunFilter, RunStore

BATCH: Final = 500
"""Runs that one transaction deletes: others write in between."""

FINAL: Final = [state.label for state in RunState if state.is_final]


@dataclass(frozen=True, slots=True)
class Policy:
    """Which runs go."""

    finished_before: int
    states: tuple[RunState, ...]
    workflow: str | None
    keep: int


@click.command("prune")
@click.option(
    "--older-than", type=DurationType(), metavar="AGE", help="Runs that ended longer ago than this: 30d, 12h."
)
@click.option(
    "--state", "states", multiple=True, type=click.Choice(FINAL),
    help="Only runs in this state; several may be given. Default: succeeded and cancelled; failed ones can be retried.",
)  # fmt: skip
@click.option("--keep", type=WholeType(0), metavar="N", help="Keep the newest N of each workflow, whatever their age.")
@click.option("--workflow", type=TEXT, metavar="NAME", help="Only runs of this workflow.")
@click.option("--dry-run", is_flag=True, help="Only say how many runs would go.")
@yes_option
@target_options
def command(
    older_than: timedelta | None, states: tuple[str, ...], keep: int | None, workflow: str | None, dry_run: bool, yes:
    bool, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Delete runs that ended, with their journals, signals and messages.

    A run that another one waits for, or whose parent has not ended, stays.
    """
    if older_than is None and keep is None:
        raise CommandError("no policy is given: say --older-than AGE, --keep N, or both")
    wanted = tuple(state_of(state) for state in states) or (RunState.SUCCEEDED, RunState.CANCELLED)
    age_ms = 0 if older_than is None else int(older_than.total_seconds() * 1000)
    finish(_prune(target_of(options), Policy(age_ms, wanted, workflow, keep or 0), dry_run, yes, as_json))


async def _prune(target: Target, policy: Policy, dry_run: bool, yes: bool, as_json: bool) -> None:
    number = gone = 0
    if target.code is not None or target.app is not None or not await is_empty(target):
        async with opened(target) as app:
            # The policy came with an age; from here on it is a moment. One that has just ended is older than no age.
            policy = replace(policy, finished_before=app.clock.now_ms() + 1 - policy.finished_before)
            parts = await _parts(app, policy)
            number = sum(count for _, count in parts)
            if number and not dry_run:
                confirm(f"delete up to {count_of(number, 'run')}?", yes=yes)
                gone = await _delete(app, policy, [where for where, _ in parts])
    if as_json:
        print_json({"matching": number, "deleted": gone, "dry_run": dry_run})
    elif dry_run:
        say(f"{count_of(number, 'run')} would be deleted, less those that others wait for")
    else:
        stay = f"; {number - gone:,} stay, because other runs need them" if gone < number else ""
        say(f"{count_of(gone, 'run')} deleted{stay}")


async def _parts(app: Workflow, policy: Policy) -> list[tuple[RunFilter, int]]:
    """Return what to delete, as filters with the number of runs that match each.

    With `keep`, there is one filter for each workflow: runs created before the oldest of those that are kept. Two that
    were created in the same millisecond are both kept.
    """
    store = (await app._engine()).store
    where = RunFilter(app=app.name, workflow=policy.workflow, states=policy.states)
    parts = [where]
    if policy.keep:
        names = sorted({queue.workflow for queue in await store.tally(where)})
        parts = [part for name in names if (part := await _beyond_newest(store, where, name, policy.keep)) is not None]
    ended = [replace(part, finished_before=policy.finished_before) for part in parts]
    return [(part, sum((await store.count(part)).values())) for part in ended]


async def _beyond_newest(store: RunStore, where: RunFilter, workflow: str, keep: int) -> RunFilter | None:
    """Return a filter for the runs of a workflow but the newest; None if there are no others."""
    where = replace(where, workflow=workflow)
    before: RunKey | None = None
    while True:
        page = await store.runs(where, limit=min(keep, LIST_PAGE_MAX), before=before)
        keep -= len(page)
        if keep <= 0:
            return replace(where, created_before=page[-1].created_at)
        if not page:
            return None
        before = page[-1].key


async def _delete(app: Workflow, policy: Policy, parts: list[RunFilter]) -> int:
    store = (await app._engine()).store
    gone = 0
    for part in parts:
        while number := await store.prune(part, finished_before=policy.finished_before, limit=BATCH):
            gone += number
    return gone
