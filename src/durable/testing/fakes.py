"""Stand-ins for tasks, and for whatever else a test replaces."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from durable.errors import UsageError
from durable.runtime.scope import TaskScope, current
from durable.testing.effects import effect

__all__ = ["Call", "Fake"]


class Call(NamedTuple):
    """One call of a fake."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Fake:
    """A function that returns what it is told to, fails as often as it is told to, counts, and tells of its effect.

        charged = Fake("receipt-1", fails=[TimeoutError(), TimeoutError()])
        with wf.override(charge, charged):
            ...
        assert charged.count == 3

    A call that succeeds is an effect (`durable.testing.effect`), named after the fake, or the task that it replaces.

    Args:
        returns: What it returns: a value, or a function that is called with the same arguments.
        fails: Errors to raise first, one each call; None among them lets that call succeed.
        name: Name of the effect.

    Raises:
        UsageError: `fails` holds something that cannot be raised.
    """

    def __init__(
        self,
        returns: object = None,
        *,
        fails: Iterable[BaseException | type[BaseException] | None] = (),
        name: str = "",
    ) -> None:
        self.name = name
        self.calls: list[Call] = []
        """All calls, in order, failed ones included."""
        self._returns = returns
        self._fails = list(fails)
        for error in self._fails:
            if error is not None and not _can_be_raised(error):
                raise UsageError(f"Fake(fails=…): {error!r} cannot be raised; None stands for a call that succeeds")
        _all.add(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(Call(args, kwargs))
        error = self._fails[self.count - 1] if self.count <= len(self._fails) else None
        if isinstance(error, BaseException):
            raise error.with_traceback(None)  # it is raised in every play, and collects no frames of earlier ones
        if error is not None:
            raise error
        result = self._returns(*args, **kwargs) if callable(self._returns) else self._returns
        scope = current.get()
        task = scope.task if isinstance(scope, TaskScope) else ""
        effect(self.name or task or "called", *args, *kwargs.values())
        return result

    @property
    def count(self) -> int:
        """How often it was called, failures included."""
        return len(self.calls)

    def reset(self) -> None:
        """Begin anew: no calls yet, all failures to come. `crash_matrix` does this before each play."""
        self.calls.clear()

    def __repr__(self) -> str:
        return f"<fake {self.name!r}, called {self.count} times>" if self.name else f"<fake, called {self.count} times>"


_all: Final[weakref.WeakSet[Fake]] = weakref.WeakSet()


def reset_all() -> None:
    """Let every fake begin anew."""
    for fake in list(_all):
        fake.reset()


def _can_be_raised(error: object) -> bool:
    return isinstance(error, BaseException) or (isinstance(error, type) and issubclass(error, BaseException))
