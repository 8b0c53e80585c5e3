"""A ledger of what code did to the outside world, as far as it says so.

Tests replace the outside world by fakes, and fakes say what they were made to do: `effect("charged", order_id)`. Each
entry knows whether a task did it, whose result is recorded, or a workflow's own code, which is executed again with
every replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from durable.runtime.activation import Activation
from durable.runtime.scope import BodyScope, TaskScope, current
from durable.testing.places import Place, place_of_caller

__all__ = ["Effect", "Effects", "effect"]


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that was done to the outside world."""

    name: str
    details: tuple[Any, ...] = ()
    by: str = "other"
    """Who did it: `task`, `body` (a workflow's own code) or `other` (the test, a client)."""
    run_id: str = ""
    task: str = ""
    """The task's name, if a task did it."""
    key: str = ""
    """The step's idempotency key, if a task did it: the same for all its attempts."""
    attempt: int = 0
    place: Place | None = None
    """The line that said so, as far as it is the user's own."""
    activation: Activation | None = field(default=None, repr=False, compare=False)
    """The stretch of the run in which it happened."""

    def __str__(self) -> str:
        return " ".join([self.name, *map(repr, self.details)])


class Effects:
    """A ledger. `with Effects() as ledger:` lets it hear of every `effect(...)` until the end of the block.

    It counts and compares like a list of its entries' texts: `assert ledger == ["charged '42'", "mailed '42'"]`.
    """

    def __init__(self) -> None:
        self.entries: list[Effect] = []
        """What happened, in order."""
        self.hears: Callable[[Effect], bool] = lambda _: True
        """Decides what is heard; the processes of a crash test that have died are not."""

    def record(self, name: str, *details: Any) -> None:
        """Enter something.

        Args:
            name: What was done: "charged", "mailed".
            details: To whom or what; they should be plain values that can be compared.
        """
        entry = _entry(name, details)
        if self.hears(entry):
            self.entries.append(entry)

    def count(self, name: str, *details: Any) -> int:
        """Return how often something of that name was done; with details, only to these."""
        return sum(
            entry.name == name and (not details or entry.details == details) for entry in self.entries
        )  # fmt: skip

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Effect]:
        return iter(self.entries)

    def __contains__(self, name: object) -> bool:
        return any(name in (entry.name, str(entry)) for entry in self.entries)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Effects):
            return self.entries == other.entries
        if isinstance(other, list):
            return [str(entry) for entry in self.entries] == [str(item) for item in other]
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<effects: {', '.join(map(str, self.entries)) or 'none'}>"

    def __enter__(self) -> Self:
        _open.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _open.remove(self)


_open: Final[list[Effects]] = []
"""The ledgers that hear, the innermost last. No context variable: tasks and bodies run in contexts of their own."""


def effect(name: str, *details: Any) -> None:
    """Say that something was done to the outside world; called by fakes, and by code under test.

    It goes into the innermost ledger that is open: that of `crash_matrix`, of the fixture `durable_effects`, of
    `with Effects() as ledger`. Without one, nothing happens.

    Args:
        name: What was done: "charged", "mailed".
        details: To whom or what; plain values that can be compared.
    """
    if _open:
        _open[-1].record(name, *details)


def _entry(name: str, details: tuple[Any, ...]) -> Effect:
    place = place_of_caller()
    match current.get():
        case BodyScope(activation):
            return Effect(name, details, "body", activation.run_id, place=place, activation=activation)
        case TaskScope(operation) as scope:
            return Effect(
                name, details, "task", scope.run_id, scope.task, scope.idempotency_key, scope.attempt, place,
                operation.act,
            )  # fmt: skip
        case _:
            return Effect(name, details, place=place)
