"""Batches that no store takes (`durable.store.checks`), each wrong in one way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from durable.core.records import Kind, RunState
from durable.store.operations import Advance, Continue, Extras, Finish, GoOn, Operation
from durable.testing.contract.plans import Planner

BAD_IDS: Final = ("", "\0", "\ud800", "x" * 513)


def malformed(planner: Planner) -> tuple[str, list[Operation]]:
    """Return a batch that no store takes, and the name of what is wrong with it."""
    name = planner.pick(NAMES)
    if name == "empty":
        return name, []
    wrong = _two_advances(planner) if name == "two advances" else [OPERATIONS[name](planner)]
    others = planner.batch() if planner.seldom(2) else []
    # Two mistakes in one batch might be told in another order.
    return name, [*(one for one in others if not isinstance(one, Advance)), *wrong]


def _two_advances(planner: Planner) -> list[Operation]:
    advance = planner.advance()
    return [advance, advance._replace(entries=(), then=GoOn())]


def _bad(planner: Planner) -> str:
    return planner.pick(BAD_IDS)


def _bad_promise(planner: Planner) -> str:
    return planner.pick((*BAD_IDS[:3], "x" * 1026))


def _advance(planner: Planner) -> Advance:
    return planner.advance()._replace(entries=(), then=GoOn(), extras=None)


def _positions(planner: Planner) -> Operation:
    entries = tuple(planner.entry(position, Kind.TASK) for position in (1, 3))
    return _advance(planner)._replace(entries=entries)


def _mark(planner: Planner) -> Operation:
    rewind = planner.rewind()
    return rewind._replace(mark=rewind.mark._replace(name="finish"))


def _drop(planner: Planner) -> Operation:
    rewind = planner.rewind()
    return rewind._replace(drop=(planner.pick((0, -1, rewind.mark.position)),))


OPERATIONS: Final[dict[str, Callable[[Planner], Operation]]] = {
    "run id": lambda planner: planner.start()._replace(run_id=_bad(planner)),
    "tag name": lambda planner: planner.start()._replace(tags=((_bad(planner), "1"),)),
    "tag": lambda planner: planner.start()._replace(tags=(("t", _bad(planner) or "\0"),)),
    "promise id": lambda planner: planner.settle()._replace(promise_id=_bad_promise(planner)),
    "message id": lambda planner: planner.send()._replace(message_id=_bad(planner)),
    "message name": lambda planner: planner.send()._replace(name=_bad(planner)),
    "positions": _positions,
    "end without an entry": lambda planner: _advance(planner)._replace(then=Finish(RunState.SUCCEEDED)),
    "end that is none": lambda planner: _advance(planner)._replace(
        entries=(planner.entry(1, Kind.RUN),), then=Finish(RunState.PAUSED)
    ),
    "continued with entries": lambda planner: _advance(planner)._replace(
        entries=(planner.entry(1, Kind.TASK),), then=Continue(b"1", 1, "")
    ),
    "start inside": lambda planner: _advance(planner)._replace(
        extras=Extras(starts=(planner.start()._replace(run_id=_bad(planner)),))
    ),
    "mark": _mark,
    "drop": _drop,
}
"""By what is wrong."""

NAMES: Final = (*OPERATIONS, "empty", "two advances")
"""Everything that may be wrong."""
