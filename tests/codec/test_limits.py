"""I3, I4, I5, I6, I12: bounds hold before anything is built, on the way in and on the way out."""

import contextlib
import logging
import time
import tracemalloc
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.codec import CodecChain, Compression, JsonCodec, Limits
from durable.codec.leaves import READERS
from durable.codec.limits import check_wire
from durable.errors import DecodeError, EncodeError, PayloadTooLarge, UsageError
from tests.codec import values as corpus
from tests.codec.values import values

codec = JsonCodec()


def nested(depth: int, wrap=lambda part: [part]):
    value: object = 1
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS = {
    "list": lambda part: [part],
    "dict": lambda part: {"a": part},
    "tuple": lambda part: (part,),
    "keyed": lambda part: {1: part},
}


@pytest.mark.parametrize("kind", WRAPS)
def test_i3_depth_64_passes_and_65_does_not(kind) -> None:
    value = nested(64, WRAPS[kind])
    data, found = codec.round_trip(value, label="v")
    assert found == value == codec.decode(data)
    with pytest.raises(PayloadTooLarge, match="nested deeper than the limit of 64"):
        codec.encode(nested(65, WRAPS[kind]), label="v")


@pytest.mark.parametrize("depth", [1_000, 100_000])
@pytest.mark.parametrize("kind", WRAPS)
def test_i3_great_depth_is_refused_at_encode(depth, kind) -> None:
    with pytest.raises(PayloadTooLarge):
        codec.encode(nested(depth, WRAPS[kind]), label="v")


@pytest.mark.parametrize("depth", [500, 1_000, 100_000, 1_000_000])
@pytest.mark.parametrize("tag", [b"J", b"T", b"X"])
def test_i3_great_depth_is_refused_before_parsing(depth, tag) -> None:
    read = codec.decode_error if tag == b"X" else codec.decode
    for body in (b"[" * depth, b"[" * depth + b"]" * depth, b'{"a":' * (depth // 2) + b"1" + b"}" * (depth // 2)):
        with pytest.raises(DecodeError, match=r"deeper|bytes|elements"):
            read(tag + body)


def test_i3_brackets_inside_text_do_not_count() -> None:
    value = {"a": '[{"\\' * 1000, "b": ["]]}\\\\", '"', "\\"] * 30}
    assert codec.decode(codec.encode(value, label="v")) == value
    assert codec.decode(codec.encode((value,), label="v")) == (value,)


def test_i4_a_value_over_the_byte_limit_is_refused_both_ways() -> None:
    limit = codec.limits.bytes_max
    assert codec.decode(codec.encode("x" * (limit - 2), label="v")) == "x" * (limit - 2)
    with pytest.raises(PayloadTooLarge, match="over the limit of 2,097,152; store it elsewhere"):
        codec.encode("x" * (limit - 1), label="v")
    with pytest.raises(PayloadTooLarge):
        codec.encode(("x" * limit,), label="v")
    with pytest.raises(DecodeError, match="more than the limit"):
        codec.decode(b'J"' + b"x" * limit + b'"')


def test_i5_many_elements_are_refused_both_ways() -> None:
    limit = codec.limits.elements_max
    assert len(codec.decode(codec.encode([1] * limit, label="v"))) == limit
    too_many: list[Any] = [
        [1] * (limit + 1),
        (1,) * (limit + 1),
        dict.fromkeys(range(limit + 1), 1),
        [[]] * (limit + 1),
    ]
    for value in too_many:
        with pytest.raises(PayloadTooLarge):
            codec.encode(value, label="v")
    small = JsonCodec(Limits(elements_max=10_000))
    with pytest.raises(DecodeError, match="more elements than the limit"):
        small.decode(b"J[" + b"1," * 20_000 + b"1]")


def test_i5_a_refused_payload_takes_no_memory() -> None:
    data = b"J[" + b"[]," * 500_000 + b"1]"
    tracemalloc.start()
    with pytest.raises(DecodeError):
        codec.decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(data)


def test_a_large_value_is_warned_of(caplog) -> None:
    with caplog.at_level(logging.WARNING, logger="durable.codec"):
        codec.encode("x" * 300_000, label="result of task 'big'")
    assert "result of task 'big' takes 300002 bytes" in caplog.text


@settings(max_examples=200)
@given(values)
def test_what_encode_accepts_decode_accepts_under_the_same_limits(value) -> None:
    tight = JsonCodec(Limits(depth_max=4, elements_max=12, bytes_max=400))
    try:
        data = tight.encode(value, label="v")
    except EncodeError:
        return
    tight.decode(data)


@given(st.binary(max_size=200))
def test_i12_no_bytes_make_decode_raise_anything_but_decode_error(data) -> None:
    for tag in (b"", b"J", b"T", b"X"):
        for read in (codec.decode, codec.decode_error, lambda data: codec.decode_arguments(data, label="a")):
            with contextlib.suppress(DecodeError):
                read(tag + data)


tags = st.sampled_from([*READERS, "$tuple", "$set", "$frozenset", "$deque", "$dict", "$ordereddict", "$class", "$enum"])
names = st.sampled_from(
    [f"tests.codec.values:{name}" for name in dir(corpus)] + ["builtins:ValueError", "os:system", ""]
)
parts = st.sampled_from(
    ["name", "value", "x", "zone", "size", "fold", "args", "state", "details", "$dump", "$given", "$more"]
)
trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | names,
    lambda tree: st.one_of(
        st.lists(tree, max_size=4),
        st.builds(lambda tag, body, more: {tag: body, **more}, tags, tree, st.dictionaries(parts, tree, max_size=3)),
        st.builds(lambda tag, name, more: {tag: name, **more}, tags, names, st.dictionaries(parts, tree, max_size=3)),
        st.builds(
            lambda name, more: {"$error": {"type": name, **more}}, names, st.dictionaries(parts, tree, max_size=3)
        ),
    ),
    max_leaves=10,
)


@settings(max_examples=400)
@given(trees)
def test_i12_any_tree_of_tags_is_read_or_refused(tree) -> None:
    body = msgspec.json.encode(tree)
    try:
        value = codec.decode(b"T" + body)
    except DecodeError:
        value = None
    with contextlib.suppress(DecodeError):
        codec.decode_error(b"X" + body)
    # What was read can be stored again, or is refused by name; nothing else.
    with contextlib.suppress(EncodeError):
        codec.encode(value, label="v")


@given(values, st.data())
def test_i12_a_cut_or_changed_frame_is_read_or_refused_and_never_anything_else(value, data) -> None:
    frame = bytearray(codec.encode(value, label="v"))
    at = data.draw(st.integers(0, len(frame) - 1))
    for damaged in (
        bytes(frame[:at]),
        bytes(frame[:at]) + data.draw(st.binary(min_size=1, max_size=1)) + bytes(frame[at + 1 :]),
    ):
        with contextlib.suppress(DecodeError):
            codec.decode(damaged)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "there are no bytes"),
        (b"Q1", "first byte is b'Q'"),
        (b"\x80\x04K\x01.", "names no codec"),
        (b"E\x01k", "no Encryption"),
        (b"Zabc", "no Compression"),
        (b"Pabc", "a pickle"),
        (b"X{}", "record of an exception"),
        (b"J", "damaged"),
        (b"J{", "damaged"),
        (b"J1 1", "damaged"),
        (b'J"\xff"', "damaged"),
        (b"JNaN", "damaged"),
        (b'T{"$new":1}', "unknown tag '\\$new'"),
        (b'T{"$tuple":1}', "malformed"),
        (b'T{"$dict":[1]}', "malformed"),
        (b'T{"$set":[[]]}', "malformed"),
        (b'T{"$int":"12"}', "malformed"),
        (b'T{"$int":12}', "malformed"),
        (b'T{"$bytes":"***"}', "malformed"),
        (b'T{"$datetime":"x"}', "malformed"),
        (b'T{"$datetime":"2024-01-01T00:00:00","zone":"../../etc/passwd"}', "malformed"),
        (b'T{"$datetime":"2024-01-01T00:00:00","zone":"No/Where"}', "malformed"),
        (b'T{"$decimal":1.5}', "malformed"),
        (b'T{"$class":1}', "not loaded here"),
        # Fuzzing found these: they were read, and the model that came of it could not be stored again.
        (b'T{"$class":"tests.codec.values:OpenModel","name":"n","$more":7}', "more is no object"),
        (b'T{"$class":"tests.codec.values:Model","a":1,"b":2,"$private":"ab"}', "private is no object"),
        (b'T{"$class":"tests.codec.values:Model","a":1,"b":2,"$given":["a",1]}', "given is no list of names"),
        (b'T{"$enum":"tests.codec.values:Colour"}', "malformed"),
        (b'T{"$enum":"tests.codec.values:Colour","name":"GREEN"}', "no member 'GREEN'"),
    ],
)
def test_i12_damaged_and_foreign_frames_say_what_is_wrong(data, why) -> None:
    with pytest.raises(DecodeError, match=why) as caught:
        codec.decode(data, label="result of task 'x'")
    assert str(caught.value).startswith("result of task 'x' cannot be decoded: ")


