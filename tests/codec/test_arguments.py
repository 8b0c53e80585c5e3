"""Arguments: bytes, a digest that is the same in every process, a preview, and live arguments."""

import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.codec import CodecChain, Compression, Encryption, JsonCodec, KeyRing, Limits, LiveArgument
from durable.errors import DecodeError, EncodeError, PayloadTooLarge
from tests.codec.values import Box, Colour, Receipt, hashables, identical, values

codec = JsonCodec()
LABEL = "arguments of task 'charge'"


def encoded(*args, **kwargs):
    return codec.encode_arguments(args, kwargs, label=LABEL)


def digest(*args, **kwargs) -> int:
    return encoded(*args, **kwargs)[1]


@settings(max_examples=200)
@given(st.lists(values, max_size=3), st.dictionaries(st.text(max_size=5), values, max_size=3))
def test_arguments_come_back_as_they_were(args, kwargs) -> None:
    data, number, preview = codec.encode_arguments(tuple(args), kwargs, label=LABEL)
    found = codec.decode_arguments(data, label=LABEL)
    assert identical(found, (tuple(args), kwargs))
    assert -(2**63) <= number < 2**63
    assert len(preview) <= 80
    assert codec.encode_arguments(tuple(args), kwargs, label=LABEL, live=True) == (data, number, preview)


@given(st.dictionaries(hashables, values, max_size=4), st.randoms())
def test_the_digest_does_not_depend_on_the_order_of_keys(value, random) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert digest(value) == digest(dict(items))
    assert digest([{"in": value}], x=1, y=2) == digest([{"in": dict(items)}], y=2, x=1)


def test_the_digest_tells_arguments_apart() -> None:
    calls = [
        digest(),
        digest(None),
        digest(1),
        digest(True),
        digest(1.0),
        digest("1"),
        digest(x=1),
        digest({"x": 1}),
        digest([1]),
        digest((1,)),
        digest({1}),
        digest(frozenset({1})),
        digest(1, 2),
        digest([1, 2]),
        digest(Decimal(1)),
        digest({"$decimal": "1"}),
        digest(-0.0),
        digest(0.0),
        digest(Receipt("o", 1)),
        digest(Receipt("o", 2)),
        digest({"a": {"b": 1}}),
        digest({"a": {"b": 2}}),
    ]
    assert len(set(calls)) == len(calls)


PROGRAM = """
from datetime import datetime, UTC
from durable.codec import JsonCodec
from tests.codec.values import Colour, Receipt
words = {f"w{n}" for n in range(40)}
value = {"s": words, "f": frozenset(words), "d": {w: 1 for w in words}, "k": {(w, 1): {w} for w in words}}
args = (value, Receipt("o", 1, (datetime(2024, 1, 1, tzinfo=UTC),)), Colour.RED)
print(JsonCodec().encode_arguments(args, {w: 1 for w in words}, label="a")[1])
print(JsonCodec().encode_arguments(("42", 990), {"a": {"z": 1, "b": 2}}, label="a")[1])
"""


def test_the_digest_is_the_same_in_every_process() -> None:
    found = set()
    for seed in ("0", "1", "4242"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1
    # What journals hold: these numbers must never change.
    assert found.pop().split()[1] == str(digest("42", 990, a={"b": 2, "z": 1}))


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((), {}, -3225192528934267603),
        (("42", 990), {}, 4109380035857776091),
        ((datetime(2024, 1, 1, tzinfo=UTC),), {"a": (1, {2: Decimal("1.10")})}, -3726332260477278182),
    ],
)
def test_the_digest_of_released_versions_is_kept(args, kwargs, expected) -> None:
    assert codec.encode_arguments(args, kwargs, label=LABEL)[1] == expected


def test_an_exception_as_argument_has_the_digest_of_what_it_says() -> None:
    def fail(message):
        try:
            raise ValueError(message)
        except ValueError as error:
            return error

    assert digest(fail("a")) == digest(fail("a")) == digest(ValueError("a"))
    assert digest(fail("a")) != digest(fail("b"))


@pytest.mark.parametrize(
    ("args", "kwargs", "preview"),
    [
        ((), {}, ""),
        (("42", 990), {}, '"42",990'),
        ((), {"order_id": "42"}, '"order_id":"42"'),
        ((1,), {"b": [2]}, '1,"b":[2]'),
        ((Colour.RED,), {}, '{"$enum":"tests.codec.values:Colour","name":"RED"}'),
        (("x" * 500,), {"a": 1}, '"' + "x" * 78 + "…"),
        (("é" * 500,), {}, '"' + "é" * 78 + "…"),
        (("😀" * 79,), {}, '"' + "😀" * 78 + "…"),
        (("a\n\x1b[31m",), {}, '"a\\n\\u001b[31m"'),
    ],
)
def test_the_preview_is_short_and_readable(args, kwargs, preview) -> None:
    assert encoded(*args, **kwargs)[2] == preview


