"""Plays a workflow from its start to its end, through as many lives of its process as a plan of crashes makes.

Theory of operation. A *life* is an event loop with a worker on it. The store kills it by an exception that leaves the
loop in the middle of whatever it was doing; then the loop is left exactly as it is: nothing is cancelled, no `finally`
runs, as in a process that was killed. The next life begins on a loop of its own at the same virtual time, and takes the
run over. Only when the play is over and everything that counts was noted are the dead lives unwound and closed.

What comes from outside (signals, messages, calls at given times) comes again until it was acknowledged once, as from a
client that gets no answer. Plain tasks run in threads as always, but one at a time, while the loop waits: so
the order of things is that of the program, not of the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any, Final

from durable.api.durations import Duration, to_ms
from durable.api.handles import RunHandle
from durable.api.workflows import WorkflowFunction
from durable.errors import NonDeterminismError, RunNotOpen, RunSetAside, WorkflowError
from durable.runtime.steps import TaskOperation
from durable.store.threads import DaemonPool
from durable.testing.clock import VirtualClock
from durable.testing.crashes.store import CrashingStore, CrashPoint, Died
from durable.testing.crashes.tape import Tape, Watched
from durable.testing.fakes import reset_all
from durable.testing.homes import rehome

LIVES_MAX: Final = 100
"""Lives of one play; a plan has one crash or two."""

EARLY_MS: Final = 1
"""When signals and messages come, after the start."""

THREADS_MAX: Final = 8
"""Plain tasks that wait for each other: one runs at a time, but one may call another through the blocking API."""

TASK_SECONDS_MAX: Final = 60.0
"""Longest real time of a plain task; a longer one waits for something that only the loop could give it."""

PUMP_SECONDS: Final = 3_600.0
"""Real time does not decide what is committed when."""

CACHE_MS: Final = 100 * 365 * 86_400_000
"""Suspended runs stay in memory: only crashes make a play replay."""


Event = Callable[[RunHandle[Any]], Awaitable[object]]
"""Something that comes from outside."""


class Stuck(SystemExit):
    """Nothing will ever happen: everything is blocked and no time is waited for."""


@dataclass(frozen=True)
class Script:
    """What is played."""

    workflow: WorkflowFunction[Any, Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    run_id: str
    signals: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[tuple[str, Any]] = ()
    at: Mapping[Duration, Event] = field(default_factory=dict)
    setup: Callable[[], object] | None = None
    watched: tuple[Watched, ...] = ()
    sliced: bool = False
    """Commit each entry by itself, as when bodies are slow."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    kind: str
    """`returned`, `raised`, `set aside` or `stuck`."""
    value: Any = None
    error: BaseException | None = None

    def __str__(self) -> str:
        match self.kind:
            case "returned":
                return f"returned {self.value!r}"
            case "stuck":
                return "waits for ever"
            case "set aside":
                return f"was set aside: {self.error}"
            case _:
                return f"raised {type(self.error).__name__}: {self.error}"


@dataclass(frozen=True)
class Played:
    """How a play went."""

    outcome: Outcome
    tape: Tape
    plan: tuple[CrashPoint, ...]
    died: tuple[CrashPoint, ...]
    """Where it died; fewer than planned if it ended before."""


def play(script: Script, plan: tuple[CrashPoint, ...] = ()) -> Played:
    """Play a script, dying where the plan says."""
    reset_all()
    if script.setup is not None:
        script.setup()
    for watched in script.watched:
        watched.rewind()
    tape = Tape(script.watched, notes_places=not plan)
    store = CrashingStore(plan, tape.passed, tape.settle)
    stage = _Stage(script, tape, store)
    with contextlib.ExitStack() as stack:
        stack.callback(stage.bury)
        stack.enter_context(tape.ledger)
        stack.enter_context(
            rehome(
                script.workflow._app, store, clock=stage.clock, cache_runs=1_000, cache_ms=CACHE_MS,
                on_step=tape.step, call_task=stage.call_task, pump_seconds=-1.0 if script.sliced else PUMP_SECONDS,
            )
        )  # fmt: skip
        outcome = stage.play()
        tape.close()
    return Played(outcome, tape, plan, tuple(store.died))


