"""Runs tests against a mutant of one module: imported by `_rounds`, which forks each trial from a warm process.

What is slow to import is imported here, and nothing of durable: the trial imports that itself, the mutant in the place
of its module.
"""

from __future__ import annotations

import asyncio  # noqa: F401 - warms the process
import contextlib
import importlib.abc
import importlib.util
import logging.handlers  # noqa: F401 - as above
import os
import resource
import sqlite3  # noqa: F401 - as above
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import hypothesis
import hypothesis.strategies
import msgspec  # noqa: F401 - as above
import pytest
import pytest_asyncio.plugin  # noqa: F401 - as above

from tests.torture._mutator import mutated

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ROOT / "src"

MEMORY_MAX: Final = 2 << 30
"""A mutant may fill a list for ever."""

CPU_SECONDS_MAX: Final = 30
"""… or go round in circles: ten times what all tests take."""

OPTIONS: Final = (
    "-q", "-x", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip


class _Loader(importlib.abc.Loader, importlib.abc.MetaPathFinder):
    """Imports the mutant when its module is asked for."""

    def __init__(self, file: str, number: int) -> None:
        self._path, self._number = ROOT / file, number
        self.module = ".".join(self._path.relative_to(SOURCES).with_suffix("").parts)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self.module:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        tree = mutated(self._path.read_text(), self._number)
        exec(compile(tree, str(self._path), "exec"), vars(module))


class _Watcher:
    """A plugin: makes hypothesis repeatable and quick to give up, and notes the first test that fails."""

    def __init__(self) -> None:
        self.failed = ""

    def pytest_configure(self) -> None:
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        suite = hypothesis.settings.get_profile("suite")
        hypothesis.settings.register_profile("trial", suite, derandomize=True, database=None, phases=phases)
        hypothesis.settings.load_profile("trial")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def trial(file: str, number: int | None, tests: list[str]) -> dict[str, Any]:
    """Run tests against a mutant of a file, or against the source as it is.

    Args:
        file: The module, from the root of the project.
        number: The mutant, as `_mutator` counts; None for none.
        tests: What pytest takes for tests.

    Returns:
        pytest's exit code, and the first test that failed.
    """
    assert "durable" not in sys.modules
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_MAX, CPU_SECONDS_MAX))
    # Who is killed leaves no image of its memory.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number is not None:
        loader = _Loader(file, number)
        sys.meta_path.insert(0, loader)
        try:
            # Before pytest, whose own hook would come first.
            importlib.import_module(loader.module)
        except Exception as error:
            return {"code": 1, "failed": f"import: {type(error).__name__}"}
    watcher = _Watcher()
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
        code = pytest.main([*OPTIONS, "--rootdir", str(ROOT), *tests], plugins=[watcher])
    return {"code": int(code), "failed": watcher.failed}
