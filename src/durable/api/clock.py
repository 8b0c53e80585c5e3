"""Durable clock and randomness: the first value stands, over any number of crashes.

`durable.sleep`, `durable.time` and `durable.now` are called plainly or as `.aio()`. Plainly they block in plain code
and may be awaited in async code; outside a run they do what `time.sleep`, `time.time` and `datetime.now` do.
"""

from __future__ import annotations

import asyncio
import datetime as datetimes
import random as random_module
import time as time_module
import uuid as uuid_module
from collections.abc import Coroutine
from typing import Any

from durable.api.body import blocks, perform, running_loop
from durable.api.durations import Duration, to_ms
from durable.errors import UsageError
from durable.runtime.activation import Activation
from durable.runtime.scope import BodyScope, TaskScope, current
from durable.runtime.steps import TimerOperation

__all__ = ["now", "random", "sleep", "time", "uuid4"]


class _Sleep:
    """Sleep durably."""

    __name__ = "sleep"

    def __call__(self, seconds: Duration) -> Any:
        """Sleep for `seconds`; the deadline is fixed at the first call, over any number of crashes.

        In a plain workflow, and in plain code outside a run, this blocks and returns None. In async code, `await` it.
        A sleep whose deadline has passed returns at once. There is no maximum; a suspended run is a row, not a process.

        Args:
            seconds: A number, or a timedelta; negative counts as 0.

        Raises:
            TypeError: `seconds` is neither.
            ValueError: `seconds` is NaN or infinite.
            UsageError: called in a task, where a restart would lose it.
        """
        delay_ms = to_ms(seconds, "seconds")
        scope = current.get()
        if isinstance(scope, BodyScope):
            return perform(scope, "durable.sleep", lambda act: _timer(act, delay_ms))
        _refuse_in_task(scope, "durable.sleep")
        if running_loop() is not None:
            return asyncio.sleep(delay_ms / 1000)
        time_module.sleep(delay_ms / 1000)
        return None

    def aio(self, seconds: Duration) -> Coroutine[None, None, None]:
        """Sleep durably; see `durable.sleep`."""
        delay_ms = to_ms(seconds, "seconds")
        scope = current.get()
        if not isinstance(scope, BodyScope):
            _refuse_in_task(scope, "durable.sleep")
            return asyncio.sleep(delay_ms / 1000)
        if scope.thread is not None:
            raise blocks("durable.sleep.aio()", "durable.sleep()")
        return perform(scope, "durable.sleep", lambda act: _timer(act, delay_ms))  # type: ignore[no-any-return]


def _timer(act: Activation, delay_ms: int) -> TimerOperation:
    return TimerOperation(act, delay_ms, name="sleep")


def _refuse_in_task(scope: object, what: str) -> None:
    if isinstance(scope, TaskScope):
        raise UsageError(
            f"{what} was called in task {scope.task!r}, which is executed as a whole and starts anew after a crash; "
            "sleep in the workflow, between tasks"
        )


class _Time:
    """The current time as a float."""

    __name__ = "time"

    def __call__(self) -> float:
        """Return seconds since the epoch; called again after a crash, the same call returns the first value.

        In a task this is the time of the application's clock, outside a run `time.time()`.
        """
        scope = current.get()
        if isinstance(scope, BodyScope):
            act = scope.activation
            return float(act.value("time", lambda: _run_time(act)))
        return time_module.time() if scope is None else _clock_time(scope)

    async def aio(self) -> float:
        """Return seconds since the epoch; see `durable.time`."""
        return self()


class _Now:
    """The current time as a datetime."""

    __name__ = "now"

    def __call__(self, tz: datetimes.tzinfo | None = None) -> datetimes.datetime:
        """Return the current time as `datetime.now(tz)` does; the same call returns the first value after a crash.

        Args:
            tz: Time zone of the result. None gives a naive datetime in the machine's zone: the moment is the recorded
                one, but another machine may show it in another zone.
        """
        scope = current.get()
        if isinstance(scope, BodyScope):
            act = scope.activation
            return datetimes.datetime.fromtimestamp(float(act.value("now", lambda: _run_time(act))), tz)
        return datetimes.datetime.now(tz) if scope is None else datetimes.datetime.fromtimestamp(_clock_time(scope), tz)

    async def aio(self, tz: datetimes.tzinfo | None = None) -> datetimes.datetime:
        """Return the current time; see `durable.now`."""
        return self(tz)


def _run_time(act: Activation) -> float:
    """Return the time of a run, which does not decrease although the machine's clock may."""
    return max(act.host.clock.now_ms(), act.journal.last_at) / 1000


def _clock_time(scope: TaskScope) -> float:
    """Return the time of the clock that a task's run is executed under, which is the machine's but in tests."""
    return scope.operation.act.host.clock.now_ms() / 1000


sleep = _Sleep()
time = _Time()
now = _Now()


def random() -> float:
    """Return a random number in [0, 1); in a workflow, the same call returns the first value after a crash."""
    scope = current.get()
    if not isinstance(scope, BodyScope):
        return random_module.random()
    return float(scope.activation.value("random", random_module.random))


def uuid4() -> uuid_module.UUID:
    """Return a random UUID; in a workflow, the same call returns the first value after a crash."""
    scope = current.get()
    if not isinstance(scope, BodyScope):
        return uuid_module.uuid4()
    value = scope.activation.value("uuid4", lambda: str(uuid_module.uuid4()))
    return uuid_module.UUID(value)
