"""Races, exhaustively: every way in which the writes of a worker and the acts of a client can follow one another.

A worker executes a run that waits for a signal, with a time limit; a client completes the signal, cancels the run, lets
time pass, and so on, in the order of a script. Every write that either asks for waits at a gate; an *interleaving* says
whose next one is let through. With six of each there are 924 interleavings of a script. When all are through, the gates
are open and the run must come to its end: with the signal or without, but not with both, and as its client was told.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from durable import RunNotOpen, Workflow
from durable.core.records import Kind, RunState, Status, WorkerId, signal_id
from durable.store.operations import Committed, Operation
from tests.simulation.bodies import Stage, root_id
from tests.simulation.clients import Clients, Errand
from tests.simulation.faults import Faults
from tests.simulation.limits import Limits
from tests.simulation.programs import Program, payload
from tests.simulation.store import Fate, Request, SimStore
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Awaitable

OPS: Final = 6
"""Acts of each of the two."""

TICK_MS: Final = 2_500
"""Longer than the time limit."""

WORKER, CLIENT = 0, 1

PROGRAM: Final[Program] = [["race", 1, 2_000], ["step", 2, 0]]

SCRIPTS: Final[tuple[tuple[str, ...], ...]] = (
    ("complete", "tick", "cancel", "complete", "send", "tick"),
    ("tick", "complete", "cancel", "tick", "complete", "cancel"),
    ("cancel", "complete", "tick", "cancel", "complete", "tick"),
    ("complete", "cancel", "complete", "tick", "send", "cancel"),
    ("tick", "cancel", "complete", "pause", "resume", "tick"),
    ("pause", "complete", "resume", "tick", "cancel", "complete"),
    ("pause", "tick", "resume", "complete", "pause", "resume"),
    ("send", "pause", "cancel", "resume", "complete", "tick"),
)
"""What the client does."""


def interleavings() -> Iterator[tuple[int, ...]]:
    """Yield every order in which two times six acts can follow one another."""
    for places in itertools.combinations(range(2 * OPS), OPS):
        yield tuple(CLIENT if place in places else WORKER for place in range(2 * OPS))


COUNT: Final = len(SCRIPTS) * 924
"""Races there are."""


def race_of(number: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the script and the interleaving of a race, by its number."""
    script, place = divmod(number % COUNT, 924)
    return SCRIPTS[script], next(itertools.islice(interleavings(), place, None))


class GatedStore(SimStore):
    """A connection whose batches wait until they are let through."""

    def execute(self, batch: Sequence[Operation], worker: WorkerId | None = None) -> Awaitable[Committed]:
        request = Request(self._process.loop.create_future(), tuple(batch), worker, Fate.DONE)
        self._world.asked(self._process, "execute", request)
        self.on_the_way.append(request)
        if getattr(self._process, "gate_is_open", False):
            self._world.at_us(self._world.now_us + 1, self._arrive, request)
        return request.future

    def let_through(self) -> bool:
        """Let the next batch take effect; False if none waits."""
        if not self.on_the_way:
            return False
        self._arrive(self.on_the_way[0])
        return True


