"""Checks of what applications, tasks and workflows are declared with, where they are declared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from durable.api.durations import Duration, optional_ms
from durable.backoff import BackoffStrategy, exponential
from durable.codec.base import Codec
from durable.core.retry import RETRIES_MAX, TaskOptions
from durable.errors import UsageError
from durable.runtime.clock import Clock
from durable.runtime.engine import EngineOptions

TASK_OPTIONS = ("retries", "backoff", "timeout", "deadline", "retry_on", "give_up_on", "at_most_once", "check_args")


class Defaults:
    """What an application says for the tasks that do not.

    Raises:
        UsageError: it cannot be used.
    """

    def __init__(self, retries: int, backoff: BackoffStrategy | None) -> None:
        self.retries = check_retries(retries, "default_retries")
        self.backoff = exponential() if backoff is None else check_backoff(backoff, "default_backoff")


def task_options(
    defaults: Defaults, *, retries: int | None = None, backoff: BackoffStrategy | None = None,
    timeout: Duration | None = None, deadline: Duration | None = None, retry_on: Any = Exception, give_up_on: Any = (),
    at_most_once: bool = False, check_args: bool = True,
) -> TaskOptions:  # fmt: skip
    """Return how a task is executed, from what `@wf.task` was given.

    Raises:
        UsageError: an option cannot be used.
    """
    if retries is None:
        retries = 0 if at_most_once else defaults.retries
    return TaskOptions(
        retries=check_retries(retries), backoff=defaults.backoff if backoff is None else check_backoff(backoff),
        timeout_ms=optional_ms(timeout, "timeout"), deadline_ms=optional_ms(deadline, "deadline"),
        retry_on=_error_types(retry_on, "retry_on"), give_up_on=_error_types(give_up_on, "give_up_on"),
        at_most_once=check_flag(at_most_once, "at_most_once"), check_args=check_flag(check_args, "check_args"),
    )  # fmt: skip


def engine_options(*, slots: int, task_threads: int, history_max: int, cache_runs: int, strict: bool) -> EngineOptions:
    """Return how an engine behaves, from what `Workflow` was given.

    Raises:
        UsageError: an option cannot be used.
    """
    for option, value, least in (
        ("slots", slots, 1), ("task_threads", task_threads, 1), ("history_max", history_max, 1),
        ("cache_runs", cache_runs, 0),
    ):  # fmt: skip
        if type(value) is not int or value < least:
            raise UsageError(f"Workflow({option}={value!r}): expected a whole number of at least {least}")
    return EngineOptions(
        slots=slots, task_threads=task_threads, history_max=history_max, cache_runs=cache_runs,
        strict=check_flag(strict, "strict"),
    )  # fmt: skip


def check_names(decorator: str, options: Iterable[str], known: tuple[str, ...]) -> None:
    """Check that these are options of `@wf.task` or `@wf.workflow`.

    Raises:
        UsageError: one is not; says which there are, and which was meant.
    """
    for name in options:
        if name not in known:
            from difflib import get_close_matches  # noqa: PLC0415 - only for this message

            like = get_close_matches(name, known, n=1)
            meant = f" (did you mean {like[0]}=?)" if like else ""
            raise UsageError(f"@wf.{decorator}({name}=…): no such option{meant}; there are: {', '.join(known)}")


def check_retries(retries: object, what: str = "retries") -> int:
    """Return a number of retries.

    Raises:
        UsageError: it is none.
    """
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= RETRIES_MAX:
        raise UsageError(f"{what}={retries!r}: expected a whole number from 0 to {RETRIES_MAX:,}")
    return retries


def check_backoff(backoff: object, what: str = "backoff") -> BackoffStrategy:
    """Return a backoff strategy.

    Raises:
        UsageError: it is none.
    """
    if not callable(backoff):
        raise UsageError(f"{what}={backoff!r}: expected a strategy such as exponential(), or a function of the attempt")
    return cast(BackoffStrategy, backoff)


def check_flag(value: object, what: str) -> bool:
    """Return True or False.

    Raises:
        UsageError: it is neither.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{what}={value!r}: expected True or False")
    return value


def check_codec(codec: object) -> Codec:
    """Return a codec.

    Raises:
        UsageError: it has not the methods of one.
    """
    if isinstance(codec, type) or not all(callable(getattr(codec, name, None)) for name in ("round_trip", "decode")):
        raise UsageError(f"codec={codec!r}: expected a codec such as durable.codec.JsonCodec()")
    return cast(Codec, codec)


_CLOCK = ("now_ms", "has_come", "ring_at", "look_later", "hold_while")


def check_clock(clock: object) -> Clock:
    """Return a clock.

    Raises:
        UsageError: it has not the methods of one.
    """
    if isinstance(clock, type) or not all(callable(getattr(clock, name, None)) for name in _CLOCK):
        raise UsageError(f"clock={clock!r}: expected a clock such as durable.testing.VirtualClock()")
    return cast(Clock, clock)


def _error_types(value: object, what: str) -> tuple[type[BaseException], ...]:
    types = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(item, type) and issubclass(item, BaseException) for item in types):
        raise UsageError(f"{what}={value!r}: expected an exception type or a tuple of them")
    return types
