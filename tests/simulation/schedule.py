"""One schedule: a world made from a seed, with some processes, some runs, and some faults."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from durable import RunNotOpen, UsageError, Workflow
from durable.core.records import Reason, RunState
from tests.simulation.bodies import Stage
from tests.simulation.clients import Clients, Errand
from tests.simulation.faults import BLOWS, ZOMBIES, Blow, Faults
from tests.simulation.limits import Limits
from tests.simulation.programs import Grower, Program, operations
from tests.simulation.roots import Root
from tests.simulation.world import START_US, World

if TYPE_CHECKING:
    from durable.store._memory_tables import Row

ROOTS_MIN: Final = 3
CALLS_MIN: Final = 30

LOOK_MS: Final = 250
"""How often somebody looks after runs that cannot go on by themselves."""

STUCK_MS: Final = 240_000
"""Time after the last fault in which everything must have ended."""


@dataclass
class Report:
    """What happened in a schedule."""

    seed: int
    violations: list[str] = field(default_factory=list)
    digest: str = ""
    log: list[str] = field(default_factory=list)
    calls: int = 0
    callbacks: int = 0
    faults: int = 0
    workers: int = 0
    """Processes that began as workers."""
    runs: int = 0
    executions: int = 0
    zombie_writes: int = 0
    received: int = 0
    """Messages received."""
    virtual_ms: int = 0

    @property
    def is_whole(self) -> bool:
        """Does it count as a schedule: two workers, three runs, thirty calls of the store, and a fault?"""
        return self.workers >= 2 and self.runs >= ROOTS_MIN and self.calls >= CALLS_MIN and self.faults > 0


def any_program(source: random.Random, number: int) -> Program:
    """Return a program of everything that there is."""
    return Grower(source, number, source.choice((1, 2, 2, 5))).grow()


def mail_program(source: random.Random, number: int) -> Program:
    """Return a program that receives many messages."""
    return [["mail", 1, source.choice((10, 20, 40))], ["step", 2, 0], ["mail", 3, source.choice((1, 10))]]


@dataclass(frozen=True)
class Setting:
    """What schedules are about."""

    blows: tuple[Blow, ...] = BLOWS
    """What may hit processes."""
    program: Callable[[random.Random, int], Program] = any_program
    """Makes the program of a root."""


ANYTHING: Final = Setting()
ZOMBIE_WRITES: Final = Setting(ZOMBIES)
"""Workers that write what they have lost."""
MAIL: Final = Setting(program=mail_program)
"""Many messages, some sent twice."""


class Schedule:
    """A world, its clients, and who looks after everything.

    Args:
        seed: What everything is drawn from.
        apps: Applications to use.
        setting: What it is about.
        records: Keep the log.
    """

    def __init__(
        self, seed: int, apps: list[tuple[Workflow, Stage]], setting: Setting = ANYTHING, *, records: bool = False
    ) -> None:
        source = random.Random(seed)
        self.seed = seed
        self.setting = setting
        self.limits = Limits(source)
        self.faults = Faults(source, setting.blows)
        self.world = World(source, apps, self.limits, self.faults, records=records)
        self.clients = Clients(self.world)
        self.clients.on_done = self._look_if_over
        self.roots: list[Root] = []
        self._rescued: set[str] = set()
        self._workers = 0
        self._apps = apps

    def play(self) -> Report:
        """Play it from the first event to the last."""
        world = self.world
        with self.limits.applied():
            source = world.random
            self._workers = source.choice((2, 2, 3))
            for slot in range(self._workers + source.choice((0, 1))):
                world.launch(slot, is_worker=slot < self._workers)
            for _ in range(source.choice((ROOTS_MIN, ROOTS_MIN, ROOTS_MIN, 4))):
                self._add_root()
            world.after_ms(LOOK_MS, self._look_after)
            world.run()
            world.clear_away()
        return self._report()

    def _add_root(self) -> None:
        number = len(self.roots)
        program = self.setting.program(self.world.random, number)
        for _, stage in self._apps:
            stage.programs = [*stage.programs[:number], program]
        root = Root(self.world, self.clients, number, program)
        self.world.note(None, "root", f"{root.id} {program}")
        self.roots.append(root)
        root.begin()

    def _report(self) -> Report:
        world = self.world
        received = sum(len(run.received) for run in world.model.runs.values())
        return Report(
            self.seed, world.violations, world.digest() if world.log is not None else "", world.log or [],
            world.calls, world.callbacks, self.faults.count, self._workers, len(world.model.runs),
            world.model.executions, world.model.zombie_writes, received,
            (world.now_us - START_US) // 1000,
        )  # fmt: skip

    # Who looks after everything -------------------------------------------------------------------------------------

    def _look_after(self) -> None:
        world = self.world
        for row in world.rows():
            self._rescue(row)
        self._look_if_over()
        if world.faults.is_calm and world.now_us - world.calm_at_us > STUCK_MS * 1000:
            world.violate(f"stuck: {[_describe(row) for row in world.rows() if not row.life.state.is_final]}")
        if world.now_us - START_US > 2 * STUCK_MS * 1000:
            world.calm_down()
        world.after_ms(LOOK_MS, self._look_after)

    def _rescue(self, row: Row) -> None:
        """Do what an operator does for a run that waits for one."""
        if row.run_id in self._rescued:
            return
        root = next((root for root in self.roots if root.id == row.run_id), None)
        if row.life.state is RunState.SET_ASIDE and row.life.reason == Reason.POISONED:
            self._retry(row.run_id, None)
        elif row.life.state is RunState.FAILED and root is not None and root.has_timed_out():
            return
        elif row.life.state is RunState.FAILED and root is not None and root.breaks:
            self.world.mend_for(row.run_id)
            self._retry(row.run_id, self._place_in(row, root))
        elif row.life.state is RunState.PAUSED and root is not None and (errand := root.found_paused()) is not None:
            self._send_rescue(row.run_id, errand)
        elif row.life.state in (RunState.SET_ASIDE, RunState.FAILED):
            self.world.violate(f"{_describe(row)}")

    def _place_in(self, row: Row, root: Root) -> int | None:
        """Return from where on a failed run's journal is discarded: mostly what made it fail, sometimes much more."""
        draw = self.world.random
        if any(op[0] in ("timeout", "stubborn") for op in operations(root.program)):
            return None  # a child that was cancelled there stays so, and its parent would be told
        return draw.randrange(1, row.life.next_position) if draw.random() < 0.3 else None

    def _retry(self, run_id: str, position: int | None) -> None:
        async def ask(app: Workflow) -> object:
            try:
                return await app.runs.retry(run_id, position=position)
            except UsageError as error:
                # Asked again after a lost answer, the journal is another one.
                return str(error)
            except RunNotOpen:
                return "not open"

        self._send_rescue(run_id, Errand(f"retry {run_id}", ask))

    def _send_rescue(self, run_id: str, errand: Errand) -> None:
        self._rescued.add(run_id)
        errand.then = lambda answer: self._rescued.discard(run_id)
        self.clients.send(errand)

    def _look_if_over(self) -> None:
        world = self.world
        if world.is_over or self.clients.open or not world.model.all_final():
            return
        if len(world.model.by_id) < len(self.roots):
            return
        if world.calls < CALLS_MIN or (self.faults.left and not self.faults.count):
            self._add_root()
            return
        for root in self.roots:
            root.check()
        world.is_over = True


def _describe(row: Row) -> str:
    life = row.life
    return (
        f"{row.run_id} is {life.state.label} (owner {row.owner}, epoch {life.epoch}, due {life.due_at}, "
        f"waits {list(row.waits)}): {life.reason} {life.detail}"
    )
