"""The physical limit is that of rows as large as those that the store writes."""

import sqlite3

from bench import apps
from bench.raw import BLOB_BYTES
from bench.settings import Settings


def record_bytes(row):
    """Return the size of a row in SQLite's record format, without its key.

    Source: "Database File Format", section 2.1, in the documentation of SQLite.
    """
    return 1 + sum(_column_bytes(value) for value in row)


def _column_bytes(value):
    if value is None or (isinstance(value, int) and value in (0, 1)):
        return 1
    if isinstance(value, int):
        return 1 + next(size for size in (1, 2, 3, 4, 6, 8) if -(1 << 8 * size - 1) <= value < 1 << 8 * size - 1)
    length = len(value.encode() if isinstance(value, str) else value)
    return length + (1 if length < 58 else 2)


async def test_a_raw_row_is_as_large_as_the_entry_of_a_step(tmp_path):
    settings = Settings(1, str(tmp_path))
    app = apps.steps(settings.url())
    await app.many(0, 50)
    await app.wf.stop()
    connection = sqlite3.connect(settings.path())
    columns = [name for _, name, _, _, _, _ in connection.execute("PRAGMA table_info(journal)")][1:]
    rows = connection.execute(f"SELECT {', '.join(columns)} FROM journal WHERE kind = 1").fetchall()
    connection.close()
    assert len(rows) == 50
    mean = sum(map(record_bytes, rows)) / len(rows)
    assert abs(record_bytes((bytes(BLOB_BYTES),)) - mean) < 4


def test_sizes_are_counted_as_sqlite_stores_them():
    assert record_bytes((None, 0, 1)) == 4
    assert record_bytes((2, 128, 1 << 20, "é", b"xyz")) == 1 + 2 + 3 + 4 + 3 + 4
