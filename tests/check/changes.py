"""A change of a module's source, and which runs it concerns: what the check has to say is known before it is asked."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from durable.core.records import Kind
from durable.runtime.findings import Finding
from durable.runtime.histories import History
from durable.runtime.rehearsal import Code, rehearse
from durable.runtime.specs import WorkflowSpec
from tests.check.plays import Asked, Played, Trace, begun, code_for, recorded
from tests.check.sources import Edited

Judge: TypeAlias = Callable[[Trace, History], bool | None]
"""Must the check find something (True), nothing (False), or is it open (None)?"""

Touches: TypeAlias = Callable[[Asked], bool]
"""Is this one of the operations that a change concerns?"""


class Change(NamedTuple):
    """A changed source."""

    kind: str
    line: int
    """Line of the original that was changed."""
    source: str | Edited
    judge: Judge

    def __str__(self) -> str:
        return f"{self.kind} at line {self.line}"


class Judged(NamedTuple):
    """What the check said of a change."""

    found: int
    """Runs at moments past the change of which it told."""
    missed: tuple[History, ...]
    """… and those of which it did not."""
    alarms: tuple[tuple[History, Finding], ...]
    """Findings where there is nothing to find."""


def judged(change: Change, of: Played) -> Judged:
    """Check all runs of a module at all moments against a changed source."""
    code = code_for(str(change.source), of.name)
    found, missed, alarms = 0, [], []
    for history in of.histories:
        expected = change.judge(of.trace, history)
        spec = code.spec_for(history)
        findings = () if spec is None or expected is None else _findings(code, spec, history)
        if expected is True and findings:
            found += 1
        elif expected is True:
            missed.append(history)
        elif findings:
            alarms.append((history, findings[0]))
    return Judged(found, tuple(missed), tuple(alarms))


def _findings(code: Code, spec: WorkflowSpec, history: History) -> tuple[Finding, ...]:
    with contextlib.redirect_stdout(io.StringIO()):
        return rehearse(code, spec, history).findings


# Who is concerned -----------------------------------------------------------------------------------------------------


def nobody(trace: Trace, history: History) -> bool:
    """A change that concerns no run, whatever it has recorded."""
    return False


def whoever_recorded(touches: Touches) -> Judge:
    """A change of operations: it concerns runs that have recorded the outcome of one of them."""

    def judge(trace: Trace, history: History) -> bool | None:
        touched = [asked for asked in trace.of(history).values() if touches(asked)]
        if any(asked.key in recorded(history) for asked in touched):
            return True
        # What is open may have left a trace, and may not.
        return None if any(trace.has_come_to(history, asked) for asked in touched) else False

    return judge


def whoever_recorded_after(touches: Touches) -> Judge:
    """A change of how many operations there are: it concerns runs that have recorded one with a later number."""

    def judge(trace: Trace, history: History) -> bool | None:
        asked = trace.of(history)
        touched = [item.key for item in asked.values() if touches(item) and isinstance(item.key, int)]
        if not touched:
            return False
        if any(isinstance(key, int) and key > max(touched) for key in recorded(history)):
            return True
        return None if any(trace.has_come_to(history, asked[key]) for key in touched) else False

    return judge


def whoever_left_a_trace(touches: Touches) -> Judge:
    """As `whoever_recorded`, and also runs that wait: registered in the store, or begun in the journal."""
    outcome = whoever_recorded(touches)

    def judge(trace: Trace, history: History) -> bool | None:
        keys = {asked.key for asked in trace.of(history).values() if touches(asked)}
        waits = {wait.seq for wait in history.waits}
        return True if keys & (begun(history) | waits) else outcome(trace, history)

    return judge


def whoever_waits_for(touches: Touches) -> Judge:
    """A change of what is waited for: it concerns runs that wait now, and perhaps others."""

    def judge(trace: Trace, history: History) -> bool | None:
        touched = [asked for asked in trace.of(history).values() if touches(asked)]
        if {asked.key for asked in touched} & {wait.seq for wait in history.waits}:
            return True
        return None if any(trace.has_come_to(history, asked) for asked in touched) else False

    return judge


def whoever_runs(workflow: str) -> Judge:
    """A change at the beginning of a workflow: it concerns all its runs that have begun."""

    def judge(trace: Trace, history: History) -> bool | None:
        if history.queue.workflow != workflow:
            # Its parents cannot call it as they did.
            parts = [asked for asked in trace.of(history).values() if asked.name == workflow]
            return None if any(trace.has_come_to(history, asked) for asked in parts) else False
        return True if len(history.entries) > 1 else None

    return judge


def whoever_passed_patch(name: str) -> Judge:
    """A change of a patch that runs have recorded."""

    def judge(trace: Trace, history: History) -> bool | None:
        return True if any(entry.name == f"patched {name}" for entry in history.entries) else None

    return judge


def on_lines(lines: Iterable[int], names: Iterable[str] = (), *, numbered: bool = False) -> Touches:
    """Operations that these lines ask for; those that the loop asks for itself, by name."""
    lines, names = frozenset(lines), frozenset(names)

    def touches(asked: Asked) -> bool:
        if numbered and not isinstance(asked.key, int):
            return False
        return bool(asked.lines & lines) or (not asked.lines and asked.name in names)

    return touches


def of_name(name: str, *kinds: Kind) -> Touches:
    """Operations of a name."""
    return lambda asked: asked.name == name and (not kinds or asked.kind in kinds)