def bomb(size: int, declared: int) -> bytes:
    return b"Z" + declared.to_bytes(4, "big") + zlib.compress(b"J" + b"[" + b"0" * size + b"]", 9)


@pytest.mark.parametrize("declared", [50_000_000, 2_000_000, 1_000, 0])
def test_i6_a_compressed_bomb_is_refused_without_being_unpacked(declared) -> None:
    chain = CodecChain(codec, Compression())
    data = bomb(50_000_000, declared)
    tracemalloc.start()
    with pytest.raises(DecodeError):
        chain.decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_i6_bombs_inside_bombs_are_undone_once() -> None:
    inner = b"J" + b"1" * 5000
    first = b"Z" + len(inner).to_bytes(4, "big") + zlib.compress(inner)
    second = b"Z" + len(first).to_bytes(4, "big") + zlib.compress(first)
    with pytest.raises(DecodeError):
        CodecChain(codec, Compression()).decode(second)


def test_the_check_of_large_bodies_takes_little_time() -> None:
    body = codec.encode([{"a": 'x"\\', "b": [n]} for n in range(20_000)], label="v")[1:]
    began = time.perf_counter()
    check_wire(body, codec.limits, "v", tagged=False)
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize("field", ["depth_max", "elements_max", "bytes_max", "bytes_warn", "ratio_max"])
def test_limits_that_make_no_sense_are_refused(field) -> None:
    with pytest.raises(UsageError, match=field):
        Limits(**{field: 0})
    with pytest.raises(UsageError, match="between 1 and 100"):
        Limits(depth_max=101)
