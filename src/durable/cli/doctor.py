"""`durable doctor`: says whether anything needs attention."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import click

from durable.cli.exits import OK, UNSUCCESSFUL
from durable.cli.hints import Hints, hints_for
from durable.cli.opening import Target, check_exists, name_of_application, opened_store
from durable.cli.options import TEXT, db_option, finish, json_option
from durable.cli.output import count_of, make_console, print_json, say
from durable.core.records import Queue, RunRecord, RunState, WorkerRecord
from durable.errors import StoreCorrupt, StoreError
from durable.runtime.clock import SystemClock
from durable.store.base import LIST_PAGE_MAX, RunFilter, RunStore, StoreStatus
from durable.store.sqlite import accept_loss
from durable.store.sqlite.damage import examine
from durable.store.sqlite.url import parse_url

SHOWN_MAX: Final = 20
"""Runs that each section names."""


@dataclass(slots=True)
class Report:
    """What was found."""

    status: StoreStatus
    counts: dict[str, int]
    workers: list[WorkerRecord]
    findings: list[str]
    """Damage, and that the database cannot be written."""
    set_aside: list[RunRecord] = field(default_factory=list)
    waiting: dict[Queue, dict[RunState, int]] = field(default_factory=dict)
    """Queues in which a run is due that no living worker takes: how many are queued and suspended in each."""
    notes: list[str] = field(default_factory=list)

    @property
    def needs_attention(self) -> bool:
        """Is there anything that someone should do?"""
        return bool(self.findings or self.set_aside or self.waiting)


@click.command("doctor")
@db_option
@click.option("--app", type=TEXT, metavar="NAME", help="Only this application's runs.")
@click.option(
    "--accept-loss", "accepts_loss", is_flag=True,
    help="Let a file serve that lacks commits it once had, because its log was removed or is damaged; they are gone.",
)  # fmt: skip
@json_option
def command(db: str | None, app: str | None, accepts_loss: bool, as_json: bool) -> int:
    """Look at a database: damage, runs that cannot go on, workers. The exit code is 1 if something needs attention."""
    target, kept = Target(db, app), None
    if accepts_loss:
        check_exists(target.location)
        kept = accept_loss(os.path.realpath(parse_url(target.location).path))
    try:
        report = finish(_examine(target))
    except StoreCorrupt as error:
        _tell_damage(target, error, as_json)
        return UNSUCCESSFUL
    if kept is not None:
        report.notes.append(f"the log was cut before its damage; what it was is kept as {kept}")
    if as_json:
        print_json(_as_json(report))
    else:
        _print(report, hints_for(Target(db)))
    return UNSUCCESSFUL if report.needs_attention else OK


async def _examine(target: Target) -> Report:
    async with opened_store(target) as store:
        app = None if target.app is None else await name_of_application(store, target)
        report = Report(await store.status(), {}, [], await store.check())
        await _expire(store, report)
        counts = await store.count(RunFilter(app=app))
        report.counts = {state.label: counts[state] for state in RunState if counts.get(state)}
        report.workers = [worker for worker in await store.workers() if worker.queues]
        if counts.get(RunState.SET_ASIDE):
            report.set_aside = await store.runs(RunFilter(app=app, states=(RunState.SET_ASIDE,)), limit=LIST_PAGE_MAX)
        report.waiting = await _waiting(store, app, report.workers)
        return report


async def _expire(store: RunStore, report: Report) -> None:
    """Take back the runs of workers that are dead, as any worker would: also a test of writing."""
    try:
        expired = await store.expire()
    except StoreError as error:
        report.findings.append(f"the database cannot be written: {error}")
        return
    if expired.workers:
        runs = count_of(len(expired.runs), "run")
        report.notes.append(f"{count_of(len(expired.workers), 'worker')} had died; {runs} taken back")


async def _waiting(store: RunStore, app: str | None, workers: list[WorkerRecord]) -> dict[Queue, dict[RunState, int]]:
    """Return the queues in which a run is due and that no living worker serves, with what stands or sleeps in them."""
    served = {queue for worker in workers for queue in worker.queues}
    queues = await store.tally(RunFilter(app=app, states=(RunState.QUEUED, RunState.SUSPENDED)))
    now = SystemClock().now_ms()
    found: dict[Queue, dict[RunState, int]] = {}
    for queue, counts in queues.items():
        due_at = None if queue in served else await store.next_due((queue,))
        if due_at is not None and due_at <= now:
            found[queue] = counts
    return found


# Damage ---------------------------------------------------------------------------------------------------------------


def _tell_damage(target: Target, error: StoreCorrupt, as_json: bool) -> None:
    """Tell what is left of a file that cannot serve as a store any more."""
    path = parse_url(target.location).path
    damage = examine(path)
    if as_json:
        print_json({
            "ok": False, "database": path, "kind": "sqlite", "versions": _versions(),
            "findings": damage.findings or [str(error)], "rows": damage.tables, "damaged_tables": damage.damaged,
        })  # fmt: skip
        return
    say(f"database   {path} (sqlite)")
    for finding in damage.findings or [str(error)]:
        say(f"damage     {finding}")
    for name, rows in damage.tables.items():
        how_far = "can be read before the damage" if name in damage.damaged else "can be read"
        say(f"table      {name}: {count_of(rows, 'row')} {how_far}")
    if damage.is_in_log:
        say("what to do keep a copy of the file with its -wal, and restore a backup")
        say(f"           or go on without what lies behind the damage: durable doctor --accept-loss --db {path}")
        return
    say("what to do stop its workers, keep a copy of the file with its -wal, and restore a backup")
    say("           without one: sqlite3 FILE .recover | sqlite3 NEW makes another file of what can be read")


# Telling --------------------------------------------------------------------------------------------------------------


def _versions() -> dict[str, str]:
    return {"durable": version("durable"), "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}


def _as_json(report: Report) -> dict[str, Any]:
    status = report.status
    return {
        "ok": not report.needs_attention, "database": status.location, "kind": status.kind,
        "durability": status.durability,
        "schema_version": status.schema_version, "versions": _versions(), "notes": [*status.notes, *report.notes],
        "findings": report.findings, "counts": report.counts,
        "workers": [
            {"id": w.worker_id, "pid": w.pid, "host": w.host, "workflows": sorted({q.workflow for q in w.queues})}
            for w in report.workers
        ],
        "set_aside": [
            {"id": r.run_id, "app": r.queue.app, "workflow": r.queue.workflow, "reason": r.reason, "detail": r.detail}
            for r in report.set_aside
        ],
        "without_worker": [
            queue._asdict() | {state.label: number for state, number in counts.items()}
            for queue, counts in report.waiting.items()
        ],
    }  # fmt: skip


def _print(report: Report, hints: Hints) -> None:
    from rich.text import Text

    console = make_console()
    status, versions = report.status, _versions()
    say(f"database   {status.location} ({status.kind}, schema {status.schema_version})")
    say(f"durability {status.durability}")
    say(f"versions   durable {versions['durable']}, Python {versions['python']}, SQLite {versions['sqlite']}")
    for note in (*status.notes, *report.notes):
        say(f"note       {note}")
    say(f"runs       {', '.join(f'{number:,} {state}' for state, number in report.counts.items()) or 'none'}")
    for line in _worker_lines(report.workers):
        say(line)
    for line in _trouble_lines(report, hints):
        console.print(Text(line, "bold red"))
    if not report.needs_attention:
        console.print(Text("nothing needs attention", "green"))


def _worker_lines(workers: list[WorkerRecord]) -> Iterator[str]:
    if not workers:
        yield "workers    none is alive"
    for worker in workers:
        names = ", ".join(sorted({queue.workflow for queue in worker.queues}))
        yield f"worker     process {worker.pid} on {worker.host}: {names}"


def _trouble_lines(report: Report, hints: Hints) -> Iterator[str]:
    from durable.cli.formatting import plain

    for finding in report.findings:
        yield f"damage     {plain(finding)}"
    for record in report.set_aside[:SHOWN_MAX]:
        why = plain(f"{record.reason}: {record.detail}")
        yield f"set aside  {plain(record.run_id)} ({record.queue.workflow}), {why}"
    if len(report.set_aside) > SHOWN_MAX:
        listing = hints.command("runs", "list", "--state", "set-aside")
        yield f"set aside  {len(report.set_aside) - SHOWN_MAX:,} more: {listing}"
    for queue, counts in report.waiting.items():
        numbers = ", ".join(f"{number:,} {state.label}" for state, number in counts.items())
        which = f"workflow {queue.workflow!r}" + (f" version {queue.version!r}" if queue.version else "")
        yield plain(
            f"no worker  runs of {which} of application {queue.app!r} in group {queue.group!r} are due ({numbers}) and "
            f"no living worker takes them; start one: {hints.command('worker', 'MODULE:APP')}"
        )
