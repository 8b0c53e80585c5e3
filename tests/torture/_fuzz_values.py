"""Values, frames and damage for the fuzzing of the codec, drawn from a seed; quicker than hypothesis, which shrinks."""

from __future__ import annotations

import math
import struct
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from random import Random
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from durable.codec.leaves import READERS
from tests.codec.values import (
    Box,
    Colour,
    Derived,
    Event,
    FrozenEvent,
    Level,
    Model,
    OpenModel,
    Parcel,
    Point,
    Receipt,
    Rights,
    Slotted,
    Stamp,
    Word,
)

DEPTH_MAX: Final = 4
WIDTH_MAX: Final = 4

SPRUNG: Final[list[str]] = []
"""What of the traps below was executed; a decoder must leave it empty."""


@dataclass
class Trap:
    """A class that a frame may name: to build it, none of this needs to run."""

    x: Any = 0

    def __new__(cls, *args: Any, **kwargs: Any) -> Trap:
        SPRUNG.append("__new__")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        SPRUNG.append("__post_init__")

    def __setattr__(self, name: str, value: Any) -> None:
        SPRUNG.append("__setattr__")

    def __setstate__(self, state: Any) -> None:
        SPRUNG.append("__setstate__")

    def __del__(self) -> None:
        pass


class TrapError(Exception):
    """The same for an exception."""

    def __init__(self, *args: Any) -> None:
        SPRUNG.append("__init__ of an exception")
        super().__init__(*args)


class Unbuildable:
    """No frame may make one of these: it belongs to no family."""

    def __init__(self, *args: Any) -> None:
        SPRUNG.append("__init__")

    def __reduce__(self) -> Any:
        return SPRUNG.append, ("reduce",)


NAMES: Final = (
    f"{__name__}:Trap", f"{__name__}:TrapError", f"{__name__}:Unbuildable", f"{__name__}:SPRUNG.append", "os:system",
    "builtins:eval", "builtins:exec", "subprocess:Popen", "builtins:ValueError", "builtins:SystemExit",
    "builtins:UnicodeDecodeError", "builtins:OSError", "builtins:ExceptionGroup", "builtins:object", "colorsys:x",
    "tests.codec.values:Receipt", "tests.codec.values:Colour", "tests.codec.values:Rights", "tests.codec.values:Model",
    "tests.codec.values:Point", "tests.codec.values:Event", "tests.codec.values:Linked", "tests.codec.values:Parcel",
    "tests.codec.values:Stamp", "durable.errors:LeaseLost", "asyncio.exceptions:CancelledError",
)  # fmt: skip
"""Names that a frame may hold."""

TAGS: Final = (
    *READERS, "$tuple", "$set", "$frozenset", "$deque", "$dict", "$ordereddict", "$class", "$enum", "$error", "$live",
    "$dump", "$given", "$more", "$private",
)  # fmt: skip

TOKENS: Final = tuple(
    token.encode()
    for token in (
        *(f'"{tag}"' for tag in TAGS), *(f'"{name}"' for name in NAMES), '{"$class":"', '{"$error":{"type":"',
        "null", "true", "1e400", "-0.0", "0x", "18446744073709551616", "NaN", '"nan"', '"\\ud800"', '"\\u0000"', "[[[[",
        "{}", "[]", ",", ":", '"zone":"Europe/Berlin"', '"zone":"../x"', '"fold":1', '"args":[]', '"state":{}',
        '"message":""', '"members":[]', '"cause":', '"size":', '"name":"RED"', '"value":3',
    )
)  # fmt: skip
"""What the damage inserts, and the guided fuzzer knows from the start."""


_PARTS: Final = ("x", "a", "b", "name", "value", "size", "zone", "fold", "os", "args", "state", "type", "message")
_WORDS: Final = (
    "",
    "0x1f",
    "-1",
    "nan",
    "windows",
    "RED",
    "2024-02-30",
    "2024-01-01T00:00:00+24:00",
    0,
    -1,
    2**64,
    1e308,
)


# Values ---------------------------------------------------------------------------------------------------------------

_TEXTS: Final = (
    "", "a", "order-17", "\0", "\ud800", "x\udfff", "é", "日本", "🙂", '"', "\\", "\u2028", "$tuple", "$class", "$dict",
    "$", "__type__", "lc", "\x1b[31m", "a" * 300,
)  # fmt: skip

_FLOATS: Final = (0.0, -0.0, 1.5, 1e308, 5e-324, math.inf, -math.inf, math.nan, float("-nan"), 0.1, 1e22, -2.5e-7)

_ZONES: Final = (
    None, UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("UTC"), timezone(timedelta(hours=-3, microseconds=7)),
    timezone(timedelta(hours=1), "mine\ud800"),
)  # fmt: skip

_DECIMALS: Final = ("0", "-0E-7", "1.10", "NaN", "-sNaN12", "Infinity", "1E+999999", "9" * 40)


def _float(source: Random) -> float:
    if source.random() < 0.5:
        return source.choice(_FLOATS)
    found: float = struct.unpack(">d", source.randbytes(8))[0]
    return found


def _moment(source: Random) -> Any:
    at = datetime(source.randint(1, 9999), source.randint(1, 12), source.randint(1, 28), source.randrange(24), 30, 59)
    at = at.replace(microsecond=source.choice((0, 1, 999_999)), fold=source.randrange(2), tzinfo=source.choice(_ZONES))
    return source.choice((at, at.timetz(), at.date()))


