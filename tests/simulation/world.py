"""The world of a schedule: virtual time, the processes that live in it, and whatever hits them.

Each process has a loop, a clock and an application of its own; what they share is the database. The world lets one
process run some callbacks, then another one, in an order drawn from the seed; when nobody has anything to run, time
jumps to the next event. All choices come from one source of random numbers, so the seed is the schedule.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import random
import traceback
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from durable import Workflow
from durable.codec.base import Codec
from durable.core.records import WorkerId, WorkerRecord
from durable.errors import StoreError
from durable.runtime.scope import TaskScope
from durable.store.memory import MemoryStore
from durable.store.operations import Advance
from tests.simulation.bodies import APP, Stage
from tests.simulation.faults import JUMPS_MS, Blow, Faults, Moment
from tests.simulation.loop import SimLoop, count_tasks_from_zero
from tests.simulation.model import Model
from tests.simulation.store import InlineStore, Request, SimStore

if TYPE_CHECKING:
    from durable.store._memory_tables import Row
    from tests.simulation.limits import Limits

START_US: Final = 1_700_000_000_000_000
"""Where time begins: in November 2023."""

RECHECK_MS: Final = 60_000

ALONE_MAX: Final = 40
"""Callbacks that a process runs at a time if no other one is ready."""

SLOTS: Final = 5
"""Processes at a time, at most."""


class Alarm:
    """An alarm of a clock."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class SimClock:
    """The clock of one process: the world's time, and what it is off by."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self.off_us = 0
        self.has_jumped = False

    def _us(self) -> int:
        return self._world.now_us + self.off_us

    def now_ms(self) -> int:
        return self._us() // 1000

    def has_come(self, at_ms: int) -> bool:
        return self._us() // 1000 > at_ms

    def ring_at(self, at_ms: int, callback: Callable[[], object]) -> Alarm:
        alarm = Alarm(callback)
        delay_us = min(max(at_ms * 1000 + 1_050 - self._us(), 0), RECHECK_MS * 1000)
        self._world.at_us(self._world.now_us + delay_us, self._ring, alarm)
        return alarm

    def look_later(self, seconds: float, look: Callable[[], object]) -> Alarm:
        alarm = Alarm(look)
        self._world.after_ms(seconds * 1000, self._ring, alarm)
        return alarm

    def hold_while(self, at_work: Callable[[], bool]) -> None:
        """There are no threads."""

    def _ring(self, alarm: Alarm) -> None:
        if alarm.callback is not None:
            self._process.loop.call_soon(alarm.callback)


class Process:
    """One process: an application, its loop, and its connections to the store."""

    def __init__(self, world: World, slot: int, name: str, app: Workflow, *, is_worker: bool) -> None:
        self.world = world
        self.slot = slot
        self.name = name
        self.app = app
        self.is_worker = is_worker
        self.loop = SimLoop(self)  # type: ignore[abstract]
        self.clock = SimClock(self)
        self.connections: list[SimStore] = []
        self.workers: list[WorkerId] = []
        """Under which names it has registered, or asked to."""
        self.is_paused = False
        self.is_alive = True
        self.is_leaving = False
        self.has_lost_store = False
        self.fuse: int | None = None
        """Callbacks until something hits it."""
        self.charge: Callable[[], None] = lambda: None
        self._tasks: list[asyncio.Task[None]] = []
        app.clock = self.clock
        app._options = world.limits.options
        kind = InlineStore if world.limits.inline else SimStore
        app._make_store = lambda: kind(self)

    def new_worker(self, now_ms: int) -> WorkerRecord:
        """Return the identity of a new worker in this process."""
        number = self.world.next_number()
        return WorkerRecord(f"sim:{self.name}:{number}", 1, "host", "boot", now_ms)

    def spawn(self, coro: Coroutine[Any, Any, None]) -> None:
        """Run something in this process."""
        self._tasks.append(self.loop.create_task(coro))

    def forget_tasks(self) -> None:
        """Let go of what was run here; it never ends."""
        self._tasks.clear()

    async def serve(self) -> None:
        """Be a worker, however long it takes to become one."""
        while True:
            try:
                await self.app.start()
            except StoreError:
                await _pause(self, 50_000)
            else:
                return

    async def leave(self) -> None:
        """End in peace."""
        await self.app.stop()
        self.world.has_left(self)


async def _pause(process: Process, us: int) -> None:
    come = process.loop.create_future()
    process.world.at_us(process.world.now_us + us, process.loop.call_soon, _wake, come)
    await come


def _wake(future: Any) -> None:
    if not future.done():
        future.set_result(None)


class World:
    """Everything that there is in one schedule.

    Args:
        seed: What all choices are drawn from.
        apps: Applications to use, one a slot.
        limits: The limits of this schedule.
        faults: What goes wrong.
        records: Keep the log of events, for a digest or for reading.
    """

    def __init__(
        self, source: random.Random, apps: list[tuple[Workflow, Stage]], limits: Limits, faults: Faults, *,
        records: bool = False,
    ) -> None:  # fmt: skip
        count_tasks_from_zero()
        self.random = source
        self.limits = limits
        self.faults = faults
        self.now_us = START_US
        self._furthest_off_us = 0
        self.memory = MemoryStore(spread=source.random)
        self.model = Model(self.memory._tables, self.violate, self.latest_ms)
        self.processes: list[Process] = []
        self.graveyard: list[Process] = []
        self.log: list[str] | None = [] if records else None
        self.calls = 0
        """Calls of the store."""
        self.changes = 0
        """Writes that have changed the database."""
        self.callbacks = 0
        self.is_over = False
        self.violations: list[str] = []
        self.calm_at_us = 0
        self.on_calm: Callable[[], None] = lambda: None
        self.on_death: Callable[[Process], None] = lambda process: None
        self._apps = apps
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = 0
        self._number = 0
        self._late = 0
        """Writes that are to arrive long after their worker was taken for dead."""
        self._broken: set[str] = set()
        self._killed: dict[tuple[str, int], int] = {}
        for _, stage in apps:
            stage.world = self

    # What happens ---------------------------------------------------------------------------------------------------

    def violate(self, what: str) -> None:
        """Something has happened that must not happen: the schedule ends."""
        self.note(None, "VIOLATION", what)
        self.violations.append(what)
        self.is_over = True

    def note(self, process: Process | None, what: str, detail: object = "") -> None:
        """Write a line into the log of events."""
        if self.log is not None:
            self.log.append(f"{self.now_us - START_US} {process.name if process else '-'} {what} {detail}")

    def digest(self) -> str:
        """Return a digest of everything that has happened."""
        assert self.log is not None
        return hashlib.blake2b("\n".join(self.log).encode(), digest_size=16).hexdigest()

    def next_number(self) -> int:
        """Return a number that was not used before in this world."""
        self._number += 1
        return self._number

    def latest_ms(self) -> int:
        """Return a time that no clock has been ahead of."""
        return (self.now_us + self._furthest_off_us) // 1000

    def at_us(self, at_us: int, action: Callable[..., object], *args: Any) -> None:
        """Do something when the time has come."""
        self._order += 1
        heapq.heappush(self._heap, (at_us, self._order, action, args))

    def after_ms(self, ms: float, action: Callable[..., object], *args: Any) -> None:
        """Do something after a while."""
        self.at_us(self.now_us + int(ms * 1000), action, *args)

    # Running --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Let everything happen until it is over."""
        try:
            self._run()
        except Exception:
            # What the model cannot make sense of after a violation is no news.
            if not self.violations:
                self.violate(f"the simulation itself failed:\n{traceback.format_exc()}")

    def run_until(self, until_us: int) -> None:
        """Let everything happen until a time, which it is then."""
        self.at_us(until_us, self._stop)
        self.run()
        self.is_over = bool(self.violations)

    def _stop(self) -> None:
        self.is_over = True

    def _run(self) -> None:
        heap = self._heap
        limits = self.limits
        cost_us = limits.callback_us
        while not self.is_over:
            while heap and heap[0][0] <= self.now_us:
                _, _, action, args = heapq.heappop(heap)
                action(*args)
            ready = [process for process in self.processes if process.loop.ready and not process.is_paused]
            if ready:
                if len(ready) == 1:
                    # Nobody is there to come in between.
                    done = self._burst(ready[0], ALONE_MAX if cost_us == 0 or not heap else self._room(heap[0][0]))
                else:
                    done = self._burst(self.random.choice(ready), limits.burst)
                self.now_us += done * cost_us
                self.callbacks += done
                if self.callbacks > limits.callbacks_max:
                    self.violate("there is no end to it")
            elif heap:
                self.now_us = heap[0][0]
            else:
                self.violate("nothing will ever happen again")

    def _room(self, until_us: int) -> int:
        """Return how many callbacks may run before something else happens."""
        return min(max((until_us - self.now_us) // self.limits.callback_us, 1), ALONE_MAX)

    def _burst(self, process: Process, count: int) -> int:
        if process.fuse is None:
            return process.loop.burst(count)
        done = process.loop.burst(min(count, process.fuse))
        process.fuse -= done
        if process.fuse <= 0:
            process.fuse = None
            process.charge()
        return done

    # Processes ------------------------------------------------------------------------------------------------------

    def launch(self, slot: int, *, is_worker: bool) -> Process:
        """Let a process begin."""
        app, _ = self._apps[slot]
        process = Process(self, slot, f"p{slot}.{self.next_number()}", app, is_worker=is_worker)
        self.processes.append(process)
        self.note(process, "begins", "as worker" if is_worker else "as client")
        if is_worker:
            process.spawn(process.serve())
        return process

    def living(self) -> list[Process]:
        """Return the processes that take new work."""
        return [process for process in self.processes if not process.is_leaving]

    def _bury(self, process: Process) -> None:
        """Let the others find out that the workers of a process are dead."""
        for worker in process.workers:
            self.memory.bury(worker)

    def crash(self, process: Process) -> None:
        """End a process at once."""
        if not process.is_alive:
            return
        self.note(process, "crashes")
        self._end(process)
        for connection in process.connections:
            for request in connection.on_the_way:
                request.dropped = self.random.random() < 0.5
        # Others see it at once, as on one machine, or after a while.
        self.after_ms(0 if self.random.random() < 0.7 else self.random.randrange(3_000), self._bury, process)
        self.after_ms(self.random.choice((1, 30, 500, 4_000)), self._restart, process)

    def has_left(self, process: Process) -> None:
        """A process has ended in peace."""
        if process.is_alive:
            self.note(process, "has left")
            self._end(process)
            self._bury(process)  # whatever it has not said good-bye for
            self.after_ms(self.random.choice((1, 30, 500)), self._restart, process)

    def _end(self, process: Process) -> None:
        process.is_alive = False
        process.loop.die()
        self.processes.remove(process)
        self.graveyard.append(process)
        self.on_death(process)

    def _restart(self, dead: Process) -> None:
        if not any(process.slot == dead.slot for process in self.processes):
            self.launch(dead.slot, is_worker=dead.is_worker)

    # Blows ----------------------------------------------------------------------------------------------------------

    def asked(self, process: Process, what: str, request: Request | None) -> None:
        """A call of the store is made; perhaps it is the one with which something happens."""
        self.calls += 1
        self.note(process, what, request.fate.value if request else "")
        if self.log is not None and request is not None:
            self.log.append(repr(request.batch))
        faults = self.faults
        if faults.is_calm:
            return
        if self._late and request is not None and any(isinstance(one, Advance) for one in request.batch):
            self._late -= 1
            request.delay_us = self.random.choice((2_000, 400_000, 2_500_000))
            self.at_us(self.now_us, self._fall, Blow.LATE, process)
        if self.calls > self.limits.calls_max and faults.count:
            self.calm_down()
        elif faults.strikes(self.calls, what, request.batch if request else ()):
            blow, moment = faults.blow()
            victim = process if self.random.random() < 0.8 else self.random.choice(self.processes)
            self._aim(blow, moment, victim, request)
        elif not faults.left and self.calls >= faults.next_at:
            self.calm_down()

    def _aim(self, blow: Blow, moment: Moment, victim: Process, request: Request | None) -> None:
        self.note(victim, "aimed at", f"{blow.value} {moment.value}")

        def charge() -> None:
            self._fall(blow, victim)

        if blow is Blow.LATE:
            self._late += 1  # the next one that writes a run
        elif moment is Moment.WRITTEN and request is not None:
            request.fault = charge
        elif moment is Moment.LATER:
            victim.fuse, victim.charge = self.random.randrange(1, 40), charge
        else:
            self.at_us(self.now_us, charge)

    def _fall(self, blow: Blow, victim: Process) -> None:
        if not victim.is_alive or self.faults.is_calm:
            return
        self.note(victim, blow.value)
        match blow:
            case Blow.CRASH:
                self.crash(victim)
            case Blow.BURY | Blow.LATE:
                self._bury(victim)
            case Blow.PAUSE | Blow.FREEZE:
                self._pause(victim, dies=blow is Blow.FREEZE)
            case Blow.JUMP:
                victim.clock.off_us += self.random.choice(JUMPS_MS) * 1000
                self._furthest_off_us = max(self._furthest_off_us, victim.clock.off_us)
                victim.clock.has_jumped = True
            case Blow.LOSE:
                victim.has_lost_store = True
                self.after_ms(self.random.choice((5, 300)), self.crash, victim)
            case Blow.STOP:
                if not victim.is_leaving:
                    victim.is_leaving = True
                    victim.spawn(victim.leave())

    def _pause(self, victim: Process, *, dies: bool) -> None:
        victim.is_paused = True
        ms = self.random.choice((5, 80, 700, 3_000))
        self.after_ms(ms, self._go_on, victim)
        if dies:
            self.after_ms(self.random.random() * ms, self._bury, victim)

    def _go_on(self, process: Process) -> None:
        if process.is_paused:
            self.note(process, "goes on")
            process.is_paused = False

    def calm_down(self) -> None:
        """From now on nothing goes wrong."""
        if self.faults.is_calm:
            return
        self.note(None, "calm")
        self.faults.calm_down()
        self.calm_at_us = self.now_us
        self.on_calm()

    # Looking --------------------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Return all runs as the database has them."""
        return list(self.memory._tables.runs.values())

    def find(self, run_id: str) -> Row | None:
        """Return one run as the database has it, None if it is not there."""
        return self.memory._tables.by_id.get((APP, run_id))

    def row(self, run_id: str) -> Row:
        """Return one run as the database has it."""
        return self.memory._tables.by_id[APP, run_id]

    @property
    def codec(self) -> Codec:
        """What encodes the values of all processes."""
        return self._apps[0][0].codec

    # Effects --------------------------------------------------------------------------------------------------------

    def effect(self, scope: TaskScope, number: int) -> None:
        """A task has an effect."""
        op = scope.operation
        process = op.act.host.loop.process  # type: ignore[attr-defined]
        self.note(process, "effect", f"{scope.run_id} {number} {scope.attempt}")
        self.model.effect(process, op, number, scope.attempt)

    def goes_on(self, scope: TaskScope, number: int) -> None:
        """An attempt goes on after it has taken its time."""
        op = scope.operation
        self.model.goes_on(op.act.host.loop.process, op, number)  # type: ignore[attr-defined]

    def kills(self, scope: object, number: int, times: int) -> bool:
        """Does a task end its process, as one does that takes all its memory? So many times, then no more."""
        assert isinstance(scope, TaskScope)
        killed = self._killed.get((scope.run_id, number), 0)
        if killed >= times:
            return False
        self._killed[scope.run_id, number] = killed + 1
        self.at_us(self.now_us, self.crash, scope.operation.act.host.loop.process)  # type: ignore[attr-defined]
        return True

    def is_broken(self, run_id: str) -> bool:
        """Does the task that fails until somebody mends the world fail?"""
        return run_id in self._broken

    def break_for(self, run_id: str) -> None:
        """Let it fail in this run."""
        self._broken.add(run_id)

    def mend_for(self, run_id: str) -> None:
        """Let it succeed from now on."""
        self._broken.discard(run_id)

    # The end --------------------------------------------------------------------------------------------------------

    def clear_away(self) -> None:
        """Unwind what is left of all processes, so that nothing of them comes to life later."""
        everyone = [*self.processes, *self.graveyard]
        for process in everyone:
            process.loop.die()
            process.is_alive = False
            process.forget_tasks()
        for _, stage in self._apps:
            stage.world = None
        for process in everyone:
            for engine in list(process.app._engines.values()):
                engine.abandon()
            process.app._engines.clear()
        self._heap.clear()
