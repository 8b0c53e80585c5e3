"""A run whose owners die waits longer and longer, apart from others, and is set aside at the fifth death."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.lease import DEATHS_MAX, DELAYS_MS, Takeover, after_death

SPREADS = st.floats(0, 1, exclude_max=True)


def test_the_fifth_death_in_a_row_is_one_too_many() -> None:
    assert DEATHS_MAX == 5
    assert [after_death(deaths, spread=0.5).poisoned for deaths in range(7)] == [False] * 4 + [True] * 3
    assert after_death(4, spread=0.9) == Takeover(5, 0, poisoned=True)


@pytest.mark.parametrize(("deaths", "delay_ms"), [(0, 0), (1, 500), (2, 1_000), (3, 4_000)])
def test_each_takeover_waits_longer_than_the_one_before(deaths: int, delay_ms: int) -> None:
    assert after_death(deaths, spread=0.5) == Takeover(deaths + 1, delay_ms, poisoned=False)


def test_there_is_a_delay_for_every_death_that_is_survived() -> None:
    assert len(DELAYS_MS) == DEATHS_MAX - 1
    assert list(DELAYS_MS) == sorted(DELAYS_MS)


@given(st.integers(1, 3), SPREADS)
def test_delays_are_spread_by_half_of_them_to_either_side(deaths: int, spread: float) -> None:
    delay_ms = after_death(deaths, spread=spread).delay_ms
    assert DELAYS_MS[deaths] * 0.5 <= delay_ms + 1
    assert delay_ms <= DELAYS_MS[deaths] * 1.5
    assert delay_ms == int(DELAYS_MS[deaths] * (0.5 + spread))


@given(SPREADS)
def test_the_first_takeover_is_immediate(spread: float) -> None:
    assert after_death(0, spread=spread) == Takeover(1, 0, poisoned=False)
