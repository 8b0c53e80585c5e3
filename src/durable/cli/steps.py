"""The steps of a run, made from its journal: what was under way when. Decides, prints nothing.

The journal records ends. A task's entry says how long the attempt took, so its beginning is known. A wait's beginning
is recorded only if it differs from the time of the entry before (`runtime.steps`): else it is that of some earlier
entry, and the steps numbered before and after it, which began before and after it, say of which one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate

from durable.core.records import Entry, Kind, RunRecord, RunState, Status, Wait

WAITS = (Kind.TIMER, Kind.PROMISE, Kind.CHILD, Kind.MESSAGE)

GAP_MS_MIN = 1_000
"""Shortest stretch without a step that is worth a line."""


class Doing(StrEnum):
    """What a step did during a stretch of time."""

    WORKED = "worked"
    FAILED = "failed"
    WAITED = "waited"


class Outcome(StrEnum):
    """Where a step stands."""

    OK = "ok"
    FAILED = "failed"
    OPEN = "open"
    """It has begun and not ended; for a run that ended, it was given up."""
    MARK = "mark"
    """Something that happened to the run itself."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in milliseconds since the epoch."""

    begin: int
    end: int
    doing: Doing


@dataclass(slots=True)
class Step:
    """One durable operation of a run."""

    number: str
    """Sequence number, `-` for one with a step id and for marks."""
    title: str
    note: str
    outcome: Outcome
    begin: int
    end: int | None
    spans: list[Span] = field(default_factory=list)
    attempts: int = 0
    errors: list[tuple[int, Entry]] = field(default_factory=list)
    """Attempts that failed, and their entries."""
    next_at: int | None = None
    """When the next attempt starts, while one is waited for."""
    positions: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Timeline:
    """What a run did and when."""

    begin: int
    end: int
    steps: list[Step]
    values: int
    """Recorded times, random numbers and the like, which take no time and are not among the steps."""
    gaps: list[Span]
    """Stretches in which no step was under way, as far as was recorded."""


def timeline_of(record: RunRecord, journal: Sequence[Entry], now: int, waits: Sequence[Wait] = ()) -> Timeline:
    """Return the steps of a run, in the order in which they began, and the time that they took up.

    Args:
        record: The run.
        journal: All its entries.
        now: The time at which what is open is cut off, in milliseconds since the epoch.
        waits: What the run is registered for: the journal knows of most waits only when they are over.
    """
    begin = _beginning(record, journal)
    end = _end(record, journal, now)
    begins = _Beginnings(journal, begin)
    steps = [_step(entries, begins, end, is_final=record.state.is_final) for entries in _by_operation(journal)]
    steps += [_mark(entry) for entry in journal if entry.kind is Kind.RUN and entry.name not in ("start", "finish")]
    if not record.state.is_final and journal:
        steps += _open_waits(record, journal[-1], steps, waits, end)
    steps.sort(key=lambda step: (step.begin, step.positions[0]))
    # What runs now is recorded when it has ended: of the time after the last entry nothing is known before the end.
    gaps = _gaps(steps, begin, end if record.state.is_final else begin)
    values = sum(entry.kind is Kind.VALUE for entry in journal)
    return Timeline(begin, max([end, begin, *(step.end or 0 for step in steps)]), steps, values, gaps)


def _beginning(record: RunRecord, journal: Sequence[Entry]) -> int:
    if record.continuation and journal:
        return journal[0].at
    first = min((entry.at - entry.took for entry in journal[1:]), default=record.started_at or record.created_at)
    return min(record.started_at or record.created_at, first)


def _end(record: RunRecord, journal: Sequence[Entry], now: int) -> int:
    if record.finished_at is not None and record.state.is_final:
        return record.finished_at
    if record.state in (RunState.PAUSED, RunState.SET_ASIDE) and journal:
        return journal[-1].at
    return now if record.started_at is not None else record.created_at


def _by_operation(journal: Sequence[Entry]) -> list[list[Entry]]:
    operations: dict[int | str, list[Entry]] = {}
    for entry in journal:
        if entry.kind in (Kind.RUN, Kind.VALUE):
            continue
        key = entry.seq if entry.seq is not None else entry.step_id or f"@{entry.position}"
        operations.setdefault(key, []).append(entry)
    return list(operations.values())


class _Beginnings:
    """Knows or infers when operations began."""

    def __init__(self, journal: Sequence[Entry], begin: int) -> None:
        self._times = [begin] + [entry.at for entry in journal[1:]]
        self._index = {entry.position: i for i, entry in enumerate(journal)}
        known: dict[int, int] = {}
        for entry in journal:
            if entry.seq is not None and (entry.kind is Kind.TASK or entry.status is Status.BEGUN):
                known.setdefault(entry.seq, entry.at - entry.took)
        self._seqs = sorted(known)
        ascending = [known[seq] for seq in self._seqs]
        self._latest_before = list(accumulate(ascending, max))
        self._earliest_after = list(accumulate(reversed(ascending), min))[::-1]

    def of_wait(self, entry: Entry) -> int:
        """Return when a wait of which only the end is recorded began."""
        index = self._index[entry.position]
        low, high = self._times[0], entry.at
        if entry.seq is not None and self._seqs:
            place = bisect_right(self._seqs, entry.seq)
            if place > 0:
                low = max(low, self._latest_before[place - 1])
            if place < len(self._seqs):
                high = min(high, self._earliest_after[place])
        before = bisect_right(self._times, high, 0, max(index, 1)) - 1
        return min(max(self._times[max(before, 0)], low), entry.at)


