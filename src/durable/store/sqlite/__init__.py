"""The SQLite store: one file, no server, any number of processes of one machine.

What lives here: `SQLiteRunStore` and all that it needs; `url` knows how users name a file. `DESIGN.md` says which files
and locks there are, which thread does what, and what a crash at each point leaves behind. Who calls it: `api/app.py`,
which picks a store by its URL, and the command line. What it may not know: workflows, tasks, values (bytes here), and
any other store.
"""

from durable.store.sqlite.database import accept_loss
from durable.store.sqlite.store import Limits, SQLiteRunStore
from durable.store.sqlite.url import SQLiteLocation, parse_url

__all__ = ["Limits", "SQLiteLocation", "SQLiteRunStore", "accept_loss", "parse_url"]
