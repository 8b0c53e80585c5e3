"""How users name a SQLite file, and what they are told about slips."""

from __future__ import annotations

import pytest

from durable.errors import UsageError
from durable.store.sqlite import SQLiteLocation, SQLiteRunStore, parse_url
from durable.store.sqlite.url import Durability


@pytest.mark.parametrize(
    ("text", "path", "durability"),
    [
        ("x.db", "x.db", "full"),
        ("./a/b.sqlite", "./a/b.sqlite", "full"),
        ("/abs/x.db", "/abs/x.db", "full"),
        ("sqlite:///x.db", "x.db", "full"),
        ("sqlite:///a/x.db", "a/x.db", "full"),
        ("sqlite:////abs/x.db", "/abs/x.db", "full"),
        ("SQLite:///x.db", "x.db", "full"),
        ("sqlite:///my%20file.db", "my file.db", "full"),
        ("sqlite:///x.db?durability=relaxed", "x.db", "relaxed"),
        ("x.db?durability=full", "x.db", "full"),
        ("C:\\data\\x.db", "C:\\data\\x.db", "full"),
    ],
)
def test_a_url_names_a_file(text: str, path: str, durability: Durability) -> None:
    assert parse_url(text) == SQLiteLocation(path, durability)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sqlite://x.db", "three slashes come before the file name; write 'sqlite:///x.db'"),
        ("sqlite:/x.db", "write 'sqlite:///x.db'"),
        ("sqlite:x.db", "write 'sqlite:///x.db'"),
        ("sqlite://", "write 'sqlite:///orders.db'"),
        ("sqlite:///", "names no file"),
        ("", "names no file"),
        ("data/", "names no file"),
        ("sqlite:///:memory:", "InMemoryStore"),
        (":memory:", "InMemoryStore"),
        ("sqlite3:///x.db", "there is no scheme 'sqlite3'"),
        ("postgresql://host/db", "its scheme is 'postgresql'"),
        ("sqlite:///x.db?durabilty=relaxed", "there is no option 'durabilty'; there is: durability"),
        ("sqlite:///x.db?durability=none", "'full' or 'relaxed', not 'none'"),
        ("sqlite:///x.db?durability", "'full' or 'relaxed', not ''"),
    ],
)
def test_a_slip_is_explained(text: str, why: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_url(text)
    assert why in str(raised.value)
    assert repr(text) in str(raised.value)


def test_the_store_itself_knows_its_durabilities() -> None:
    with pytest.raises(UsageError, match="not 'fast'"):
        SQLiteRunStore("x.db", durability="fast")  # type: ignore[arg-type]
