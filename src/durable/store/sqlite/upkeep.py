"""Rare operations, as generators of statements: expire a worker, prune, check. `store/drivers.py` runs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from zlib import crc32

from durable.core.decisions import takeovers
from durable.core.failure import dropped_positions
from durable.core.records import Kind, RunKey
from durable.errors import StoreCorrupt
from durable.store.base import RunFilter
from durable.store.drivers import Op, Statement
from durable.store.sqlite import queries as q
from durable.store.sqlite.arrivals import MESSAGE_PLACE, PROMISE_PLACE
from durable.store.sqlite.reads import conditions_of
from durable.store.sqlite.rows import arrival_crc, entry_of, found_of, places_of, standing_row
from durable.store.sqlite.schema import POSITION_BITS, POSITIONS

CHECK_PAGE: Final = 5_000
"""Entries that one statement of `check` reads."""

# Dead workers --------------------------------------------------------------------------------------------------------


def bury(worker: int, now: int) -> Op[list[RunKey]]:
    """Take back the runs of a dead worker, forget it, and return them."""
    left = (yield Statement(q.LEFT_BEHIND, (worker,))).rows
    runs = []
    for run_id, *columns in left:
        found = found_of(tuple(columns))
        spread = crc32(run_id.encode()) / 2**32
        run = takeovers.taken_back(found.run, now, spread=spread)
        yield Statement(q.PUT, (*standing_row(run, found.worker), found.key))
        runs.append(found.key)
    yield Statement(q.DELETE_WORKER, (worker,))
    return runs


# Pruning -------------------------------------------------------------------------------------------------------------

# Ended runs that nobody needs any more, as `retention.may_go` has it; those first that ended first.
PRUNABLE: Final = """
    SELECT r.key FROM runs AS r
    WHERE r.state >= 6 AND r.moved_at < ?
        AND NOT EXISTS (SELECT 1 FROM waits AS w WHERE w.app = r.app AND w.target = 'r:' || r.id)
        AND NOT EXISTS (SELECT 1 FROM runs AS p WHERE p.app = r.app AND p.id = r.parent_id AND p.state < 6)
"""

DELETE_RUN: Final = (
    "DELETE FROM messages WHERE run = ?",
    "DELETE FROM waits WHERE run = ?",
    "DELETE FROM tags WHERE run = ?",
    # Signals: promises named by the run's id, a line feed and a name.
    """
    DELETE FROM promises WHERE (app, id) IN (
        SELECT p.app, p.id FROM runs AS r JOIN promises AS p
        ON p.app = r.app AND p.id > r.id || char(10) AND p.id < r.id || char(11)
        WHERE r.key = ?
    )
    """,
    # The number of a run that is gone is not given again.
    "UPDATE meta SET value = max(value, ?) WHERE name = 'last_run'",
    "DELETE FROM runs WHERE key = ?",
)
"""What belongs to a run beside its journal, its own row last."""


def prune(where: RunFilter, finished_before: int, limit: int) -> Op[int]:
    """Delete ended runs with all that belongs to them and return how many went. Run it in one transaction."""
    conditions, values = conditions_of(where)
    sql = " ".join((PRUNABLE, *(f"AND {condition}" for condition in conditions), "ORDER BY r.moved_at, r.key LIMIT ?"))
    found = (yield Statement(sql, (finished_before, *values, max(0, limit)))).rows
    for (key,) in found:
        yield Statement(q.DELETE_ENTRIES, places_of(key))
        for statement in DELETE_RUN:
            yield Statement(statement, (key,))
    return len(found)


# Checking ------------------------------------------------------------------------------------------------------------

NEXT_ENTRIES: Final = """
    SELECT place, epoch, at, kind, status, seq, name, digest, attempt, took, note, data, crc, step_id, due_at
    FROM journal WHERE place > ? ORDER BY place LIMIT ?
