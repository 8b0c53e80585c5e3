"""Decorated tasks: plain functions outside a run, recorded steps inside one."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from durable.api.body import blocks, called, running_loop
from durable.api.durations import Duration, optional_ms
from durable.api.options import check_backoff, check_retries
from durable.api.signatures import Signature
from durable.core.ids import check_id
from durable.core.retry import TaskOptions
from durable.errors import UsageError
from durable.runtime.scope import BodyScope, current
from durable.runtime.specs import TaskSpec
from durable.runtime.steps import TaskOperation

if TYPE_CHECKING:
    from durable.backoff import BackoffStrategy

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """What `@wf.task` makes of a function."""

    def __init__(self, fn: Callable[..., Any], spec: TaskSpec, bound: tuple[Any, ...] = ()) -> None:
        self.spec = spec
        self._fn = fn
        self._bound = bound
        self._options = spec.options
        functools.update_wrapper(cast(Any, self), fn, updated=())

    @property
    def name(self) -> str:
        """The name under which the journal knows it."""
        return self.spec.name

    def __repr__(self) -> str:
        return f"<task {self.spec.name!r}>"

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind a method: the instance becomes the first argument, passed as it is."""
        if instance is None:
            return self
        bound = type(self)(self._fn, self.spec, (instance, *self._bound))
        bound._options = self._options
        return bound

    def with_options(
        self,
        *,
        retries: int | None = None,
        backoff: BackoffStrategy | None = None,
        timeout: Duration | None = None,
        deadline: Duration | None = None,
    ) -> Any:
        """Return this task with other options, for one call: `charge.with_options(retries=0)(order)`.

        Args:
            retries: Attempts after the first, 0 or more.
            backoff: Wait between attempts.
            timeout: Longest time of one attempt, in seconds or as timedelta.
            deadline: Longest time of all attempts together.
        """
        changed = type(self)(self._fn, self.spec, self._bound)
        changed._options = replace(
            self._options,
            retries=self._options.retries if retries is None else check_retries(retries),
            backoff=self._options.backoff if backoff is None else check_backoff(backoff),
            timeout_ms=self._options.timeout_ms if timeout is None else optional_ms(timeout, "timeout"),
            deadline_ms=self._options.deadline_ms if deadline is None else optional_ms(deadline, "deadline"),
        )
        return changed

    def _operation(self, scope: BodyScope, args: Any, kwargs: Any, step_id: str | None) -> TaskOperation:
        if step_id is not None:
            check_id(step_id, f"step id of task {self.name!r}")
        if self._bound:
            args = (*self._bound, *args)
        return TaskOperation(scope.activation, self.spec, self._options, args, kwargs, step_id)

    async def _step(self, scope: BodyScope, args: Any, kwargs: Any, step_id: str | None) -> Any:
        # Made when this coroutine first runs: operations are numbered in the order in which they start.
        return await self._operation(scope, args, kwargs, step_id)

    async def in_body(self, *args: Any, step_id: str | None = None, **kwargs: Any) -> Any:
        """Call the task as a step of the body that runs on this loop, whatever colour the task has."""
        scope = current.get()
        if isinstance(scope, BodyScope):
            return await self._operation(scope, args, kwargs, step_id)
        result = self.spec.fn(*self._bound, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def _in_thread(self, scope: BodyScope, args: Any, kwargs: Any, step_id: str | None) -> Any:
        assert scope.thread is not None
        return scope.thread.ask(lambda: self._operation(scope, args, kwargs, step_id))


class AsyncTask(Task[P, R]):
    """A task written as `async def`."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R]: ...
    @overload
    def __call__(self, *args: Any, step_id: str, **kwargs: Any) -> Coroutine[None, None, R]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[None, None, R]:
        """Call the task. In a workflow, it is a step: recorded once, retried as declared.

        Args:
            step_id: Identity of the step, instead of its place in the order of calls; unique in the run.

        Raises:
            UsageError: called without `await` where nothing can await it.
        """
        step_id = kwargs.pop("step_id", None)
        scope = current.get()
        if not isinstance(scope, BodyScope):
            return self.spec.fn(*self._bound, *args, **kwargs)  # type: ignore[no-any-return]
        if scope.thread is not None:
            raise blocks(f"async task {self.name!r}", f"{self.name}.sync(...)")
        return called(scope, self._step(scope, args, kwargs, step_id), self.spec.name)

    aio = __call__

    def sync(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the task from a plain (def) workflow, or from plain code, and block until it has ended.

        Raises:
            UsageError: an event loop runs in this thread; `await` the task instead.
        """
        scope = current.get()
        if isinstance(scope, BodyScope) and scope.thread is not None:
            step_id = kwargs.pop("step_id", None)
            return self._in_thread(scope, args, kwargs, step_id)  # type: ignore[arg-type, no-any-return]
        if isinstance(scope, BodyScope) or running_loop() is not None:
            raise UsageError(f"{self.name}.sync() would block the event loop: await {self.name}(...)")
        return asyncio.run(self.spec.fn(*self._bound, *args, **kwargs))  # type: ignore[no-any-return]


class PlainTask(Task[P, R]):
    """A task written as `def`; executed in a thread."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(self, *args: Any, step_id: str, **kwargs: Any) -> R: ...
    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Call the task. In a plain (def) workflow, it is a step; elsewhere, the plain function.

        Args:
            step_id: Identity of the step, instead of its place in the order of calls; unique in the run.

        Raises:
            UsageError: called in an async workflow, where it would block the event loop.
        """
        step_id = kwargs.pop("step_id", None)
        scope = current.get()
        if not isinstance(scope, BodyScope):
            return self.spec.fn(*self._bound, *args, **kwargs)  # type: ignore[no-any-return]
        if scope.thread is None:
            raise UsageError(
                f"plain task {self.name!r} was called in an async workflow, where it would block the event loop: "
                f"await {self.name}.aio(...)"
            )
        return self._in_thread(scope, args, kwargs, step_id)  # type: ignore[no-any-return]

    sync = __call__

    @overload
    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R]: ...
    @overload
    def aio(self, *args: Any, step_id: str, **kwargs: Any) -> Coroutine[None, None, R]: ...
    def aio(self, *args: Any, **kwargs: Any) -> Coroutine[None, None, R]:
        """Call the task from async code: a step in a workflow, a thread elsewhere."""
        step_id = kwargs.pop("step_id", None)
        scope = current.get()
        if not isinstance(scope, BodyScope):
            return asyncio.to_thread(self.spec.fn, *self._bound, *args, **kwargs)
        if scope.thread is not None:
            raise blocks(f"{self.name}.aio()", f"{self.name}(...)")
        return called(scope, self._step(scope, args, kwargs, step_id), self.spec.name)


def make_task(fn: Callable[..., Any], name: str | None, options: TaskOptions) -> Task[Any, Any]:
    """Return the task that a function becomes.

    Raises:
        UsageError: it is no function that can be a task.
    """
    if not callable(fn):
        raise UsageError(f"@task was given {fn!r}: expected a function; options go by name, as in @wf.task(retries=3)")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise UsageError(f"task {fn.__qualname__!r} is a generator: a task returns one result")
    is_async = inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)
    task_name = check_id(getattr(fn, "__name__", type(fn).__name__) if name is None else name, "task name")
    spec = TaskSpec(task_name, fn, is_async, Signature(fn).result_type, options)
    return (AsyncTask if is_async else PlainTask)(fn, spec)
