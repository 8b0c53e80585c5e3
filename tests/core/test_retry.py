"""What follows a failed attempt: a pure rule of options, failures, error and time."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.retry import RETRIES_MAX, WAIT_MS_MAX, TaskOptions, next_attempt_at

NOW, CALLED = 10_000, 4_000


def options(retries: int = 3, seconds: float = 2.0, **more: object) -> TaskOptions:
    return TaskOptions(retries=retries, backoff=lambda _: seconds, **more)  # type: ignore[arg-type]


def decide(of: TaskOptions, failures: int = 1, error: BaseException | None = None) -> int | None:
    return next_attempt_at(of, failures, error or ValueError("x"), now=NOW, called_at=CALLED)


@pytest.mark.parametrize(("failures", "due_at"), [(1, NOW + 2_000), (3, NOW + 2_000), (4, None), (5, None)])
def test_a_step_is_tried_again_as_often_as_it_may_be(failures: int, due_at: int | None) -> None:
    assert decide(options(), failures) == due_at


def test_without_retries_the_first_failure_is_the_last() -> None:
    assert decide(options(retries=0)) is None


def test_the_wait_depends_on_how_many_waits_there_were() -> None:
    asked: list[int] = []

    def backoff(earlier: int) -> float:
        asked.append(earlier)
        return earlier + 0.5

    waits = [decide(TaskOptions(9, backoff), failures) for failures in (1, 2, 3)]
    assert (asked, waits) == ([0, 1, 2], [NOW + 500, NOW + 1_500, NOW + 2_500])


class Fatal(ValueError):
    pass


@pytest.mark.parametrize(
    ("error", "is_retried"),
    [
        (KeyError(), True),
        (ValueError(), True),
        (Fatal(), False),
        (KeyboardInterrupt(), False),
        (BaseException(), False),
    ],
)
def test_only_the_errors_that_are_meant_are_tried_again(error: BaseException, is_retried: bool) -> None:
    assert (decide(options(give_up_on=(Fatal,)), error=error) is not None) == is_retried


def test_an_error_may_be_asked_for_by_its_base_and_given_up_by_its_type() -> None:
    of = options(retry_on=(LookupError,), give_up_on=(KeyError,))
    assert decide(of, error=IndexError()) is not None
    assert decide(of, error=KeyError()) is None
    assert decide(of, error=ValueError()) is None


@pytest.mark.parametrize(("deadline_ms", "is_retried"), [(8_001, True), (8_000, False), (7_999, False), (0, False)])
def test_no_attempt_begins_at_or_after_the_deadline(deadline_ms: int, is_retried: bool) -> None:
    """The deadline counts from the call; the next attempt would begin 8,000 ms after it."""
    assert (decide(options(deadline_ms=deadline_ms)) is not None) == is_retried


@pytest.mark.parametrize(
    ("seconds", "wait_ms"),
    [(0, 0), (-1, 0), (math.nan, 0), (-math.inf, 0), (0.0001, 1), (0.001, 1), (0.0011, 2), (1.5, 1_500),
     (math.inf, WAIT_MS_MAX), (1e300, WAIT_MS_MAX), (WAIT_MS_MAX / 1000, WAIT_MS_MAX),
     (WAIT_MS_MAX / 1000 + 1, WAIT_MS_MAX)],
)  # fmt: skip
def test_a_wait_is_rounded_up_and_bounded(seconds: float, wait_ms: int) -> None:
    assert decide(options(seconds=seconds)) == NOW + wait_ms


def test_the_longest_wait_is_ten_years() -> None:
    assert WAIT_MS_MAX == 10 * 365 * 24 * 60 * 60 * 1000


@given(st.floats(), st.integers(1, 4))
def test_no_backoff_makes_an_attempt_early_or_never(seconds: float, failures: int) -> None:
    due_at = decide(options(seconds=seconds), failures)
    if failures > 3:
        assert due_at is None
    else:
        assert due_at is not None
        assert NOW <= due_at <= NOW + WAIT_MS_MAX


def test_a_task_is_tried_again_a_million_times_at_most() -> None:
    assert RETRIES_MAX == 1_000_000


def test_nobody_changes_the_options_of_a_task() -> None:
    with pytest.raises(FrozenInstanceError):
        options().retries = 4  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(options(), "more", 1)


def test_tasks_have_no_limits_unless_they_are_given() -> None:
    of = TaskOptions(1, lambda _: 0)
    assert (of.timeout_ms, of.deadline_ms, of.retry_on, of.give_up_on) == (None, None, (Exception,), ())
    assert (of.at_most_once, of.check_args) == (False, True)
