"""Fixtures: databases that outlive applications, and applications that are stopped."""

from tests.runs.kit import app, db, file, make_app

__all__ = ["app", "db", "file", "make_app"]
