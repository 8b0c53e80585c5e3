"""Fixtures: databases that outlive applications, applications that are stopped, and processes that are ended."""

from tests.runs.kit import app, db, file, make_app
from tests.store.sqlite_kit import no_child_is_left

__all__ = ["app", "db", "file", "make_app", "no_child_is_left"]
