"""Annotations make classes known and turn plain data from outside into what a workflow expects."""

import dataclasses
import enum
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union, cast

import attrs
import msgspec
import pydantic
import pytest

from durable.codec import JsonCodec, Registry
from durable.codec.annotations import classes_in
from durable.errors import DecodeError, EncodeError, UsageError
from tests.codec.values import Box, Checked, Colour, Event, Level, Model, Parcel, Point, Receipt

LABEL = "signal 'approval'"
ReceiptId = NewType("ReceiptId", Receipt)
Bound = TypeVar("Bound", bound=Event)


@dataclasses.dataclass
class Order:
    at: datetime
    colour: Colour
    receipts: "list[Receipt]"
    model: Model | None = None
    path: Path | None = None


class Typed(TypedDict):
    a: int


@dataclasses.dataclass
class Node:
    parent: "Node | None"
    kind: Literal[1] | Level
    unknown: "NotThere" = None  # type: ignore[name-defined]  # noqa: F821 - resolved nowhere


def plain(value, annotation):
    codec = JsonCodec()
    return codec.decode(codec.encode(value, label=LABEL), annotation, label=LABEL)


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        ({"order_id": "o", "cents": 1}, Receipt, Receipt("o", 1)),
        ({"order_id": "o", "cents": 1}, Receipt | None, Receipt("o", 1)),
        (None, Optional[Receipt], None),  # noqa: UP045 - the old spelling works too
        ({"order_id": "o", "cents": 1}, Union[Receipt, int], Receipt("o", 1)),  # noqa: UP007
        ({"order_id": "o", "cents": 1}, Annotated[Receipt, "x"], Receipt("o", 1)),
        ({"order_id": "o", "cents": 1}, ReceiptId, Receipt("o", 1)),
        ([{"order_id": "o", "cents": 1}], list[Receipt], [Receipt("o", 1)]),
        ({"k": [{"a": 1}]}, dict[str, list[Model]], {"k": [Model(a=1)]}),
        ({"a": 1}, Model, Model(a=1)),
        ({"name": "n", "payload": 3}, Event, Event("n", 3)),
        ({"weight": 2}, Parcel, Parcel(2)),
        ({"a": "1", "at": "2024-01-01T00:00:00"}, Checked, Checked(1, datetime(2024, 1, 1))),
        ({"x": 1, "y": 2}, Point, Point(1, 2)),
        ([1, 2], Point, Point(1, 2)),
        ({"content": {"order_id": "o", "cents": 1}}, Box[Receipt], Box(Receipt("o", 1))),
        ("blue", Colour, Colour.BLUE),
        (2, Level, Level.HIGH),
        ({"a": 1}, Typed, {"a": 1}),
        ({"a": 1}, dict, {"a": 1}),
        ({"a": 1}, dict[str, int], {"a": 1}),
        ({"a": 1}, Model | dict, {"a": 1}),
        ({"a": 1}, Any, {"a": 1}),
        ({"a": 1}, object, {"a": 1}),
        ({"a": 1}, None, {"a": 1}),
        ("2024-01-01", datetime, "2024-01-01"),
        (1, float, 1),
        ([1], tuple, [1]),
        ({"$tuple": [1]}, Any, {"$tuple": [1]}),
    ],
)
def test_plain_data_is_built_into_the_class_of_its_annotation(value, annotation, expected) -> None:
    found = plain(value, annotation)
    assert (type(found), found) == (type(expected), expected)


def test_fields_inside_are_built_too() -> None:
    value = {
        "at": "2024-01-01T00:00:00Z",
        "colour": "blue",
        "receipts": [{"order_id": "o", "cents": 1}],
        "model": {"a": 1},
        "path": "x/y",
    }
    found = plain(value, Order)
    assert found == Order(datetime(2024, 1, 1, tzinfo=UTC), Colour.BLUE, [Receipt("o", 1)], Model(a=1), Path("x/y"))


@pytest.mark.parametrize(
    ("value", "annotation", "why"),
    [
        ({"order_id": "o"}, Receipt, "annotation Receipt: .*cents"),
        ({"order_id": 1, "cents": 1}, Receipt, "annotation Receipt: .*str"),
        ({"a": "x"}, Model, "annotation Model: .*validation error"),
        ("green", Colour, "annotation Colour: 'green' is not a valid Colour"),
        ([{"a": "x"}], list[Model], "annotation Model"),
    ],
)
def test_plain_data_that_does_not_fit_is_refused(value, annotation, why) -> None:
    with pytest.raises(DecodeError, match=why):
        plain(value, annotation)
    with pytest.raises(EncodeError, match=why):
        JsonCodec().round_trip(value, annotation, label=LABEL)


