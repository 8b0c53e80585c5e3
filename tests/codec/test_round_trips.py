"""I2, I7-I11, I13, H17: what comes back is what was put in, with the same types, and shares nothing with it."""

import json
import math
import sys
from collections import OrderedDict, deque
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings

from durable.codec import JsonCodec
from tests.codec.values import (
    Box,
    Checked,
    Colour,
    Derived,
    Event,
    FrozenEvent,
    Level,
    Model,
    OpenModel,
    Parcel,
    Receipt,
    Slotted,
    Stamp,
    identical,
    linked,
    plain_values,
    values,
)

codec = JsonCodec()


def again(value, annotation=object):
    return codec.decode(codec.encode(value, label="value"), annotation)


@settings(max_examples=300)
@given(values)
def test_i13_every_accepted_value_comes_back_with_the_same_types(value) -> None:
    data, first = codec.round_trip(value, label="value")
    assert data == codec.encode(value, label="value")
    assert identical(first, value)
    assert identical(codec.decode(data), value)


@settings(max_examples=300)
@given(plain_values)
def test_plain_values_are_stored_as_the_json_that_they_are(value) -> None:
    data = codec.encode(value, label="value")
    assert data[:1] == b"J"
    assert identical(json.loads(data[1:]), value)
    assert identical(codec.decode(data), value)


@settings(max_examples=200)
@given(values)
def test_another_process_that_knows_the_classes_reads_the_same(value) -> None:
    assert identical(JsonCodec().decode(codec.encode(value, label="value")), value)


@pytest.mark.parametrize(
    "value",
    [
        {"lc": 2, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "true"}},
        {"__py_pickle": "gASVBQ=="},
        {"__type__": "os.system", "__reduce__": ["x"]},
        {"!!python/object": "os.system"},
        {"$class": "os:system", "x": 1},
        {"$tuple": [1, 2]},
        {"$dict": [1, 2]},
        {"$error": {"type": "builtins:SystemExit"}},
        {"a": 1, "$tuple": [1]},
        {"$": 1},
        {"$live": "x"},
        {"py/object": "os.system", "py/reduce": []},
    ],
)
def test_i2_data_that_looks_like_a_tag_comes_back_unchanged(value) -> None:
    for wrapped in (
        value,
        [value],
        {"x": value},
        (value,),
        {1: value},
        Box(value),
        Event("e", value),
        Model(a=1, b=value),
    ):
        assert identical(again(wrapped), wrapped)


@pytest.mark.parametrize(
    "value",
    [
        "\0",
        "a\0b",
        "\ud800",
        "\udfff\ud800",
        "\ud83d" + "\ude00",
        "\\ud800",
        "\u2028",
        "😀",
        {"\ud800": 1},
        {"a\0": "\0"},
    ],
    ids=ascii,
)
def test_i7_text_of_any_code_points_is_exact(value) -> None:
    assert identical(again(value), value)
    assert identical(again((value, [value])), (value, [value]))


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, 2**64 - 1, 2**64, 10**4300, -(10**5000), 10**100_000], ids=lambda n: n.bit_length()
)
def test_i8_integers_of_any_size_are_exact(value) -> None:
    assert again(value) == value
    assert again({"n": [value]}) == {"n": [value]}


def test_i8_large_integers_do_not_depend_on_the_digit_limit_of_the_process() -> None:
    value = {"n": 10**2000}
    data = codec.encode(value, label="value")
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert codec.decode(data) == value
        assert codec.encode(value, label="value") == data
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e16, 1.0, 1e308, 0.1])
def test_i9_floats_are_exact_to_the_bit(value) -> None:
    assert identical(again(value), value)
    assert identical(again([value, {"v": value}]), [value, {"v": value}])


def test_i10_equal_keys_of_several_types_stay_apart_from_text() -> None:
    value = {1: "int", "1": "text", (1,): "tuple", None: "none", b"1": "bytes"}
    assert identical(again(value), value)


def test_i11_none_has_bytes() -> None:
    assert codec.encode(None, label="value") == b"Jnull"
    assert codec.decode(b"Jnull") is None