class _Stage:
    """One play: its clock, its loops, the dead ones included."""

    def __init__(self, script: Script, tape: Tape, store: CrashingStore) -> None:
        self._script = script
        self._tape = tape
        self._store = store
        self._pool = DaemonPool(THREADS_MAX, "durable-crash")
        self._dead: list[tuple[asyncio.AbstractEventLoop, set[asyncio.Task[Any]]]] = []
        self._events = _events(script)
        self._acknowledged = 0
        self.clock = VirtualClock()
        self._began_ms = self.clock.now_ms()
        self.clock.on_stuck = self._stuck

    def play(self) -> Outcome:
        """Live until the run has ended."""
        for _ in range(LIVES_MAX):
            loop = self.clock.make_loop()
            try:
                outcome: Outcome = loop.run_until_complete(self._live())
            except Died as death:
                self._died(loop, death)
            except Stuck:
                self._died(loop, None)
                return Outcome("stuck")
            else:
                self._dead.append((loop, asyncio.all_tasks(loop)))
                return outcome
        raise AssertionError("a play has more lives than crashes")

    def _died(self, loop: asyncio.AbstractEventLoop, death: Died | None) -> None:
        # Held until the end: what the collector finds would be unwound.
        self._dead.append((loop, asyncio.all_tasks(loop)))
        self.clock.forget(loop)
        if death is not None:
            self._tape.died(self._store.died[-1])
            self._store.bury_all()

    def _stuck(self) -> None:
        raise Stuck

    def bury(self) -> None:
        """Unwind what the lives have left behind; nobody listens any more."""
        for loop, tasks in self._dead:
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with contextlib.suppress(Exception):
                    task.get_coro().close()
            loop._ready.clear()  # type: ignore[attr-defined]
            loop._scheduled.clear()  # type: ignore[attr-defined]
            loop.close()
        self._dead.clear()
        self._pool.shutdown()

    # A life ---------------------------------------------------------------------------------------------------------

    async def _live(self) -> Outcome:
        """Start the run, unless it is there, and see it to its end, that of the runs it has started included."""
        script = self._script
        app = script.workflow._app
        await app.start()
        handle = await script.workflow.options(id=script.run_id).start(*script.args, **script.kwargs)
        client = asyncio.ensure_future(self._be_client(handle))
        outcome = await _outcome_of(handle.result())
        for run in await app.runs.list(limit=1_000):
            await _outcome_of(app.handle(run.run_id).result())
        client.cancel()
        await asyncio.gather(client, return_exceptions=True)
        await app.stop()
        return outcome

    async def _be_client(self, handle: RunHandle[Any]) -> None:
        """Let happen what comes from outside and was not acknowledged yet."""
        for at_ms, event in self._events[self._acknowledged :]:
            await self.clock.sleep_until(self._began_ms + at_ms)
            await event(handle)
            self._acknowledged += 1

    # Tasks ----------------------------------------------------------------------------------------------------------

    async def call_task(self, op: TaskOperation) -> Any:
        """Call the function of a task, and note when."""
        self._tape.began(op)
        try:
            if op.spec.is_async:
                return await op.spec.fn(*op.args, **op.kwargs)
            context = contextvars.copy_context()
            called = self._pool.submit(context.run, _call_plain, op)
            return called.result(TASK_SECONDS_MAX)  # blocks: nothing else is to happen meanwhile
        finally:
            self._tape.ended(op)


def _events(script: Script) -> list[tuple[int, Event]]:
    """Return what comes from outside, in order of time."""
    events: list[tuple[int, Event]] = []
    for name, payload in script.signals.items():
        events.append((EARLY_MS, partial(_signal, name=name, payload=payload)))
    for number, (name, payload) in enumerate(script.messages, 1):
        known_as = f"{name} {number}"
        events.append((EARLY_MS, partial(_send, name=name, payload=payload, id=known_as)))
    return sorted([*events, *((to_ms(delay, "at"), event) for delay, event in script.at.items())], key=itemgetter(0))


async def _signal(handle: RunHandle[Any], *, name: str, payload: Any) -> None:
    await handle.signal(name, payload)


async def _send(handle: RunHandle[Any], *, name: str, payload: Any, id: str) -> None:
    with contextlib.suppress(RunNotOpen):  # it was received by a run that has ended meanwhile, or will never be
        await handle.send(name, payload, id=id)


def _call_plain(op: TaskOperation) -> Any:
    try:
        return op.spec.fn(*op.args, **op.kwargs)
    except StopIteration as error:
        raise RuntimeError(f"task {op.name!r} raised StopIteration") from error


async def _outcome_of(result: Awaitable[Any]) -> Outcome:
    try:
        return Outcome("returned", await result)
    except (RunSetAside, NonDeterminismError, WorkflowError) as error:
        return Outcome("set aside", error=error)
    except Exception as error:  # noqa: BLE001 - however it ends is what is compared
        return Outcome("raised", error=error)
