"""G16: a run that was begun under one version of Python goes on under another one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.other_pythons import EXPECTED, FOLDER, dump, go_on, restore

RECORDED = sorted(FOLDER.glob("*.sql"))


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.stem)
def test_a_run_goes_on_under_another_python(tmp_path: Path, recorded: Path) -> None:
    """Covers: G16"""
    db = str(tmp_path / "x.db")
    restore(recorded.read_text(), db)
    result = asyncio.run(go_on(db))
    assert result == EXPECTED
    assert [type(value) for value in result["values"]] == [type(value) for value in EXPECTED["values"]]


def test_each_python_of_the_project_has_recorded_one() -> None:
    assert [path.stem for path in RECORDED] == ["python-3.11", "python-3.12", "python-3.13"]


def test_a_dump_is_the_whole_database(tmp_path: Path) -> None:
    text = RECORDED[0].read_text()
    restore(text, str(tmp_path / "x.db"))
    assert dump(str(tmp_path / "x.db")) == text
