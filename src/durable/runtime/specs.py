"""What decorators declare, as records that the runtime executes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from durable.core.records import Queue
from durable.core.retry import TaskOptions


class Body(Enum):
    """How a workflow function is written."""

    ASYNC = "async"
    PLAIN = "plain"
    """A plain function, run in a thread."""
    GENERATOR = "generator"
    """A generator function that takes a context first and yields its waits."""


@dataclass(slots=True, eq=False)
class TaskSpec:
    """A task. All that stand for one share its spec: bound methods, and those with other options for a call."""

    name: str
    fn: Callable[..., Any]
    """What is executed; a test may put a fake in its place."""
    is_async: bool
    result_type: Any
    options: TaskOptions
    label: str = field(init=False)
    """What error messages call the result; every step needs it."""

    def __post_init__(self) -> None:
        self.label = f"result of task {self.name!r}"


@dataclass(frozen=True, slots=True)
class WorkflowSpec:
    """A workflow function."""

    name: str
    fn: Callable[..., Any]
    body: Body
    queue: Queue
    result_type: Any = Any
    argument_types: dict[str | int, Any] = field(default_factory=dict)
    """Types of the arguments, by position and by name, to rebuild them."""
    takes_context: bool = False
    timeout_ms: int | None = None
    """Longest active time of a run; suspended time does not count."""
