"""Strategies of waiting between attempts: the ones there are, one's own, and broken ones."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable.backoff import constant, exponential, linear


class Flaky(Exception):
    """What a task under test fails with."""


async def test_a_users_own_backoff_is_called_with_0_first(app):
    asked: list[int] = []

    def own(attempt: int) -> float:
        asked.append(attempt)
        return 0.0

    @app.task(retries=3, backoff=own)
    async def fails() -> None:
        raise Flaky

    @app.workflow
    async def run() -> None:
        await fails()

    with pytest.raises(Flaky):
        await run()
    assert asked == [0, 1, 2]


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (exponential(base=2, max=60), [2, 4, 8, 16, 32, 60, 60]),
        (exponential(base=3, max=10), [3, 9, 10]),
        (exponential(), [2, 4, 8]),
        (linear(start=2, step=3), [2, 5, 8]),
        (linear(start=2, step=3, max=6), [2, 5, 6, 6]),
        (constant(5), [5, 5]),
        (constant(timedelta(minutes=1)), [60, 60]),
        (linear(start=timedelta(seconds=2), step=1), [2, 3]),
        (exponential(max=timedelta(seconds=3)), [2, 3, 3]),
    ],
)
def test_the_waits_of_strategies(backoff, waits):
    assert [backoff(k) for k in range(len(waits))] == waits
    assert backoff(10**6) >= waits[-1]


@pytest.mark.parametrize("make", [exponential, linear, constant])
def test_jitter_shortens_a_wait_by_at_most_its_share(make):
    """Covers: L12"""
    first = (8,) if make is not exponential else (8, 100)
    waits = [make(*first, jitter=0.25)(0) for _ in range(500)]
    assert 6 <= min(waits) < 6.5
    assert 7.5 < max(waits) <= 8


def test_strategies_refuse_what_cannot_be():
    for make in (
        lambda: exponential(0.5), lambda: exponential(2, -1), lambda: linear(-1), lambda: linear(1, -1),
        lambda: constant(-1), lambda: constant(1, jitter=1.5), lambda: exponential(jitter=-0.1),
        lambda: constant(float("nan")),
        lambda: constant(float("inf")), lambda: linear(float("inf")), lambda: exponential(float("inf")),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            make()


async def test_a_backoff_that_is_no_number_or_raises_does_not_stop_the_run(app):
    tried = 0

    @app.task(retries=2, backoff=lambda k: float("nan") if k == 0 else -5.0)
    async def fails() -> None:
        nonlocal tried
        tried += 1
        raise Flaky

    @app.workflow
    async def run() -> None:
        await fails()

    with pytest.raises(Flaky):
        await run()
    assert tried == 3


async def test_a_backoff_that_raises_fails_the_step_with_its_error_in_sight(app):
    def broken(attempt: int) -> float:
        raise ZeroDivisionError("in the backoff")

    @app.task(retries=2, backoff=broken)
    async def fails() -> None:
        raise Flaky("in the task")

    @app.workflow
    async def run() -> None:
        await fails()

    with pytest.raises((Flaky, ZeroDivisionError)):
        async with asyncio.timeout(5):
            await run()
