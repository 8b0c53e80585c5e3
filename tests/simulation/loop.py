"""The event loop of one simulated process: real asyncio on virtual time, stepped from outside.

Callbacks of a loop run in the order in which they became ready, as on every asyncio loop. When they run, between which
callbacks of other processes, and when a timer fires is the world's affair (`world.py`). A loop whose process has
crashed takes callbacks and never runs them.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tests.simulation.world import Process

T = TypeVar("T")

_numbers = itertools.count()


class SimTask(asyncio.Task[T]):
    """A task that hashes by a number: a set of them has the same order in every process."""

    _number: int
    made_at: int
    """How many callbacks its loop had run when it was made."""

    def __hash__(self) -> int:
        try:
            return self._number
        except AttributeError:  # asyncio puts it into a set from within __init__
            self._number = next(_numbers)
            return self._number


class SimHandle:
    """A callback that is ready; asyncio's own handle takes more than twice as long to make and to run."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context", "_loop")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context, loop: SimLoop
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._loop = loop
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def _run(self) -> None:
        try:
            self._context.run(self._callback, *self._args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._loop.call_exception_handler({"message": f"in callback {self._callback}", "exception": error})


def count_tasks_from_zero() -> None:
    """Number tasks afresh: a schedule does not depend on those that were played before it."""
    global _numbers
    _numbers = itertools.count()


class SimLoop(asyncio.AbstractEventLoop):
    """What asyncio, and the engine, ask of a loop."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.ready: deque[SimHandle | asyncio.TimerHandle] = deque()
        self.count = 0
        """Callbacks run so far."""
        self.is_dead = False
        """The process has crashed: nothing comes in any more, not even from finalizers."""

    # What the world asks for ----------------------------------------------------------------------------------------

    def burst(self, count: int) -> int:
        """Run up to `count` callbacks; return how many were run."""
        ready = self.ready
        done = 0
        events._set_running_loop(self)
        try:
            while ready and done < count:
                handle = ready.popleft()
                done += 1
                self.count += 1
                if not handle._cancelled:
                    handle._run()
        finally:
            events._set_running_loop(None)
        return done

    @property
    def horizon(self) -> int:
        """The count of callbacks by which everything that is ready now has been run."""
        return self.count + len(self.ready)

    def die(self) -> None:
        """Forget every callback, for ever."""
        self.is_dead = True
        self.ready.clear()

    # What asyncio asks for ------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self.process.world.now_us / 1e6

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        handle = SimHandle(callback, args, contextvars.copy_context() if context is None else context, self)
        if not self.is_dead:
            self.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self.is_dead:
            self.process.world.at_us(round(when * 1e6), self._timer_came, handle)
        return handle

    def _timer_came(self, handle: asyncio.TimerHandle) -> None:
        if not self.is_dead and not handle._cancelled:
            self.ready.append(handle)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """The handle knows; it is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **_: Any,
    ) -> asyncio.Task[T]:
        task: SimTask[T] = SimTask(coro, loop=self, name=str(name or "task"), context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.made_at = self.count
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        return False

    def get_task_factory(self) -> None:
        return None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.is_dead:
            self.process.world.violate(f"an error that nobody awaits: {context}")
