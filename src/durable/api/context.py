"""The context that generator workflows take as their first argument."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from durable.api import clock
from durable.api.durations import Duration, to_ms
from durable.api.handles import RunHandle
from durable.api.tasks import Task
from durable.errors import UsageError
from durable.runtime.activation import Activation
from durable.runtime.scope import handles_cancellation
from durable.runtime.steps import Operation, TimerOperation

if TYPE_CHECKING:
    from durable.api.app import Workflow
    from durable.api.workflows import WorkflowFunction


class GeneratorContext:
    """What a generator workflow yields: `x = yield ctx.run(task, 1)`."""

    def __init__(self, app: Workflow, act: Activation) -> None:
        self._app = app
        self._act = act

    @classmethod
    def of(cls, app: Workflow) -> Callable[[Activation], GeneratorContext]:
        """Return what makes contexts for an application."""
        return lambda act: cls(app, act)

    @property
    def id(self) -> str:
        """The run's id."""
        return self._act.run_id

    def sleep(self, seconds: Duration) -> Operation:
        """Yield this to sleep durably; see `durable.sleep`.

        Raises:
            TypeError: neither a number nor a timedelta.
            ValueError: NaN or infinite.
        """
        self._asks()
        return TimerOperation(self._act, to_ms(seconds, "seconds"), name="sleep")

    def _asks(self) -> None:
        # Called from the generator's own frame: only here can be seen whether it is handling its cancellation.
        self._act.interruptions.compensates = handles_cancellation(sys.exception())

    def run(self, function: Any, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Yield this to call a task or child workflow and get its result."""
        self._asks()
        return _in_body(function)(*args, **kwargs)  # type: ignore[no-any-return]

    def start(self, function: Any, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Yield this to begin a task or child workflow; it gives a handle, and yielding that gives the result."""
        self._asks()
        if isinstance(function, Task):
            return _Begun(self._act, _in_body(function)(*args, **kwargs))
        return self._started(function, args, kwargs)

    async def _started(self, workflow: WorkflowFunction[Any, Any], args: Any, kwargs: Any) -> RunHandle[Any]:
        return await workflow.start(*args, **kwargs)

    def signal(self, name: str) -> Awaitable[Any]:
        """Yield this to wait for the run's signal; see `Workflow.signal`."""
        self._asks()
        return self._app.signal(name)  # type: ignore[no-any-return]

    def receive(self, name: str) -> Awaitable[Any]:
        """Yield this to wait for a message; see `Workflow.receive`."""
        self._asks()
        return self._app.receive(name)  # type: ignore[no-any-return]

    def gather(self, *waits: Awaitable[Any]) -> Awaitable[list[Any]]:
        """Yield this to wait for several at once; it gives their results in order."""
        self._asks()
        return self._gather(waits)

    async def _gather(self, waits: tuple[Awaitable[Any], ...]) -> list[Any]:
        tasks = [self._act.loop.create_task(_await(wait)) for wait in waits]
        return [await task for task in tasks]

    def time(self) -> float:
        """Return the time; see `durable.time`. Nothing to yield."""
        return clock.time()


class _Begun:
    """A task that was begun: awaiting it gives a handle whose awaiting gives the result."""

    def __init__(self, act: Activation, coro: Any) -> None:
        self._act = act
        self._coro = coro

    def __await__(self) -> Any:
        # A generator that yields nothing: beginning takes no time.
        task = self._act.loop.create_task(self._coro)
        yield from ()
        return task


async def _await(wait: Awaitable[Any]) -> Any:
    return await wait


def _in_body(function: Any) -> Callable[..., Any]:
    in_body = getattr(function, "in_body", None)
    if in_body is None:
        raise UsageError(f"{function!r} is neither a task nor a workflow: decorate it with @wf.task, or use wf.step")
    return in_body  # type: ignore[no-any-return]
