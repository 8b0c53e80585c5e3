"""Rare operations written once, as generators of statements, and what runs them.

A migration, a repair or a deletion yields a `Statement`, is sent its `Result`, and returns what its caller wants. It
never sees a connection: the same operation runs blocking (`run_blocking`) or on a loop (`run_async`), and a test that
wants to see or interrupt each statement is one more driver.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")


class Statement(NamedTuple):
    """One statement in the dialect of its store."""

    sql: str
    values: Sequence[object] = ()


class Result(NamedTuple):
    """What a statement did."""

    rows: list[tuple[Any, ...]]
    row_count: int
    """Rows inserted, changed or deleted."""


Op: TypeAlias = Generator[Statement, Result, T]
"""An operation: yields statements, returns its answer."""


def run_blocking(op: Op[T], execute: Callable[[Statement], Result]) -> T:
    """Run an operation on the calling thread and return its answer."""
    try:
        statement = next(op)
        while True:
            try:
                result = execute(statement)
            except BaseException as error:  # noqa: BLE001 - the operation may clean up, and raises it again
                statement = op.throw(error)
            else:
                statement = op.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def run_async(op: Op[T], execute: Callable[[Statement], Awaitable[Result]]) -> T:
    """Run an operation whose statements are awaited, and return its answer."""
    try:
        statement = next(op)
        while True:
            try:
                result = await execute(statement)
            except BaseException as error:  # noqa: BLE001 - the operation may clean up, and raises it again
                statement = op.throw(error)
            else:
                statement = op.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
