"""Rehearses the runs of a database, one after the other, while others may execute them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import Final, NamedTuple

from durable.core.records import RunKey, RunRecord, RunState
from durable.errors import StoreCorrupt
from durable.runtime.findings import Finding, Problem
from durable.runtime.histories import History, RunReader, has_moved, read_history
from durable.runtime.rehearsal import Code, Verdict, rehearse
from durable.runtime.specs import WorkflowSpec
from durable.store.base import LIST_PAGE_MAX, RunFilter

IN_FLIGHT: Final = (RunState.QUEUED, RunState.RUNNING, RunState.SUSPENDED, RunState.PAUSED)
"""The states of the runs that a new version of the code will go on with by itself."""

LOOKS_MAX: Final = 20
"""How often to look at a run that moves while it is looked at."""

PAUSE_SECONDS: Final = 0.02
"""Time for a worker to move a run of which something seems wrong at its end."""

_SOUND: Final = Verdict((), partly=False)


class Checked(NamedTuple):
    """A run, and what its rehearsal has shown."""

    record: RunRecord
    verdict: Verdict | None
    """None: the code has no workflow of its name and version."""


async def runs_where(reader: RunReader, where: RunFilter) -> AsyncIterator[RunRecord]:
    """Return the runs that match, newest first, page by page."""
    before: RunKey | None = None
    while page := await reader.runs(where, limit=LIST_PAGE_MAX, before=before):
        for record in page:
            yield record
        before = page[-1].key


async def check_run(reader: RunReader, code: Code, record: RunRecord, pool: Executor) -> Checked:
    """Rehearse one run as it is now.

    Args:
        reader: Where to read it from.
        code: The code to rehearse it with.
        record: The run, as it was just now.
        pool: Where bodies are executed: a thread on which no event loop runs.
    """
    spec = code.specs.get((record.queue.workflow, record.queue.version))
    if spec is None:
        return Checked(record, None)
    for _ in range(LOOKS_MAX):
        try:
            history = await read_history(reader, record)
        except StoreCorrupt as error:
            return Checked(record, Verdict((Finding(Problem.DAMAGED, 0, str(error)),), partly=False))
        verdict = await asyncio.get_running_loop().run_in_executor(pool, _rehearse_quietly, code, spec, history)
        if not verdict.findings or await _stands(reader, record, history, verdict):
            return Checked(record, verdict)
        found = await reader.run_by_key(record.key)
        if found is None or (found.state.is_final and not record.state.is_final):
            return Checked(record, _SOUND)
        record = found
    return Checked(record, _SOUND)


async def _stands(reader: RunReader, record: RunRecord, history: History, verdict: Verdict) -> bool:
    """Is a verdict true although its run may have moved while it was looked at?"""
    if history.final is not None and not record.state.is_final:
        return False  # it has ended between two reads
    if all(finding.position < history.position for finding in verdict.findings):
        # What is recorded stays, unless the run starts anew.
        now = await reader.run_by_key(record.key)
        return now is not None and now.continuation == record.continuation
    if record.state is RunState.RUNNING:
        # Its worker may be about to record what the verdict misses.
        await asyncio.sleep(PAUSE_SECONDS)
    return not await has_moved(reader, record, history)


def _rehearse_quietly(code: Code, spec: WorkflowSpec, history: History) -> Verdict:
    # What a body prints belongs to the run, not to the report.
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        return rehearse(code, spec, history)
