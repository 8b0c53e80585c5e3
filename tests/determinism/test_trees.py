"""Random programs, cut after every entry of their journals and played on.

Covers: A6, A7, F17, G7
"""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.comparing import check_every_cut, check_late_takeover
from tests.support.replaying import cuts, play
from tests.support.trees import Grower, script_of
from tests.torture.trees import check

# A random program may start a branch in a task group that is being cancelled; CPython 3.13.0 then leaves the branch's
# coroutine unawaited. That is the program's doing, and no branch of ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine 'TreeBody.*' was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <coroutine object TreeBody:pytest.PytestUnraisableExceptionWarning"
    ),
]


TREES = 300
LATE_TREES = 60


@settings(
    max_examples=TREES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(source=st.randoms(use_true_random=False), cancel=st.integers(0, 6), sliced=st.booleans())
def test_a_program_cut_anywhere_goes_on_as_if_nothing_had_happened(
    source: random.Random, cancel: int, sliced: bool
) -> None:
    tree = Grower(source).grow()
    check_every_cut(script_of(tree, cancel=cancel == 6, sliced=sliced))


@settings(
    max_examples=LATE_TREES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    source=st.randoms(use_true_random=False),
    sliced=st.booleans(),
    place=st.integers(0, 1_000),
    later_ms=st.sampled_from((1, 700, 400_000_000)),
)
def test_a_program_taken_over_late_goes_on_from_its_journal(
    source: random.Random, sliced: bool, place: int, later_ms: int
) -> None:
    script = script_of(Grower(source).grow(), sliced=sliced)
    whole = play(script)
    moments = list(cuts(whole.log, within=sliced))
    check_late_takeover(script, whole, moments[place % len(moments)], later_ms)


# Each of these once found something: a retry that nobody woke, a swallowed cancellation that was not noticed, a
# suspension decided before the body went on, an orphaned child, a message received twice, a loop that never rested.
REMEMBERED = (1, 5, 8, 34, 36, 94, 130, 158, 186, 211, 350, 367, 381, 482, 513, 601, 848, 890, 2011, 3271, 3312)
REMEMBERED_LATER = (21742, 22016, 22674)


@pytest.mark.parametrize("seed", REMEMBERED + REMEMBERED_LATER)
def test_a_program_that_once_found_a_mistake_finds_none(seed: int) -> None:
    check(seed)
