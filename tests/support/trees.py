"""Random workflow bodies: trees of everything that asyncio and durable offer, over random steps.

A tree is plain data (nested dicts and lists), so that it is an argument of its workflow, and a child run takes a
subtree. `Grower` makes one from a source of random numbers; `TreeBody` executes it.

Every wait takes its own time, derived from the number of its node, so that no two things happen in the same
millisecond: what happens at once has no order that could survive a crash. A node that takes no time by itself (a
signal that is there already, the start of a child) waits a little first.
"""

from __future__ import annotations

import contextlib
import random
from typing import Any, Final

import durable
from durable import Workflow
from tests.support.replaying import Event, Script, Stage
from tests.support.tree_body import Boom, Node, TreeBody, span_ms

DEPTH_MAX: Final = 4
LEAVES_MAX: Final = 12


# Growing -------------------------------------------------------------------------------------------------------------

LEAVES: Final = (
    "step", "step", "step", "step", "failing", "retried", "named", "plain", "sleep", "sleep", "value", "yields",
    "signal", "receive", "tasks", "patched", "complete", "error",
)  # fmt: skip
BRANCHES: Final = (
    "seq", "seq", "gather", "gather", "wait", "wait", "group", "group", "as_completed", "timeout", "wait_for", "shield",
    "cancel", "queue", "event", "semaphore", "lock", "condition", "barrier", "generator", "dropped_generator", "child",
    "handle", "map", "finally", "except", "stack", "stubborn", "set",
)  # fmt: skip


class Grower:
    """Grows one tree.

    Args:
        source: Draws all choices.
        leaves_max: Leaves of the tree, about.
    """

    def __init__(self, source: random.Random, leaves_max: int = LEAVES_MAX) -> None:
        self._source = source
        self._left = leaves_max
        self._number = 0

    def grow(self, depth: int = 0) -> Node:
        """Return a random node with all that is below it."""
        self._number += 1
        number = self._number
        if depth and (depth >= DEPTH_MAX or self._left <= 0 or self._source.random() < 0.35):
            self._left -= 1
            kind = self._source.choice(LEAVES)
            return {"kind": kind, "n": number, "k": self._source.randrange(4), "of": []}
        kind = self._source.choice(BRANCHES)
        count = self._source.randrange(1, 4) if kind in _MANY else 2 if kind == "finally" else 1
        node = {"kind": kind, "n": number, "k": self._source.randrange(4)}
        node["of"] = [self.grow(depth + 1) for _ in range(count)]
        return node


_MANY: Final = frozenset(
    (
        "seq", "gather", "wait", "group", "as_completed", "queue", "semaphore", "lock", "condition", "barrier",
        "generator", "dropped_generator", "stack", "set",
    )
)  # fmt: skip


def nodes(tree: Node) -> list[Node]:
    """Return all nodes of a tree."""
    return [tree, *(node for child in tree["of"] for node in nodes(child))]


def script_of(tree: Node, *, cancel: bool = False, sliced: bool = False) -> Script:
    """Return what plays a tree: its signals and messages come from outside, and a cancellation if wanted."""
    events = [_signal(node["n"]) for node in nodes(tree) if node["kind"] == "signal"]
    events += [_message(node["n"]) for node in nodes(tree) if node["kind"] == "receive"]
    if cancel:
        events.append(Event(span_ms(tree["n"], "cancel request"), lambda wf: wf.runs.cancel("run", reason="enough")))
    return Script(build, (tree,), events=tuple(sorted(events, key=lambda event: event.after_ms)), sliced=sliced)


def _signal(number: int) -> Event:
    async def send(wf: Workflow) -> None:
        await wf.complete("run", f"signal {number}", number)

    return Event(span_ms(number, "signal"), send)


def _message(number: int) -> Event:
    async def send(wf: Workflow) -> None:
        with contextlib.suppress(durable.RunNotOpen):
            await wf.send("run", "box", number, id=f"message {number}")

    return Event(span_ms(number, "message"), send)


# Executing -----------------------------------------------------------------------------------------------------------


def build(stage: Stage) -> None:
    """Declare the tasks and the workflow that execute trees."""
    wf, world = stage

    @wf.task(retries=0)
    async def work(number: int, failures: int = 0) -> int:
        attempt = await world.job(span_ms(number, "work"))
        if attempt <= failures:
            raise Boom(number, attempt)
        return number

    @wf.task(retries=0)
    def plain(number: int) -> int:
        return number

    @wf.workflow(name="main")
    async def main(tree: Node) -> Any:
        return await TreeBody(wf, work, plain, main).run(tree)
