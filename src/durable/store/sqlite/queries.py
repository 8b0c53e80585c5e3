"""Every statement of the frequent operations and of the reads, by name.

Sets of keys travel as one JSON array, so that a statement has the same text for any number of runs. `r` is the run in
question. Parameters are plain question marks, some of them twice, because Python 3.12.0 to 3.12.3 warn about numbered
ones. States are written as numbers: 1 queued, 2 running, 3 suspended, 4 paused, 5 set aside, 6 to 8 ended.

Where a statement changes runs as a set, a comment names the function of `durable.core.decisions` that it amounts to;
`tests/store/test_sqlite_decisions.py` compares the two. Everything else that changes a run reads where it stands, asks
that package, and writes the answer with `PUT`.
"""

from __future__ import annotations

from typing import Final

from durable.store.sqlite.rows import RUN_COLUMNS, STANDING_COLUMNS

# Advances: what they must know of their runs, entries, and what comes after -----------------------------------------

# The runs of a batch, with their newest place in the journal.
LOOK: Final = """
    SELECT r.key, r.epoch, r.owner, r.app,
        (SELECT max(place) FROM journal WHERE place >= r.key << 24 AND place < (r.key + 1) << 24)
    FROM json_each(?) AS wanted CROSS JOIN runs AS r ON r.key = wanted.value
"""

