"""I15, I6: compression and encryption around frames, old keys, missing keys, missing packages."""

import builtins
import zlib
from typing import Any, cast

import pytest
from hypothesis import given

from durable.codec import Codec, CodecChain, Compression, Encryption, JsonCodec, KeyRing, Limits, crc
from durable.codec import compression as compression_module
from durable.errors import DecodeError, KeyMissing, UsageError
from tests.codec.values import identical, values

OLD, NEW = b"o" * 32, b"n" * 32
codec = JsonCodec()


def encrypted(*keys: tuple[str, bytes], primary: str | None = None, **options) -> CodecChain:
    return CodecChain(JsonCodec(), Compression(), Encryption(KeyRing(dict(keys), primary), **options))


@given(values)
def test_a_chain_gives_the_same_values(value) -> None:
    chain: Codec = encrypted(("k", OLD))
    data, found = chain.round_trip(value, label="v", aad=b"run 1, 2")
    assert identical(found, value)
    assert identical(chain.decode(data, aad=b"run 1, 2"), value)
    assert identical(chain.decode(chain.encode(value, label="v")), value)


def test_small_frames_are_not_compressed_and_large_ones_are() -> None:
    chain = CodecChain(codec, Compression())
    assert chain.encode("x" * 4000, label="v")[:1] == b"J"
    value = [{"name": f"row {n}", "n": n} for n in range(500)]
    data = chain.encode(value, label="v")
    assert data[:1] == b"Z"
    assert len(data) < len(codec.encode(value, label="v")) / 3
    assert chain.decode(data) == value
    assert chain.decode(codec.encode(value, label="v")) == value


def test_i6_what_would_be_refused_for_its_ratio_is_not_compressed() -> None:
    chain = CodecChain(codec, Compression())
    value = "x" * 1_000_000
    data = chain.encode(value, label="v")
    assert data[:1] == b"J"
    assert chain.decode(data) == value


def test_compressed_errors_come_back() -> None:
    chain = CodecChain(JsonCodec(Limits(bytes_max=5000)), Compression(limits=Limits(bytes_max=5000)))
    error = ValueError("".join(map(str, range(1500))))
    data = chain.encode_error(error)
    assert data[:1] == b"Z"
    assert str(chain.decode_error(data)) == str(error)


def test_random_bytes_stay_as_they_are() -> None:
    data = b"J" + KeyRing.new_key() * 1
    noise = b"J" + b"".join(KeyRing.new_key() for _ in range(200))
    assert Compression().seal(noise, b"") == noise
    assert Compression().seal(data, b"") == data


@pytest.mark.parametrize("cut", [1, 3, 5, 50, -1])
def test_damaged_compressed_frames_are_refused(cut) -> None:
    chain = CodecChain(codec, Compression())
    data = chain.encode(list(range(5000)), label="v")
    with pytest.raises(DecodeError):
        chain.decode(data[:cut])
    with pytest.raises(DecodeError):
        chain.decode(data + b"more")
    with pytest.raises(DecodeError):
        chain.decode(data[:5] + zlib.compress(b"J1" * 9))


def test_zstd_is_used_when_it_is_there_and_named_when_it_is_not(monkeypatch) -> None:
    if compression_module.zstd_module() is not None:
        chain = CodecChain(codec, Compression("zstd"))
        value = [{"n": n} for n in range(1000)]
        data = chain.encode(value, label="v")
        assert data[:1] == b"S"
        assert CodecChain(codec, Compression()).decode(data) == value
        with pytest.raises(DecodeError):
            chain.decode(data[:-4])
        with pytest.raises(DecodeError):
            chain.decode(data[:4] + b"\x01" + data[5:])
    monkeypatch.setattr(compression_module, "zstd_module", lambda: None)
    with pytest.raises(UsageError, match=r"durable\[zstd\]"):
        Compression("zstd")
    with pytest.raises(DecodeError, match=r"durable\[zstd\]"):
        CodecChain(codec, Compression()).decode(b"S\0\0\0\x05abcdefghi")
    with pytest.raises(UsageError, match="'brotli' is unknown"):
        Compression(cast(Any, "brotli"))


