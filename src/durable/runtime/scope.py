"""Where the code that calls us runs: in a workflow body, in a task, or in neither."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durable.runtime.activation import Activation
    from durable.runtime.bodies import ThreadBody
    from durable.runtime.steps import TaskOperation


@dataclass(frozen=True, slots=True, eq=False)
class BodyScope:
    """A workflow body is calling."""

    activation: Activation
    thread: ThreadBody | None = None
    """Set in a plain function's body, which blocks instead of awaiting."""


@dataclass(frozen=True, slots=True, eq=False)
class TaskScope:
    """A task is calling."""

    operation: TaskOperation

    @property
    def run_id(self) -> str:
        """The run that the task is a step of."""
        return self.operation.act.run_id

    @property
    def task(self) -> str:
        """The task's name."""
        return self.operation.name

    @property
    def attempt(self) -> int:
        """The attempt's number, from 1."""
        return self.operation.attempt + 1

    @property
    def idempotency_key(self) -> str:
        """The key of the step, the same for all attempts."""
        return self.operation.idempotency_key


current: contextvars.ContextVar[BodyScope | TaskScope | None] = contextvars.ContextVar("durable_scope", default=None)


class Evicted(BaseException):
    """Unwinds the body of an activation that has ended; user code must not catch it, so it is no Exception."""


def handles_cancellation(error: BaseException | None) -> bool:
    """Is a cancellation being handled, perhaps with other errors raised meanwhile?"""
    seen = 0
    while error is not None and seen < 100:
        if isinstance(error, asyncio.CancelledError):
            return True
        error = error.__context__
        seen += 1
    return False
