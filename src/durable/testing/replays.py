"""Histories of runs as test data: kept as files, and replayed against the code as it stands now.

    assert_replays("tests/histories/order-42.json", order)

`durable runs export ID -o FILE` writes such a file; `durable check MODULE:APP` replays all runs of a database at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from durable.api.app import Workflow
from durable.api.code import code_of
from durable.api.workflows import WorkflowFunction
from durable.core.records import Entry, RunState
from durable.errors import UsageError
from durable.runtime.findings import Finding
from durable.runtime.histories import History, from_json, read_history, to_json
from durable.runtime.rehearsal import Verdict, rehearse

__all__ = ["AnyHistory", "History", "ReplayDiverged", "assert_replays", "history_of", "load_history", "save_history"]

AnyHistory: TypeAlias = History | str | os.PathLike[str] | Sequence[Entry]
"""A history, the name of its file, or the entries of a journal."""


class ReplayDiverged(AssertionError):
    """The code does not do again what the history records."""

    def __init__(self, run_id: str, workflow: str, findings: tuple[Finding, ...]) -> None:
        super().__init__(run_id, workflow, findings)
        self.run_id, self.workflow, self.findings = run_id, workflow, findings

    def __str__(self) -> str:
        lines = "".join(f"\n  {finding}" for finding in self.findings)
        return f"run {self.run_id!r} would not go on as before under workflow {self.workflow!r}:{lines}"


def assert_replays(history: AnyHistory, workflow: WorkflowFunction[Any, Any], *, run_id: str = "history") -> None:
    """Replay a history against a workflow, without any effect, up to where it ends.

    A run that has ended must come to the same end, with a result or cancelled. Of one that has failed, what
    `durable runs retry` would drop is left out. Every recorded and delivered value must be readable.

    Args:
        history: A history, the name of a file that `durable runs export` or `save_history` wrote, or journal entries.
        workflow: The workflow function.
        run_id: The run's id, where `history` is only entries; bodies may use it.

    Raises:
        ReplayDiverged: an AssertionError that names each position, what was recorded, and what the code asks for.
        UsageError: the file is no history, or one of another application or workflow.
    """
    app = workflow._app
    found = _as_history(history, workflow, run_id)
    if (found.queue.app, found.queue.workflow) != (app.name, workflow.name):
        raise UsageError(
            f"the history is of a run of workflow {found.queue.workflow!r} of application {found.queue.app!r}, "
            f"not of {workflow.name!r} of {app.name!r}"
        )
    verdict = _rehearse_apart(app, workflow, found)
    if verdict.findings:
        raise ReplayDiverged(found.run_id, workflow.name, verdict.findings)


def _as_history(history: AnyHistory, workflow: WorkflowFunction[Any, Any], run_id: str) -> History:
    if isinstance(history, History):
        return history
    if isinstance(history, (str, os.PathLike)):
        return load_history(history)
    if not history:
        raise UsageError("the history has no entries: a journal begins with the one that holds the arguments")
    return History(run_id, workflow.spec.queue, RunState.SUSPENDED, history[0].at, tuple(history))


def _rehearse_apart(app: Workflow, workflow: WorkflowFunction[Any, Any], history: History) -> Verdict:
    """Rehearse on a thread of its own: a test may run on an event loop, and none may run around a body's."""
    outcome: list[Verdict | BaseException] = []

    def work() -> None:
        try:
            outcome.append(rehearse(code_of(app), workflow.spec, history))
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            outcome.append(error)

    thread = threading.Thread(target=work, name="durable-rehearsal", daemon=True)
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


async def history_of(app: Workflow, run_id: str) -> History:
    """Return the history of a run as it is now.

    Raises:
        RunNotFound: there is none of that id.
    """
    record = await app.runs.get(run_id)
    return await read_history((await app._engine()).store, record)


def save_history(history: History, path: str | os.PathLike[str]) -> None:
    """Write a history to a file, as `durable runs export` does."""
    Path(path).write_text(to_json(history), encoding="utf-8")


def load_history(path: str | os.PathLike[str]) -> History:
    """Read a history from its file.

    Raises:
        UsageError: it is none.
        OSError: the file cannot be read.
    """
    return from_json(Path(path).read_text(encoding="utf-8"), os.fspath(path))
