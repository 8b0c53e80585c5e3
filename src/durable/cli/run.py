"""`durable run`: executes a workflow here, shows how it goes, and leaves it resumable."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from durable.api.app import Workflow
from durable.api.workflows import WorkflowFunction
from durable.cli import describe, exits
from durable.cli.arguments import arguments_of
from durable.cli.formatting import as_json as to_json
from durable.cli.formatting import duration, json_line, plain
from durable.cli.interruption import interruption
from durable.cli.loading import load_workflow
from durable.cli.options import db_option, finish, json_option
from durable.cli.output import print_json
from durable.cli.view import Watch, make_view
from durable.core.ids import check_id
from durable.core.records import RunRecord, RunState
from durable.errors import BusyLoop, DurableError, IdConflict, RunError, RunNotFound, StoreError


@dataclass(frozen=True, slots=True)
class Call:
    """The workflow, its arguments and the id of the run."""

    workflow: WorkflowFunction[Any, Any]
    args: list[Any]
    kwargs: dict[str, Any]
    run_id: str
    is_fresh: bool
    """Would the same command start another run?"""

    @property
    def app(self) -> Workflow:
        """The application of the workflow."""
        return self.workflow._app


@click.command("run")
@click.argument("target", metavar="MODULE:WORKFLOW")
@click.argument("arguments", metavar="[KEY=VALUE]...", nargs=-1)
@click.option(
    "--id", "run_id", metavar="ID", help="Id of the run. Default: from the workflow's template or the arguments."
)
@db_option
@json_option
def command(target: str, arguments: tuple[str, ...], run_id: str | None, db: str | None, as_json: bool) -> int:
    """Execute a workflow here and print its result; the same command goes on where an interrupted one was.

    MODULE is a dotted module or a file (flows.py). A VALUE is typed by the function's annotation; without one it is
    JSON if it reads as that, else text.
    """
    workflow = load_workflow(target)
    if db is not None:
        workflow._app.use_db(db)
    args, kwargs = arguments_of(workflow, arguments)
    wanted = None if run_id is None else check_id(run_id, "--id")
    run_id = workflow.id_for(*args, **kwargs) if wanted is None else wanted
    is_fresh = wanted is None and workflow.id_for(*args, **kwargs) != run_id
    return finish(_run(Call(workflow, args, kwargs, run_id, is_fresh), as_json))


async def _run(call: Call, as_json: bool) -> int:
    app = call.app
    with interruption("stopping: attempts in flight may end; once more stops at once") as interrupted:
        try:
            outcome = await _execute(call, interrupted, quiet=as_json)
            record = await _record(call)
        finally:
            # A store that fails now has failed before, and that is what must be told.
            with contextlib.suppress(StoreError):
                await app.stop()
    if outcome is None:
        return _tell_interrupted(call, as_json)
    return _tell(call, outcome, record, as_json)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the call ended."""

    value: Any = None
    error: BaseException | None = None


async def _execute(call: Call, interrupted: asyncio.Event, *, quiet: bool) -> Outcome | None:
    """Execute the run under a view; None if it was interrupted."""
    launch = call.workflow.options(id=call.run_id)
    task = asyncio.ensure_future(launch(*call.args, **call.kwargs))
    stop = asyncio.ensure_future(interrupted.wait())
    with contextlib.nullcontext() if quiet else make_view(call.run_id) as view:
        watch = None if view is None else Watch(call.app, call.run_id, view)
        watching = None if watch is None else asyncio.ensure_future(watch.watch())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        if watch is not None and task.done():
            await watch.look()
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return None
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    return Outcome(error=error) if error is not None else Outcome(task.result())


async def _record(call: Call) -> RunRecord | None:
    with contextlib.suppress(StoreError, RunNotFound):
        return await call.app.runs.get(call.run_id)
    return None


# Telling --------------------------------------------------------------------------------------------------------------


def _tell_interrupted(call: Call, as_json: bool) -> int:
    if as_json:
        print_json({"id": call.run_id, "state": "interrupted"})
    more = f" and --id {plain(call.run_id)!r}" if call.is_fresh else ""
    text = f"run {plain(call.run_id)!r} keeps what it recorded; the same command{more} goes on with it"
    click.echo(f"durable: interrupted; {text}", err=True)
    return exits.INTERRUPTED


def _tell(call: Call, outcome: Outcome, record: RunRecord | None, as_json: bool) -> int:
    error = outcome.error
    if error is not None and not _is_of_run(error, record):
        raise error
    seconds = 0.0
    if record is not None and record.started_at is not None and record.finished_at is not None:
        seconds = (record.finished_at - record.started_at) / 1000
    state = RunState.SUCCEEDED if error is None else record.state if record is not None else RunState.FAILED
    if as_json:
        made: dict[str, Any] = {"id": call.run_id, "state": state.label, "seconds": seconds}
        made |= {"result": to_json(outcome.value)} if error is None else {"error": describe.error_json(error)}
        print_json(made)
    elif error is None:
        click.echo(f"run {plain(call.run_id)!r} succeeded in {duration(seconds)}", err=True)
        click.echo(plain(json_line(outcome.value)))
    else:
        click.echo(f"durable: {_failure(call.run_id, error, state)}", err=True)
    return exits.OK if error is None else exits.UNSUCCESSFUL


def _is_of_run(error: BaseException, record: RunRecord | None) -> bool:
    """Is this how the run ended, and not why the command could not be carried out?"""
    if isinstance(error, IdConflict | StoreError) or record is None:
        return False
    if isinstance(error, RunError | BusyLoop):
        return True
    return record.state in (RunState.FAILED, RunState.CANCELLED, RunState.SET_ASIDE) or not isinstance(
        error, DurableError
    )


def _failure(run_id: str, error: BaseException, state: RunState) -> str:
    hint = f"; when that is mended: durable runs retry {run_id}" if state is RunState.SET_ASIDE else ""
    if isinstance(error, RunError):
        return plain(f"{error}{hint}")
    word = "is set aside" if state is RunState.SET_ASIDE else "failed"
    return plain(f"run {run_id!r} {word}: {describe.error_text(error)}{_place(error)}{hint}")


def _place(error: BaseException) -> str:
    """Return where in the user's code the error was raised, if that is known.

    A recorded traceback begins with the frames of the first raise: ours, then the user's. Ours again begin another.
    """
    package = str(Path(__file__).parents[1])
    lines = [line.strip() for line in getattr(error, "__durable_traceback__", "").splitlines()]
    frames = [line.removeprefix("File ") for line in lines if line.startswith('File "')]
    found = ""
    for frame in frames:
        if frame.startswith(f'"{package}'):
            if found:
                break
        elif not frame.startswith(f'"{sys.base_prefix}'):
            found = frame
    return f" ({found})" if found else ""
