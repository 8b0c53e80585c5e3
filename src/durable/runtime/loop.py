"""The deterministic event loop on which a workflow body runs.

Theory of operation. A body's only inputs are journal entries. The activation applies one entry, then *pumps*: runs
ready callbacks until none is left. Nothing else ever puts a callback on this loop, so the order in which callbacks run
is a function of the journal alone. Time is the time of the entry applied last. What asyncio would take from the process
is replaced here: hashes of tasks and futures (sets are ordered by hash), task names, `set` inside asyncio's own
modules, and `all_tasks`.
"""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import hashlib
import math
import sys
import threading
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from durable.errors import BusyLoop, ForbiddenInWorkflow
from durable.runtime.scope import Evicted

if TYPE_CHECKING:
    from typing import Protocol

    from durable.core.replay import Journal

    class LoopOwner(Protocol):
        """What the loop asks of the activation that it belongs to."""

        journal: Journal
        """Its `last_at` is the loop's time."""

        def begin_timer(self, handle: BodyTimerHandle, delay_ms: int) -> None:
            """A callback wants to run after `delay_ms`; issue the operation."""

        def cancel_timer(self, handle: BodyTimerHandle) -> None:
            """The callback is not wanted any more."""

        def forbid(self, error: ForbiddenInWorkflow) -> None:
            """The body did what a body cannot do; it sticks to the run even if a library swallows it."""

        def report(self, message: str, error: BaseException | None) -> None:
            """Something went wrong that nobody awaits."""


T = TypeVar("T")

CALLBACKS_MAX: Final = 100_000
"""Callbacks that may run between two entries before the run is set aside as a busy loop (design §3)."""

DELAY_MS_MAX: Final = 200 * 365 * 86_400_000
"""Longest delay that asyncio's own functions can express here; `durable.sleep` has no maximum."""

UNWIND_MAX: Final = 10_000
"""Steps that a body may take while it is unwound, before it is left to the garbage collector."""

_PRUNE_EVERY: Final = 256


class BodyTask(asyncio.Task[T]):
    """A branch of a body, hashed by its number so that sets of them are ordered alike on replay."""

    def __init__(self, coro: Coroutine[Any, Any, T], loop: BodyLoop, **options: Any) -> None:
        # asyncio registers the task in a set from within __init__.
        self._hash = loop.next_hash()
        super().__init__(coro, loop=loop, **options)
        self.context: contextvars.Context = options["context"]
        """Where the branch runs, and is unwound."""
        # The engine ends what it does not finish, and says so where it matters.
        self._log_destroy_pending = False

    def __hash__(self) -> int:
        return self._hash


class BodyFuture(asyncio.Future[T]):
    """A future of a body, hashed as `BodyTask` is."""

    def __init__(self, *, loop: BodyLoop) -> None:
        self._hash = loop.next_hash()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._hash


