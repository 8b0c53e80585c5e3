"""Short forms of the campaign `fuzz`, without the guided part, and what its checkers see."""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest

from durable.codec import CodecChain, Encryption, JsonCodec
from durable.errors import DecodeError
from tests.torture._fuzz_codec import AAD, CODEC, SEALED, Checker
from tests.torture._fuzz_commands import Ended, command_line, play_commands, wrongs
from tests.torture._fuzz_values import Trap, any_value, damaged, twisted
from tests.torture.fuzz import wrongs_in

INPUTS = 3_000
COMMANDS = 80


class Codec(JsonCodec):
    """The codec with a bug."""

    def __init__(self, bug) -> None:
        super().__init__()
        self._bug = bug

    def decode(self, data: bytes, annotation: object = Any, *, label: str = "value", aad: bytes = b"") -> Any:
        return self._bug(lambda: CODEC.decode(data, annotation, label=label, aad=aad))


def found(bug, seeds: range) -> list[str]:
    checker = Checker(Codec(bug))
    for seed in seeds:
        checker.play_seed(seed)
    return checker.found.violations


def test_what_comes_from_outside_is_read_or_refused() -> None:
    """Covers: I1, I2, I7, I8, I9, I12, I13, L14"""
    checker = Checker()
    for seed in range(INPUTS):
        checker.play_seed(seed)
    checker.check_growth()
    assert checker.found.violations == []
    assert checker.found.counts["values"] == INPUTS * 2 // 5
    assert checker.found.counts["read"] > INPUTS // 100, "damage that makes every frame unreadable tests little"


def test_an_input_is_drawn_from_its_seed() -> None:
    frames = Checker().corpus
    for make in (
        any_value,
        lambda source: damaged(source, frames[1], frames),
        lambda source: twisted(source, frames[1]),
    ):
        assert len({repr(make(Random(7))) for _ in range(3)}) == 1


def lose_types(read):
    value = read()
    return list(value) if isinstance(value, tuple) else value


def raise_bare(read):
    try:
        return read()
    except DecodeError as error:
        raise RecursionError(str(error)) from None


def import_something(read):
    import colorsys  # noqa: F401
    import sys

    del sys.modules["colorsys"]
    return read()


def call_a_constructor(read):
    Trap(1)
    return read()


@pytest.mark.parametrize(
    ("bug", "says"),
    [
        (lose_types, "became another one"),
        (raise_bare, "raised RecursionError"),
        (import_something, "executed [\"import ('colorsys',"),
        (call_a_constructor, "executed ['__new__'"),
    ],
)
def test_a_codec_with_a_bug_is_found_out(bug, says) -> None:
    assert any(says in violation for violation in found(bug, range(300)))


def test_an_input_that_takes_long_is_found_out(monkeypatch) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("tests.torture._fuzz_codec.time.process_time", lambda: next(clock))
    assert "took 10.0 s" in found(lambda read: read(), range(1))[0]


def test_an_encryption_that_takes_anything_is_found_out() -> None:
    class Open(CodecChain):
        def decode(self, data: bytes, annotation: object = Any, *, label: str = "value", aad: bytes = b"") -> Any:
            try:
                return SEALED.decode(data, annotation, label=label, aad=aad)
            except DecodeError:
                return None

    keys = SEALED._transforms[1]
    assert isinstance(keys, Encryption)
    checker = Checker(sealed=Open(CODEC, keys))
    checker.play_seed(4)
    assert "was changed, and is read" in checker.found.violations[0]
    assert SEALED.decode(SEALED.encode(1, label="v", aad=AAD), aad=AAD) == 1


def test_what_a_guided_process_leaves_behind_is_told(tmp_path) -> None:
    assert wrongs_in(tmp_path) == []
    (tmp_path / "wrong").write_text("\"b'J': raised TypeError\"\n")
    (tmp_path / "crash-1").write_bytes(b"J1")
    assert wrongs_in(tmp_path) == ["b'J': raised TypeError", "did not survive b'J1'"]


def test_odd_command_lines_end_with_a_documented_code(monkeypatch) -> None:
    """Covers: L14"""
    monkeypatch.delenv("DURABLE_DB", raising=False)
    before = dict(os.environ)
    played = play_commands(0, COMMANDS)
    assert played.violations == []
    assert played.counts.total() == COMMANDS
    assert played.counts["code 2"] > 0
    assert len(played.counts) >= 3
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        (Ended(None, "", "", ValueError("x")), "raised ValueError: x"),
        (Ended(None, "", "", SystemExit(1)), "raised SystemExit"),
        (Ended(7, "", ""), "code 7"),
        (Ended(3, "", ""), "said nothing"),
        (Ended(2, "", "durable: one\ndurable: two\n"), "otherwise than in one line"),
        (Ended(2, "", "one\n"), "otherwise than in one line"),
        (Ended(1, "", "Traceback (most recent call last)\n"), "printed a traceback"),
        (Ended(0, "no json", ""), "no JSON"),
    ],
)
def test_a_command_that_does_wrong_is_found_out(ended, says) -> None:
    assert says in "; ".join(wrongs(["runs", "list", "--json"], ended))


def test_a_command_that_does_right_is_not() -> None:
    for ended in (Ended(0, '{"id": 1}\n{"id": 2}\n', ""), Ended(0, '{\n"id": 1}', ""), Ended(2, "", "durable: no\n")):
        assert list(wrongs(["runs", "list", "--json"], ended)) == []
    assert any("run" in command_line(Random(seed)) for seed in range(50))
