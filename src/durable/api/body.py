"""The bridge from public functions to the body that calls them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from durable.errors import UsageError
from durable.runtime.activation import Activation
from durable.runtime.scope import BodyScope, TaskScope, current

T = TypeVar("T")


def body_scope(what: str) -> BodyScope:
    """Return the scope of the calling workflow body.

    Raises:
        UsageError: the caller is no body.
    """
    scope = current.get()
    if isinstance(scope, BodyScope):
        return scope
    where = f"in task {scope.task!r}" if isinstance(scope, TaskScope) else "outside a workflow"
    raise UsageError(f"{what} was called {where}: it belongs in the body of a workflow")


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def perform(scope: BodyScope, what: str, make: Callable[[Activation], Awaitable[T]]) -> Any:
    """Carry out a durable operation for a body: blocking for a plain one, as an awaitable for the others."""
    if scope.thread is not None:
        return scope.thread.ask(lambda: make(scope.activation))
    return called(scope, _awaiting(scope, make), what)


async def _awaiting(scope: BodyScope, make: Callable[[Activation], Awaitable[T]]) -> T:
    # The operation is made when this coroutine first runs: operations are numbered in the order in which they start.
    return await make(scope.activation)


def called(scope: BodyScope, coro: Coroutine[Any, Any, T], name: str) -> Coroutine[Any, Any, T]:
    """Return what a body is to await, under the name by which users know it; the run's end tells if nobody did."""
    coro.__qualname__ = name  # type: ignore[attr-defined]
    act = scope.activation
    if not act.journal.replaying:
        act.unawaited.called(coro, name)
    return coro


def blocks(what: str, instead: str) -> UsageError:
    """Return the error for an awaitable form in a plain body, where nothing can await it."""
    return UsageError(f"{what} cannot be awaited in a plain (def) workflow: call {instead}")
