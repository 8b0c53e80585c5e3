"""Values to encode: classes of every family, a strategy over all accepted types, and an exact comparison."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import struct
from collections import OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
from hypothesis import strategies as st

T = TypeVar("T")


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True)
class Receipt:
    order_id: str
    cents: int
    lines: Any = ()


@dataclasses.dataclass(slots=True, kw_only=True)
class Slotted:
    a: Any
    b: Any = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass
class Derived:
    """Has state that is no field, and an `__init__` that must not run again."""

    a: int
    total: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.total = self.a * 2
        self.calls = getattr(self, "calls", 0) + 1

    @functools.cached_property
    def costly(self) -> object:
        return object()


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


@attrs.define
class Parcel:
    weight: Any
    label: str = "none"
    parts: list = attrs.field(factory=list)


@attrs.frozen(cache_hash=True)
class Stamp:
    price: Any


class Event(msgspec.Struct):
    name: str
    payload: Any = None


class FrozenEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    event_name: str
    maybe: Any = msgspec.UNSET


class Model(pydantic.BaseModel):
    a: int
    b: Any = None
    _secret: Any = pydantic.PrivateAttr(default=1)


class OpenModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str = "n"


@pydantic.dataclasses.dataclass
class Checked:
    a: int
    at: datetime
    more: int = pydantic.Field(default=3)


def linked(**fields: Any) -> Any:
    """Return a `Linked` from text, as pydantic converts it."""
    return Linked.model_validate(fields)


class Linked(pydantic.BaseModel):
    """Has a field of a type that the codec has no rule for."""

    url: pydantic.HttpUrl
    password: pydantic.SecretStr | None = None
    note: str = ""


def identical(left: Any, right: Any) -> bool:
    """Are two values equal down to types, order of dicts, signs of zero and bits of not-a-number?"""
    if type(left) is not type(right):
        return False
    match left:
        case float():
            return struct.pack(">d", left) == struct.pack(">d", right)
        case complex():
            return identical([left.real, left.imag], [right.real, right.imag])
        case datetime() | time():
            return (
                left.isoformat() == right.isoformat()
                and left.fold == right.fold
                and same_zone(left.tzinfo, right.tzinfo)
            )
        case Decimal():
            return left.as_tuple() == right.as_tuple()
        case dict():
            return identical(list(left.items()), list(right.items()))
        case set() | frozenset():
            return identical(sorted(left, key=key), sorted(right, key=key))
        case deque() if left.maxlen != right.maxlen:
            return False
        case list() | tuple() | deque():
            return len(left) == len(right) and all(map(identical, left, right))
    parts = parts_of(left)
    return left == right if parts is None else identical(parts, parts_of(right))


def parts_of(value: Any) -> dict[str, Any] | None:
    """Return the fields of an object and its other attributes, or None for what has no parts."""
    if isinstance(value, enum.Enum) or not type(value).__module__.startswith("tests."):
        return None
    fields = [*getattr(value, "__struct_fields__", ()), *getattr(value, "__dataclass_fields__", ())]
    fields += [field.name for field in getattr(value, "__attrs_attrs__", ())]
    found = {name: getattr(value, name) for name in fields} | getattr(value, "__dict__", {})
    found.pop("_attrs_cached_hash", None)
    for name in ("__pydantic_extra__", "__pydantic_private__", "__pydantic_fields_set__"):
        if hasattr(value, name):
            found[name] = getattr(value, name)
    return found


def same_zone(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right and repr(left) == repr(right)


def key(value: Any) -> tuple[str, str]:
    """Return what sorts the elements of a set, the same for equal ones: a set in them has no order of its own."""
    match value:
        case frozenset():
            return type(value).__name__, repr(sorted(map(key, value)))
        case tuple():
            return type(value).__name__, repr([key(part) for part in value])
    parts = parts_of(value)
    return type(value).__name__, repr(value if parts is None else key(tuple(parts.items())))


text = st.text(max_size=8) | st.text(st.characters(categories=["Cs", "Cc", "L"]), max_size=4)
keys = text | st.sampled_from(["$tuple", "$class", "$dict", "$", "__type__", "lc", "type"])
zones = st.sampled_from(
    [
        None,
        UTC,
        ZoneInfo("Europe/Berlin"),
        ZoneInfo("UTC"),
        timezone(timedelta(hours=-3, minutes=30, microseconds=7)),
        timezone(timedelta(hours=1), "mine\ud800"),
    ]
)
hashable_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(allow_nan=False),
    text,
    st.binary(max_size=8),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.sampled_from([Colour.RED, Colour.BLUE, Level.LOW, Word.YES, Rights.READ, Rights.READ | Rights.WRITE, Rights(0)]),
    st.sampled_from([Path("a/b"), Path("/x\udcff"), PurePosixPath("p"), PureWindowsPath("c:\\d"), range(1, 9, 2)]),
    st.builds(complex, st.floats(allow_nan=False), st.floats(allow_nan=False)),
)
leaves = st.one_of(
    hashable_leaves,
    st.floats(),
    st.sampled_from([Decimal("NaN"), Decimal("-sNaN12"), Decimal("-0E-7"), -0.0, math.inf, float("-nan")]),
    st.builds(bytearray, st.binary(max_size=4)),
    st.builds(
        lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold), st.datetimes(), zones, st.sampled_from([0, 1])
    ),
    st.builds(lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold), st.times(), zones, st.sampled_from([0, 1])),
)
hashables = st.recursive(
    hashable_leaves,
    lambda part: st.one_of(
        st.tuples(part, part),
        st.frozensets(part, max_size=3),
        st.builds(Point, part, part),
        st.builds(Receipt, text, st.integers(), part),
        st.builds(Stamp, part),
        st.builds(lambda value: FrozenEvent(event_name="n", maybe=value), part),
    ),
    max_leaves=4,
)


def containers(part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(part, max_size=4),
        st.lists(part, max_size=3).map(tuple),
        st.dictionaries(keys, part, max_size=4),
        st.dictionaries(hashables, part, max_size=3),
        st.dictionaries(hashables, part, max_size=3).map(OrderedDict),
        st.sets(hashables, max_size=3),
        st.builds(deque, st.lists(part, max_size=3), st.sampled_from([None, 3])),
        st.builds(Point, part, part),
        st.builds(Slotted, a=part, b=part),
        st.builds(Box, part),
        st.builds(Parcel, part, parts=st.lists(part, max_size=2)),
        st.builds(Event, text, part),
        st.builds(Model, a=st.integers(), b=part),
        st.builds(lambda extra: OpenModel(**extra), st.dictionaries(st.sampled_from(["x", "y"]), part)),
    )


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda part: st.lists(part, max_size=5) | st.dictionaries(st.text(), part, max_size=5),
    max_leaves=20,
)
values = st.recursive(leaves, containers, max_leaves=12)
ZERO_UUID = UUID(int=0)
A_DATE = date(2024, 2, 29)