def test_numbers_and_booleans_are_not_mixed_up() -> None:
    value = [1, True, 1.0, 0, False, 0.0, -0.0, None, "1", "", "null"]
    assert identical(again(value), value)
    assert identical(again(tuple(value)), tuple(value))


def test_an_aware_datetime_keeps_zone_and_fold() -> None:
    value = datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    found = again(value)
    assert (found.tzinfo.key, found.fold, found.utcoffset()) == ("Europe/Berlin", 1, value.utcoffset())
    assert again(datetime(2024, 1, 1, tzinfo=UTC)).tzinfo is UTC


def test_a_dict_keeps_its_order() -> None:
    value = {"z": 1, "a": (2,), "m": 3}
    assert list(again(value)) == ["z", "a", "m"]
    assert list(again({3: 1, 1: 2})) == [3, 1]


def test_equal_sets_are_equal_bytes() -> None:
    words = [f"word{n}" for n in range(50)]
    assert codec.encode(set(words), label="v") == codec.encode(set(sorted(words)[5:] + words), label="v")


@pytest.mark.parametrize(
    "value",
    [
        Receipt("o", 990, (1, [2])),
        Slotted(a={1}, b=b"x"),
        Box[int](7),
        Parcel(1.5, parts=[(1,)]),
        FrozenEvent(event_name="n"),
        FrozenEvent(event_name="n", maybe={"$class": 1}),
        Model(a=1),
        Model(a=1, b=Model(a=2)),
        OpenModel.model_validate({"name": "x", "more": (1,), "other": {2}}),
        linked(url="https://example.org/x", note="n"),
        Checked(1, datetime(2024, 1, 1)),
        Colour.RED,
        Level.HIGH,
        OrderedDict(b=1, a=2),
        deque([1, 2], maxlen=2),
        msgspec.UNSET,
    ],
    ids=repr,
)
def test_i13_objects_are_rebuilt_to_their_class(value) -> None:
    found = again([value])[0]
    assert type(found) is type(value)
    assert found == value


def test_a_dataclass_is_restored_and_not_made_again() -> None:
    value = Derived(2)
    value.total = 99
    assert value.costly is value.costly
    found = again(value)
    assert (found.a, found.total, found.calls) == (2, 99, 1)
    assert "costly" not in vars(found)


def test_a_cached_hash_is_not_stored() -> None:
    value = Stamp("x")
    hash(value)
    data = codec.encode(value, label="value")
    assert b'"_attrs_cached_hash":null' in data
    assert hash(codec.decode(data)) == hash(value)


def test_a_pydantic_model_keeps_what_was_given_and_what_is_private() -> None:
    value = Model(a=1)
    value._secret = (2,)
    found = again(value)
    assert found.model_fields_set == {"a"}
    assert found._secret == (2,)
    assert again(linked(url="http://a.b/")).model_fields_set == {"url"}


def test_h17_what_the_workflow_gets_shares_nothing_mutable_with_what_the_task_returned() -> None:
    value: Any = {"a": [1, {"b": 2}], "c": "text"}
    data, found = codec.round_trip(value, label="result")
    value["a"][1]["b"] = 3
    value["a"].append(4)
    assert found == {"a": [1, {"b": 2}], "c": "text"}
    assert codec.decode(data) == found

    parcel = Parcel(1, parts=[[1]])
    _, found = codec.round_trip((parcel,), label="result")
    parcel.parts[0].append(2)
    assert found[0].parts == [[1]]


def test_a_shared_part_is_stored_at_each_of_its_places() -> None:
    part = [1]
    found = again([part, part])
    assert found == [[1], [1]]


def test_exceptions_inside_values_are_rebuilt() -> None:
    found = again({"ok": 1, "bad": ValueError("no", (1,))})
    assert type(found["bad"]) is ValueError
    assert found["bad"].args == ("no", (1,))


def test_sets_in_sets_are_compared_whatever_their_order():
    """3,000,000 inputs of the fuzz campaign came back as they were, and one was called another value: it was not."""
    one = {(frozenset([0, 8]),), (frozenset([4]),)}
    same = {(frozenset([4]),), (frozenset([8, 0]),)}
    assert [*frozenset([0, 8])] != [*frozenset([8, 0])]
    assert identical(one, same)
    assert not identical(one, {(frozenset([4]),), (frozenset([8, 0.0]),)})
