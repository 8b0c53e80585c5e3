"""The physical limit alone: raw commits with one row and with a thousand."""

from __future__ import annotations

from bench.figures import Figure
from bench.raw import ROWS_MAX, opened
from bench.settings import Settings


def measure(settings: Settings) -> list[Figure]:
    """Return what `sqlite3` commits a second; n: transactions of one row."""
    commits, blocks = settings.n, max(1, settings.n * 20 // ROWS_MAX)
    with opened(settings) as raw:
        one_row = raw.one_row_each(commits)
        many_rows = raw.many_rows_each(blocks)
    return [
        Figure("raw", "raw_commits_per_s", commits / one_row, "commits/s", commits),
        Figure("raw", "raw_rows_per_s", blocks * ROWS_MAX / many_rows, "rows/s", blocks * ROWS_MAX),
    ]
