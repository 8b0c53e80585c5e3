"""What is left of a damaged file: what SQLite says about it, and which rows of which tables can be read.

Reads alone, on a connection of its own and page by page as far as they go: the store itself may not open any more.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from time import monotonic
from typing import Final
from urllib.parse import quote

from durable.store.sqlite import place
from durable.store.sqlite.logmark import find_log_damage

FINDINGS_MAX: Final = 20
"""Findings of SQLite's own check that are told."""

HEADER_BYTES: Final = 100

READ_SECONDS_MAX: Final = 60.0
"""Longest time to read one table: a damaged tree may lead in circles."""

_STEPS: Final = 100_000
"""Instructions of SQLite between two looks at the time."""

# All columns, so that long values in pages of their own are reached too; no indexes, whose damage is their own.
_READS: Final = {
    "apps": "SELECT * FROM apps NOT INDEXED",
    "journal": "SELECT * FROM journal NOT INDEXED",
    "messages": "SELECT * FROM messages NOT INDEXED",
    "meta": "SELECT * FROM meta NOT INDEXED",
    "promises": "SELECT * FROM promises NOT INDEXED",
    "queues": "SELECT * FROM queues NOT INDEXED",
    "runs": "SELECT * FROM runs NOT INDEXED",
    "tags": "SELECT * FROM tags NOT INDEXED",
    "versions": "SELECT * FROM versions NOT INDEXED",
    "waits": "SELECT * FROM waits NOT INDEXED",
    "workers": "SELECT * FROM workers NOT INDEXED",
}


@dataclass(slots=True)
class Damage:
    """What was found."""

    findings: list[str] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    """Rows that can be read, by table; of a damaged one, those before the damage."""
    damaged: list[str] = field(default_factory=list)
    """Tables that cannot be read to their end."""
    is_in_log: bool = False
    """Do commits lie behind damage in its log?"""


def examine(path: str) -> Damage:
    """Look at a file as far as it can be read; never raises for damage.

    Args:
        path: The file.
    """
    damage = Damage()
    full = place.resolve(path)
    if (in_log := find_log_damage(full)) is not None:
        damage.findings.append(in_log.told(full))
        damage.is_in_log = True
    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as connection:
            _check_size(path, damage)
            _check(connection, damage)
            for name in _tables(connection, damage):
                _count(connection, name, damage)
    except (sqlite3.Error, OSError) as error:
        damage.findings.append(f"the file cannot be read: {error}")
    return damage


def _check_size(path: str, damage: Damage) -> None:
    with open(path, "rb") as file:
        header = file.read(HEADER_BYTES)
    page, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
    wanted, size = (65_536 if page == 1 else page) * pages, os.path.getsize(path)
    if size < wanted:
        damage.findings.append(f"the file has {size:,} bytes, and {wanted:,} by its header: its end is missing")


def _check(connection: sqlite3.Connection, damage: Damage) -> None:
    found, refusal = None, ""
    for limit in (FINDINGS_MAX, 5, 1):
        # The check itself may come to a page that it cannot pass, after it has found something.
        try:
            found = connection.execute(f"PRAGMA integrity_check({limit})").fetchall()
            break
        except sqlite3.Error as error:
            refusal = f"SQLite's own check cannot be made: {error}"
    if found is None:
        damage.findings.append(refusal)
        return
    # One answer may hold several lines, and names the database first.
    lines = [line for (text,) in found for line in str(text).splitlines() if not line.startswith("***")]
    damage.findings += [line for line in lines if line != "ok"][:FINDINGS_MAX]


def _tables(connection: sqlite3.Connection, damage: Damage) -> list[str]:
    try:
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        damage.findings.append(f"the list of its tables cannot be read: {error}")
        return []
    return [name for name in _READS if name in found]


def _count(connection: sqlite3.Connection, name: str, damage: Damage) -> None:
    until = monotonic() + READ_SECONDS_MAX
    connection.set_progress_handler(lambda: monotonic() > until, _STEPS)
    rows = 0
    try:
        for _ in connection.execute(_READS[name]):
            rows += 1
    except sqlite3.Error:
        damage.damaged.append(name)
    damage.tables[name] = rows