# An entry as most are: no step id, no time for another attempt.
ADD_ENTRY: Final = """
    INSERT INTO journal(place, epoch, at, kind, status, seq, name, digest, attempt, took, note, data, crc)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

# Any entry.
ADD_FULL_ENTRY: Final = """
    INSERT INTO journal(
        place, epoch, at, kind, status, seq, name, digest, attempt, took, note, data, crc, step_id, due_at
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

# Entries from one place on, before another one.
ENTRIES: Final = """
    SELECT place, epoch, at, kind, status, seq, name, digest, attempt, took, note, data, crc, step_id, due_at
    FROM journal WHERE place >= ? AND place < ? ORDER BY place LIMIT ?
"""

# The newest entry of a run.
LAST_ENTRY: Final = """
    SELECT place, epoch, at, kind, status, seq, name, digest, attempt, took, note, data, crc, step_id, due_at
    FROM journal WHERE place >= ? AND place < ? ORDER BY place DESC LIMIT 1
"""

# The owner recorded that it cancelled.
CLEAR_CANCEL: Final = "UPDATE runs SET requests = requests & ~1, cancel_reason = '' WHERE key = ?"

SET_PROGRESS: Final = "UPDATE runs SET progress = ? WHERE key = ?"

# Which of these runs have registered for something?
WITH_WAITS: Final = "SELECT DISTINCT w.run FROM json_each(?) AS wanted CROSS JOIN waits AS w ON w.run = wanted.value"

# Runs that wait for nothing but a time, as `advances.leave` has it; those that something may have reached are left to
# be looked at one by one.
SUSPEND_PLAIN: Final = """
    UPDATE runs SET state = 3, owner = -owner, due_at = ?, moved_at = ?, active_ms = active_ms + ?
    WHERE key = ? AND requests = 0 AND notice = 0
"""

# Runs that end, as `standing.ended` has it.
FINISH: Final = """
    UPDATE runs SET state = ?, owner = -owner, notice = 0, due_at = NULL, moved_at = ?, active_ms = active_ms + ?,
        requests = 0, cancel_reason = '', reason = ?, detail = ?
    WHERE key = ?
"""

FORGET_WAITS: Final = "DELETE FROM waits WHERE run IN (SELECT value FROM json_each(?))"

# The ids of runs, to find who waits for their end.
RUN_IDS: Final = "SELECT r.app, r.id FROM json_each(?) AS wanted CROSS JOIN runs AS r ON r.key = wanted.value"

# A run whose bytes are damaged, as `advances.set_aside` has it.
SET_ASIDE: Final = """
    UPDATE runs SET state = 5, owner = -owner, notice = 0, due_at = NULL, moved_at = ?, reason = ?, detail = ?
    WHERE key = ?
"""

DELETE_ENTRIES: Final = "DELETE FROM journal WHERE place >= ? AND place < ?"

# Waits and what has arrived ------------------------------------------------------------------------------------------

ADD_WAIT: Final = "INSERT INTO waits(app, target, run, seq) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"

FORGET_WAIT: Final = "DELETE FROM waits WHERE app = ? AND target = ? AND run = ? AND seq = ?"

WAITERS: Final = "SELECT DISTINCT run FROM waits WHERE app = ? AND target = ?"

WAITS_FOR: Final = "SELECT 1 FROM waits WHERE app = ? AND target = ? AND run = ? LIMIT 1"

# Those who wait for the end of any of these runs of one application.
WAITERS_OF_RUNS: Final = """
    SELECT DISTINCT w.run FROM json_each(?) AS ended CROSS JOIN waits AS w
    ON w.app = ? AND w.target = 'r:' || ended.value
"""

# Both together are `standing.woken`.
NOTICE: Final = "UPDATE runs SET notice = 1 WHERE key = ? AND state = 2"

WAKE: Final = """
    UPDATE runs SET state = 1, due_at = min(coalesce(due_at, ?), ?), moved_at = ? WHERE key = ? AND state = 3
"""

# Has anything arrived that the run waits for?
ANYTHING_THERE: Final = """
    SELECT 1 FROM waits AS w WHERE w.run = ? AND CASE substr(w.target, 1, 2)
        WHEN 'p:' THEN EXISTS (SELECT 1 FROM promises AS p WHERE p.app = w.app AND p.id = substr(w.target, 3))
        WHEN 'r:' THEN NOT EXISTS (
            SELECT 1 FROM runs AS t WHERE t.app = w.app AND t.id = substr(w.target, 3) AND t.state < 6
        )
        ELSE EXISTS (
            SELECT 1 FROM messages AS m WHERE m.run = w.run AND m.read = 0 AND m.name = substr(w.target, 3)
        )
    END
    LIMIT 1
"""

# Is this wait registered, and has what it waits for arrived?
IS_THERE: Final = """
    SELECT 1 FROM waits AS w WHERE w.app = ? AND w.target = ? AND w.run = ? AND w.seq = ?
    AND CASE substr(w.target, 1, 2)
        WHEN 'p:' THEN EXISTS (SELECT 1 FROM promises AS p WHERE p.app = w.app AND p.id = substr(w.target, 3))
        WHEN 'r:' THEN NOT EXISTS (
            SELECT 1 FROM runs AS t WHERE t.app = w.app AND t.id = substr(w.target, 3) AND t.state < 6
        )
        ELSE EXISTS (
            SELECT 1 FROM messages AS m WHERE m.run = w.run AND m.read = 0 AND m.name = substr(w.target, 3)
        )
    END
"""

# Suspended runs that something has reached without waking them, as `arrivals.was_missed` has it.
MISSED: Final = """
    SELECT r.key FROM runs AS r WHERE r.state = 3 AND r.requests > 0
    UNION
    SELECT r.key FROM waits AS w CROSS JOIN runs AS r ON r.key = w.run
    WHERE r.state = 3 AND CASE substr(w.target, 1, 2)
        WHEN 'p:' THEN EXISTS (SELECT 1 FROM promises AS p WHERE p.app = w.app AND p.id = substr(w.target, 3))
        WHEN 'r:' THEN NOT EXISTS (
            SELECT 1 FROM runs AS t WHERE t.app = w.app AND t.id = substr(w.target, 3) AND t.state < 6
        )
        ELSE EXISTS (
            SELECT 1 FROM messages AS m WHERE m.run = w.run AND m.read = 0 AND m.name = substr(w.target, 3)
        )
    END
    ORDER BY 1
"""

# Settled promises that a run waits for.
ARRIVED_PROMISES: Final = """
    SELECT p.settled_at, w.seq, w.target, p.ok, p.data, p.promise, p.crc
    FROM waits AS w JOIN promises AS p ON p.app = w.app AND p.id = substr(w.target, 3)
    WHERE w.run = ? AND w.target >= 'p:' AND w.target < 'p;'
"""

# Runs that a run waits for and that have ended, or are not there.
ARRIVED_RUNS: Final = """
    SELECT t.moved_at, w.seq, w.target, t.key, t.state
    FROM waits AS w LEFT JOIN runs AS t ON t.app = w.app AND t.id = substr(w.target, 3)
    WHERE w.run = ? AND w.target >= 'r:' AND w.target < 'r;' AND (t.key IS NULL OR t.state >= 6)
"""

UNREAD: Final = "SELECT number, name, data, crc FROM messages WHERE run = ? AND read = 0 ORDER BY number"

WITH_UNREAD: Final = """
    SELECT DISTINCT m.run FROM json_each(?) AS wanted
    CROSS JOIN messages AS m ON m.run = wanted.value AND m.read = 0
"""

NOTICED: Final = """
    SELECT key, requests, cancel_reason FROM runs WHERE owner = ? AND owner > 0 AND notice = 1 ORDER BY key
"""

FORGET_NOTICES: Final = "UPDATE runs SET notice = 0 WHERE owner = ? AND owner > 0 AND notice = 1"

# After an answer was lost, everything that waits is told again.
NOTICE_AGAIN: Final = """
    UPDATE runs SET notice = 1 WHERE owner = (SELECT worker FROM workers WHERE id = ?) AND owner > 0
"""

# Starts and claims ---------------------------------------------------------------------------------------------------

# The highest key that was ever given.
LAST_RUN: Final = """
    SELECT max(coalesce((SELECT max(key) FROM runs), 0), (SELECT value FROM meta WHERE name = 'last_run'))
"""

ADD_RUN: Final = """
    INSERT INTO runs(
        key, app, queue, id, state, epoch, owner, due_at, created_at, started_at, moved_at, digest, note,
        parent_id, deadline_at, tags
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT(app, id) DO NOTHING
"""

ADD_TAG: Final = "INSERT INTO tags(name, value, run) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"

# Runs of one queue whose time has come, as `standing.is_due` has it, earliest first.
DUE_IN_QUEUE: Final = """
    SELECT due_at, key FROM runs
    WHERE queue = ? AND due_at IS NOT NULL AND state <= 3 AND due_at <= ? ORDER BY due_at, key LIMIT ?
"""

# Those of these runs whose time has come.
DUE_AMONG: Final = """
    SELECT r.due_at, r.key FROM json_each(?) AS wanted CROSS JOIN runs AS r ON r.key = wanted.value
    WHERE r.due_at IS NOT NULL AND r.state <= 3 AND r.due_at <= ?
"""

# A claim, as `starts.taken` has it.
TAKE: Final = """
    UPDATE runs SET state = 2, epoch = epoch + 1, owner = ?, notice = 0, due_at = NULL,
        started_at = coalesce(started_at, ?), moved_at = ?
    WHERE key = ?
"""

# The runs just taken, with all that their owner must know.
TAKEN: Final = "".join((
    "SELECT", RUN_COLUMNS, """,
        r.cancel_reason,
        (SELECT max(place) FROM journal WHERE place >= r.key << 24 AND place < (r.key + 1) << 24)
    FROM json_each(?) AS wanted CROSS JOIN runs AS r ON r.key = wanted.value
    """,
))  # fmt: skip

NEXT_DUE: Final = "SELECT min(due_at) FROM runs WHERE queue = ? AND due_at IS NOT NULL AND state <= 3"

NEXT_DUE_AMONG: Final = """
    SELECT min(r.due_at) FROM json_each(?) AS wanted CROSS JOIN runs AS r ON r.key = wanted.value
    WHERE r.due_at IS NOT NULL AND r.state <= 3
"""

# Requests, promises, messages ----------------------------------------------------------------------------------------

# Where one run stands: see `rows.Found`.
FOUND_BY_ID: Final = "".join(("SELECT", STANDING_COLUMNS, "FROM runs AS r WHERE r.app = ? AND r.id = ?"))
FOUND_BY_KEY: Final = "".join(("SELECT", STANDING_COLUMNS, "FROM runs AS r WHERE r.key = ?"))

# Where it stands after a decision.
PUT: Final = """
    UPDATE runs SET state = ?, epoch = ?, owner = ?, notice = ?, due_at = ?, started_at = ?, moved_at = ?, digest = ?,
        note = ?, deaths = ?, died_at = ?, requests = ?, cancel_reason = ?, reason = ?, detail = ?, continuation = ?,
        active_ms = ?, progress = ?
    WHERE key = ?
"""

DELETE_ENTRY: Final = "DELETE FROM journal WHERE place = ?"

UNREAD_AGAIN: Final = "UPDATE messages SET read = 0 WHERE number = ? AND run = ?"

# The signals of a run: promises named by its id, a newline and a name.
SIGNALS: Final = """
    SELECT p.id, p.settled_at, p.ok, p.data, p.promise, p.crc
    FROM runs AS r JOIN promises AS p ON p.app = r.app AND p.id >= r.id || char(10) AND p.id < r.id || char(11)
    WHERE r.key = ? ORDER BY p.id
"""

PROMISE: Final = "SELECT promise, ok, settled_at, token, data, crc FROM promises WHERE app = ? AND id = ?"

ADD_PROMISE: Final = """
    INSERT INTO promises(promise, app, id, ok, settled_at, token, data, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""

LAST_PROMISE: Final = "SELECT coalesce(max(promise), 0) FROM promises"

HAS_MESSAGE: Final = "SELECT 1 FROM messages WHERE run = ? AND id = ?"

ADD_MESSAGE: Final = "INSERT INTO messages(run, id, name, data, crc) VALUES (?, ?, ?, ?, ?)"

READ_MESSAGE: Final = "UPDATE messages SET read = 1 WHERE number = ? AND run = ?"

# Workers -------------------------------------------------------------------------------------------------------------

ADD_WORKER: Final = """
    INSERT INTO workers(id, pid, host, boot_id, started_at, queues) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT(id) DO UPDATE SET pid = excluded.pid, host = excluded.host, boot_id = excluded.boot_id,
        started_at = excluded.started_at, queues = excluded.queues
"""

WORKERS: Final = "SELECT id, pid, host, boot_id, started_at, queues FROM workers ORDER BY worker"

DELETE_WORKER: Final = "DELETE FROM workers WHERE worker = ?"

# As `takeovers.handed_back` has it.
HAND_BACK: Final = """
    UPDATE runs SET state = 1, owner = 0, notice = 0, due_at = ?, moved_at = ? WHERE owner = ? AND owner > 0
"""

# The runs of a dead worker, and their ids.
LEFT_BEHIND: Final = "".join(
    ("SELECT r.id, ", STANDING_COLUMNS, "FROM runs AS r WHERE r.owner = ? AND r.owner > 0 ORDER BY r.key")
)

# Reads ---------------------------------------------------------------------------------------------------------------

SELECT_RUN: Final = "".join(("SELECT", RUN_COLUMNS, "FROM runs AS r"))
RUN_BY_ID: Final = " ".join((SELECT_RUN, "WHERE r.app = ? AND r.id = ?"))
RUN_BY_KEY: Final = " ".join((SELECT_RUN, "WHERE r.key = ?"))
RUNS_OF_WORKER: Final = " ".join((SELECT_RUN, "WHERE r.owner = ? AND r.owner > 0 ORDER BY r.key"))
