"""What a rehearsal says about the code: where it diverges, what it cannot read, where it raises.

The journal is compared by the replay itself; what is left for here is what stands at its end. An operation that is open
there has no outcome, but most have left a trace. A timer, a child and an attempt that runs at most once have an entry
(BEGUN), so the replay compares them, too. A wait for a signal, a message or another run is registered in the store,
under its number and its target: a body that asks for something else there would leave the run waiting for what nobody
sends. An ordinary task that is under way has left no trace; the code may ask for another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from durable.core.failure import origins
from durable.core.places import message_place, promise_place
from durable.core.records import Kind, RunState, Wait
from durable.core.replay import describe
from durable.errors import DecodeError, NonDeterminismError
from durable.runtime.endings import ContinueAsNew
from durable.runtime.registrations import Registrations
from durable.runtime.scope import Evicted
from durable.runtime.steps import Operation
from durable.runtime.waits import WaitOperation

if TYPE_CHECKING:
    from durable.runtime.histories import History
    from durable.runtime.rehearsal import Rehearsed

SHOWN_MAX: Final = 3
"""Open operations that a text names."""

BROKEN: Final = (NameError, AttributeError, ImportError, TypeError, NotImplementedError)
"""Errors that say that code is broken, not that it has decided to fail."""

TEXT_MAX: Final = 300
"""Characters of an error's message in a text."""


class Problem(StrEnum):
    """What is wrong between a run and the code."""

    DIVERGES = "diverges"
    """The code asks for something else than the run did or waits for."""
    UNREADABLE = "unreadable"
    """A value that was recorded or delivered cannot be decoded."""
    RAISES = "raises"
    """The code raises an error of its own: the run would fail."""
    STUCK = "stuck"
    """The run could not go on: a deadlock, a busy loop, real I/O in the body, too long a journal."""
    DAMAGED = "damaged"
    """The run cannot be read."""


