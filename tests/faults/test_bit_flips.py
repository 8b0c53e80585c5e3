"""T27 in short (B11, I12), and proof that a wrong result, a lost run and a repeated step would be seen."""

from __future__ import annotations

from typing import Any

import pytest

from durable import RunSetAside, StoreCorrupt
from tests.torture import bitflips
from tests.torture.bitflips import Found, compare, verdict

EXPECTED = {"a": [1], "b": [2]}


def test_a_flipped_bit_is_noticed_or_harmless():
    """Covers: B11, I12"""
    outcome = bitflips.campaign(40, seed=3)
    assert outcome.violations == []
    verdicts = outcome.facts["verdicts"]
    assert isinstance(verdicts, dict)
    assert verdicts["detected"] > 0


def found(**told: Any) -> Found:
    one = Found()
    one.told = {**EXPECTED, **told}
    return one


def test_what_is_as_before_is_harmless():
    assert compare(EXPECTED, found()) == []
    assert verdict(found(), []) == bitflips.HARMLESS


@pytest.mark.parametrize("told", [[3], None, "RunNotFound: …", "TimeoutError", "ValueError: …"])
def test_another_result_without_a_word_is_wrong(told: Any):
    (wrong,) = compare(EXPECTED, found(a=told))
    assert wrong == f"a gave {told}, expected [1]"
    assert verdict(found(), [wrong]) == bitflips.WRONG


def test_a_run_that_is_set_aside_as_corrupt_is_noticed():
    one = found(a="told: RunSetAside")
    one.errors.append(RunSetAside("a", "corrupt", "…"))
    assert compare(EXPECTED, one) == []
    assert verdict(one, []) == bitflips.DETECTED


def test_a_store_that_refuses_to_serve_is_noticed():
    one = Found()
    one.errors.append(StoreCorrupt("…"))
    assert compare(EXPECTED, one) == []
    assert verdict(one, []) == bitflips.STOPPED


def test_an_error_that_says_nothing_of_damage_is_wrong():
    one = found()
    one.errors.append(TypeError("oops"))
    assert compare(EXPECTED, one) == ["raised TypeError('oops')"]


def test_a_step_that_is_executed_again_is_wrong_unless_the_check_finds_the_damage():
    one = found()
    one.repeated.append("a\ts0\t1\t10")
    assert compare(EXPECTED, one) == ["'a\\ts0\\t1\\t10' was recorded, and executed again"]
    one.findings.append("entry 3 is missing")
    assert compare(EXPECTED, one) == []
