"""Where a SQLite store lives: the URL forms that users write, and what is wrong with those that are not meant so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args
from urllib.parse import parse_qsl, unquote

from durable.errors import UsageError

Durability: TypeAlias = Literal["full", "relaxed"]
"""`full` survives power loss; `relaxed` the death of the process only, and may lose the newest commits with power."""

OPTIONS: Final = ("durability",)
"""Options that may follow the question mark."""

EXAMPLES: Final = (
    "write 'sqlite:///orders.db' (relative), 'sqlite:////var/lib/orders.db' (absolute) or just 'orders.db'"
)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


@dataclass(frozen=True, slots=True)
class SQLiteLocation:
    """What a SQLite URL says."""

    path: str
    durability: Durability = "full"


def parse_url(text: str) -> SQLiteLocation:
    """Return the file and the options that a SQLite URL or a plain path names.

    Raises:
        UsageError: another scheme, a missing slash, no file, an unknown option or value; says what to write instead.
    """
    place, question, query = text.partition("?")
    path = _path_of(text, place)
    if not path or path.endswith(("/", "\\")):
        raise UsageError(f"database {text!r} names no file; {EXAMPLES}")
    if path.startswith(":memory:"):
        raise UsageError(
            f"database {text!r} would forget everything with its process; pass db=InMemoryStore() for that"
        )
    return SQLiteLocation(path, _durability(text, query) if question else "full")


def _path_of(text: str, place: str) -> str:
    scheme = _SCHEME.match(place)
    if scheme is None:
        return place
    if scheme[1].lower() != "sqlite":
        if scheme[1].lower().startswith("sqlite"):
            raise UsageError(f"database {text!r}: there is no scheme {scheme[1]!r}; {EXAMPLES}")
        raise UsageError(f"database {text!r} is no SQLite database: its scheme is {scheme[1]!r}; {EXAMPLES}")
    rest = place[scheme.end() :]
    if not rest.startswith("///"):
        name = rest.lstrip("/")
        hint = f"'sqlite:///{name}'" if name else "'sqlite:///orders.db'"
        raise UsageError(f"database {text!r}: three slashes come before the file name; write {hint}")
    return unquote(rest[3:])


def _durability(text: str, query: str) -> Durability:
    found: Durability = "full"
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            raise UsageError(f"database {text!r}: there is no option {name!r}; there is: {', '.join(OPTIONS)}")
        found = checked_durability(value, text)
    return found


def checked_durability(value: str, where: str) -> Durability:
    """Return `value` as a durability.

    Raises:
        UsageError: it is none.
    """
    for known in get_args(Durability):
        if value == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"database {where!r}: durability is 'full' or 'relaxed', not {value!r}")
