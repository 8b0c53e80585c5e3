"""`durable run`: executes a workflow here, shows how it goes, and leaves it resumable."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sysconfig
from dataclasses import dataclass
from typing import Any

import click

from durable.api.app import Workflow
from durable.api.workflows import WorkflowFunction
from durable.cli import describe, exits
from durable.cli.arguments import arguments_of
from durable.cli.exits import CommandError
from durable.cli.formatting import ago, duration, json_line, plain
from durable.cli.formatting import as_json as to_json
from durable.cli.hints import Hints, hints_for_application
from durable.cli.interruption import Interruption, interruption, to_stderr
from durable.cli.loading import load_workflow
from durable.cli.options import code_db_option, complete_files, finish, json_option
from durable.cli.output import print_json
from durable.cli.view import Watch, make_view
from durable.core.ids import check_id
from durable.core.records import RunRecord, RunState
from durable.errors import (
    BusyLoop,
    DurableError,
    IdConflict,
    InputMismatch,
    RunError,
    RunFailed,
    RunNotFound,
    StoreError,
)
from durable.runtime.callers import conflict_of


@dataclass(frozen=True, slots=True)
class Call:
    """The workflow, its arguments and the id of the run."""

    workflow: WorkflowFunction[Any, Any]
    args: list[Any]
    kwargs: dict[str, Any]
    run_id: str
    is_fresh: bool
    """Would the same command start another run?"""
    attach: bool
    """Take the run that has the id, whatever its arguments are?"""

    @property
    def app(self) -> Workflow:
        """The application of the workflow."""
        return self.workflow._app


@click.command("run")
@click.argument("target", metavar="MODULE:WORKFLOW", shell_complete=complete_files)
@click.argument("arguments", metavar="[KEY=VALUE]...", nargs=-1)
@click.option(
    "--id", "run_id", metavar="ID", help="Id of the run. Default: from the workflow's template or the arguments."
)
@click.option(
    "--attach", is_flag=True,
    help="If there is a run of this id with other arguments, go on with it, or print its result, instead of refusing.",
)  # fmt: skip
@code_db_option
@json_option
def command(
    target: str, arguments: tuple[str, ...], run_id: str | None, attach: bool, db: str | None, as_json: bool
) -> int:
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
    return finish(_run(Call(workflow, args, kwargs, run_id, is_fresh, attach), as_json))


async def _run(call: Call, as_json: bool) -> int:
    app = call.app
    with interruption("stopping: attempts in flight may end; once more stops at once") as interrupted:
        try:
            before = await _record(call)
            outcome = await _execute(call, interrupted, quiet=as_json or _is_settled(call, before))
            record = await _record(call)
            hints = Hints() if outcome is None or outcome.error is None else await _hints(call)
        finally:
            # A store that fails now has failed before, and that is what must be told.
            with contextlib.suppress(StoreError):
                await app.stop()
    if outcome is None:
        return _tell_interrupted(call, as_json)
    return _tell(call, outcome, Ran(before, record, hints), as_json)


def _is_settled(call: Call, before: RunRecord | None) -> bool:
    """Will nothing be executed: has the run ended, or is it another one than the one that is meant?"""
    if before is None:
        return False
    conflict = conflict_of(before, call.workflow._start(call.run_id, tuple(call.args), call.kwargs))
    return before.state in (RunState.SUCCEEDED, RunState.CANCELLED) or (conflict is not None and not call.attach)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the call ended."""

    value: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """The run, before the call and after it, if it can be read."""

    before: RunRecord | None
    record: RunRecord | None
    hints: Hints

    @property
    def ended_before(self) -> bool:
        """Had it ended before the call?"""
        before, record = self.before, self.record
        return before is not None and before.state.is_final and record is not None and before.epoch == record.epoch


async def _execute(call: Call, interruption: Interruption, *, quiet: bool) -> Outcome | None:
    """Execute the run under a view; None if it was interrupted."""
    launch = call.workflow.options(id=call.run_id, on_conflict="attach" if call.attach else "error")
    task = asyncio.ensure_future(launch(*call.args, **call.kwargs))
    stop = asyncio.ensure_future(interruption.asked.wait())
    with contextlib.nullcontext() if quiet else make_view(call.run_id) as view:
        watch = None
        if view is not None:
            watch = Watch(call.app, call.run_id, view)
            interruption.say = view.say
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
    interruption.say = to_stderr
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return None
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    return Outcome(error=error) if error is not None else Outcome(task.result())


async def _hints(call: Call) -> Hints:
    with contextlib.suppress(StoreError):
        return await hints_for_application(call.app)
    return Hints()


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


def _tell(call: Call, outcome: Outcome, ran: Ran, as_json: bool) -> int:
    error, record = outcome.error, ran.record
    if isinstance(error, InputMismatch):
        raise CommandError(f"{error.finding}; name another id with --id, or add --attach to take the run that is there")
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
        click.echo(f"run {plain(call.run_id)!r} succeeded {_when(call, ran)}in {duration(seconds)}", err=True)
        click.echo(plain(json_line(outcome.value)))
    else:
        click.echo(f"durable: {plain(_failure(call, error, state, ran.hints))}", err=True)
    return exits.OK if error is None else exits.UNSUCCESSFUL


def _when(call: Call, ran: Ran) -> str:
    """Return when the run ended, if that was before the call: then nothing was executed."""
    if not ran.ended_before or ran.record is None or ran.record.finished_at is None:
        return ""
    return f"{ago(ran.record.finished_at, call.app.clock.now_ms())}, "


def _is_of_run(error: BaseException, record: RunRecord | None) -> bool:
    """Is this how the run ended, and not why the command could not be carried out?"""
    if isinstance(error, IdConflict | StoreError) or record is None:
        return False
    if isinstance(error, RunError | BusyLoop):
        return True
    return record.state in (RunState.FAILED, RunState.CANCELLED, RunState.SET_ASIDE) or not isinstance(
        error, DurableError
    )


def _failure(call: Call, error: BaseException, state: RunState, hints: Hints) -> str:
    run_id = call.run_id
    retry = hints.command("runs", "retry", run_id)
    if isinstance(error, RunFailed) and error.repeats:
        repeats = f"going on would repeat {', '.join(error.repeats)} (in brackets: the position in its journal)"
        return f"run {run_id!r} failed: {error.error}; {repeats}; to do so all the same: {retry}"
    hint = f"; when that is mended: {retry}" if state is RunState.SET_ASIDE else ""
    if isinstance(error, RunError):
        return f"{error}{hint}"
    word = "is set aside" if state is RunState.SET_ASIDE else "failed"
    return f"run {run_id!r} {word}: {describe.error_text(error)}{_place(error)}{hint}"


def _place(error: BaseException) -> str:
    """Return the line of the user's code where the error was raised, if that is known; not one of a library's."""
    lines = [line.strip() for line in getattr(error, "__durable_traceback__", "").splitlines()]
    frames = [line.removeprefix("File ") for line in lines if line.startswith('File "')]
    paths = sysconfig.get_paths()
    libraries = tuple(f'"{paths[name]}{os.sep}' for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    own = [frame for frame in frames if not frame.startswith((*libraries, '"<'))]
    return f" ({(own or frames)[-1]})" if frames else ""
