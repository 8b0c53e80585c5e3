"""Replays the history of a run against the code as it stands now, up to where the history ends, and acts on nothing.

Theory of operation. It is the product's own replay: an `Activation` with all that belongs to it, under a host whose
parts do nothing. To the activation it looks as if the store had stopped to answer (`NEVER`): nothing that is held is
carried out, and nothing that arrives is applied. So the body comes to where the history ends and stands there, with
everything open that it asks for now. What that says about the code is told in `findings`; then the body is unwound.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from durable.codec.base import Codec
from durable.core.records import Entry, Pending
from durable.errors import Bug, WorkflowError
from durable.runtime import strict
from durable.runtime.activation import UNCOMMITTED_MAX, Activation
from durable.runtime.bodies import Bodies
from durable.runtime.clock import Alarm
from durable.runtime.endings import Endings
from durable.runtime.engine import EngineOptions
from durable.runtime.findings import Finding, find, is_partly
from durable.runtime.histories import History
from durable.runtime.specs import WorkflowSpec
from durable.runtime.where import place_of

if TYPE_CHECKING:
    from durable.runtime.steps import TaskOperation
    from durable.runtime.waits import CallOperation, ChildOperation
    from durable.store.operations import Outcome, Then

NEVER: Final = -UNCOMMITTED_MAX
"""Position before which everything is committed, for an activation that is to wait for its first commit for ever."""

PLAIN_SECONDS_MAX: Final = 60.0
"""Longest time that a plain body may compute before it asks for something."""


@dataclass(frozen=True, slots=True)
class Code:
    """The code of an application, as it stands now."""

    app: str
    codec: Codec
    specs: Mapping[tuple[str, str], WorkflowSpec]
    """By name and version."""
    make_context: Callable[[Activation], Any]
    options: EngineOptions

    def spec_for(self, history: History) -> WorkflowSpec | None:
        """Return the workflow that executes a run; None if there is none of its name and version."""
        return self.specs.get((history.queue.workflow, history.queue.version))


class Verdict(NamedTuple):
    """What a rehearsal has shown."""

    findings: tuple[Finding, ...]
    """What is wrong; nothing if the run would go on as before."""
    partly: bool
    """Were some entries not compared? The code has inserted or moved steps with a step id."""


def rehearse(code: Code, spec: WorkflowSpec, history: History) -> Verdict:
    """Replay a history against a workflow.

    Plain code of the body is executed once more, and nothing else: no task, no write. It is to be called on a thread on
    which no event loop runs.
    """
    if code.options.strict:
        strict.install()
    return contextvars.Context().run(_rehearse, code, spec, history)


def _rehearse(code: Code, spec: WorkflowSpec, history: History) -> Verdict:
    host = _Host(code, history)
    act = Rehearsed(host, spec, history)
    try:
        host.drive(act)
        return Verdict(tuple(find(act, history)), is_partly(act))
    finally:
        act.evict()


class Rehearsed(Activation):
    """An activation that comes to the end of its journal, stands there, and takes note of what it cannot do."""

    def __init__(self, host: _Host, spec: WorkflowSpec, history: History) -> None:
        super().__init__(host, spec, history.record(), list(history.going_on), Pending())
        self.durable = NEVER
        self.patches: list[int] = []
        """For each change whose new code the body takes: the operations that it had issued before."""
        self.reading = 0
        """Position of the entry that was decoded last."""
        self._line = ""

    def patched(self, name: str) -> bool:
        """Take note of a change that is taken."""
        new = super().patched(name)
        if new:
            self.patches.append(self.frontier.seq)
        return new

    def decode(self, entry: Entry, result_type: Any, label: str, place: bytes) -> Any:
        """Take note of the position."""
        self.reading = entry.position
        return super().decode(entry, result_type, label, place)

    def decode_error(self, entry: Entry, place: bytes) -> BaseException:
        """Take note of the position."""
        self.reading = entry.position
        return super().decode_error(entry, place)

    def halt(self, error: BaseException) -> None:
        """Take note of the line that asked for what cannot be."""
        self._line = self._line or _line_that_asks()
        super().halt(error)

    @property
    def line(self) -> str:
        """Where the code stands, as `file:line`; empty where that cannot be told."""
        if self._line or self.root.cancelled():
            return self._line
        if self.root.done():
            return _line_of(self.root.exception())
        found = place_of(self.root)
        return "" if found.startswith(_PACKAGE) or ":" not in found else found


class _Host:
    """What an activation needs to come to the end of its journal, and no part that acts."""

    step_memory = None
    store = None
    worker_id = ""

    def __init__(self, code: Code, history: History) -> None:
        self.app = code.app
        self.codec = code.codec
        self.options = code.options
        self.make_context = code.make_context
        self.binds_values = bool(getattr(code.codec, "binds_values", False))
        self.clock = _StoppedClock(max(history.began_at, history.entries[-1].at))
        self.bodies = Bodies(self)
        self.endings = Endings(code.app, code.codec, binds_values=self.binds_values)
        self.loop = _Calls()
        self.committer = self.executor = self.alarms = self.answers = _Nobody()

    def drive(self, act: Activation) -> None:
        """Give turns until nothing can be applied any more."""
        act.scheduled = True
        try:
            while act.scheduled or act.computing:
                if act.scheduled:
                    act.scheduled = False
                    act.turn()
                elif not self.loop.answer_next(PLAIN_SECONDS_MAX):
                    raise WorkflowError(f"the body asks for no durable operation within {PLAIN_SECONDS_MAX:g} s")
        except BaseException as error:  # noqa: BLE001 - it is the body's (a SystemExit), and part of the verdict
            act.halt(error)

    def turn_soon(self, act: Activation) -> None:
        """Give the activation another turn."""
        act.scheduled = True

    def waits_for_stragglers(self, act: Activation) -> bool:
        """No attempt runs."""
        return False

    def report(self, run_id: str, message: str, error: BaseException | None) -> None:
        """Say nothing: whoever executes the run will."""

    def left(self, act: Activation, then: Then) -> None:
        """Not come here: nothing is ever committed."""
        raise Bug("a rehearsal has committed something")

    def fenced(self, act: Activation) -> None:
        """Not come here: nothing is ever committed."""
        raise Bug("a rehearsal has committed something")

    def guarded(self, act: Activation, call: Callable[..., object], *args: Any) -> None:
        """Call; what nobody foresaw is told as it is."""
        call(*args)


class _Nobody:
    """Stands for the parts of an engine that act, and does nothing."""

    def add(self, act: Activation) -> None:
        """Commit nothing."""

    def execute(self, op: TaskOperation) -> None:
        """Start no attempt."""

    def stop(self, op: TaskOperation) -> None:
        """There is none to cancel."""

    def stop_attempts(self, act: Activation) -> None:
        """There is none to cancel."""

    def ring_at(self, at_ms: int, act: Activation) -> None:
        """No time comes."""

    def adopt_child(self, op: ChildOperation) -> None:
        """Leave the child to whoever executes it."""

    def to_child(self, op: ChildOperation, outcome: Outcome) -> None:
        """Nothing is answered."""

    def to_call(self, op: CallOperation, outcome: Outcome) -> None:
        """Nothing is answered."""


class _StoppedClock:
    """A clock that shows one time, that of the last entry, at which no other time comes."""

    def __init__(self, now: int) -> None:
        self._now = now

    def now_ms(self) -> int:
        return self._now

    def has_come(self, at_ms: int) -> bool:
        return False

    def ring_at(self, at_ms: int, callback: Callable[[], object]) -> Alarm:
        raise Bug("a rehearsal waits for no time")

    def look_later(self, seconds: float, look: Callable[[], object]) -> Alarm:
        raise Bug("a rehearsal looks for nobody")

    def hold_while(self, at_work: Callable[[], bool]) -> None:
        """Stand still, whoever is at work."""


class _Calls:
    """What the threads of plain bodies want to be called where the activation has its turns."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> None:
        """Put a call into the line."""
        self._calls.put((callback, args))

    def answer_next(self, seconds: float) -> bool:
        """Make the next call; False if none came in time."""
        try:
            callback, args = self._calls.get(timeout=seconds)
        except Empty:
            return False
        callback(*args)
        return True


# Where the code stands ------------------------------------------------------------------------------------------------

_PACKAGE: Final = str(Path(__file__).parent.parent)

_FOREIGN: Final = (_PACKAGE, str(Path(asyncio.__file__).parent))
"""Folders whose frames are not the user's: ours and asyncio's."""


def _line_that_asks() -> str:
    """Return the innermost line of the body's code that is calling; empty if none is."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not _Host.drive.__code__:
        if not frame.f_code.co_filename.startswith(_FOREIGN):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _line_of(error: BaseException | None) -> str:
    """Return the innermost line of the user's code that an error went through."""
    found = ""
    trace = error.__traceback__ if error is not None else None
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_FOREIGN):
            found = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