def test_i15_old_keys_are_read_and_the_primary_one_writes() -> None:
    before = encrypted(("old", OLD)).encode("secret", label="v")
    both = encrypted(("old", OLD), ("new", NEW))
    after = both.encode("secret", label="v")
    assert b"\x03old" in before[:5]
    assert b"\x03new" in after[:5]
    assert both.decode(before) == both.decode(after) == "secret"
    assert encrypted(("old", OLD), ("new", NEW), primary="old").encode("x", label="v")[:5] == b"E\x03old"


def test_i15_a_missing_key_is_said_to_be_missing() -> None:
    data = encrypted(("old", OLD)).encode("secret", label="v")
    with pytest.raises(KeyMissing, match="under the key 'old', which the key ring does not hold"):
        encrypted(("new", NEW)).decode(data, label="v")
    with pytest.raises(KeyMissing):
        encrypted(("new", NEW)).decode_error(encrypted(("old", OLD)).encode_error(ValueError()))
    with pytest.raises(
        DecodeError, match="belongs to another run or position, or its key id names another key"
    ) as caught:
        encrypted(("old", NEW)).decode(data)
    assert not isinstance(caught.value, KeyMissing)


def test_an_encrypted_value_cannot_be_moved_or_changed() -> None:
    chain = encrypted(("k", OLD), ("l", OLD))
    data = chain.encode({"a": 1}, label="v", aad=b"run 1")
    assert chain.decode(data, aad=b"run 1") == {"a": 1}
    with pytest.raises(DecodeError):
        chain.decode(data, aad=b"run 2")
    for at in range(len(data)):
        changed = bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]])
        with pytest.raises(DecodeError):
            chain.decode(changed, aad=b"run 1")
    for cut in range(len(data)):
        with pytest.raises(DecodeError):
            chain.decode(data[:cut], aad=b"run 1")


def test_equal_values_are_not_equal_when_encrypted() -> None:
    chain = encrypted(("k", OLD))
    assert chain.encode(1, label="v") != chain.encode(1, label="v")


def test_plain_frames_from_before_are_read_unless_forbidden() -> None:
    data = codec.encode({"a": 1}, label="v")
    assert encrypted(("k", OLD)).decode(data) == {"a": 1}
    strict = encrypted(("k", OLD), accept_plain=False)
    with pytest.raises(DecodeError, match="accepts only what is"):
        strict.decode(data)
    assert strict.decode(strict.encode(1, label="v")) == 1


def test_a_codec_without_encryption_says_so() -> None:
    with pytest.raises(KeyMissing, match="no Encryption"):
        codec.decode(encrypted(("k", OLD)).encode(1, label="v"))


@pytest.mark.parametrize(
    ("keys", "primary", "why"),
    [
        ({}, None, "at least one key"),
        ({"a": b"short"}, None, "'a' has 5 bytes; AES-256 needs 32"),
        ({"": OLD}, None, "1 to 64 bytes"),
        ({"x" * 65: OLD}, None, "1 to 64 bytes"),
        ({"a": OLD}, "b", "'b' is not in the key ring"),
    ],
)
def test_key_rings_that_cannot_work_are_refused(keys, primary, why) -> None:
    with pytest.raises(UsageError, match=why):
        KeyRing(keys, primary)


def test_a_key_ring_does_not_show_its_keys() -> None:
    assert repr(KeyRing({"a": OLD, "b": NEW})) == "KeyRing('a', 'b'; primary 'b')"


def test_without_the_package_encryption_names_the_extra(monkeypatch) -> None:
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"durable\[crypto\]"):
        Encryption(KeyRing({"a": OLD}))


def test_two_transforms_with_one_tag_are_refused() -> None:
    with pytest.raises(UsageError, match="same first byte"):
        CodecChain(codec, Compression(), Compression())


def test_i12_the_checksum_covers_the_place_and_the_bytes() -> None:
    base = crc(1, 2, 3, b"data")
    assert base == crc(1, 2, 3, b"data")
    others = {
        crc(2, 2, 3, b"data"),
        crc(1, 3, 3, b"data"),
        crc(1, 2, 4, b"data"),
        crc(1, 2, 3, b"dat4"),
        crc(2, 1, 3, b"data"),
    }
    assert base not in others
    assert len(others) == 5
    assert crc(-(2**63), 2**63 - 1, 0, b"") >= 0
