"""The tables of a SQLite store, as numbered migrations.

Each migration is one transaction, DDL included, so that a process may die at any statement and the next one starts it
again; the file lock around it keeps racing processes apart. A released migration never changes: add the next one.

Bytes matter here, since a step should cost 200 of them at most (design §7):

- a run's entries lie together, and one integer `place` = run << 24 | position is both key and order: table B-trees
  keep payloads of up to 4 kB in place, where an index B-tree (`WITHOUT ROWID`) moves what is over 1 kB to other pages;
- integers 0 and 1, empty texts and NULL take no byte beside their place in the header, so those are the common values;
- what is repeated (application, workflow, worker) is a number, looked up in a small table;
- a run keeps its width from its start to its end, so that its row is overwritten in place and pages do not split.
"""

from __future__ import annotations

from typing import Final

from durable.errors import StoreUnusable
from durable.store.drivers import Op, Statement

APPLICATION_ID: Final = 0x44555242
"""`DURB` in the header of the file: says whose file this is."""

POSITION_BITS: Final = 24
"""A run has fewer than 2**24 entries, a store fewer than 2**39 runs."""

POSITIONS: Final = 1 << POSITION_BITS

_FIRST: Final = (
    # Names of applications, and the queues that runs stand in.
    "CREATE TABLE apps(app INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    """
    CREATE TABLE queues(
        queue INTEGER PRIMARY KEY,
        app INTEGER NOT NULL,
        workflow TEXT NOT NULL,
        version TEXT NOT NULL,
        grp TEXT NOT NULL,
        UNIQUE(app, workflow, version, grp)
    ) STRICT
    """,
    # Living workers. AUTOINCREMENT: the number of a worker that is gone never means another one.
    """
    CREATE TABLE workers(
        worker INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        pid INTEGER NOT NULL,
        host TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        queues TEXT NOT NULL
    ) STRICT
    """,
    # Numbers from 10 on have one byte like their negatives, so that a run which is left keeps its width.
    "INSERT INTO sqlite_sequence(name, seq) VALUES ('workers', 9)",
    # owner: a worker; negative: the worker that gave the run away under the epoch it still has; 0: neither.
    # moved_at: when the state changed last, so the end of a run that has ended.
    # died_at: the newest position when an owner died last; a newer entry says that `deaths` counts from 0 again.
    """
    CREATE TABLE runs(
        key INTEGER PRIMARY KEY,
        app INTEGER NOT NULL,
        queue INTEGER NOT NULL,
        id TEXT NOT NULL,
        state INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        owner INTEGER NOT NULL,
        notice INTEGER NOT NULL DEFAULT 0,
        due_at INTEGER,
        created_at INTEGER NOT NULL,
        started_at INTEGER,
        moved_at INTEGER NOT NULL,
        digest INTEGER NOT NULL,
        note TEXT NOT NULL,
        parent_id TEXT,
        deadline_at INTEGER,
        continuation INTEGER NOT NULL DEFAULT 0,
        deaths INTEGER NOT NULL DEFAULT 0,
        died_at INTEGER NOT NULL DEFAULT 0,
        active_ms INTEGER NOT NULL DEFAULT 0,
        requests INTEGER NOT NULL DEFAULT 0,
        cancel_reason TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT '',
        progress TEXT NOT NULL DEFAULT '',
        tags TEXT NOT NULL DEFAULT ''
    ) STRICT
    """,
    "CREATE UNIQUE INDEX runs_id ON runs(app, id)",
    # Claimable runs (queued or suspended with a time). A run is in at most one of this index and the next.
    "CREATE INDEX runs_due ON runs(queue, due_at) WHERE due_at IS NOT NULL AND state <= 3",
    "CREATE INDEX runs_owned ON runs(owner, notice) WHERE owner > 0",
    # Runs of which something was asked that their owner has yet to do: few at any time.
    "CREATE INDEX runs_asked ON runs(state) WHERE requests > 0",
    "CREATE INDEX runs_parent ON runs(parent_id, app) WHERE parent_id IS NOT NULL",
    """
    CREATE TABLE journal(
        place INTEGER PRIMARY KEY,
        epoch INTEGER NOT NULL,
        at INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        status INTEGER NOT NULL,
        seq INTEGER,
        step_id TEXT,
        name TEXT NOT NULL,
        digest INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        took INTEGER NOT NULL,
        due_at INTEGER NOT NULL DEFAULT 0,
        note TEXT NOT NULL,
        data BLOB NOT NULL,
        crc INTEGER NOT NULL,
        run INTEGER GENERATED ALWAYS AS (place >> 24) VIRTUAL,
        position INTEGER GENERATED ALWAYS AS (place & 16777215) VIRTUAL
    ) STRICT
    """,
    """
    CREATE TABLE waits(
        app INTEGER NOT NULL,
        target TEXT NOT NULL,
        run INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY(app, target, run, seq)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX waits_run ON waits(run)",
    """
    CREATE TABLE promises(
        promise INTEGER PRIMARY KEY,
        app INTEGER NOT NULL,
        id TEXT NOT NULL,
        ok INTEGER NOT NULL,
        settled_at INTEGER NOT NULL,
        token TEXT NOT NULL,
        data BLOB NOT NULL,
        crc INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX promises_id ON promises(app, id)",
    """
    CREATE TABLE messages(
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        run INTEGER NOT NULL,
        id TEXT NOT NULL,
        name TEXT NOT NULL,
        read INTEGER NOT NULL DEFAULT 0,
        data BLOB NOT NULL,
        crc INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX messages_id ON messages(run, id)",
    "CREATE INDEX messages_unread ON messages(run) WHERE read = 0",
    """
    CREATE TABLE tags(
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        run INTEGER NOT NULL,
        PRIMARY KEY(name, value, run)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX tags_run ON tags(run)",
    # Numbers that outlive the rows they were taken from.
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "INSERT INTO meta(name, value) VALUES ('last_run', 0)",
    # Tells this database from all others: see `logmark`.
    "INSERT INTO meta(name, value) VALUES ('store', random() & 9223372036854775807)",
    "CREATE TABLE versions(version INTEGER PRIMARY KEY, migrated_at INTEGER NOT NULL) STRICT",
    "PRAGMA application_id = 1146442306",
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_FIRST,)
"""Statements by version, from version 1."""

SCHEMA_VERSION: Final = len(MIGRATIONS)

_SET_VERSION: Final = tuple(f"PRAGMA user_version = {version}" for version in range(SCHEMA_VERSION + 1))


def migrate(path: str, now: int) -> Op[int]:
    """Bring a file up to `SCHEMA_VERSION` and return the version it had (0: it was new).

    Run it under the file lock. It writes nothing when there is nothing to do.

    Raises:
        StoreUnusable: the file is another application's, or was written by a newer version.
    """
    found = yield from check_version(path)
    for version in range(found + 1, SCHEMA_VERSION + 1):
        yield Statement("BEGIN IMMEDIATE")
        for sql in MIGRATIONS[version - 1]:
            yield Statement(sql)
        yield Statement("INSERT INTO versions(version, migrated_at) VALUES (?, ?)", (version, now))
        yield Statement(_SET_VERSION[version])
        yield Statement("COMMIT")
    return found


def check_version(path: str) -> Op[int]:
    """Return the schema version of a file, 0 for an empty one, without writing.

    Raises:
        StoreUnusable: as `migrate`.
    """
    application = (yield Statement("PRAGMA application_id")).rows[0][0]
    version = int((yield Statement("PRAGMA user_version")).rows[0][0])
    if application != APPLICATION_ID:
        tables = (yield Statement("SELECT count(*) FROM sqlite_schema")).rows[0][0]
        if application or version or tables:
            raise StoreUnusable(f"{path!r} is a database of another application; name a file of its own")
    if version > SCHEMA_VERSION:
        raise StoreUnusable(
            f"{path!r} was written by a newer version of durable (schema {version}, this one knows {SCHEMA_VERSION}); "
            "upgrade durable, nothing was changed"
        )
    return version
