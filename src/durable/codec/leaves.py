"""Values without parts that JSON cannot say: how each is tagged and read back.

Each tag is an object whose first key begins with a dollar sign. `TAGGERS` goes by exact type, because a subclass may
carry more than its base; `READERS` goes by tag. Both sides of a type stand together.
"""

from __future__ import annotations

import math
import struct
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET, UnsetType

from durable.codec.plain import INT_HIGHEST, INT_LOWEST
from durable.codec.refusal import Refused, full_name

Json = Any
Tag = dict[str, Any]


def tag_text(value: str) -> Json:
    """Return text as JSON can hold it: as it is, or escaped when UTF-8 has no form for it (lone surrogates)."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return {"$str": value.encode("unicode_escape").decode("ascii")}
    return value


def read_text(body: Json) -> str:
    if type(body) is dict:
        body = body["$str"].encode("ascii").decode("unicode_escape")
    if type(body) is not str:
        raise ValueError("text is not a string")
    return body


_NAN_BITS: Final = struct.pack(">d", math.nan)


def tag_float(value: float) -> Json:
    if math.isfinite(value):
        return value
    if math.isinf(value):
        return {"$float": "inf" if value > 0 else "-inf"}
    bits = struct.pack(">d", value)
    return {"$float": "nan" if bits == _NAN_BITS else bits.hex()}


_FLOATS: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def read_float(tag: Tag) -> float:
    body = tag["$float"]
    found = _FLOATS.get(body)
    return struct.unpack(">d", bytes.fromhex(body))[0] if found is None else found


def number(body: Json) -> float:
    """Return a float that stands inside another tag."""
    return read_float(body) if type(body) is dict else float(body)


def tag_int(value: int) -> Json:
    # Hexadecimal text has no limit of digits and takes no quadratic time.
    return value if INT_LOWEST <= value <= INT_HIGHEST else {"$int": hex(value)}


def read_int(tag: Tag) -> int:
    body = tag["$int"]
    if not body.lstrip("-").startswith("0x"):
        raise ValueError("a large integer is not hexadecimal")
    return int(body, 16)


def tag_moment(tag: str, value: Any) -> Tag:
    """Return the tag of a datetime or time: a fixed offset stands in the text, a zone of the database beside it."""
    zone, bare = value.tzinfo, value.replace(fold=0)
    extra: Tag = {"fold": 1} if value.fold else {}
    if type(zone) is timezone:
        _, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        if name:
            extra["name"] = tag_text(name[0])
    elif zone is not None:
        extra["zone"] = zone_key(zone)
        bare = bare.replace(tzinfo=None)
    return {tag: bare.isoformat(), **extra}


def read_moment(tag: Tag, bare: Any) -> Any:
    if "name" in tag:
        bare = bare.replace(tzinfo=timezone(bare.utcoffset(), read_text(tag["name"])))
    elif "zone" in tag:
        from zoneinfo import ZoneInfo  # noqa: PLC0415 - few values need it

        bare = bare.replace(tzinfo=ZoneInfo(tag["zone"]))
    return bare.replace(fold=1) if tag.get("fold") else bare


def zone_key(zone: tzinfo) -> str:
    zoneinfo = sys.modules.get("zoneinfo")
    if zoneinfo is None or type(zone) is not zoneinfo.ZoneInfo or not zone.key:  # type: ignore[attr-defined]
        kind = type(zone)
        raise Refused(
            f"its time zone is a {full_name(kind)}; use zoneinfo.ZoneInfo with a key, or a fixed offset",
            "time zone",
        )
    return str(zone.key)  # type: ignore[attr-defined]


def read_path(tag: Tag) -> Path:
    return Path(read_text(tag["$path"]))


def read_pure_path(tag: Tag) -> PurePath:
    return (PureWindowsPath if tag.get("os") == "windows" else PurePosixPath)(read_text(tag["$purepath"]))


def read_decimal(tag: Tag) -> Decimal:
    body = tag["$decimal"]
    if type(body) is not str:
        raise ValueError("a decimal is not text")
    return Decimal(body)


def tag_unset(_: UnsetType) -> Tag:
    return {"$unset": True}


TAGGERS: Final[dict[type, Callable[[Any], Json]]] = {
    str: tag_text,
    int: tag_int,
    float: tag_float,
    bytes: lambda value: {"$bytes": b64encode(value).decode("ascii")},
    bytearray: lambda value: {"$bytearray": b64encode(value).decode("ascii")},
    complex: lambda value: {"$complex": [tag_float(value.real), tag_float(value.imag)]},
    range: lambda value: {"$range": [tag_int(value.start), tag_int(value.stop), tag_int(value.step)]},
    datetime: partial(tag_moment, "$datetime"),
    date: lambda value: {"$date": value.isoformat()},
    time: partial(tag_moment, "$time"),
    timedelta: lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    Decimal: lambda value: {"$decimal": str(value)},
    UUID: lambda value: {"$uuid": str(value)},
    type(Path()): lambda value: {"$path": tag_text(str(value))},
    PurePosixPath: lambda value: {"$purepath": tag_text(str(value))},
    PureWindowsPath: lambda value: {"$purepath": tag_text(str(value)), "os": "windows"},
    UnsetType: tag_unset,
}


def _whole(body: Json) -> int:
    return read_int(body) if type(body) is dict else body


READERS: Final[dict[str, Callable[[Tag], Any]]] = {
    "$str": read_text,
    "$int": read_int,
    "$float": read_float,
    "$bytes": lambda tag: b64decode(tag["$bytes"], validate=True),
    "$bytearray": lambda tag: bytearray(b64decode(tag["$bytearray"], validate=True)),
    "$complex": lambda tag: complex(*map(number, tag["$complex"])),
    "$range": lambda tag: range(*map(_whole, tag["$range"])),
    "$datetime": lambda tag: read_moment(tag, datetime.fromisoformat(tag["$datetime"])),
    "$date": lambda tag: date.fromisoformat(tag["$date"]),
    "$time": lambda tag: read_moment(tag, time.fromisoformat(tag["$time"])),
    "$timedelta": lambda tag: timedelta(*tag["$timedelta"]),
    "$decimal": read_decimal,
    "$uuid": lambda tag: UUID(tag["$uuid"]),
    "$path": read_path,
    "$purepath": read_pure_path,
    "$unset": lambda _: UNSET,
}
