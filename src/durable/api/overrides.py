"""Fakes: another function in place of a task's, for a while."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from durable.api.tasks import Task
from durable.errors import UsageError
from durable.runtime.specs import TaskSpec

F = TypeVar("F", bound=Callable[..., Any])


class Override:
    """A fake in the place of a task; made by `Workflow.override`.

    A context manager, and a decorator of functions and coroutine functions. It may be entered again once it was left;
    of several for one task the one entered last counts.
    """

    def __init__(self, name: str, task: Task[..., Any], fake: Callable[..., Any]) -> None:
        self._name = name
        self._spec: TaskSpec = task.spec
        self._fake = _in_colour(self._spec, fake)
        self._replaced: list[Callable[..., Any]] = []

    def __repr__(self) -> str:
        return f"<fake of task {self._name!r}>"

    def __enter__(self) -> Self:
        self._replaced.append(self._spec.fn)
        self._spec.fn = self._fake
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spec.fn = self._replaced.pop()

    def __call__(self, function: F) -> F:
        """Decorate a function: the fake is in place while it runs.

        Raises:
            UsageError: it yields.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise UsageError(
                f"{self!r} cannot decorate {function!r}, which yields: write `with wf.override(...):` inside it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def within_async(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return within_async  # type: ignore[return-value]

        @functools.wraps(function)
        def within(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return within  # type: ignore[return-value]


def override(tasks: Mapping[str, Task[Any, Any]], app: str, task: object, fake: Callable[..., Any]) -> Override:
    """Return a fake of a task, not entered yet; see `Workflow.override`.

    Raises:
        UsageError: there is no such task in the application, or the fake cannot be called as the task is.
    """
    name = task.name if isinstance(task, Task) else task
    found = tasks.get(name) if isinstance(name, str) else None
    if found is None or (isinstance(task, Task) and task.spec is not found.spec):
        raise UsageError(f"application {app!r} has no task {_shown(task)}; it has {_listed(tasks)}")
    if not callable(fake):
        raise UsageError(f"fake of task {name!r}: {fake!r} cannot be called; give a function, or a mock")
    declared = inspect.signature(found._fn)
    refusal = _refusal(declared, fake)
    if refusal:
        raise UsageError(
            f"fake of task {name!r} must take what the task takes: the task is {name}{declared}, the fake "
            f"{_named(fake)}{inspect.signature(fake)} ({refusal})"
        )
    return Override(str(name), found, fake)


# What a fake must take ------------------------------------------------------------------------------------------------

_PLACEHOLDER: Final = object()


def _refusal(declared: inspect.Signature, fake: Callable[..., Any]) -> str:
    """Return why the fake cannot be called as the task is; nothing if it can."""
    try:
        signature = inspect.signature(fake)
    except (TypeError, ValueError):
        return ""  # some functions written in C have no signature: calling will tell
    for positional, named in _calls(declared):
        try:
            signature.bind(*positional, **named)
        except TypeError as error:
            return str(error)
    return ""


def _calls(declared: inspect.Signature) -> list[tuple[list[object], dict[str, object]]]:
    """Return the ways in which the task may be called: with everything by place, by name, and with what is required."""
    parameters = list(declared.parameters.values())
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    only_place = [p for p in by_place if p.kind is p.POSITIONAL_ONLY]
    either = [p for p in by_place if p.kind is p.POSITIONAL_OR_KEYWORD]

    def given(positional: list[inspect.Parameter], named: list[inspect.Parameter]) -> Any:
        return [_PLACEHOLDER for _ in positional], {p.name: _PLACEHOLDER for p in named}

    def required(some: list[inspect.Parameter]) -> list[inspect.Parameter]:
        return [p for p in some if p.default is p.empty]

    return [
        given(by_place, by_name),
        given(only_place, [*either, *by_name]),
        given(required(by_place), required(by_name)),
    ]


# Colours --------------------------------------------------------------------------------------------------------------


def _in_colour(spec: TaskSpec, fake: Callable[..., Any]) -> Callable[..., Any]:
    """Return the fake as an `async def` or `def` function, as the task is one."""
    if spec.is_async:

        @functools.wraps(fake, updated=())
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            result = fake(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return asynchronous
    if not inspect.iscoroutinefunction(fake):
        return fake

    @functools.wraps(fake, updated=())
    def plain(*args: Any, **kwargs: Any) -> Any:
        # A plain task is executed in a thread of its own, where no loop runs.
        return asyncio.run(fake(*args, **kwargs))

    return plain


# For messages ---------------------------------------------------------------------------------------------------------


def _shown(task: object) -> str:
    if isinstance(task, Task):
        return f"{task.name!r} ({_named(task._fn)} is another application's, or was never declared here)"
    return repr(task)


def _listed(tasks: Mapping[str, Task[Any, Any]]) -> str:
    return ", ".join(repr(name) for name in tasks) or "none"


def _named(fn: Callable[..., Any]) -> str:
    return str(getattr(fn, "__qualname__", None) or type(fn).__name__)