def test_what_the_first_run_gets_a_replay_gets() -> None:
    codec = JsonCodec()
    data, found = codec.round_trip({"a": 1}, Model, label=LABEL)
    assert found == codec.decode(data, Model) == Model(a=1)
    data, found = codec.round_trip({"a": 1}, label=LABEL)
    assert found == codec.decode(data) == {"a": 1}


def test_a_stored_object_is_not_changed_by_an_annotation() -> None:
    codec = JsonCodec()
    for value, annotation in (
        (Receipt("o", cast(int, "not an int")), Receipt),
        (Model.model_construct(a="x"), Model),
        ((1,), list[int]),
    ):
        _, found = codec.round_trip(value, annotation, label=LABEL)
        assert found == value
        assert type(found) is type(value)


def test_an_annotation_makes_its_classes_known() -> None:
    @dataclasses.dataclass
    class Inner:
        x: int

    @attrs.define
    class Middle:
        inner: dict[str, tuple[Inner, ...]]

    class Outer(msgspec.Struct):
        middle: Middle | None

    value = Outer(Middle({"a": (Inner(1),)}))
    data = JsonCodec().encode(value, label=LABEL)
    with pytest.raises(DecodeError, match=r"Outer'?, a class that is not loaded here; import .* or register"):
        JsonCodec().decode(data)
    assert JsonCodec().decode(data, list[Outer] | None) == value
    assert JsonCodec().decode(data, Annotated[Outer, 1]) == value


def test_a_class_that_was_encoded_here_is_known() -> None:
    @dataclasses.dataclass
    class Local:
        x: int

    codec = JsonCodec()
    assert codec.decode(codec.encode(Local(1), label=LABEL)) == Local(1)

    @dataclasses.dataclass
    class Other:
        x: int

    Other.__qualname__ = Local.__qualname__
    assert type(codec.decode(codec.encode(Other(1), label=LABEL))) is Other
    assert type(codec.decode(codec.encode(Local(1), label=LABEL))) is Local


def test_a_registered_class_is_known_under_an_older_name_too() -> None:
    registry = Registry()

    @registry.register
    @dataclasses.dataclass
    class Local:
        x: int

    codec = JsonCodec(registry=registry)
    assert codec.decode(JsonCodec().encode(Local(1), label=LABEL)) == Local(1)
    registry.register(Local, name="old.module:Moved")
    assert codec.decode(b'T{"$class":"old.module:Moved","x":1}') == Local(1)
    with pytest.raises(UsageError, match="cannot be registered"):
        registry.register(int)


def test_a_class_may_have_changed_since() -> None:
    registry = Registry()

    @dataclasses.dataclass
    class Now:
        a: int
        b: list = dataclasses.field(default_factory=list)
        c: int = 3

    registry.register(Now, name="m:C")
    codec = JsonCodec(registry=registry)
    assert codec.decode(b'T{"$class":"m:C","a":1}') == Now(1)
    with pytest.raises(DecodeError, match="has a field 'a' without a default, and the stored value lacks it"):
        codec.decode(b'T{"$class":"m:C","b":[]}')
    registry.register(Parcel, name="m:P")
    assert codec.decode(b'T{"$class":"m:P","weight":1,"dropped":2}') == Parcel(1)
    registry.register(Model, name="m:M")
    assert codec.decode(b'T{"$class":"m:M","a":1,"dropped":2}') == Model(a=1)
    registry.register(Checked, name="m:D")
    assert codec.decode(b'T{"$class":"m:D","a":1,"at":null}').more == 3
    registry.register(Event, name="m:E")
    assert codec.decode(b'T{"$class":"m:E","name":"n"}') == Event("n")
    with pytest.raises(DecodeError, match="name"):
        codec.decode(b'T{"$class":"m:E"}')
    registry.register(Point, name="m:T")
    assert codec.decode(b'T{"$class":"m:T","x":5}') == Point(5)


class Big(pydantic.BaseModel):
    parts: list["Big"] = []
    receipts: dict[str, Receipt] = {}


class Shape(enum.Enum):
    ROUND = 1


class Deep(NamedTuple):
    node: Node


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Node, {Node, Level}),
        (Deep | None, {Deep, Node, Level}),
        (Big, {Big, Receipt}),
        (Literal[Shape.ROUND, 1], {Shape}),
        (list[Bound], {Event}),  # type: ignore[valid-type]
        (dict[Receipt, "Box"], {Receipt}),
    ],
)
def test_classes_are_found_however_deep_they_are(annotation, expected) -> None:
    assert expected <= set(classes_in(annotation))


def test_an_annotation_that_cannot_be_hashed_works() -> None:
    assert plain({"a": 1}, Annotated[Model, {"meta": []}]) == Model(a=1)
