"""What has arrived for a run, and in which order it hears of that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.decisions.arrivals import is_worth_telling, of_promise, of_run, pending, was_missed
from durable.core.records import Message, Pending, PromiseRecord, Requests, RunState, Settled, Wait
from tests.core.decisions_kit import NOW, standing

WAIT = Wait(4, "p:p")


@pytest.mark.parametrize("ok", [True, False])
def test_a_settled_promise_gives_its_value_or_its_error(ok: bool) -> None:
    promise = PromiseRecord("p", NOW, ok, b"data")
    assert of_promise(WAIT, promise) == (NOW, Settled(4, "p:p", ok, b"data", missing=False))
    assert of_promise(WAIT, PromiseRecord("p", None, ok, b"data"))[0] == 0


@pytest.mark.parametrize("state", RunState)
def test_another_run_gives_its_end_and_nothing_before(state: RunState) -> None:
    found = of_run(WAIT, state, NOW, b"end")
    if state.is_final:
        assert found == (NOW, Settled(4, "p:p", state is RunState.SUCCEEDED, b"end", missing=False))
        assert of_run(WAIT, state, None, b"end") == (0, found[1])
    else:
        assert found is None


def test_a_run_that_does_not_exist_is_missing() -> None:
    assert of_run(WAIT, None, NOW, b"end") == (0, Settled(4, "p:p", ok=False, data=b"", missing=True))


def settled(seq: int) -> Settled:
    return Settled(seq, "p:p", True, b"")


def test_everything_that_is_not_consumed_is_told() -> None:
    messages = [Message(2, "mail", b""), Message(1, "post", b"")]
    found = pending(Requests.CANCEL, "why", [(5, settled(1))], messages)
    assert found == Pending(Requests.CANCEL, "why", (settled(1),), tuple(messages))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-9, 9)), unique=True))
def test_what_waits_have_come_to_is_told_by_time_and_then_by_number(found: list[tuple[int, int]]) -> None:
    told = pending(Requests.NONE, "", [(at, settled(seq)) for at, seq in found], ()).settled
    assert [one.seq for one in told] == [seq for _, seq in sorted(found)]


@pytest.mark.parametrize(
    ("found", "is_worth"),
    [
        (Pending(), False),
        (Pending(Requests.PAUSE), True),
        (Pending(settled=(settled(1),)), True),
        (Pending(messages=(Message(1, "mail", b""),)), True),
    ],
)
def test_a_notice_of_nothing_is_not_told(found: Pending, is_worth: bool) -> None:
    assert is_worth_telling(found) is is_worth


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize(("requests", "is_there"), [(0, False), (0, True), (1, False), (2, False), (3, True)])
def test_a_suspended_run_that_something_has_reached_was_missed(state: RunState, requests: int, is_there: bool) -> None:
    run = standing(state, requests=Requests(requests))
    expected = state is RunState.SUSPENDED and (is_there or requests > 0)
    assert was_missed(run, is_there=is_there) is expected
