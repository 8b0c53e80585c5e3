"""No two values that could be exchanged have the same place."""

from __future__ import annotations

import itertools

import pytest

from durable.core.places import (
    arguments_place,
    entry_place,
    key_of,
    message_place,
    promise_place,
    result_place,
    step_place,
)
from durable.core.records import Entry, Kind, Status, signal_id


def entry(kind: Kind, name: str = "", **fields: object) -> Entry:
    return Entry(3, 0, kind, Status.OK, name=name, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "place"),
    [
        (arguments_place("app", "run"), b"app\nstart\nrun"),
        (result_place("app", "run"), b"app\nresult\nrun"),
        (step_place("app", "run", 2, 7), b"app\nstep\nrun\n2\n7"),
        (step_place("app", "run", 2, "7"), b"app\nstep\nrun\n2\n'7'"),
        (promise_place("app", "p"), b"app\npromise\np"),
        (message_place("app", "run"), b"app\nmessage\nrun"),
    ],
)
def test_places_stay_what_they_are(found: bytes, place: bytes) -> None:
    """Values were encrypted for these places: another spelling would make them unreadable."""
    assert found == place


def test_places_of_one_run_are_all_different() -> None:
    places = [
        arguments_place("app", "r"), result_place("app", "r"), promise_place("app", "r"), message_place("app", "r"),
        *(step_place("app", "r", turn, key) for turn in (0, 1) for key in (0, 1, "0", "1")),
    ]  # fmt: skip
    assert len(set(places)) == len(places)


def test_places_of_different_runs_and_applications_are_different() -> None:
    makers = (arguments_place, result_place, promise_place, message_place)
    places = [make(app, run) for make, app, run in itertools.product(makers, ("a", "b"), ("r", "s"))]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize(
    ("one", "place"),
    [
        (entry(Kind.RUN, "start"), arguments_place("app", "run")),
        (entry(Kind.RUN, "finish"), result_place("app", "run")),
        (entry(Kind.RUN, "cancel"), result_place("app", "run")),
        (entry(Kind.PROMISE, "approval", seq=4), promise_place("app", signal_id("run", "approval"))),
        (entry(Kind.CHILD, "flow", note="child-1", seq=4), result_place("app", "child-1")),
        (entry(Kind.MESSAGE, "mail", seq=4), message_place("app", "run")),
        (entry(Kind.TASK, "charge", seq=4), step_place("app", "run", 1, 4)),
        (entry(Kind.TASK, "charge", step_id="first"), step_place("app", "run", 1, "first")),
        (entry(Kind.VALUE, "random", seq=4), step_place("app", "run", 1, 4)),
        (entry(Kind.CALL, "send", seq=4), step_place("app", "run", 1, 4)),
        (entry(Kind.START, "flow", seq=4), step_place("app", "run", 1, 4)),
    ],
)
def test_the_value_of_an_entry_has_the_place_that_its_writer_knew(one: Entry, place: bytes) -> None:
    assert entry_place("app", "run", 1, one) == place


@pytest.mark.parametrize(
    ("seq", "step_id", "key"), [(4, None, 4), (0, "s", 0), (4, "s", 4), (None, "s", "s"), (None, None, 0)]
)
def test_a_step_is_told_apart_by_its_number_or_its_step_id(seq: int | None, step_id: str | None, key: object) -> None:
    assert key_of(seq, step_id) == key


def test_a_lone_surrogate_in_a_step_id_has_a_place_all_the_same() -> None:
    assert step_place("app", "run", 0, "\ud800") != step_place("app", "run", 0, "\ud801")