class BodyTimerHandle(asyncio.TimerHandle):
    """A callback that runs later, and the key of the operation that stands for it in the journal."""

    __slots__ = ("key",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.key = 0


class _Nobody:
    """The owner of a loop whose body is unwound: nothing comes of what late code asks for."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def begin_timer(self, handle: BodyTimerHandle, delay_ms: int) -> None: ...
    def cancel_timer(self, handle: BodyTimerHandle) -> None: ...
    def forbid(self, error: ForbiddenInWorkflow) -> None: ...
    def report(self, message: str, error: BaseException | None) -> None: ...


class BodyLoop(asyncio.AbstractEventLoop):
    """An asyncio event loop whose only inputs are the entries that its owner applies."""

    def __init__(self, owner: LoopOwner, seed: str) -> None:
        self.halted = False
        """The pump stops before the next callback: the activation cannot go on."""
        self._owner: LoopOwner = owner
        self._callbacks_run = 0
        """Callbacks run since the loop was blocked last."""
        self._ready: deque[asyncio.Handle] = deque()
        self._tasks: dict[int, BodyTask[Any]] = {}
        self._task_count = 0
        self._generators: dict[int, Any] = {}
        self._thread_id = threading.get_ident()
        self._pumping = False
        # Small numbers collide in asyncio's process-wide sets; a digest of the run id spreads the runs.
        self._hash_next = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=7).digest(), "big")
        _install_ordered_sets()

    def next_hash(self) -> int:
        """Return a hash for the next task or future: the same one on every replay."""
        self._hash_next += 1
        return self._hash_next

    # What runs ------------------------------------------------------------------------------------------------------

    @property
    def is_blocked(self) -> bool:
        """Is no callback ready?"""
        return not self._ready

    def pump(self, until: float) -> bool:
        """Run ready callbacks until none is left; return False if `until` (of `time.perf_counter`) came before that.

        The caller's loop is the running loop again afterwards. KeyboardInterrupt and SystemExit go through.

        Raises:
            BusyLoop: more than `CALLBACKS_MAX` callbacks ran since the last entry.
        """
        if not self._ready:
            return True
        outer = events._get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        self._thread_id = threading.get_ident()
        self._pumping = True
        events._set_running_loop(self)
        sys.set_asyncgen_hooks(firstiter=self._generator_begun, finalizer=_generator_dropped)
        try:
            return self._run_ready(until)
        finally:
            sys.set_asyncgen_hooks(*hooks)
            events._set_running_loop(outer)
            self._pumping = False

    def _run_ready(self, until: float) -> bool:
        ready = self._ready
        handle: asyncio.Handle | None
        count = self._callbacks_run
        try:
            while ready and not self.halted:
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
                count += 1
                if not count & 63 and perf_counter() >= until:
                    if count > CALLBACKS_MAX:
                        raise BusyLoop(f"{count} callbacks ran without coming to a durable operation")
                    return False
            count = 0
            return True
        finally:
            self._callbacks_run = count
            handle = None  # an error's traceback may lead here, and the handle to the error

    def fire(self, handle: asyncio.TimerHandle) -> None:
        """Make the callback of a timer ready."""
        self._ready.append(handle)

    # asyncio's interface --------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Return the time of the entry applied last, in seconds since the epoch."""
        return self._owner.journal.last_at / 1000

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if not self._pumping or threading.get_ident() != self._thread_id:
            error = ForbiddenInWorkflow("a thread or callback outside the workflow woke its loop; do this in a @task")
            self._owner.forbid(error)
            raise error
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = BodyTimerHandle(when, callback, args, self, context)
        seconds = when - self.time()
        if math.isnan(seconds):
            raise ValueError("a delay of NaN seconds")
        # Times are floats around 2**30 s: their error is below a microsecond, a deadline must not come early by it.
        delay_ms = math.ceil(min(seconds * 1000, DELAY_MS_MAX) - 1e-3)
        if delay_ms <= 0:
            self._ready.append(handle)
        else:
            self._owner.begin_timer(handle, delay_ms)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        assert isinstance(handle, BodyTimerHandle)
        self._owner.cancel_timer(handle)

    def create_future(self) -> BodyFuture[Any]:
        return BodyFuture(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> BodyTask[T]:
        self._task_count += 1
        number = self._task_count
        options.pop("eager_start", None)
        label = f"Task-{number}" if name is None else str(name)
        if context is None:
            context = contextvars.copy_context()
        task: BodyTask[T] = BodyTask(coro, self, name=label, context=context, **options)
        if not number % _PRUNE_EVERY:
            self._tasks = {n: t for n, t in self._tasks.items() if not t.done()}
        self._tasks[number] = task
        return task

    def open_tasks(self) -> list[BodyTask[Any]]:
        """Return the branches that have not ended, in the order of their creation."""
        return [task for task in self._tasks.values() if not task.done()]

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Debug mode belongs to the loop outside."""

    def is_running(self) -> bool:
        return self._pumping

    def is_closed(self) -> bool:
        return False

    def get_exception_handler(self) -> None:
        return None

    def get_task_factory(self) -> None:
        return None

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._owner.report(str(context.get("message", "")), context.get("exception"))

    async def shutdown_asyncgens(self) -> None:
        """The activation closes generators itself (`close_generators`)."""

    # Async generators -----------------------------------------------------------------------------------------------

    def _generator_begun(self, generator: Any) -> None:
        self._generators[id(generator)] = generator

    def open_generators(self) -> list[Any]:
        """Return the async generators that were begun and not exhausted, in the order of their creation."""
        return [g for g in self._generators.values() if g.ag_frame is not None]

    # Eviction -------------------------------------------------------------------------------------------------------

    def close_all(self) -> None:
        """Unwind every coroutine that has not ended, children first, on this thread and with this loop set running.

        Left to the garbage collector they would run inside another run's pump. Each is unwound in its own context, so
        that what it asks for on its way is known as this body's, and refused. What it creates there is unwound too.
        """
        context = next((task.context for task in self._tasks.values()), contextvars.copy_context())
        outer = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for _ in range(UNWIND_MAX):
                if not self._tasks:
                    break
                _, task = self._tasks.popitem()
                if not task.done():
                    task.context.run(_unwind, task.get_coro())
            for generator in reversed(self.open_generators()):
                context.run(_unwind, generator.athrow(Evicted()), started=False)
        finally:
            events._set_running_loop(outer)
        self._generators.clear()
        self._ready.clear()
        self._owner = _Nobody(self._owner.journal)  # what refers to itself waits for the garbage collector


def _unwind(coro: Any, *, started: bool = True) -> None:
    """End a coroutine from its innermost frame outwards, whatever it does on its way.

    `close` would orphan an inner coroutine that awaits in its `finally`: thrown into, it comes back for another throw.
    What plain code in `finally` raises has nobody left to go to.
    """
    try:
        if not started:
            coro.send(None)
        for _ in range(UNWIND_MAX):
            coro.throw(Evicted())
        coro.close()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - see above
        return


def _generator_dropped(generator: Any) -> None:
    """Do nothing: a generator that the collector finds must not issue operations; the manual advises `aclosing`."""


def _forbidden(name: str) -> Callable[..., Any]:
    def refuse(self: BodyLoop, *args: object, **kwargs: object) -> Any:
        error = ForbiddenInWorkflow(
            f"loop.{name}() is real I/O or threads, which a workflow cannot repeat; do this in a @task "
            "(a plain def task is executed in a thread)"
        )
        self._owner.forbid(error)
        raise error

    return refuse


_OWN: Final = frozenset(vars(BodyLoop))
for _name in vars(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and _name not in _OWN:
        setattr(BodyLoop, _name, _forbidden(_name))


# Sets inside asyncio ---------------------------------------------------------------------------------------------


class OrderedSet(set[T]):
    """A set that iterates in the order of insertion; for asyncio's own code while a body runs."""

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._order = dict.fromkeys(items)
        super().__init__(self._order)

    def __iter__(self) -> Iterator[T]:
        # Operators such as |= change the set behind our back: keep what is left of the order, then the rest.
        items = [item for item in self._order if item in self]
        if len(items) != len(self):
            items += [item for item in super().__iter__() if item not in self._order]
        return iter(items)

    def add(self, item: T) -> None:
        self._order[item] = None
        super().add(item)

    def discard(self, item: T) -> None:  # type: ignore[override]
        self._order.pop(item, None)
        super().discard(item)

    def remove(self, item: T) -> None:
        super().remove(item)
        self._order.pop(item, None)

    def pop(self) -> T:
        item = next(iter(self))
        self.remove(item)
        return item

    def clear(self) -> None:
        self._order.clear()
        super().clear()


def _set(*items: Iterable[Any]) -> set[Any]:
    return OrderedSet(*items) if isinstance(events._get_running_loop(), BodyLoop) else builtins.set(*items)


_all_tasks = asyncio.all_tasks


def _all_tasks_of(loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
    loop = loop or events._get_running_loop()
    return OrderedSet(loop.open_tasks()) if isinstance(loop, BodyLoop) else _all_tasks(loop)


def _install_ordered_sets() -> None:
    """Let asyncio's modules make ordered sets while a body runs; for all other loops nothing changes.

    `as_completed` and `wait` put coroutines into a set, whose order is that of their addresses.
    """
    if asyncio.tasks.__dict__.get("set") is _set:
        return
    asyncio.tasks.set = _set  # type: ignore[attr-defined]
    asyncio.taskgroups.set = _set  # type: ignore[attr-defined]
    asyncio.tasks.all_tasks = _all_tasks_of
    asyncio.all_tasks = _all_tasks_of