_HASHABLE: Final[tuple[Callable[[Random], Any], ...]] = (
    lambda source: source.choice((None, True, False)),
    lambda source: source.randint(-5, 300),
    lambda source: source.getrandbits(source.choice((31, 63, 64, 65, 200))) * source.choice((1, -1)),
    lambda source: source.choice(_TEXTS),
    lambda source: "".join(map(chr, (source.randrange(0x2100) for _ in range(source.randrange(6))))),
    lambda source: source.randbytes(source.randrange(9)),
    lambda source: timedelta(source.randint(-999, 999), source.randrange(86_400), source.randrange(10**6)),
    lambda source: date(source.randint(1, 9999), 2, 28),
    lambda source: time(source.randrange(24), fold=source.randrange(2)),
    lambda source: UUID(int=source.getrandbits(128)),
    lambda source: source.choice(
        (Colour.RED, Colour.BLUE, Level.HIGH, Word.YES, Rights.READ | Rights.WRITE, Rights(0))
    ),
    lambda source: source.choice((Path("/x\udcff"), PurePosixPath("p"), PureWindowsPath("c:\\d"), range(1, 9, 2))),
)

_LEAVES: Final[tuple[Callable[[Random], Any], ...]] = (
    *_HASHABLE,
    _float,
    _moment,
    lambda source: complex(_float(source), _float(source)),
    lambda source: Decimal(source.choice(_DECIMALS)),
    lambda source: bytearray(source.randbytes(source.randrange(5))),
)


def _row(source: Random, depth: int) -> list[Any]:
    return [any_value(source, depth) for _ in range(source.randrange(WIDTH_MAX))]


def _keyed(source: Random, depth: int) -> dict[Any, Any]:
    return {_hashable(source): any_value(source, depth) for _ in range(source.randrange(WIDTH_MAX))}


def _named(source: Random, depth: int) -> dict[Any, Any]:
    return {source.choice(_TEXTS): any_value(source, depth) for _ in range(source.randrange(WIDTH_MAX))}


def _hashable(source: Random, depth: int = 2) -> Any:
    if depth and source.random() < 0.2:
        parts = (_hashable(source, depth - 1), _hashable(source, depth - 1))
        return source.choice((parts, Point(*parts), frozenset(parts), Stamp(parts), Receipt("o", 1, parts)))
    return source.choice(_HASHABLE)(source)


_CONTAINERS: Final[tuple[Callable[[Random, int], Any], ...]] = (
    _row,
    _row,
    _named,
    _named,
    _keyed,
    lambda source, depth: tuple(_row(source, depth)),
    lambda source, depth: OrderedDict(_keyed(source, depth)),
    lambda source, depth: {_hashable(source) for _ in range(source.randrange(WIDTH_MAX))},
    lambda source, depth: frozenset(_hashable(source) for _ in range(source.randrange(WIDTH_MAX))),
    lambda source, depth: deque(_row(source, depth), source.choice((None, 5))),
    lambda source, depth: Point(any_value(source, depth), any_value(source, depth)),
    lambda source, depth: Slotted(a=any_value(source, depth), b=any_value(source, depth)),
    lambda source, depth: Box(any_value(source, depth)),
    lambda source, depth: Derived(source.randrange(9)),
    lambda source, depth: Parcel(any_value(source, depth), parts=_row(source, depth)),
    lambda source, depth: Event("e", any_value(source, depth)),
    lambda source, depth: FrozenEvent(event_name="f", maybe=any_value(source, depth)),
    lambda source, depth: Model(a=source.randrange(9), b=any_value(source, depth)),
    lambda source, depth: OpenModel(x=any_value(source, depth)),  # type: ignore[call-arg]
)


def any_value(source: Random, depth: int = DEPTH_MAX) -> Any:
    """Return a value that the codec accepts."""
    if depth and source.random() < 0.5:
        return source.choice(_CONTAINERS)(source, depth - 1)
    return source.choice(_LEAVES)(source)


# Damage ---------------------------------------------------------------------------------------------------------------


def damaged(source: Random, data: bytes, others: list[bytes]) -> bytes:
    """Return bytes with one to four changes: bits, cuts, repetitions, tokens, parts of another frame."""
    found = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 4))):
        at = source.randrange(len(found) + 1)
        end = min(len(found), at + source.randrange(1, 20))
        match source.randrange(6):
            case 0 if at < len(found):
                found[at] ^= 1 << source.randrange(8)
            case 1:
                del found[at:end]
            case 2:
                found[at:at] = found[at:end] * source.choice((1, 2, 50))
            case 3:
                found[at:end] = source.choice(TOKENS)
            case 4:
                found[at:at] = source.choice(TOKENS)
            case _:
                other = source.choice(others)
                found[at:] = other[source.randrange(len(other) + 1) :]
    return bytes(found)


def twisted(source: Random, data: bytes) -> bytes:
    """Return a frame whose JSON is whole and says something else at one or two places."""
    tree = [msgspec.json.decode(data[1:])]
    for _ in range(source.choice((1, 1, 2))):
        _twist(source, tree)
    return source.choice((data[:1], b"T")) + msgspec.json.encode(tree[0])


def _twist(source: Random, tree: Any) -> None:
    """Replace a part of a list or a dict, deep inside if it has depth."""
    place = source.choice(list(tree if isinstance(tree, dict) else range(len(tree)))) if tree else None
    if place is None:
        return
    part = tree[place]
    if isinstance(part, list | dict) and part and source.random() < 0.8:
        _twist(source, part)
    elif isinstance(tree, dict) and source.random() < 0.5:
        del tree[place]
        tree[source.choice((*TAGS, *_PARTS))] = part
    else:
        tree[place] = source.choice((
            part, [part], {source.choice(TAGS): part}, source.choice(NAMES), source.choice(_WORDS), None, [], {},
            {"$class": source.choice(NAMES), "x": part}, {"$error": {"type": source.choice(NAMES), "args": [part]}},
        ))  # fmt: skip