ADVICE: Final = {
    Problem.DIVERGES: "put the code back, or guard the change with durable.patched(...) or a new workflow version",
    Problem.UNREADABLE: "keep the class, the annotation or the key that the value needs",
    Problem.RAISES: "mend the code, or the run fails as soon as it goes on",
    Problem.STUCK: "mend the code, or the run is set aside as soon as it goes on",
    Problem.DAMAGED: "run 'durable doctor' on the database",
}
"""What to do before the code is deployed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    problem: Problem
    position: int
    """Where in the journal; the next position for what is open at its end."""
    recorded: str
    """What the run did or waits for; for problems other than `DIVERGES`, what is wrong."""
    asked: str = ""
    """What the code asks for instead."""
    line: str = ""
    """Where the code stands, as `file:line`; empty if that is not known."""

    def __str__(self) -> str:
        at = f" ({self.line})" if self.line else ""
        asked = f", the code now asks for {self.asked}" if self.asked else ""
        return f"position {self.position}: {self.recorded}{asked}{at}; {ADVICE[self.problem]}"


def find(act: Rehearsed, history: History) -> Iterator[Finding]:
    """Tell what is wrong, of an activation that has come to its end or cannot go on."""
    if act.trouble is not None:
        yield _of_trouble(act, history, act.trouble)
    elif not act.journal.replaying:
        found = _raised(act, history) or _other_end(act, history) or _other_wait(act, history) or _asleep(act, history)
        if found is not None:
            yield found
    if act.trouble is None:
        yield from _renamed(act, history)
    yield from _undecodable(act, history)


def is_partly(act: Rehearsed) -> bool:
    """Are there entries that were not compared? Steps with a step id may yet be asked for, or must run before."""
    return act.trouble is None and bool(act.journal.unclaimed())


# What the replay itself has found -------------------------------------------------------------------------------------


def _of_trouble(act: Rehearsed, history: History, trouble: BaseException) -> Finding:
    match trouble:
        case NonDeterminismError(position=position, recorded=recorded, asked=asked):
            if act.root.done() and not isinstance(_error_of(act), Evicted):
                asked = _asks(act)  # with the error, if it ended in one
            return Finding(Problem.DIVERGES, position, f"the journal recorded {recorded}", asked, act.line)
        case DecodeError():
            return Finding(Problem.UNREADABLE, act.reading, str(trouble))
    entry = act.journal.peek()
    return Finding(
        Problem.STUCK, history.position if entry is None else entry.position, _text_of(trouble), "", act.line
    )


def _text_of(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may raise anything
        text = f"<its text raises {type(broken).__name__}>"
    name = type(error).__name__
    return f"{name}: {text[:TEXT_MAX]}" if text else name


# The end of the body --------------------------------------------------------------------------------------------------


def _raised(act: Rehearsed, history: History) -> Finding | None:
    """Does the body fail by itself, where the run has not ended? A failure that a step recorded is the step's.

    Nor is it news of a run that has failed already, or whose worker may be about to record just that.
    """
    if history.final is not None and history.state is not RunState.FAILED:
        return None
    if act.ended is None or act.ended.state is not RunState.FAILED or act.interruptions.passed_limit is not None:
        return None
    error = _error_of(act)
    if error is None or origins(error) or not (history.stands_still or isinstance(error, BROKEN)):
        return None
    return Finding(Problem.RAISES, history.position, f"the code raises {_text_of(error)}", "", act.line)


def _error_of(act: Rehearsed) -> BaseException | None:
    error = None if act.root.cancelled() else act.root.exception()
    return error if error is not None or act.ended is None else act.ended.error


def _other_end(act: Rehearsed, history: History) -> Finding | None:
    """Does a run that has ended end otherwise now?"""
    final = history.final
    if final is None or history.state is RunState.FAILED:
        return None  # what made it fail is tried again
    if history.state is RunState.CANCELLED and not _has_cancel(history):
        return None  # before it began
    if act.ended is not None and act.ended.state is history.state:
        return None
    recorded = f"the journal recorded the end of the workflow ({history.state.label})"
    return Finding(Problem.DIVERGES, final.position, recorded, _asks(act), act.line)


def _has_cancel(history: History) -> bool:
    return any(entry.kind is Kind.RUN and entry.name == "cancel" for entry in history.entries)


def _asleep(act: Rehearsed, history: History) -> Finding | None:
    """Does the body wait for nothing that could come?"""
    if act.root.done() or act.frontier.open:
        return None
    text = "every branch waits for another one, and nothing will ever wake them"
    return Finding(Problem.STUCK, history.position, text, "", act.line)


def _asks(act: Rehearsed) -> str:
    """Return what the code asks for, in words."""
    if act.root.done():
        error = _error_of(act)
        if isinstance(error, ContinueAsNew):
            return "a new start of the run (durable.continue_as_new)"
        return f"the end of the workflow ({_text_of(error)})" if error is not None else "the end of the workflow"
    texts = [_named(op) for op in act.frontier.open.values()]
    more = f" and {len(texts) - SHOWN_MAX} more" if len(texts) > SHOWN_MAX else ""
    return ", ".join(texts[:SHOWN_MAX]) + more if texts else "nothing"


def _renamed(act: Rehearsed, history: History) -> Iterator[Finding]:
    """Tell of steps that the code asks for under another step id, or number, than that of an equal one not asked for.

    The run would do them twice, and end with an entry that nobody asks for.
    """
    unclaimed = act.journal.unclaimed()
    recorded = {(entry.seq, entry.step_id) for entry in history.entries}
    for op in act.frontier.open.values():
        if not op.digest or (op.seq, op.step_id) in recorded:
            continue
        for entry in unclaimed:
            has_step_id = op.step_id is not None or entry.step_id is not None
            if has_step_id and (entry.kind, entry.name, entry.digest) == (op.kind, op.name, op.digest):
                recorded_as = f"the journal recorded {describe(entry)}"
                yield Finding(Problem.DIVERGES, entry.position, recorded_as, describe(op), act.line)
                return


def _named(op: Operation) -> str:
    return _title(op.wait) if isinstance(op, WaitOperation) and op.kind is Kind.PROMISE else describe(op)


# What is open ---------------------------------------------------------------------------------------------------------


def _other_wait(act: Rehearsed, history: History) -> Finding | None:
    """Is the run registered for something that the code does not wait for?"""
    wait = Registrations(act, history).first_unwanted()
    if wait is None:
        return None
    op = act.frontier.open.get(wait.seq) if wait.seq > 0 else None
    asked = _named(op) if op is not None else _asks(act)
    return Finding(Problem.DIVERGES, history.position, f"the run waits for {_title(wait)}", asked, act.line)


def _title(wait: Wait) -> str:
    kind, name = wait.target[:2], wait.target[2:]
    match kind:
        case "p:":
            what = f"signal {name.partition(chr(10))[2]!r}"
        case "m:":
            what = f"message {name!r}"
        case _:
            what = f"the end of run {name!r}"
    return f"{what} (operation {wait.seq})" if wait.seq > 0 else what


# What was delivered ---------------------------------------------------------------------------------------------------


def _undecodable(act: Rehearsed, history: History) -> Iterator[Finding]:
    """Tell which values that were delivered and not received cannot be decoded."""
    waiting = {op.wait.target: op for op in act.frontier.open.values() if isinstance(op, WaitOperation)}
    for label, ok, data, op, place in _delivered(act, history, waiting):
        try:
            if ok:
                act.host.codec.decode(data, Any if op is None else op.result_type, label=label, aad=place)
            else:
                act.host.codec.decode_error(data, aad=place)
        except DecodeError as error:
            yield Finding(Problem.UNREADABLE, history.position, f"{error} (delivered, not received yet)")


_Delivered = tuple[str, bool, bytes, WaitOperation | None, bytes]


def _delivered(act: Rehearsed, history: History, waiting: dict[str, WaitOperation]) -> Iterator[_Delivered]:
    app, binds = act.host.app, act.host.binds_values
    received = {entry.name for entry in history.entries if entry.kind is Kind.PROMISE}
    for signal in history.inbox.signals:
        name, op = signal.promise_id.partition("\n")[2], waiting.get(f"p:{signal.promise_id}")
        # A run that has continued as new may have received it before, and never again.
        if op is not None or (name not in received and not history.continuation):
            place = promise_place(app, signal.promise_id) if binds else b""
            yield f"payload of signal {name!r}", signal.ok, signal.data, op, place
    for message in history.inbox.messages:
        place = message_place(app, history.run_id) if binds else b""
        yield f"payload of message {message.name!r}", True, message.data, None, place
    for child in history.ended:
        op = waiting.get(f"r:{child.run_id}")
        if op is not None and child.data:
            yield f"result of run {child.run_id!r}", child.ok, child.data, op, op.place
