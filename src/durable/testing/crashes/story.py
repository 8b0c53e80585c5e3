"""Tells what a crash changes, as a story: which two steps it is between, what happened, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from durable.core.records import Entry, Kind, Status
from durable.testing.crashes.lives import Played
from durable.testing.crashes.store import Boundary
from durable.testing.crashes.tape import Asked, Death, Happened, Passed, Tape, TapeEvent
from durable.testing.crashes.verdict import Finding
from durable.testing.places import Place

LINES_MAX: Final = 10
"""Lines between two steps that are shown where the guilty one is not known."""

_VERBS: Final = {
    Kind.TASK: "task",
    Kind.TIMER: "sleep",
    Kind.VALUE: "value of durable.",
    Kind.PROMISE: "signal",
    Kind.CHILD: "child",
    Kind.START: "start of",
    Kind.MESSAGE: "message",
    Kind.CALL: "request:",
}

_ADVICE: Final = {
    ("repeated", "body"): (
        "A workflow's own code runs again from the top whenever its run is taken up; only steps are recorded. Move the "
        "effect into a @wf.task and call that: its result is recorded, and it does not run again."
    ),
    ("lost", "body"): (
        "The workflow's own code decides by something that is not recorded. Let it decide by results of steps, and "
        "move the effect into a @wf.task."
    ),
    ("repeated", "task"): (
        "A task that is interrupted before its result is recorded runs again. Give durable.idempotency_key() to the "
        "other side, so that it knows the repetition; or declare the task at_most_once=True."
    ),
    ("lost", "task"): (
        "After the crash the workflow went another way: its own code decides by something that is not recorded (time, "
        "randomness, a global). Get such things from a task, or from durable.now(), durable.random()."
    ),
    ("new", "task"): (
        "After the crash the workflow went another way: its own code decides by something that is not recorded (time, "
        "randomness, a global). Get such things from a task, or from durable.now(), durable.random()."
    ),
    ("outcome", "body"): (
        "The result depends on something that is not recorded, or that differs from play to play: time, randomness, a "
        "global, a fake that counts across plays (give setup=). If such a difference is right, give same=."
    ),
}  # fmt: skip


def story(finding: Finding, plays: int) -> str:
    """Return a finding in words.

    Args:
        finding: What was found.
        plays: In how many plays it was found.
    """
    whole = finding.whole
    tape = whole.tape
    lines = [_headline(finding, whole)]
    event = _event_of(finding, tape) or _event_of(finding, finding.played.tape)
    if event is not None:
        lines += ["", *_where(finding, event, tape if event in tape.events else finding.played.tape)]
    lines += ["", *_what_happened(finding, whole)]
    if plays > 1:
        lines += ["", f"  {plays} plays show it; this is the first of them."]
    advice = _ADVICE.get((finding.what, finding.by))
    if advice:
        lines += ["", *_wrapped(f"What to do: {advice}", "  ")]
    return "\n".join(lines)


def _headline(finding: Finding, whole: Played) -> str:
    text = f"`{finding.text}`"
    match finding.what:
        case "repeated":
            return f"{text} happened {_times(finding.found)}, without a crash {_times(finding.expected)}"
        case "lost":
            return f"{text} got lost: it happened {_times(finding.found)}, without a crash {_times(finding.expected)}"
        case "new":
            return f"{text} happened {_times(finding.found)}, without a crash never"
        case "outcome":
            return f"the run {finding.text}\n  without a crash it {whole.outcome}"


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


# Where ----------------------------------------------------------------------------------------------------------------


def _event_of(finding: Finding, tape: Tape) -> Happened | None:
    return next((item for item in tape.happened if str(item.effect) == finding.text), None)


def _where(finding: Finding, event: Happened, tape: Tape) -> Iterator[str]:
    effect = event.effect
    before, after = around(event, tape)
    if finding.by == "body":
        yield "  The workflow's own code does it, outside any task, between these two lines:"
        yield ""
        yield f"    {_step_line(before) if before else 'the beginning of the workflow'}"
        for place in [effect.place] if effect.place else _lines_between(before, after):
            yield f"  > {_place_line(place)}"
        yield f"    {_step_line(after) if after else 'the end of the workflow'}"
        return
    if effect.task:
        yield f"  Task {effect.task!r} does it" + (f", at {_place_line(effect.place)}" if effect.place else "") + ":"
    else:
        yield "  It happens while a task is executed:"
    yield ""
    if before is not None:
        yield f"    {_step_line(before)}"
    if after is not None:
        yield f"    {_step_line(after)}"


def around(event: Happened, tape: Tape) -> tuple[Asked | None, Asked | None]:
    """Return the steps of the same run before and after an effect."""
    index = tape.events.index(event)
    run_id = event.effect.run_id
    before = next((item for item in reversed(tape.events[:index]) if _is_step(item, run_id)), None)
    after = next((item for item in tape.events[index + 1 :] if _is_step(item, run_id)), None)
    assert before is None or isinstance(before, Asked)
    assert after is None or isinstance(after, Asked)
    return before, after


def _lines_between(before: Asked | None, after: Asked | None) -> Iterator[Place]:
    """Return the few lines of code between two steps of one function."""
    first, last = before and before.place, after and after.place
    if first is None or last is None or (first.file, first.function) != (last.file, last.function):
        return
    if last.line - first.line > LINES_MAX:
        return
    for number in range(first.line + 1, last.line):
        place = first._replace(line=number)
        if place.text and not place.text.startswith("#"):
            yield place


def _is_step(event: TapeEvent, run_id: str) -> bool:
    return isinstance(event, Asked) and run_id in ("", event.run_id)


def _step_line(step: Asked) -> str:
    what = f"{_VERBS.get(step.kind, '')} {step.name!r}" if step.kind is not Kind.TIMER else "sleep"
    if step.kind is Kind.VALUE:
        what = f"durable.{step.name}()"
    number = f"step {step.key}: {what}" if step.key > 0 else what
    return f"{_place_line(step.place)}    ({number})" if step.place is not None else number


def _place_line(place: Place) -> str:
    return f"{place.short}: {place.text}" if place.text else place.short


# What happened --------------------------------------------------------------------------------------------------------


def _what_happened(finding: Finding, whole: Played) -> Iterator[str]:
    tape = finding.played.tape
    yield "  What happened:"
    if not finding.played.died:
        yield "  1. Nobody died. A plain (def) workflow is executed again from the top after each suspension, such as a"
        yield f"     sleep or a wait for a signal{_again(finding, tape)}."
        return
    number = 1
    for index, event in enumerate(tape.events):
        if not isinstance(event, Death):
            continue
        passed = [item.boundary for item in tape.events[:index] if isinstance(item, Passed)]
        yield f"  {number}. {_stand(tape.events[:index], whole.tape)}"
        yield f"  {number + 1}. The process died {_moment(event, passed, whole)}."
        number += 2
    again = _again(finding, tape)
    yield f"  {number}. Another one took the run over and executed the workflow again from the top{again}."


def _stand(events: list[TapeEvent], known: Tape) -> str:
    step = next((item for item in reversed(events) if isinstance(item, Asked)), None)
    if step is None:
        return "The run was started."
    # Lines are noted in the play without crashes only.
    same = (item for item in known.events if isinstance(item, Asked) and item[:4] == step[:4])
    return f"The run came to {_step_line(next(same, step))}."


def _moment(death: Death, passed: list[Boundary], whole: Played) -> str:
    point = death.point
    boundaries = {boundary.number: boundary for boundary in (*whole.tape.boundaries, *passed)}
    boundary = boundaries.get(point.boundary)
    total = len(whole.tape.boundaries)
    what = _recorded(boundary) if boundary is not None else ""
    return f"{point} of {total}" + (f", which records {what}" if what else "")


def _recorded(boundary: Boundary) -> str:
    return " and ".join(_entry(item.entry) for item in boundary.recorded[:3])


def _entry(entry: Entry) -> str:
    if entry.kind is Kind.RUN:
        return "the end of the run" if entry.name == "finish" else f"the run's {entry.name}"
    if entry.kind is Kind.TIMER:
        return "the beginning of a sleep" if entry.status is Status.BEGUN else "the end of a sleep"
    what = f"{_VERBS.get(entry.kind, 'step')} {entry.name!r}"
    match entry.status:
        case Status.BEGUN:
            return f"the beginning of {what}"
        case Status.RETRY:
            return f"a failed attempt of {what}"
        case Status.ERROR:
            return f"the failure of {what}"
        case _:
            return f"the result of {what}"


def _again(finding: Finding, tape: Tape) -> str:
    if finding.what != "repeated" or finding.by != "body":
        return ""
    place = finding.effect.place if finding.effect else None
    return f"; {place.short} ran again" if place else "; the same lines ran again"


def _wrapped(text: str, indent: str, width: int = 100) -> Iterator[str]:
    line = indent
    for word in text.split():
        if len(line) + len(word) > width and line.strip():
            yield line.rstrip()
            line = indent
        line += f"{word} "
    yield line.rstrip()