def _step(entries: list[Entry], begins: _Beginnings, end: int, *, is_final: bool) -> Step:
    first, last = entries[0], entries[-1]
    step = Step(
        str(first.seq) if first.seq is not None else "-", step_title(first), first.note, _outcome(last), 0, None,
        positions=[entry.position for entry in entries],
    )  # fmt: skip
    if first.kind in WAITS:
        _fill_wait(step, entries, begins, end)
    else:
        _fill_work(step, entries, end, is_final=is_final)
    step.begin = step.spans[0].begin if step.spans else first.at
    step.end = last.at if step.outcome is not Outcome.OPEN else None
    return step


def _outcome(last: Entry) -> Outcome:
    match last.status:
        case Status.OK:
            return Outcome.OK
        case Status.ERROR:
            return Outcome.FAILED
    return Outcome.OPEN


def step_title(entry: Entry) -> str:
    """Return what a step is called."""
    word = {Kind.PROMISE: "signal ", Kind.CHILD: "child ", Kind.START: "start ", Kind.MESSAGE: "message "}.get(
        entry.kind, ""
    )
    name = "sleep" if entry.kind is Kind.TIMER and entry.name in ("", "timer", "sleep") else entry.name
    return f"{word}{name}" + (f" [{entry.step_id}]" if entry.step_id is not None else "")


def _fill_wait(step: Step, entries: list[Entry], begins: _Beginnings, end: int) -> None:
    first, last = entries[0], entries[-1]
    begin = first.at if first.status is Status.BEGUN else begins.of_wait(first)
    until = end if step.outcome is Outcome.OPEN else last.at
    step.spans.append(Span(begin, max(until, begin), Doing.WAITED))
    if step.outcome is Outcome.FAILED:
        step.errors.append((0, last))


def _fill_work(step: Step, entries: list[Entry], end: int, *, is_final: bool) -> None:
    for entry in entries:
        if entry.status is Status.BEGUN:
            if entry is entries[-1] and not is_final:
                step.spans.append(Span(entry.at, max(end, entry.at), Doing.WORKED))
            continue
        begin = entry.at - entry.took
        if step.spans and begin > step.spans[-1].end:
            step.spans.append(Span(step.spans[-1].end, begin, Doing.WAITED))
        step.spans.append(Span(begin, entry.at, Doing.WORKED if entry.status is Status.OK else Doing.FAILED))
        step.attempts = max(step.attempts, entry.attempt)
        if entry.status is not Status.OK:
            step.errors.append((entry.attempt, entry))
    last = entries[-1]
    if last.status is Status.RETRY and not is_final:
        step.next_at = last.due_at
        step.spans.append(Span(last.at, max(min(last.due_at, end), last.at), Doing.WAITED))


def _gaps(steps: Sequence[Step], begin: int, end: int) -> list[Span]:
    """Return the stretches up to `end` that no step accounts for.

    An attempt that its process did not survive leaves no entry. What lies between a failure and a retry is known.
    """
    retries = [Span(step.begin, step.begin, Doing.WAITED) for step in steps if step.title == RETRIED]
    last = Span(end, end, Doing.WAITED)
    gaps: list[Span] = []
    covered = begin
    for span in sorted([*(span for step in steps for span in step.spans), *retries, last], key=lambda span: span.begin):
        if span.begin - covered >= GAP_MS_MIN and span not in retries:
            gaps.append(Span(covered, span.begin, Doing.WAITED))
        covered = max(covered, span.end)
    return gaps


RETRIED = "retried: dropped"


def _mark(entry: Entry) -> Step:
    words = {"cancel": "cancel requested", "rewind": RETRIED, "timeout": "timeout", "deadline": "deadline"}
    return Step(
        "-", words.get(entry.name, entry.name), entry.note, Outcome.MARK, entry.at, entry.at, positions=[entry.position]
    )


def wait_title(target: str) -> str:
    """Return in words what a wait is for (`core.records.Wait`)."""
    kind, _, name = target.partition(":")
    match kind:
        case "m":
            return f"message {name}"
        case "r":
            return f"run {name}"
    # A signal's promise is named by its run and itself.
    return f"signal {name.rpartition(chr(10))[2]}"


def _open_waits(record: RunRecord, last: Entry, steps: list[Step], waits: Sequence[Wait], end: int) -> list[Step]:
    """Return the waits that the journal does not show; they began when the run went on last, as far as one can tell."""
    known = {step.number for step in steps if step.outcome is Outcome.OPEN}
    span = Span(last.at, max(end, last.at), Doing.WAITED)

    def step(number: str, title: str) -> Step:
        return Step(number, title, "", Outcome.OPEN, span.begin, None, [span], positions=[last.position + 1])

    numbers = {wait: str(wait.seq) if wait.seq > 0 else "-" for wait in waits}
    found = [step(numbers[wait], wait_title(wait.target)) for wait in waits if numbers[wait] not in known - {"-"}]
    retries = {step.next_at for step in steps}
    sleeps = any(step.outcome is Outcome.OPEN and step.title == "sleep" for step in steps)
    if record.state is RunState.SUSPENDED and not sleeps and record.due_at not in {None, record.deadline_at, *retries}:
        found.append(step("-", "sleep"))
    return found
