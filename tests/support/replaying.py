"""Plays a workflow, then kills it at every point of its history and plays on from there.

Theory of operation. `play` runs an application on a memory store that keeps a log of its commits, under a virtual
clock. From a prefix of that log the database of any moment can be made again. A *cut* is such a moment: after a commit,
or between two entries of one Advance; *sliced* scripts commit each entry by itself. The worker of that moment is dead
then; a fresh application, with nothing in memory, takes over at the same virtual time and plays to the end.

The outside world survives the crash. A task of a `World` asks it for a *job*, named by the idempotency key and the
number of the attempt: a job that is under way goes on and ends when it would have ended. So everything after a cut
happens at the time at which it happened before, and the journals of the two plays must be equal, not merely alike.

What must differ is left out: how long an attempt took in its process, and random values drawn after the cut.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from durable import Deadlock, DecodeError, NonDeterminismError, RunSetAside, Workflow, WorkflowError
from durable.core.records import Entry, Kind, Status, WorkerId
from durable.runtime.scope import TaskScope, current
from durable.store.operations import Advance, Cancel, Extras, GoOn, Send, Settle
from tests.support.clock import START_MS, VirtualClock
from tests.support.logged_store import Commit, LoggingStore, LogItem

APP: Final = "app"
PLAY_SECONDS_MAX: Final = 10.0
"""Real time after which a play is stuck."""

Build = Callable[["Stage"], None]
Action = Callable[[Workflow], Awaitable[object]]


class Event(NamedTuple):
    """Something a client does from outside, at a virtual time after the start."""

    after_ms: int
    action: Action


@dataclass(frozen=True)
class Script:
    """A program to play: what is declared, how it is called, what happens from outside."""

    build: Build
    args: tuple[Any, ...] = ()
    workflow: str = "main"
    run_id: str = "run"
    events: tuple[Event, ...] = ()
    """In order of time."""
    options: dict[str, Any] = field(default_factory=dict)
    direct: bool = False
    """Call the workflow, which takes up a failed or set-aside run again, instead of starting it."""
    pump_seconds: float = 60.0
    """Longest time of a pump. Endless by default: real time must not decide what is committed when."""
    sliced: bool = False
    """Commit after every entry, as when pumps are long, instead of all that can be committed at once."""


class World:
    """What tasks change, and what survives every crash: the jobs that were asked for, in order."""

    def __init__(self, clock: VirtualClock, jobs: dict[tuple[str, int], int] | None = None) -> None:
        self.clock = clock
        self.jobs = dict(jobs or {})
        """When each began, by idempotency key and attempt."""
        self.asked: list[tuple[str, int]] = []
        """The jobs that this play asked for, those under way included."""

    async def job(self, took_ms: int) -> int:
        """Do work for the calling task; return the number of its attempt, from 1."""
        scope = current.get()
        assert isinstance(scope, TaskScope)
        key = (scope.idempotency_key, scope.attempt)
        self.asked.append(key)
        began = self.jobs.setdefault(key, self.clock.now_ms())
        await self.clock.sleep_until(began + took_ms, rank=1 + zlib.crc32(repr(key).encode()))
        return scope.attempt


class Stage(NamedTuple):
    """What a script builds on."""

    wf: Workflow
    world: World


@dataclass(frozen=True)
class Played:
    """How a play went."""

    result: Any
    """The run's result; an exception if it ended in one."""
    journals: dict[str, list[Entry]]
    store: LoggingStore
    world: World
    clock: VirtualClock
    app: Workflow

    began: int = 0
    """Length of the log when this play began; before that are the plays that it goes on from."""

    @property
    def log(self) -> list[LogItem]:
        """What happened to the store, in order."""
        return self.store.log

    @property
    def journal(self) -> list[Entry]:
        """The journal of the only run, or of the first one."""
        return next(iter(self.journals.values()))


@dataclass(frozen=True)
class Cut:
    """A moment at which everything dies: after `commits` entries of the log, and the first ones of an Advance."""

    commits: int
    now: int
    jobs: int
    part: Advance | None = None
    worker: WorkerId | None = None
    events: int = 0
    """Events from outside that the store has accepted."""

    def __str__(self) -> str:
        where = f" and {len(self.part.entries)} entries" if self.part else ""
        return f"after {self.commits} commits{where}, at {self.now - START_MS} ms"


# Playing -------------------------------------------------------------------------------------------------------------


def play(script: Script, *, at: Cut | None = None, of: Played | None = None, later_ms: int = 0) -> Played:
    """Play a script from its start, on from a cut of an earlier play, or on from where that ended.

    Args:
        script: What to play.
        at: The cut of `of` at which everything dies; None: at its end.
        of: The earlier play. Jobs of its world that began after the cut are forgotten.
        later_ms: Time between the death and the takeover.
    """
    if of is None:
        return _play_on(script, LoggingStore(), World(VirtualClock()), script.events)
    if at is None:
        of.store.die()
        of.clock.set_forward(of.clock.now_ms() + later_ms)
        return _play_on(script, of.store, World(of.clock, of.world.jobs), script.events)
    store = restored(of.log, at)
    clock = VirtualClock(at.now + later_ms)
    jobs = dict(list(of.world.jobs.items())[: at.jobs])
    return _play_on(script, store, World(clock, jobs), script.events[at.events :])