def test_h8_a_refused_argument_is_named() -> None:
    with pytest.raises(EncodeError) as caught:
        encoded(1, {"a": [object()]})
    assert (caught.value.path, caught.value.label) == ("[1].a[0]", LABEL)
    with pytest.raises(EncodeError) as caught:
        encoded(client=object())
    assert caught.value.path == ".client"


def test_live_arguments_are_shown_and_left_out_of_the_digest() -> None:
    with sqlite3.connect(":memory:") as connection:
        data, number, preview = codec.encode_arguments((connection, 1), {"x": [object()]}, label=LABEL, live=True)
    connection.close()
    (first, second), named = codec.decode_arguments(data, label=LABEL)
    assert first == LiveArgument("sqlite3.Connection")
    assert repr(first) == "<live sqlite3.Connection>"
    assert second == 1
    assert repr(named["x"]) == "<live list>"
    assert "sqlite3.Connection" in preview
    other = codec.encode_arguments((object(), 1), {"x": lambda: 1}, label=LABEL, live=True)[1]
    assert number == other
    assert number != codec.encode_arguments((object(), 2), {"x": lambda: 1}, label=LABEL, live=True)[1]


def test_live_arguments_over_the_limits_are_shown_too() -> None:
    small = JsonCodec(Limits(bytes_max=1000, elements_max=50, bytes_warn=1000))
    args = ("x" * 2000, 1, "y" * 900, "z" * 300)
    with pytest.raises(PayloadTooLarge):
        small.encode_arguments(args, {}, label=LABEL)
    data, _, _ = small.encode_arguments(args, {"many": [1] * 100}, label=LABEL, live=True)
    found, named = small.decode_arguments(data, label=LABEL)
    assert [type(part) for part in found] == [LiveArgument, int, LiveArgument, str]
    assert type(named["many"]) is LiveArgument


def test_names_of_any_kind_are_kept() -> None:
    kwargs = {"$tuple": 1, "self": 2, "\ud800": 3, "a b": (4,)}
    data, _, _ = codec.encode_arguments((), kwargs, label=LABEL)
    assert codec.decode_arguments(data, label=LABEL) == ((), kwargs)


def test_annotations_build_classes_by_position_and_name() -> None:
    data, _, _ = encoded({"order_id": "o", "cents": 1}, lines=[{"order_id": "p", "cents": 2}], other={"a": 1})
    args, kwargs = codec.decode_arguments(
        data, label=LABEL, annotations={0: Receipt, "lines": list[Receipt], "other": dict, "absent": int, 7: Receipt}
    )
    assert args == (Receipt("o", 1),)
    assert kwargs == {"lines": [Receipt("p", 2)], "other": {"a": 1}}


def test_a_value_is_not_taken_for_arguments() -> None:
    others: list[object] = [[1, 2], {"a": 1}, [[], {}, 1], ([], {})]
    for value in others:
        with pytest.raises(DecodeError, match="not the arguments of a call"):
            codec.decode_arguments(codec.encode(value, label="v"), label=LABEL)


def test_an_encrypting_chain_shows_no_preview_and_the_same_digest() -> None:
    """Covers: I14"""
    secret = CodecChain(codec, Compression(), Encryption(KeyRing({"k": KeyRing.new_key()})))
    data, number, preview = secret.encode_arguments(("4111-1111",), {}, label=LABEL, aad=b"run")
    assert (preview, number) == ("", digest("4111-1111"))
    assert b"4111" not in data
    assert secret.decode_arguments(data, label=LABEL, aad=b"run") == (("4111-1111",), {})


def test_arguments_may_be_as_deep_as_values() -> None:
    value: object = 1
    for _ in range(64):
        value = [value]
    args, _ = codec.decode_arguments(encoded(value)[0], label=LABEL)
    assert args == (value,)
    args, _ = codec.decode_arguments(encoded(value, (1,))[0], label=LABEL)
    assert args == (value, (1,))
    with pytest.raises(PayloadTooLarge):
        encoded([value])
    with pytest.raises(PayloadTooLarge):
        encoded(Box(value))