"""

# Sentences about rows that lack what they belong to; each statement returns what to name.
ORPHANS: Final = (
    (
        "journal entries belong to run {}, which does not exist",
        "SELECT DISTINCT place >> 24 FROM journal WHERE place >> 24 NOT IN (SELECT key FROM runs)",
    ),
    (
        "run {} has no start entry",
        "SELECT key FROM runs WHERE key << 24 NOT IN (SELECT place FROM journal)",
    ),
    (
        "a message belongs to run {}, which does not exist",
        "SELECT DISTINCT run FROM messages WHERE run NOT IN (SELECT key FROM runs)",
    ),
    (
        "run {} waits for something, but does not exist or has ended",
        "SELECT DISTINCT run FROM waits WHERE run NOT IN (SELECT key FROM runs WHERE state < 6)",
    ),
    (
        "run {} stands in a queue that does not exist",
        "SELECT key FROM runs WHERE queue NOT IN (SELECT queue FROM queues)",
    ),
    (
        "run {} belongs to a worker that does not exist, and nobody will go on with it",
        "SELECT key FROM runs WHERE owner > 0 AND owner NOT IN (SELECT worker FROM workers)",
    ),
    (
        "run {} is running without an owner, or owned without running",
        "SELECT key FROM runs WHERE (state = 2) <> (owner > 0)",
    ),
)

PROMISES: Final = "SELECT promise, id, data, crc, ok FROM promises"
MESSAGES: Final = "SELECT run, name, data, crc, 0 FROM messages"


def check() -> Op[list[str]]:
    """Look for damage, all in one snapshot, and return one sentence for each finding."""
    yield Statement("BEGIN")
    try:
        return (yield from _findings())
    finally:
        yield Statement("COMMIT")


def _findings() -> Op[list[str]]:
    found = [f"SQLite finds: {text}" for (text,) in (yield Statement("PRAGMA integrity_check")).rows if text != "ok"]
    if found:
        # In a tree that is damaged a statement may fail, or go round in circles for ever.
        return found
    for sentence, sql in ORPHANS:
        found += [sentence.format(*row) for row in (yield Statement(sql)).rows]
    found += yield from _check_journals()
    for what, place, sql in (("promise", PROMISE_PLACE, PROMISES), ("message", MESSAGE_PLACE, MESSAGES)):
        rows = (yield Statement(sql)).rows
        bad = [name for key, name, data, crc, ok in rows if arrival_crc(key, place, name, data, ok=bool(ok)) != crc]
        found += [f"{what} {name!r} does not match its checksum" for name in bad]
    return found


def _check_journals() -> Op[list[str]]:
    found: list[str] = []
    journal = _Journal()
    place = -1
    while rows := (yield Statement(NEXT_ENTRIES, (place, CHECK_PAGE))).rows:
        for row in rows:
            found += journal.findings(row)
        place = rows[-1][0]
    return found + journal.end()


class _Journal:
    """Follows the entries of all runs in order, and accounts for gaps."""

    def __init__(self) -> None:
        self._run = -1
        self._next = 0
        self._gaps: set[int] = set()

    def findings(self, row: tuple[Any, ...]) -> Iterator[str]:
        """Take the next entry and return what is wrong with it, or with the journal that ended before it."""
        run, position = row[0] >> POSITION_BITS, row[0] & (POSITIONS - 1)
        if run != self._run:
            yield from self.end()
            self._run, self._next = run, 0
        self._gaps.update(range(self._next, position))
        self._next = position + 1
        try:
            entry = entry_of(row)
        except StoreCorrupt as error:
            yield str(error)
            return
        if entry.kind is Kind.RUN and entry.name == "rewind":
            self._gaps -= dropped_positions(entry.note, below=self._next)

    def end(self) -> list[str]:
        """Return what is missing from the journal that has ended."""
        gaps, self._gaps = sorted(self._gaps), set()
        return [f"entry {position} of run {self._run} is missing" for position in gaps]
