"""`crash_matrix`: a workflow, run once, and once more for each moment at which its process can die."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import operator
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final, TypeVar

from durable.api.body import running_loop
from durable.api.durations import Duration
from durable.api.handles import RunHandle
from durable.api.workflows import WorkflowFunction
from durable.errors import UsageError
from durable.testing.crashes.lives import Played, Script, play
from durable.testing.crashes.store import Boundary, CrashPoint
from durable.testing.crashes.story import story
from durable.testing.crashes.tape import watched_of
from durable.testing.crashes.verdict import Finding, What, findings, own_effects, same_outcome, single_pass
from durable.testing.effects import Effect

T = TypeVar("T")

STORIES_MAX: Final = 3
"""Mistakes that are told at length."""

_LOGGERS: Final = ("durable", "durable.worker", "durable.store", "durable.workflow")


@dataclass(frozen=True)
class CrashReport:
    """What `crash_matrix` did."""

    result: Any
    """What the run returns without a crash; the exception, if it raises."""
    effects: tuple[Effect, ...]
    """What was done to the outside world without a crash, in order."""
    boundaries: int
    """Commits without a crash."""
    plays: int
    """How often the workflow was run, the first time included."""
    seconds: float
    """Real time that it took."""


class CrashMatrixFailed(AssertionError):
    """A crash changes what a workflow does; the text tells the story."""

    def __init__(self, text: str, findings: Sequence[Finding], report: CrashReport) -> None:
        super().__init__(text, findings, report)
        self.text, self.findings, self.report = text, tuple(findings), report

    def __str__(self) -> str:
        return self.text


CrashMatrixFailed.__module__ = "durable.testing"  # what reports of failed tests should say


def crash_matrix(
    workflow: WorkflowFunction[..., Any],
    *args: Any,
    pairs: bool = False,
    signals: Mapping[str, Any] | None = None,
    messages: Sequence[tuple[str, Any]] = (),
    at: Mapping[Duration, Callable[[RunHandle[Any]], Awaitable[object]]] | None = None,
    watch: Mapping[str, object] | None = None,
    setup: Callable[[], object] | None = None,
    same: Callable[[Any, Any], bool] = operator.eq,
    repeats: bool = True,
    **kwargs: Any,
) -> CrashReport:
    """Run a workflow, and again with a crash at every durable boundary; compare results and effects.

    The workflow is called with `args` and `kwargs`, on a store in memory and under a virtual clock, whatever its
    application says. The process dies before each commit and after it, also when each entry is committed by itself;
    another one takes over. Effects are what `effect(...)` and fakes say, and what is added to objects that are watched.

    It is a plain function, which blocks; called in async code, it works in a thread.

    Args:
        workflow: What `@wf.workflow` returned.
        args: Its arguments.
        pairs: Crash at every two moments as well; the number of plays grows with its square.
        signals: Signals that the run gets, by name, with their payloads.
        messages: Messages that it gets: names and payloads, in order.
        at: What else comes from outside: async functions that are given the run's handle, by the time after the start
            at which they are called. One that a crash interrupts is called again.
        watch: Lists, sets and mocks to which the code under test adds what it does, by a name for messages.
        setup: Called before each run, to set back what else the code under test has changed.
        same: Decides whether two results are the same; for results that are right though they differ.
        repeats: May a task that was interrupted repeat its effect? False finds tasks that need an idempotency key.
        kwargs: More arguments of the workflow; those with a name of an option here go by place.

    Returns:
        What was run. Nothing that a crash changes was found.

    Raises:
        CrashMatrixFailed: a crash changes something; the text names the two lines between which it happened.
        UsageError: `workflow` is none, an option is not of its kind, or the run cannot end even without a crash.
    """
    __tracebackhide__ = True
    if not isinstance(workflow, WorkflowFunction):
        raise UsageError(f"crash_matrix({workflow!r}): expected a workflow, what @wf.workflow returned")
    run_id = workflow.id_for(*args, **kwargs)
    watched = watched_of(watch)
    script = Script(workflow, args, kwargs, run_id, signals or {}, messages, at or {}, setup, watched)
    matrix = _Matrix(script, same, repeats)
    try:
        with _quiet():
            report, failure = _off_the_loop(lambda: matrix.run(pairs))
    finally:
        for target in watched:
            target.rewind()
    if failure is not None:
        raise failure
    return report


class _Matrix:
    """Plays and compares."""

    def __init__(self, script: Script, same: Callable[[Any, Any], bool], repeats: bool) -> None:
        self._script = script
        self._same = same
        self._repeats = repeats
        self._found: dict[tuple[object, ...], list[Finding]] = {}
        self._plays = 0

    def run(self, pairs: bool) -> tuple[CrashReport, CrashMatrixFailed | None]:
        """Run everything; return what was run, and what was found."""
        began = perf_counter()
        whole = self._play(())
        self._refuse_useless(whole)
        self._refuse_chance(whole, self._play(()))
        self._note_repeated_without_crash(whole)
        self._crash_everywhere(whole, whole.tape.boundaries, pairs)
        together = {
            (item.run_id, item.entry.position)
            for boundary in whole.tape.boundaries
            if len(boundary.recorded) > 1
            for item in boundary.recorded
        }
        if together:
            self._script = replace(self._script, sliced=True)
            sliced = self._play(())
            apart = [
                boundary
                for boundary in sliced.tape.boundaries
                if any((item.run_id, item.entry.position) in together for item in boundary.recorded)
            ]
            self._crash_everywhere(sliced, apart, pairs)
        report = CrashReport(
            whole.outcome.value if whole.outcome.error is None else whole.outcome.error,
            tuple(replace(item.effect, activation=None) for item in whole.tape.happened),
            len(whole.tape.boundaries),
            self._plays,
            perf_counter() - began,
        )
        return report, self._failure(whole, report) if self._found else None

    def _crash_everywhere(self, whole: Played, boundaries: Iterable[Boundary], pairs: bool) -> None:
        for point in (point for boundary in boundaries for point in boundary.points()):
            once = self._compare(whole, (point,))
            if pairs and once.died:
                later = (boundary for boundary in once.tape.boundaries if boundary.number > point.boundary)
                for second in (point for boundary in later for point in boundary.points()):
                    self._compare(whole, (point, second))

    def _play(self, plan: tuple[CrashPoint, ...]) -> Played:
        self._plays += 1
        return play(self._script, plan)

    def _compare(self, whole: Played, plan: tuple[CrashPoint, ...]) -> Played:
        again = self._play(plan)
        for finding in findings(whole, again, same=self._same, repeats=self._repeats):
            self._found.setdefault(finding.same, []).append(finding)
        return again

    def _refuse_useless(self, whole: Played) -> None:
        name = self._script.workflow.name
        if whole.outcome.kind == "stuck":
            raise UsageError(
                f"crash_matrix({name}): without any crash the run {_stuck_where(whole)}; give it what it waits for: "
                "signals={...}, messages=[...] or at={...}"
            )
        if whole.outcome.kind == "set aside":
            raise UsageError(
                f"crash_matrix({name}): without any crash the run {whole.outcome}"
            ) from whole.outcome.error

    def _refuse_chance(self, whole: Played, twin: Played) -> None:
        """Two runs without a crash must be the same, or nothing that a crash changes could be told."""
        name = self._script.workflow.name
        begin = f"crash_matrix({name}): two runs without any crash differ:"
        once, again = (Counter(str(item.effect) for item in played.tape.happened) for played in (whole, twin))
        if once != again:
            text = next(iter((once - again) + (again - once)))
            raise UsageError(
                f"{begin} `{text}` happened {once[text]} times in the first, {again[text]} times in the second; "
                "something was left over: give setup=, which is called before each run"
            )
        if not same_outcome(whole.outcome, twin.outcome, self._same):
            raise UsageError(
                f"{begin} the first {whole.outcome}, the second {twin.outcome}; if both are right, give same=; if "
                "something was left over, give setup=, which is called before each run"
            )

    def _note_repeated_without_crash(self, whole: Played) -> None:
        """Plain bodies are executed anew after every suspension; that is enough to find a repeated effect."""
        once = single_pass(whole)
        for text, count in own_effects(whole).items():
            if count > once[text]:
                event = next(item.effect for item in whole.tape.happened if str(item.effect) == text)
                finding = Finding("repeated", text, "body", once[text], count, whole, whole, event)
                self._found.setdefault(finding.same, []).append(finding)

    def _failure(self, whole: Played, report: CrashReport) -> CrashMatrixFailed:
        groups = sorted(self._found.values(), key=lambda group: _LAST.index(group[0].what))
        name = self._script.workflow.name
        mistakes = "1 mistake" if len(groups) == 1 else f"{len(groups)} mistakes"
        parts = [
            f"crash_matrix({name}): {mistakes} in {report.plays} plays with {report.boundaries} commits each",
            *(story(group[0], len(group)) for group in groups[:STORIES_MAX]),
        ]
        if len(groups) > STORIES_MAX:
            parts.append(f"and {len(groups) - STORIES_MAX} more: " + ", ".join(g[0].text for g in groups[STORIES_MAX:]))
        return CrashMatrixFailed("\n\n".join(parts), [group[0] for group in groups], report)


_LAST: Final[tuple[What, ...]] = ("repeated", "lost", "new", "outcome")
"""In which order mistakes are told: what happened before what came of it."""


def _stuck_where(played: Played) -> str:
    asked = [event for event in played.tape.events if hasattr(event, "place") and hasattr(event, "kind")]
    if not asked:
        return "waits for ever before its first step"
    last: Any = asked[-1]
    where = f" at {last.place.short}: {last.place.text}" if last.place else ""
    return f"waits for ever{where} ({last.kind.name.lower()} {last.name!r} was asked for last)"


# Around the plays -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let the engine not log that workers die: they do so by the hundred here."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    kept = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, kept, strict=True):
            logger.setLevel(level)


def _off_the_loop(call: Callable[[], T]) -> T:
    """Call here, or in a thread if an event loop runs here: a play has loops of its own."""
    if running_loop() is None:
        return call()
    context = contextvars.copy_context()
    result: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            result.append(context.run(call))
        except BaseException as error:  # noqa: BLE001 - it is raised where the thread is waited for
            errors.append(error)

    thread = threading.Thread(target=work, name="durable-crash-matrix")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]
