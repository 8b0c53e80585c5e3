"""The engine: one worker of one application on one event loop.

It owns the store connection, the committer and the executor, gives activations their turns, claims what is due, and
knows who waits for which run. A process that only makes direct calls has an engine too: it claims nothing but the runs
that it was asked for and their children.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from durable.codec.base import Codec
from durable.core.records import Entry, Kind, Pending, Queue, Reason, RunKey, RunRecord, RunState, Status, WorkerId
from durable.errors import Bug, StoreCorrupt, StoreError, StoreUnavailable
from durable.runtime import identity, strict
from durable.runtime.activation import Activation
from durable.runtime.alarms import Alarms
from durable.runtime.answers import Answers
from durable.runtime.bodies import Bodies
from durable.runtime.cache import Cache
from durable.runtime.callers import Callers
from durable.runtime.claims import Claims
from durable.runtime.clock import Clock
from durable.runtime.committer import Committer
from durable.runtime.endings import Ended, Endings
from durable.runtime.executor import THREADS_DEFAULT, Executor, StepMemory
from durable.runtime.specs import WorkflowSpec
from durable.runtime.steps import TaskOperation
from durable.store.base import LIST_PAGE_MAX, RunFilter, RunStore
from durable.store.operations import (
    Advance,
    Claimed,
    Continue,
    Fenced,
    Finish,
    Operation,
    Outcome,
    Release,
    SetAside,
    Start,
    Started,
    Suspend,
    Then,
)

logger = logging.getLogger("durable")

_NOTHING: Final = Pending()

RETRY_READ_MS: Final = 1_000
"""Time until a run is claimed again whose journal could not be read."""

GRACE_MS: Final = 5_000
"""Time that attempts get to end after they were cancelled, before the run ends without them."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine behaves; times in milliseconds."""

    slots: int = 1_000
    """Runs that may execute at once."""
    task_threads: int = THREADS_DEFAULT
    cache_runs: int = 1_000
    """Suspended activations kept in memory (design §3)."""
    cache_ms: int = 60_000
    history_max: int = 50_000
    """Entries of a run at which it is set aside."""
    poll_seconds: float = 0.005
    """How often to look for commits of other processes while there are some."""
    grace_ms: int = GRACE_MS
    strict: bool = False
    """Refuse files, sockets and processes in workflow bodies."""
    pump_seconds: float | None = None
    """Longest time that a body keeps the loop to itself; for tests: below 0, each entry is committed by itself."""
    on_step: Callable[[Activation, Kind, str, int], object] | None = None
    """Told of each operation when the body asks for it: its name and number; for tests, which look at the stack."""
    call_task: Callable[[TaskOperation], Awaitable[Any]] | None = None
    """Calls the function of a task, in place of the executor; for tests, which want to know when and in which order."""