def _play_on(script: Script, store: LoggingStore, world: World, events: tuple[Event, ...]) -> Played:
    clock = world.clock
    began = len(store.log)
    store.jobs = lambda: len(world.jobs)
    app = Workflow(APP, db=store, clock=clock, **{"cache_runs": 0, **script.options})
    # Looking for commits of other processes is a matter of real time, and there are none.
    pump_seconds = -1.0 if script.sliced else script.pump_seconds
    app._options = replace(app._options, poll_seconds=3600.0, pump_seconds=pump_seconds)
    script.build(Stage(app, world))
    with clock.runner() as runner:
        clock.busy = lambda: any(act.computing for e in app._engines.values() for act in e.active.values())
        result = runner.run(asyncio.wait_for(_play(app, script, events), PLAY_SECONDS_MAX))
    return Played(result, store.journals(), store, world, clock, app, began)


async def _play(app: Workflow, script: Script, events: tuple[Event, ...]) -> Any:
    await app.start()
    try:
        visitors = [asyncio.ensure_future(_visit(app, event)) for event in events]
        try:
            workflow = app.workflows[script.workflow]
            if script.direct:
                return await _outcome_of(workflow._call_async(script.run_id, script.args, {}))
            handle = await workflow.options(id=script.run_id).start(*script.args)
            result = await _outcome_of(handle.result())
            await _end_of_all(app)
            return result
        finally:
            for visitor in visitors:
                visitor.cancel()
            await asyncio.gather(*visitors, return_exceptions=True)
    finally:
        await app.stop()


async def _outcome_of(result: Awaitable[Any]) -> Any:
    try:
        return await result
    except Exception as error:
        return error


async def _end_of_all(app: Workflow) -> None:
    """Wait for the children that a run has left behind."""
    for run in await app.runs.list(limit=1000):
        await _outcome_of(app.handle(run.run_id).result())


async def _visit(app: Workflow, event: Event) -> None:
    clock = app.clock
    assert isinstance(clock, VirtualClock)
    await clock.sleep_until(START_MS + event.after_ms)
    await event.action(app)


# Cutting -------------------------------------------------------------------------------------------------------------


def restored(log: Sequence[LogItem], cut: Cut) -> LoggingStore:
    """Make the database of a cut, with all its workers dead."""
    items = list(log[: cut.commits])
    if cut.part is not None:
        items.append(Commit(cut.now, (cut.part,), cut.worker, cut.jobs))
    store = LoggingStore.again(items)
    store.die()
    return store


def cuts(log: Sequence[LogItem], *, within: bool = False, since: int = 0) -> Iterator[Cut]:
    """Return every moment at which a play can be cut, in order of time.

    Args:
        log: What happened.
        within: Cut within Advances, too.
        since: Leave out what came before this place of the log.
    """
    events = 0
    for index, item in enumerate(log):
        if not isinstance(item, Commit):
            continue
        for advance in item.batch if within and index >= since else ():
            if isinstance(advance, Advance):
                for count in range(1, len(advance.entries)):
                    yield Cut(index, item.now, item.jobs, _part(advance, count), item.worker, events)
        events += sum(isinstance(operation, (Settle, Send, Cancel)) for operation in item.batch)
        if index >= since:
            yield Cut(index + 1, item.now, item.jobs, events=events)


def _part(advance: Advance, count: int) -> Advance:
    """Return the first entries of an Advance, with all that the pump after them asked for: a pump repeats itself.

    The waits of the operations whose outcomes are left out are not forgotten, nor their messages received.
    """
    entries, left_out = advance.entries[:count], {entry.seq for entry in advance.entries[count:]}
    extras = advance.extras or Extras()
    received = sum(entry.kind is Kind.MESSAGE and entry.status is Status.OK for entry in entries)
    unwaits = tuple(wait for wait in extras.unwaits if wait.seq not in left_out)
    kept = extras._replace(consumed=extras.consumed[:received], unwaits=unwaits)
    return advance._replace(entries=entries, then=GoOn(), extras=kept)


def is_trouble(result: Any) -> bool:
    """Is this what a run gives that was set aside?"""
    return isinstance(result, (RunSetAside, NonDeterminismError, WorkflowError, DecodeError))


def is_deadlock(result: Any) -> bool:
    """Is this what a run gives whose branches wait for each other?"""
    return isinstance(result, Deadlock) or (isinstance(result, RunSetAside) and result.reason == "deadlock")


def journals_at(whole: Played, cut: Cut) -> dict[str, list[Entry]]:
    """Return the journals as they were at a cut."""
    return restored(whole.log, cut).journals()


def journal_at(whole: Played, cut: Cut) -> list[Entry]:
    """Return the first run's journal as it was at a cut, empty before its start."""
    return next(iter(journals_at(whole, cut).values()), [])
