"""Plays the workflows of the corpus, and keeps what a database would have held at every moment of their runs.

Beside each history stands what the code had done by then: for every operation the lines of the source that asked for
it, and how much of the journal there was at that moment. From that follows, without a look at the check itself, whether
a run has recorded something past a line of the source, or has not even come to it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple
from unittest import mock

from durable.api.code import code_of
from durable.api.context import GeneratorContext
from durable.core.records import Entry, Kind, RunState, Status
from durable.runtime.activation import Activation
from durable.runtime.bodies import ThreadBody
from durable.runtime.frontier import Frontier
from durable.runtime.histories import History, read_history
from durable.runtime.rehearsal import Code
from durable.runtime.steps import Operation
from durable.store.base import RunFilter
from durable.store.memory import MemoryStore
from tests.check.stage import empty_stage, file_name, load
from tests.support.replaying import Script, Stage, cuts, play, restored

FOLDER: Final = Path(__file__).with_name("corpus")

OPEN: Final = (RunState.QUEUED, RunState.RUNNING, RunState.SUSPENDED, RunState.PAUSED)

Life = tuple[str, int]
"""A run id, and how often the run had continued as new."""


class Asked(NamedTuple):
    """An operation, as the body asked for it."""

    key: int | str
    """Its number, or its step id."""
    kind: Kind
    name: str
    lines: frozenset[int]
    """Lines of the source that were calling; none if the loop called the task itself, as `gather` lets it."""
    position: int
    """Entries that the journal held by then."""


@dataclass
class Trace:
    """What the bodies of a play asked for, by run."""

    asked: dict[Life, dict[int | str, Asked]] = field(default_factory=dict)
    journals: dict[Life, tuple[Entry, ...]] = field(default_factory=dict)
    """The longest journal of each run."""

    def of(self, history: History) -> dict[int | str, Asked]:
        """Return everything that the run of a history asks for in its whole life, by number or step id."""
        return self.asked.get((history.run_id, history.continuation), {})

    def has_come_to(self, history: History, asked: Asked) -> bool:
        """Has a body, at the end of this history, asked for the operation?

        It has when all outcomes are there that came before it; what lies between the last one and it, it does again.
        """
        whole = self.journals[history.run_id, history.continuation]
        return _outcomes(history.entries) >= _outcomes(whole[: asked.position])


@dataclass(frozen=True)
class Played:
    """A module of the corpus and what became of its runs."""

    name: str
    source: str
    result: Any
    histories: tuple[History, ...]
    """Those of runs that have not ended, each once."""
    trace: Trace


def names() -> list[str]:
    """Return the modules of the corpus."""
    return sorted(path.stem for path in FOLDER.glob("*.py"))


@cache
def played(name: str) -> Played:
    """Play a module of the corpus: once as it goes, once with a commit after every entry."""
    source = (FOLDER / f"{name}.py").read_text()
    events = load(source, name, empty_stage()).EVENTS
    trace, found = Trace(), dict[Any, History]()
    result: Any = None
    for sliced in (False, True):

        def build(stage: Stage) -> None:
            load(source, name, stage)

        with _traced(trace, name):
            whole = play(Script(build, events=events, sliced=sliced))
        if isinstance(whole.result, BaseException):
            raise whole.result
        result = whole.result
        for cut in cuts(whole.log):
            for history in asyncio.run(_histories(restored(whole.log, cut))):
                life = (history.run_id, history.continuation)
                trace.journals[life] = max(trace.journals.get(life, ()), history.entries, key=len)
                if history.state in OPEN:
                    found.setdefault((history.run_id, history.entries, history.waits, history.state), history)
    return Played(name, source, result, tuple(found.values()), trace)


async def _histories(store: MemoryStore) -> list[History]:
    records = await store.runs(RunFilter(), limit=1000)
    return [await read_history(store, record) for record in records]


def code_for(source: str, name: str) -> Code:
    """Return what the check gets of a module's source."""
    stage = empty_stage()
    load(source, name, stage)
    return code_of(stage.wf)


# What a history says --------------------------------------------------------------------------------------------------


def is_outcome(entry: Entry) -> bool:
    """Did the entry come from outside of the body?"""
    return entry.kind is not Kind.VALUE and entry.status is not Status.BEGUN


def recorded(history: History) -> set[int | str]:
    """Return the operations of which an outcome is recorded."""
    found = (_key(entry) for entry in history.entries if entry.status in (Status.OK, Status.ERROR))
    return {key for key in found if key is not None}


def begun(history: History) -> set[int | str]:
    """Return the operations of which it is recorded that they have begun."""
    found = (_key(entry) for entry in history.entries if entry.status is Status.BEGUN)
    return {key for key in found if key is not None}


def _key(entry: Entry) -> int | str | None:
    return entry.step_id if entry.seq is None else entry.seq


def _outcomes(entries: tuple[Entry, ...]) -> int:
    return sum(map(is_outcome, entries))


# Tracing --------------------------------------------------------------------------------------------------------------


@contextmanager
def _traced(trace: Trace, name: str) -> Iterator[None]:
    """Take note of the lines that ask for operations, while a play goes on."""
    tracer = _Tracer(trace, file_name(name))
    with (
        mock.patch.object(Frontier, "issue", tracer.issue),
        mock.patch.object(Activation, "value", tracer.value),
        mock.patch.object(ThreadBody, "ask", tracer.ask),
        mock.patch.object(GeneratorContext, "_asks", tracer.asks),
    ):
        yield


class _Tracer:
    def __init__(self, trace: Trace, file: str) -> None:
        self._trace, self._file = trace, file
        self._calling: dict[Activation, frozenset[int]] = {}
        """Lines of bodies that ask from where our caller does not see them: another thread, a generator."""
        issue, value, ask, asks = Frontier.issue, Activation.value, ThreadBody.ask, GeneratorContext._asks

        def traced_issue(frontier: Frontier, op: Operation) -> None:
            position = op.act.journal.position
            issue(frontier, op)
            self._note(op.act, op.step_id or op.key, op.kind, op.name, position)

        def traced_value(act: Activation, name: str, make: Callable[[], Any]) -> Any:
            self._note(act, act.frontier.seq + 1, Kind.VALUE, "", act.journal.position)
            return value(act, name, make)

        def traced_ask(thread: ThreadBody, make: Any) -> Any:
            self._calling[thread._act] = self._lines()
            return ask(thread, make)

        def traced_asks(context: GeneratorContext) -> None:
            self._calling[context._act] = self._lines()
            asks(context)

        self.issue, self.value, self.ask, self.asks = traced_issue, traced_value, traced_ask, traced_asks

    def _lines(self) -> frozenset[int]:
        found = set()
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_filename == self._file:
                found.add(frame.f_lineno)
            frame = frame.f_back
        return frozenset(found)

    def _note(self, act: Activation, key: int | str, kind: Kind, name: str, position: int) -> None:
        lines = self._lines() or self._calling.get(act, frozenset())
        operations = self._trace.asked.setdefault((act.run_id, act.run.continuation), {})
        operations.setdefault(key, Asked(key, kind, name, lines, position))
