"""`durable check`: the runs in flight of a database, replayed against the code as it stands now."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import click

from durable.api.app import Workflow
from durable.api.code import code_of
from durable.cli.exits import OK, UNSUCCESSFUL
from durable.cli.loading import load_application
from durable.cli.opening import Target, name_of_application
from durable.cli.options import STATES, TEXT, db_option, finish, json_option
from durable.cli.output import count_of, print_json, say
from durable.cli.reading import opened_reader
from durable.core.records import RunRecord, RunState
from durable.errors import RunNotFound
from durable.runtime.checking import IN_FLIGHT, Checked, check_run, runs_where
from durable.runtime.findings import ADVICE, Finding, Problem
from durable.runtime.histories import RunReader
from durable.store.base import RunFilter
from durable.store.threads import DaemonPool

WORDS: Final = {
    Problem.DIVERGES: "would diverge",
    Problem.UNREADABLE: "cannot be read",
    Problem.RAISES: "would fail",
    Problem.STUCK: "could not go on",
    Problem.DAMAGED: "is damaged",
}
"""What is wrong with a run, in words."""


@dataclass(slots=True)
class Report:
    """What was found, in numbers."""

    checked: int = 0
    unsound: int = 0
    """Runs with a finding."""
    partly: int = 0
    """Runs of which some entries could not be compared: the code has inserted or moved steps with a step id."""
    problems: Counter[Problem] = field(default_factory=Counter)
    without_code: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Runs whose workflow, or version of it, the code does not have."""


@click.command("check")
@click.argument("target", metavar="MODULE:APP")
@click.option(
    "--run",
    "ids",
    type=TEXT,
    multiple=True,
    metavar="ID",
    help="Only this run, whatever its state; several may be given.",
)
@click.option("--workflow", type=TEXT, metavar="NAME", help="Only runs of this workflow.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES),
    help="Runs in this state; several may be given. Default: queued, running, suspended and paused.",
)  # fmt: skip
@click.option("--complete", is_flag=True, help="Fail also if the code lacks the workflow or version of a run.")
@db_option
@json_option
def command(target: str, db: str | None, as_json: bool, complete: bool, **which: Any) -> int:
    """Replay the runs in flight against the code as it stands now, without any effect: the check before a deploy.

    Names each run that would diverge, and where, and each value that the code cannot read; the exit code is 1 if there
    is one. Reads the database only, also while workers use it; a copy of the file will do.
    """
    app = load_application(target)
    report = Report()
    finish(_check(app, app.db if db is None else db, which, report, as_json))
    is_sound = not report.unsound and not (complete and report.without_code)
    if as_json:
        print_json(_summary(report, ok=is_sound))
    else:
        _print_summary(report)
    return OK if is_sound else UNSUCCESSFUL


async def _check(app: Workflow, db: object, which: dict[str, Any], report: Report, as_json: bool) -> None:
    code, pool = code_of(app), DaemonPool(1, "durable-check")
    try:
        async with opened_reader(db, app.codec) as reader:
            async for record in _records(reader, app, db, **which):
                checked = await check_run(reader, code, record, pool)
                _count(report, checked)
                for finding in checked.verdict.findings if checked.verdict is not None else ():
                    _tell(checked.record, finding, as_json)
    finally:
        pool.shutdown()


async def _records(
    reader: RunReader, app: Workflow, db: object, ids: tuple[str, ...], workflow: str | None, states: tuple[str, ...]
) -> AsyncIterator[RunRecord]:
    """Return the runs that are meant.

    Raises:
        RunNotFound: one that is named is not there.
        NoSuchApplication: the database has runs, and none of this application.
    """
    for run_id in dict.fromkeys(ids):
        record = await reader.run(app.name, run_id)
        if record is None:
            raise RunNotFound(run_id, app.name)
        yield record
    if ids:
        return
    if await reader.runs(RunFilter(), limit=1):
        await name_of_application(reader, Target(str(db), app.name))
    wanted = tuple(RunState[state.upper().replace("-", "_")] for state in states) or IN_FLIGHT
    async for record in runs_where(reader, RunFilter(app=app.name, workflow=workflow, states=wanted)):
        yield record


def _count(report: Report, checked: Checked) -> None:
    if checked.verdict is None:
        report.without_code[checked.record.queue.workflow, checked.record.queue.version] += 1
        return
    report.checked += 1
    report.unsound += bool(checked.verdict.findings)
    report.partly += checked.verdict.partly
    report.problems.update({finding.problem for finding in checked.verdict.findings})


# Telling --------------------------------------------------------------------------------------------------------------


def _tell(record: RunRecord, finding: Finding, as_json: bool) -> None:
    if as_json:
        print_json({
            "run": record.run_id, "workflow": record.queue.workflow, "version": record.queue.version,
            "state": record.state.label, "problem": finding.problem.value, "position": finding.position,
            "recorded": finding.recorded, "asked": finding.asked, "line": finding.line,
            "advice": ADVICE[finding.problem],
        })  # fmt: skip
        return
    version = f" version {record.queue.version}" if record.queue.version else ""
    what = f"{record.queue.workflow}{version}, {record.state.label}"
    say(f"run {record.run_id!r} ({what}) {WORDS[finding.problem]}, position {finding.position}")
    at = f"  {finding.line}" if finding.line else ""
    if not finding.asked:
        say(f"    {finding.recorded}{at}")
        return
    say(f"    {finding.recorded}")
    say(f"    the code now asks for {finding.asked}{at}")


def _summary(report: Report, *, ok: bool) -> dict[str, Any]:
    return {
        "ok": ok, "checked": report.checked, "unsound": report.unsound,
        "problems": {problem.value: report.problems[problem] for problem in Problem if report.problems[problem]},
        "partly_compared": report.partly,
        "without_code": [
            {"workflow": workflow, "version": version, "runs": runs}
            for (workflow, version), runs in sorted(report.without_code.items())
        ],
    }  # fmt: skip


def _print_summary(report: Report) -> None:
    for problem in Problem:
        if number := report.problems[problem]:
            say(f"{problem.value}: {count_of(number, 'run')}; {ADVICE[problem]}")
    for (workflow, version), runs in sorted(report.without_code.items()):
        which = f"workflow {workflow!r}" + (f" version {version!r}" if version else "")
        say(f"not in this code: {which}, {count_of(runs, 'run')}; only workers that have it execute them")
    if report.partly:
        say(f"partly compared: {count_of(report.partly, 'run')}, where steps with a step id were inserted or moved")
    sound = report.checked - report.unsound
    say(f"{count_of(report.checked, 'run')} replayed, {sound:,} would go on as before")
