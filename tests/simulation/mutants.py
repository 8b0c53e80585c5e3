"""The bugs that the campaigns must catch: those of `mutants.toml`, and two wrong stores."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

from tests.simulation.controls import FENCED_BEFORE, UNFENCED
from tests.simulation.mutating import Edit, Mutant

TABLE: Final = Path(__file__).with_name("mutants.toml")


def _made(name: str, breaks: str, edits: list[list[str]], **options: Any) -> Mutant:
    return Mutant(name, breaks, tuple(Edit(*edit) for edit in edits), **options)


MUTANTS: Final = (
    UNFENCED, FENCED_BEFORE, *(_made(name, **one) for name, one in tomllib.loads(TABLE.read_text()).items()),
)  # fmt: skip
"""All of them, by name unique."""
