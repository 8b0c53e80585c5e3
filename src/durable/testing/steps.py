"""What a run did, step by step, for assertions: `(await steps_of(handle))["charge"].attempts == 3`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, overload

from durable import blocking
from durable.api.handles import RunHandle
from durable.api.runs import Event
from durable.errors import UsageError

__all__ = ["Step", "Steps", "steps_of"]


@dataclass(frozen=True)
class Step:
    """One durable operation of a run."""

    name: str
    """Name of the task, signal, message or child; `sleep` for a sleep."""
    kind: str
    """`task`, `timer`, `value`, `signal`, `child`, `start`, `message` or `call`."""
    number: str
    """Its number in the order of calls, or its step id."""
    state: str
    """`ok`, `error`, or `open`: its outcome is not recorded."""
    attempts: int
    """Attempts that ended; 1 for what is not attempted, such as a sleep."""
    result: Any
    """What it returned; None if it did not."""
    error: BaseException | None
    """What it failed with for good."""
    failures: tuple[BaseException | None, ...]
    """The errors of attempts that were followed by another one."""
    arguments: str
    """The arguments as text, as the history shows them."""
    began_at: datetime
    """When its first entry was recorded."""
    ended_at: datetime | None
    """When its outcome was recorded."""

    def __str__(self) -> str:
        attempts = f", {self.attempts} attempts" if self.attempts > 1 else ""
        return f"{self.name} ({self.state}{attempts})"


class Steps:
    """Steps of a run, in the order in which they were first recorded.

    `steps["charge"]` are those of that name; `"refund" in steps` asks whether there are any.
    """

    def __init__(self, steps: Iterable[Step], state: str) -> None:
        self._steps = tuple(steps)
        self.state = state
        """The run's state in words: running, suspended, succeeded …"""

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self._steps)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: str | slice) -> Steps: ...
    def __getitem__(self, index: int | str | slice) -> Step | Steps:
        if isinstance(index, int):
            return self._steps[index]
        if isinstance(index, slice):
            return Steps(self._steps[index], self.state)
        found = [step for step in self._steps if step.name == index]
        if not found:
            known = ", ".join(dict.fromkeys(self.names)) or "none"
            raise LookupError(f"the run has no step {index!r}; it has {known}")
        return Steps(found, self.state)

    def __contains__(self, step: object) -> bool:
        return any(step in (item, item.name) for item in self._steps)

    def __eq__(self, other: object) -> bool:
        return self._steps == other._steps if isinstance(other, Steps) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<steps: {', '.join(map(str, self._steps)) or 'none'}; the run is {self.state}>"

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [step.name for step in self._steps]

    @property
    def attempts(self) -> int:
        """Attempts of all of them together."""
        return sum(step.attempts for step in self._steps)

    @property
    def results(self) -> list[Any]:
        """What they returned, those that did."""
        return [step.result for step in self._steps if step.state == "ok"]

    @property
    def errors(self) -> list[BaseException | None]:
        """What attempts failed with, those that were followed by another one included."""
        return [error for step in self._steps for error in (*step.failures, *([step.error] if step.error else ()))]

    @property
    def only(self) -> Step:
        """The one step.

        Raises:
            LookupError: there is not exactly one.
        """
        if len(self._steps) != 1:
            raise LookupError(f"expected one step, there are {len(self._steps)}: {self!r}")
        return self._steps[0]


class _StepsOf:
    """Looks at the steps of a run."""

    __name__ = "steps_of"

    async def __call__(self, run: RunHandle[Any]) -> Steps:
        """Return the steps of a run, as far as they are recorded. From plain code: `steps_of.sync(handle)`.

        Args:
            run: A handle, such as `wf.handle("order-42")`.

        Raises:
            RunNotFound: there is no such run.
            UsageError: `run` is no handle.
        """
        if not isinstance(run, RunHandle):
            raise UsageError(f"steps_of({run!r}): expected a handle of a run, such as wf.handle('order-42')")
        events = await run._app.runs.history(run.id)
        return Steps(_steps(events), await run.status())

    def sync(self, run: RunHandle[Any] | blocking.RunHandle[Any]) -> Steps:
        """Return the steps of a run, from plain code; see `steps_of`."""
        handle = run._target if isinstance(run, blocking.RunHandle) else run
        if not isinstance(handle, RunHandle):
            raise UsageError(f"steps_of.sync({run!r}): expected a handle of a run, such as wf.handle('order-42')")
        return handle._app.portal.call(lambda: self(handle))


steps_of = _StepsOf()


def _steps(events: Iterable[Event]) -> list[Step]:
    by_number: dict[str, list[Event]] = {}
    for event in events:
        if event.step:
            by_number.setdefault(event.step, []).append(event)
    return [_step(number, found) for number, found in by_number.items()]


def _step(number: str, events: list[Event]) -> Step:
    last = events[-1]
    has_ended = last.status in ("ok", "error")
    retried = [event for event in events if event.status == "retry"]
    return Step(
        name=last.name, kind=last.kind, number=number, state=last.status if has_ended else "open",
        attempts=len(retried) + has_ended, result=last.value if last.status == "ok" else None,
        error=last.error if last.status == "error" else None, failures=tuple(event.error for event in retried),
        arguments=next((event.arguments for event in events if event.arguments), ""), began_at=events[0].at,
        ended_at=last.at if has_ended else None,
    )  # fmt: skip
