"""What an activation asks of whoever executes it: the engine, which acts, or a rehearsal, which only looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from durable.codec.base import Codec
    from durable.runtime.activation import Activation
    from durable.runtime.bodies import Bodies
    from durable.runtime.clock import Clock
    from durable.runtime.endings import Endings
    from durable.runtime.engine import EngineOptions
    from durable.runtime.executor import StepMemory
    from durable.runtime.steps import TaskOperation
    from durable.runtime.waits import CallOperation, ChildOperation
    from durable.store.operations import Outcome, Then


class Loop(Protocol):
    """The loop outside of the bodies'."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> object:
        """Call back where activations have their turns; called by the threads of plain bodies."""


class TakesAdvances(Protocol):
    """Hands what activations produce to the store."""

    def add(self, act: Activation, /) -> None:
        """Ask the activation for its next Advance, soon."""


class ExecutesAttempts(Protocol):
    """Executes attempts of tasks."""

    def execute(self, op: TaskOperation, /) -> None:
        """Start an attempt."""

    def stop(self, op: TaskOperation, /) -> None:
        """Cancel an attempt, if one runs."""

    def stop_attempts(self, act: Activation, /) -> None:
        """Cancel all attempts of an activation."""


class Rings(Protocol):
    """Knows when activations want to be rung."""

    def ring_at(self, at_ms: int, act: Activation, /) -> None:
        """Ring the activation at a time."""


class HearsAnswers(Protocol):
    """Makes arrivals of what the store answers."""

    def adopt_child(self, op: ChildOperation, /) -> None:
        """See to it that somebody executes a child that was started before."""

    def to_child(self, op: ChildOperation, outcome: Outcome, /) -> None:
        """The store has answered the start of a child."""

    def to_call(self, op: CallOperation, outcome: Outcome, /) -> None:
        """The store has answered another request."""


class Host(Protocol):
    """What an activation asks of whoever executes it."""

    @property
    def app(self) -> str: ...
    @property
    def worker_id(self) -> str: ...
    @property
    def loop(self) -> Loop: ...
    @property
    def store(self) -> object: ...
    @property
    def codec(self) -> Codec: ...
    @property
    def binds_values(self) -> bool: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def options(self) -> EngineOptions: ...
    @property
    def make_context(self) -> Callable[[Activation], Any]: ...
    @property
    def step_memory(self) -> StepMemory | None: ...
    @property
    def bodies(self) -> Bodies: ...
    @property
    def endings(self) -> Endings: ...
    @property
    def committer(self) -> TakesAdvances: ...
    @property
    def executor(self) -> ExecutesAttempts: ...
    @property
    def alarms(self) -> Rings: ...
    @property
    def answers(self) -> HearsAnswers: ...

    def turn_soon(self, act: Activation) -> None:
        """Give an activation a turn."""

    def waits_for_stragglers(self, act: Activation) -> bool:
        """Should the end of a run wait for attempts that it does not want any more?"""

    def left(self, act: Activation, then: Then) -> None:
        """An activation has given up its run, durably."""

    def fenced(self, act: Activation) -> None:
        """Another worker owns the run: drop it."""

    def report(self, run_id: str, message: str, error: BaseException | None) -> None:
        """Log what nobody awaits."""

    def guarded(self, act: Activation, call: Callable[..., object], *args: Any) -> None:
        """Call something of an activation; an error that nobody foresaw ends this one, not the others."""
