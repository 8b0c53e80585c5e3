"""Functions for the code of workflows and tasks: who am I, which way do I take, how far am I."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, NoReturn, TypeVar

from durable.api.body import body_scope, perform
from durable.core.ids import check_id
from durable.errors import UsageError
from durable.runtime.activation import Activation
from durable.runtime.endings import ContinueAsNew
from durable.runtime.scope import BodyScope, TaskScope, current

T = TypeVar("T")
R = TypeVar("R")

__all__ = ["continue_as_new", "idempotency_key", "logger", "map", "patched", "progress", "run_id"]


def run_id() -> str:
    """Return the id of the run that executes the calling workflow or task.

    Raises:
        UsageError: called outside a run.
    """
    scope = current.get()
    if isinstance(scope, BodyScope):
        return scope.activation.run_id
    if isinstance(scope, TaskScope):
        return scope.run_id
    raise UsageError("durable.run_id() was called outside a run: it belongs in a workflow or task")


def idempotency_key() -> str:
    """Return a key for the calling task's step: the same for every attempt, another one for every other step.

    Pass it to the outside system that the task calls, which then recognises a repetition.

    Raises:
        UsageError: called outside a task.
    """
    scope = current.get()
    if isinstance(scope, TaskScope):
        return scope.idempotency_key
    where = "in a workflow body, which has no effects" if isinstance(scope, BodyScope) else "outside a run"
    raise UsageError(f"durable.idempotency_key() was called {where}: it belongs in a task")


def patched(name: str) -> bool:
    """Tell whether this run takes the new code of a change named `name`.

    Runs that were past this point before the change was deployed get False for ever, all others True for ever:

        if durable.patched("charge-twice-fixed"):
            await charge_once(order)
        else:
            await charge(order)

    Raises:
        UsageError: called outside a workflow body.
    """
    return body_scope("durable.patched()").activation.patched(check_id(name, "patch name"))


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this run and start it anew under the same id with these arguments and an empty journal.

    For workflows that go on for ever: their journal does not grow for ever. Unread messages stay. Settled signals
    stay settled. Call it in the workflow's own flow, not in a branch.

    Raises:
        UsageError: called outside a workflow body, or with arguments that the workflow does not take.
    """
    act = body_scope("durable.continue_as_new()").activation
    try:
        inspect.signature(act.spec.fn).bind(*(None,) * act.spec.takes_context, *args, **kwargs)
    except TypeError as error:
        raise UsageError(f"durable.continue_as_new() of workflow {act.spec.name!r}: {error}") from None
    raise ContinueAsNew(args, kwargs)


def progress(done: float, total: float | None = None, message: str = "") -> None:
    """Show how far the run is, in `durable runs show` and in live views. Not recorded in the journal.

    Args:
        done: Work done, in any unit.
        total: All the work, in the same unit; None if not known.
        message: A short text; cut at 200 characters.

    Raises:
        UsageError: called outside a workflow body, or with something else.
    """
    act = body_scope("durable.progress()").activation
    if not act.replaying:
        act.outbox.progress = _progress_text(done, total, message)


def _progress_text(done: object, total: object, message: object) -> str:
    """Return a progress as JSON; checked, since it is shown to people and not encoded."""
    if not isinstance(done, (int, float)) or not isinstance(total, (int, float, type(None))):
        raise UsageError(f"durable.progress(done={done!r}, total={total!r}): expected numbers")
    if not isinstance(message, str):
        raise UsageError(f"durable.progress(message={message!r}): expected a string")
    return json.dumps([done, total, message[:200]])


class _BodyLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that is silent while a body replays, and says which run speaks."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        scope = current.get()
        if isinstance(scope, BodyScope) and scope.activation.replaying:
            return False
        return super().isEnabledFor(level)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log unless replaying; in a body, only once everything before the line is durable."""
        if not self.isEnabledFor(level):
            return
        scope = current.get()
        kwargs.setdefault("stacklevel", 1)
        if not isinstance(scope, BodyScope):
            super().log(level, msg, *args, **kwargs)
            return
        act = scope.activation
        extra = dict(kwargs.pop("extra", None) or {}) | {"run_id": act.run_id, "workflow": act.spec.name}
        act.hold(lambda: self.logger.log(level, msg, *args, extra=extra, **kwargs))


logger = _BodyLogger(logging.getLogger("durable.workflow"), {})
"""A logger for workflow bodies: each line is written once, not once per replay."""


def map(task: Callable[[T], Any], items: Iterable[T], *, limit: int = 20) -> Any:
    """Call `task` for each item, at most `limit` at a time; return the results in the order of the items.

    In an async workflow, `await` it. The first failure cancels the rest and is raised.

    Args:
        task: A task, child workflow or async function of one argument.
        items: The arguments; a set has no order, sort it first.
        limit: Calls at once; at least 1.

    Raises:
        UsageError: called outside a workflow body, with what is no function or no items, or `limit` is below 1.
    """
    if not callable(task):
        raise UsageError(f"durable.map(task={task!r}): {_MAPS}")
    if type(limit) is not int or limit < 1:
        raise UsageError(f"durable.map(limit={limit!r}): expected a whole number of at least 1")
    if isinstance(items, (set, frozenset)):
        raise UsageError("durable.map() was given a set, whose order differs between processes: pass sorted(items)")
    if isinstance(items, AsyncIterable):
        raise UsageError("durable.map() was given an asynchronous iterable: collect its items in a task first")
    if not isinstance(items, Iterable):
        raise UsageError(f"durable.map(items={items!r}): expected a list, or anything else to iterate over")
    scope = body_scope("durable.map()")
    return perform(scope, "durable.map", lambda act: _map(act, task, list(items), limit))


_MAPS = "expected a task, a child workflow or an async function"


async def _map(act: Activation, task: Callable[[T], Any], items: list[T], limit: int) -> list[Any]:
    call: Callable[[T], Any] = getattr(task, "in_body", task)
    results: list[Any] = [None] * len(items)
    waiting = iter(enumerate(items))

    async def work() -> None:
        for index, item in waiting:
            answer = call(item)
            if not inspect.isawaitable(answer):
                raise UsageError(f"durable.map() was given {task!r}, which returned a {type(answer).__name__}: {_MAPS}")
            results[index] = await answer

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(limit, len(items))):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return results
