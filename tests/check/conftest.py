"""A directory of its own for each test."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.check.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Project:
    """Return an empty project, which is also the current directory."""
    monkeypatch.chdir(tmp_path)
    # Each version of the module is another file to the importer, within one second too.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("DURABLE_DB", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return Project(tmp_path, capsys)


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """Plays die here, and runs are set aside on purpose: that is not worth a line each."""
    logger = logging.getLogger("durable")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)