class Race:
    """One interleaving of one script.

    Args:
        script: The acts of the client, in order.
        order: Whose turn it is.
        apps: Applications to use.
        records: Keep the log.
    """

    def __init__(
        self, script: Sequence[str], order: Sequence[int], apps: list[tuple[Workflow, Stage]], *, records: bool = False
    ) -> None:
        source = random.Random(0)
        self._script = list(script)
        self._order = order
        limits = Limits(source)
        limits.make_calm()
        self.limits = limits
        faults = Faults(source, (), errs=False)
        faults.make_prompt()
        self.world = World(source, apps, limits, faults, records=records)
        self._clients = Clients(self.world)
        self._run = root_id(0)
        self._answers: dict[str, list[Any]] = {}
        self._started = False

    def play(self) -> list[str]:
        """Play it; return what was wrong."""
        world = self.world
        with self.limits.applied():
            self._worker, self._client = (world.launch(slot, is_worker=slot == 0) for slot in (0, 1))
            for process in (self._worker, self._client):
                process.app._make_store = partial(GatedStore, process)
            self._prepare()
            for whose in self._order:
                self._settle()
                if world.violations:
                    break
                self._act(whose)
            self._finish()
            world.clear_away()
        return world.violations

    def _settle(self) -> None:
        """Let everything happen that waits for neither gate nor time."""
        world = self.world
        world.run_until(world.now_us + 2_000)

    def _prepare(self) -> None:
        """Let the run be started, and the worker have registered."""
        self._open(True)
        self._settle()
        app: Any = self._client.app
        play = app.workflows["play"]
        self._ask("start", lambda app: play.options(id=self._run).start(PROGRAM))
        for _ in range(3):
            self.world.run_until(self.world.now_us + 500)
            if self._run in self.world.model.by_id:
                break
        self._open(False)

    def _open(self, is_open: bool) -> None:
        for process in (self._worker, self._client):
            process.gate_is_open = is_open  # type: ignore[attr-defined]
            for connection in process.connections if is_open else ():
                while isinstance(connection, GatedStore) and connection.let_through():
                    """All that waits."""

    def _act(self, whose: int) -> None:
        if whose == WORKER:
            for connection in self._worker.connections:
                if isinstance(connection, GatedStore) and connection.let_through():
                    return
            return
        what = self._script.pop(0)
        if what == "tick":
            self.world.run_until(self.world.now_us + TICK_MS * 1000)
            return
        self._ask(what, self._request(what))
        self._settle()
        for connection in self._client.connections:
            if isinstance(connection, GatedStore):
                connection.let_through()

    def _request(self, what: str) -> Any:
        run = self._run
        match what:
            case "complete":
                return lambda app: app.complete(run, "signal 1", payload(1))
            case "cancel":
                return lambda app: app.runs.cancel(run)
            case "pause":
                return lambda app: app.runs.pause(run)
            case "resume":
                return lambda app: app.runs.resume(run)
            case _:
                return self._send

    async def _send(self, app: Workflow) -> str:
        try:
            await app.send(self._run, "post", 1, id="one")
        except RunNotOpen:
            return "not open"
        return "sent"

    def _ask(self, what: str, ask: Any) -> None:
        errand = Errand(what, ask, lambda answer: self._answers.setdefault(what, []).append(answer))
        self._clients.send_by(errand, self._client)

    def _finish(self) -> None:
        """Open the gates, let the run go on if it is paused, and see how it ends."""
        world = self.world
        self._open(True)
        self._ask("resume", self._request("resume"))
        for _ in range(40):
            world.run_until(world.now_us + 500_000)
            if world.violations or (world.model.all_final() and not self._clients.open):
                break
        else:
            world.violate(f"stuck: {world.row(self._run).life}")
        if not world.violations:
            self._check()

    def _check(self) -> None:
        world = self.world
        row = world.row(self._run)
        journal = list(row.journal.values())
        signals = [entry for entry in journal if entry.kind is Kind.PROMISE and entry.status is Status.OK]
        timers = [entry for entry in journal if entry.kind is Kind.TIMER and entry.status is Status.OK]
        cancels = [entry for entry in journal if entry.kind is Kind.RUN and entry.name == "cancel"]
        if len(signals) + len(timers) > 1:
            world.violate(f"both the signal and the time limit were applied: {journal}")
        if len(self._answers.get("complete", [])) and sum(self._answers["complete"]) != 1:
            world.violate(f"the signal was accepted {sum(self._answers['complete'])} times")
        if True in self._answers.get("complete", []) and signal_id(self._run, "signal 1") not in world.model.promises:
            world.violate("the signal was accepted, and is not there")
        if row.life.state is RunState.CANCELLED:
            if True not in self._answers.get("cancel", []):
                world.violate("it is cancelled, and nobody asked for that")
        elif row.life.state is RunState.SUCCEEDED:
            result = world.codec.decode(row.last_entry().data, Any, label="result")
            if cancels or result != [payload(1) if signals else "late", 2]:
                world.violate(f"its result is {result}, its journal {journal}")
        else:
            world.violate(f"it is {row.life.state.label}")
