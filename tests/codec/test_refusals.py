"""H8: a value that would not come back as it is is refused where it is produced, with its place and its type."""

import asyncio
import collections
import dataclasses
import enum
import socket
import sqlite3
import threading
import types
from datetime import datetime, tzinfo
from typing import Any

import msgspec
import pytest

from durable.codec import JsonCodec
from durable.errors import EncodeError, PayloadTooLarge
from tests.codec.values import Box, Event, Model, Receipt, linked

codec = JsonCodec()
LABEL = "result of task 'charge'"


class Text(str):
    __slots__ = ()


class Counted(dict):
    pass


class Moment(datetime):
    pass


class Odd(tzinfo):
    def utcoffset(self, at):
        return None

    tzname = dst = utcoffset


class Plain:
    pass


def refusal(value) -> EncodeError:
    with pytest.raises(EncodeError) as caught:
        codec.encode(value, label=LABEL)
    with pytest.raises(EncodeError) as again:
        codec.round_trip(value, label=LABEL)
    assert again.value.args == caught.value.args
    return caught.value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([0, 1, 2, object()], "[3]"),
        ({"items": [0, {"owner": object()}]}, ".items[1].owner"),
        ({"two words": object()}, "['two words']"),
        ({7: object()}, "[7]"),
        ({object(): 1}, ".keys()"),
        ((1, {2: {object()}}), "[1][2][*]"),
        (Receipt("o", 1, [object()]), ".lines[0]"),
        (Box({"a": object()}), ".content.a"),
        (Event("e", (object(),)), ".payload[0]"),
        (Model(a=1, b=[object()]), ".b[0]"),
        (collections.deque([object()]), "[0]"),
        (object(), ""),
    ],
)
def test_h8_a_refusal_names_the_place(value, path) -> None:
    error = refusal(value)
    assert error.path == path
    assert error.label == LABEL
    assert error.type_name == "object"
    assert str(error).startswith(f"{LABEL}{f' at {path}' if path else ''} is a object: ")


@pytest.mark.parametrize(
    ("value", "type_name", "why"),
    [
        (sqlite3.connect(":memory:"), "sqlite3.Connection", "code is not stored"),
        (threading.Lock(), "_thread.lock", "no rule for this type"),
        (Plain(), f"{__name__}.Plain", "no rule for this type"),
        (len, "builtin_function_or_method", "code is not stored"),
        (lambda: 1, "function", "code is not stored"),
        (int, "type", "code is not stored"),
        ((n for n in ""), "generator", "only once"),
        (iter([]), "list_iterator", "only once"),
        (Text("x"), f"{__name__}.Text", "would come back as a plain str; convert it to one"),
        (Moment(2024, 1, 1), f"{__name__}.Moment", "would come back as a plain datetime"),
        (Counted(), f"{__name__}.Counted", "would come back as a plain dict"),
        (collections.Counter("a"), "collections.Counter", "would come back as a plain dict"),
        (collections.defaultdict(list), "collections.defaultdict", "would come back as a plain dict"),
        (memoryview(b"x"), "memoryview", "no rule for this type"),
        (..., "ellipsis", "no rule for this type"),
        (types.SimpleNamespace(), "types.SimpleNamespace", "no rule for this type"),
        (msgspec.Raw(b"1"), "msgspec.Raw", "no rule for this type"),
        (datetime(2024, 1, 1, tzinfo=Odd()), "time zone", f"its time zone is a {__name__}.Odd; use zoneinfo"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_h8_a_refusal_says_why(value, type_name, why) -> None:
    error = refusal({"v": value})
    assert (error.path, error.type_name) == (".v", type_name)
    assert why in error.why
    if isinstance(value, sqlite3.Connection):
        value.close()


def test_h8_an_open_socket_is_refused() -> None:
    with socket.socket() as value:
        assert "no rule" in refusal(value).why


def test_h8_a_coroutine_was_forgotten_to_be_awaited() -> None:
    coroutine = asyncio.sleep(0)
    assert "never awaited" in refusal([coroutine]).why
    coroutine.close()


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list = []
    loop.append([{"back": loop}])
    error = refusal(loop)
    assert "contains itself" in error.why
    assert error.path.startswith("[0][0].back[0][0].back")
    own: Box[Any] = Box(None)
    own.content = own
    assert "contains itself" in refusal(own).why


def test_a_value_small_in_memory_and_endless_on_paper_is_refused() -> None:
    value: list = []
    for _ in range(40):
        value = [value, value]
    assert isinstance(refusal(value), PayloadTooLarge)
    assert isinstance(refusal((value,)), PayloadTooLarge)


def test_an_enum_member_made_up_at_run_time_is_refused() -> None:
    class Loose(enum.Enum):
        A = 1

        @classmethod
        def _missing_(cls, value):
            made = object.__new__(cls)
            made._name_, made._value_ = "made", value
            return made

    assert "not among those" in refusal(Loose(5)).why


def test_a_model_whose_json_form_loses_something_is_refused() -> None:
    error = refusal(linked(url="http://a.b/", password="hidden"))
    assert error.path in (".url", ".password")


def test_a_named_tuple_with_hidden_state_keeps_it_or_is_refused() -> None:
    class Pair(collections.namedtuple("Pair", "a b")):
        pass

    value: Any = Pair(1, 2)
    value.note = (3,)
    found = codec.decode(codec.encode(value, label="v"))
    assert (found, found.note) == (value, (3,))
    value.note = object()
    assert refusal(value).path == ".note"


def test_a_dataclass_on_a_built_in_container_is_refused() -> None:
    @dataclasses.dataclass
    class Rows(list):
        name: str

    assert "would come back as a plain list" in refusal(Rows("x")).why


def test_paths_of_great_length_are_shortened() -> None:
    value: object = object()
    for _ in range(40):
        value = {"k" * 100: value}
    assert len(refusal(value).path) < 400