class Engine:
    """Executes the runs of one application on the running event loop."""

    def __init__(
        self,
        app: str,
        store: RunStore,
        codec: Codec,
        clock: Clock,
        specs: Mapping[tuple[str, str], WorkflowSpec],
        make_context: Callable[[Activation], Any],
        options: EngineOptions | None = None,
    ) -> None:
        self.app = app
        self.store = store
        self.codec = codec
        self.clock = clock
        self.options = options or EngineOptions()
        self.loop = asyncio.get_running_loop()
        self.worker = identity.new_worker(clock.now_ms())
        self.worker_id = self.worker.worker_id
        self.specs = specs
        self.make_context = make_context
        self.binds_values = bool(getattr(codec, "binds_values", False))
        """Does the codec bind values to their place (encryption)?"""
        self.step_memory: StepMemory | None = store if hasattr(store, "recall") else None  # type: ignore[assignment]
        self.committer = Committer(self)
        self.executor = Executor(self, self.options.task_threads)
        self.bodies = Bodies(self)
        self.endings = Endings(app, codec, binds_values=self.binds_values)
        self.active: dict[RunKey, Activation] = {}
        self.cache = Cache(self.options.cache_runs, self.options.cache_ms)
        self.claims = Claims(self)
        self.callers = Callers(self)
        self.answers = Answers(self)
        self.alarms = Alarms(clock)
        self.lost: StoreError | None = None
        """Why the store cannot be used any more."""
        self.handed_back: set[RunKey] = set()
        """Runs that we let go of, while the store has not answered."""
        self._early: dict[RunKey, Pending] = {}
        """What was told of runs that are claimed and not active yet; each telling lists everything."""
        self._turns: deque[Activation] = deque()
        self._turn_scheduled = False
        self._in_turn = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._context = contextvars.Context()
        self._stopping = False
        self._crashed: set[RunKey] = set()
        """Runs whose task ended the process: they and the worker are left to be found dead."""
        self._quiet: asyncio.Future[None] | None = None
        self._opened = False
        self._registering = asyncio.Lock()
        self._former_names: list[WorkerId] = []
        self._loop_end = self._stop_claims_with_loop()
        clock.hold_while(self.is_at_work)

    # Life -----------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the store and say that this worker lives. Idempotent.

        Raises:
            StoreError: it cannot be opened, or was closed meanwhile.
        """
        if self._opened:
            return
        # One at a time: a registration that comes late would bring a name back to life that was given up meanwhile.
        async with self._registering:
            if not self._opened:
                await self._open()

    async def _open(self) -> None:
        if self.options.strict:
            strict.install()
        await self.store.open(self.clock)
        await self.store.register(self.worker)
        if self._stopping:
            raise StoreUnavailable(f"application {self.app!r} was stopped while it opened its database")
        self._opened = True
        self.claims.start()
        await anext(self._loop_end)

    async def _stop_claims_with_loop(self) -> AsyncGenerator[None, None]:
        """Look for nothing more once the loop shuts down: what a timer began in its last iteration would never run.

        Async generators are what a loop tells of its end (`loop.shutdown_asyncgens`).
        """
        try:
            yield
        finally:
            self.claims.stop()

    async def serve(self, queues: tuple[Queue, ...]) -> None:
        """Claim whatever is due in these queues, from now on."""
        await self.open()
        await self._mend(queues)
        await self.claims.serve(queues)

    async def _mend(self, queues: tuple[Queue, ...]) -> None:
        """Let runs try again whose reason a new start may have removed: other code, another key, another limit."""
        where = RunFilter(app=self.app, states=(RunState.SET_ASIDE,))
        before: RunKey | None = None
        while page := await self.store.runs(where, limit=LIST_PAGE_MAX, before=before):
            before = page[-1].key
            for record in page:
                if record.queue in queues and record.reason != Reason.POISONED:
                    await self.callers.mend(record)

    async def stop(self) -> None:
        """Hand back every run as soon as its attempts have ended, at most after the grace time. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        await self._loop_end.aclose()
        self.claims.stop()
        now = self.clock.now_ms()
        for act in list(self.active.values()):
            if act.run.key in self._crashed:
                self.active.pop(act.run.key)
                act.evict()
            else:
                act.release(now)
        await self._drain()
        for act in list(self.active.values()):
            act.evict()
        for act in self.cache.drop_all():
            act.evict()
        self.active.clear()
        await self._cancel_tasks()
        await self.executor.stop_all()
        self.alarms.stop()
        try:
            if self._opened and self.lost is None:
                await self._leave()
        except StoreError as error:
            logger.warning("%s: the worker could not say that it ends; others will see it: %s", self.app, error)
        finally:
            await self.store.close()
            stopped = StoreUnavailable(f"application {self.app!r} was stopped; the run goes on with the next worker")
            self.committer.fail_all(stopped)
            self.callers.fail_all(stopped)

    async def _leave(self) -> None:
        """Give back what this worker still owns, and its name; where a task ended the process, all but its run."""
        if not self._crashed:
            await self.store.unregister(self.worker_id)
            return
        now = self.clock.now_ms()
        others = [run for run in await self.store.owned(self.worker_id) if run.key not in self._crashed]
        back = [Advance(run.key, self.worker_id, run.epoch, (), Release(now)) for run in others]
        await self.store.execute(back, self.worker_id)

    def ended_by(self, op: TaskOperation, error: KeyboardInterrupt | SystemExit) -> None:
        """The process ends in a task, which has no outcome.

        Where the task itself ended it, its run is left as at a crash, so that one that does so each time is set aside.
        """
        op.interrupted = True
        if isinstance(error, KeyboardInterrupt):
            return
        logger.error(
            "task %r of run %r of %s called sys.exit(%s): this process ends; raise an exception to fail the task",
            op.name, op.act.run_id, self.app, "" if error.code is None else repr(error.code),
        )  # fmt: skip
        self._crashed.add(op.act.run.key)

    async def _drain(self) -> None:
        self._quiet = self.loop.create_future()
        self.look_if_quiet()
        await asyncio.wait([self._quiet], timeout=self.options.grace_ms / 1000)

    def look_if_quiet(self) -> None:
        """Somebody may wait for the moment when nothing runs and nothing is on its way to the store."""
        if self._quiet is not None and not self._quiet.done() and not self.active and self.committer.is_idle:
            self._quiet.set_result(None)

    async def _cancel_tasks(self) -> None:
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def abandon(self) -> None:
        """Let go of everything at once: the loop is gone. Whoever looks next finds this worker dead."""
        self._stopping = True
        for act in (*self.active.values(), *self.cache.drop_all()):
            act.evict()
        self.active.clear()
        self.alarms.stop()
        self.executor.close()
        self.store.close_now()

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> None:
        """Run something beside everything else; errors are logged."""
        task = self.loop.create_task(coro, context=contextvars.Context())
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks.add(task)
        task.add_done_callback(self._spawned_ended)

    def _spawned_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            if not self._stopping:
                self.claims.stop()  # somebody cancels everything: the loop comes to its end
            return
        error = task.exception()
        if isinstance(error, StoreError):
            logger.warning("%s: %s", self.app, error)
        elif error is not None:
            logger.error("%s: an internal task failed", self.app, exc_info=error)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call back on the worker's loop, in a context that holds nothing of the caller's."""
        self.loop.call_soon(callback, context=self._context)

    async def begin_again(self) -> None:
        """Drop everything and register under a new name: others took this worker for dead, and its runs with it."""
        logger.warning("%s: worker %s was taken for dead; it goes on under a new name", self.app, self.worker_id)
        self._former_names.append(self.worker_id)
        # First of all, whatever is being registered: what is still claimed under the old name is not ours to execute.
        self.worker = identity.new_worker(self.clock.now_ms())
        self.worker_id = self.worker.worker_id
        for act in (*self.active.values(), *self.cache.drop_all()):
            act.evict()
        self.active.clear()
        self.claims.reserved.clear()
        self._early.clear()
        async with self._registering:
            await self.store.register(self.worker)
        await self.give_up_names()
        await self.claims.resume()

    async def give_up_names(self) -> None:
        """Say of the names that were given up that they end; called again until the store has heard it.

        A registration that was on its way may have come after the verdict. Such a name would live as long as this
        process, and own for ever what a claim or start that was on its way gets for it.
        """
        while self._former_names:
            async with self._registering:
                await self.store.unregister(self._former_names[0])
                del self._former_names[0]

    async def say_what_is_claimed(self, queues: tuple[Queue, ...]) -> None:
        """Register again, with the queues that this worker claims from.

        Never beside `begin_again`: the old name would be registered after it was given up, and own runs for ever.
        """
        async with self._registering:
            await self.store.register(replace(self.worker, queues=queues))

    def store_is_lost(self, error: BaseException) -> None:
        """The store cannot serve any more: everyone who waits hears of it, nothing else runs."""
        self.lost = error if isinstance(error, StoreError) else StoreError(str(error))
        logger.error("%s: the store cannot be used any more: %s", self.app, error)
        for act in list(self.active.values()):
            act.evict()
        self.active.clear()
        self.committer.fail_all(self.lost)
        self.callers.fail_all(error)

    # Turns ----------------------------------------------------------------------------------------------------------

    def turn_soon(self, act: Activation) -> None:
        """Give an activation a turn."""
        if not act.scheduled and not act.is_gone:
            act.scheduled = True
            self._turns.append(act)
            if not self._turn_scheduled:
                self._turn_scheduled = True
                self.loop.call_soon(self._give_turns, context=self._context)

    def _give_turns(self) -> None:
        self._turn_scheduled = False
        self.committer.turns_begin()
        try:
            self._give_each_its_turn()
        finally:
            self.committer.turns_end()
        if self._turns and not self._turn_scheduled:
            self._turn_scheduled = True
            self.loop.call_soon(self._give_turns, context=self._context)

    def _give_each_its_turn(self) -> None:
        for _ in range(len(self._turns)):
            act = self._turns.popleft()
            act.scheduled = False
            try:  # as `guarded`, without its call: this is the hot path
                act.turn()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - see `guarded`
                self.broke(act, error)

    @property
    def commits_inline(self) -> bool:
        """Is one run alone with us? Then its commits need not travel to the writer's thread and back."""
        return len(self.active) == 1

    def is_at_work(self) -> bool:
        """Does something go on in a thread: a plain body, or the store?"""
        return any(act.computing for act in self.active.values()) or bool(getattr(self.store, "at_work", False))

    # Activations ----------------------------------------------------------------------------------------------------

    def activate_new(self, started: Started, start: Start) -> None:
        """Execute a run that was started and claimed in one step."""
        run = started.record
        entry = Entry(0, run.started_at or run.created_at, Kind.RUN, Status.OK, name="start", data=start.input)
        self._activate(Claimed(run, 1, _NOTHING), [entry])

    def drop(self, key: RunKey) -> None:
        """Let go of a run that was claimed anew: we were taken for dead, have lost it, and have not noticed."""
        act = self.active.pop(key, None)
        if act is not None:
            act.evict()

    async def activate(self, claimed: Claimed) -> None:
        """Execute a run that was claimed: where it was, if it is in the cache, else from its journal."""
        run = claimed.record
        if run.owner != self.worker_id:  # taken for dead meanwhile: the run is handed back with the old name
            self.claims.taken_up(run)
            return
        act = self.cache.take(run.key)
        if act is not None and act.journal.position == claimed.position and act.run.continuation == run.continuation:
            self.claims.taken_up(run)
            self.active[run.key] = act
            act.rejoin(run, self._early.pop(run.key, claimed.pending))
            return
        if act is not None:
            act.evict()
        try:
            journal = await self.callers.read_journal(run.key)
        except StoreCorrupt as error:
            self.give_up(run, SetAside(Reason.CORRUPT, str(error)))
        except StoreError as error:
            logger.warning("run %r of %s cannot be read now: %s", run.run_id, self.app, error)
            self.give_up(run, Release(self.clock.now_ms() + RETRY_READ_MS))
        else:
            self._activate_if_ours(claimed, journal)
        finally:
            self.claims.taken_up(run)

    def give_up(self, run: RunRecord, then: Then) -> None:
        """Let go of a run that was claimed and cannot be executed here."""
        self._early.pop(run.key, None)
        self.handed_back.add(run.key)
        self.spawn(self._insist(Advance(run.key, self.worker_id, run.epoch, (), then)))

    async def _insist(self, advance: Advance) -> Outcome | None:
        try:
            while self.lost is None and not self._stopping:
                try:
                    return await self.submit(advance)
                except StoreUnavailable:
                    await asyncio.sleep(RETRY_READ_MS / 1000)
            return None
        finally:
            self.handed_back.discard(advance.run)

    def _activate_if_ours(self, claimed: Claimed, journal: list[Entry]) -> None:
        run = claimed.record
        if self.claims.reserved.get(run.key) != run.epoch:
            return  # taken for dead while the journal was read, and perhaps it was claimed anew
        if journal[-1].position + 1 == claimed.position:
            self._activate(claimed, journal)
        else:
            # Others have made progress since: we have lost the run, and this journal is not that of our claim.
            self._early.pop(run.key, None)
            self.claims.check_registration()
            self.claims.take_stock()  # should it be ours all the same, it is handed back

    def _activate(self, claimed: Claimed, journal: list[Entry]) -> None:
        run = claimed.record
        spec = self.specs[(run.queue.workflow, run.queue.version)]
        act = Activation(self, spec, run, journal, self._early.pop(run.key, claimed.pending))
        self.active[run.key] = act
        self.turn_soon(act)

    def left(self, act: Activation, then: Then) -> None:
        """An activation has given up its run, durably."""
        key = act.run.key
        self.active.pop(key, None)
        self._early.pop(key, None)
        match then:
            case Suspend(due_at):
                act.rest()
                self._keep(act)
                self.claims.suspended(key, due_at)
            case Finish():
                act.evict()
                self.claims.forget(key)
                assert act.ended is not None
                told = self.callers.resolve(key, act.ended)
                if act.ended.state is RunState.FAILED and not told:
                    why = f"{then.reason}: {then.detail}" if then.detail else then.reason
                    logger.warning("run %r of %s failed: %s", act.run_id, self.app, why)
            case SetAside(reason, detail):
                logger.error("run %r of %s is set aside (%s): %s", act.run_id, self.app, reason.value, detail)
                act.evict()
                self.callers.resolve(key, Ended(RunState.SET_ASIDE, error=act.trouble))
            case Continue():
                act.evict()
                self.claims.due((key,))
            case _:
                act.evict()
        self.claims.capacity_freed()

    def _keep(self, act: Activation) -> None:
        if self.options.cache_runs and self.bodies.keeps_state(act) and not self._stopping:
            for old in self.cache.put(act, self.clock.now_ms()):
                old.evict()
        else:
            act.evict()

    def fenced(self, act: Activation) -> None:
        """Another worker owns the run: drop it; whoever waits here waits for the new owner."""
        logger.warning("run %r of %s has another owner now; this worker lets go of it", act.run_id, self.app)
        if self.active.get(act.run.key) is act:
            del self.active[act.run.key]
            self._early.pop(act.run.key, None)
        act.evict()
        self.claims.check_registration()

    def waits_for_stragglers(self, act: Activation) -> bool:
        """Should the end of a run wait for attempts that it does not want any more?"""
        now = self.clock.now_ms()
        if act.straggling_since is None or now < act.straggling_since:
            act.straggling_since = now
        self.alarms.ring_at(act.straggling_since + self.options.grace_ms, act)
        return not self.clock.has_come(act.straggling_since + self.options.grace_ms)

    def report(self, run_id: str, message: str, error: BaseException | None) -> None:
        """Log what nobody awaits."""
        logger.error("run %r of %s: %s", run_id, self.app, message, exc_info=error)

    # What the store tells -------------------------------------------------------------------------------------------

    def hear(self, pending: Iterable[tuple[RunKey, Pending]]) -> None:
        """Pass on what the store says has arrived for runs of this worker."""
        for key, arrived in pending:
            act = self.active.get(key)
            if act is not None:
                self.guarded(act, act.tell, arrived)
            else:
                # The run is claimed for us and its activation on its way; the store tells only once.
                self._early[key] = arrived

    def heard_due(self, keys: tuple[RunKey, ...]) -> None:
        """A batch is done; it made these runs due."""
        if keys:
            self.claims.due(keys)
        self.look_if_quiet()

    def guarded(self, act: Activation, call: Callable[..., object], *args: Any) -> None:
        """Call something of an activation; an error that nobody foresaw ends this one, not the turns of the others."""
        try:
            call(*args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - the one place that turns what is unforeseen into an outcome
            self.broke(act, error)

    def broke(self, act: Activation, error: BaseException) -> None:
        """Set a run aside that we cannot execute, for a reason that we did not foresee."""
        logger.error("run %r of %s: an internal error, please report it", act.run_id, self.app, exc_info=error)
        self.active.pop(act.run.key, None)
        act.evict()
        self.handed_back.add(act.run.key)
        self.spawn(self._set_aside(act.run, Bug(f"{type(error).__name__}: {error}")))

    async def _set_aside(self, run: RunRecord, trouble: Bug) -> None:
        """Set a run aside; who waits for it hears of it, if it was still ours."""
        self._early.pop(run.key, None)
        aside = SetAside(Reason.INTERNAL_ERROR, str(trouble))
        outcome = await self._insist(Advance(run.key, self.worker_id, run.epoch, (), aside))
        if not isinstance(outcome, Fenced):
            self.callers.resolve(run.key, Ended(RunState.SET_ASIDE, error=trouble))

    # Clients --------------------------------------------------------------------------------------------------------

    async def submit(self, operation: Operation) -> Outcome:
        """Execute one operation of a client.

        Raises:
            StoreError: it was not executed.
        """
        await self.ready()
        return await self.committer.submit(operation)

    async def ready(self) -> None:
        """See to it that the store is open.

        Raises:
            StoreError: it cannot be used (any more).
        """
        if self.lost is not None:
            raise self.lost
        await self.open()
