"""Commands in a directory of their own."""

import sys

import pytest

from durable.cli.main import run
from tests.cli.support import Done, Shop


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """The user's directory, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("DURABLE_DB", "NO_COLOR", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Shop(tmp_path)


@pytest.fixture
def durable(shop, capsys, monkeypatch):
    """Run a command in this process; the user's module is forgotten afterwards, as if it had been another process."""

    def call(*arguments: str) -> Done:
        before, path = set(sys.modules), list(sys.path)
        capsys.readouterr()
        try:
            code = run(list(arguments))
        finally:
            sys.path[:] = path
            for name in set(sys.modules) - before:
                if getattr(sys.modules[name], "__file__", None) and str(shop.folder) in str(sys.modules[name].__file__):
                    del sys.modules[name]
        found = capsys.readouterr()
        return Done(code, found.out, found.err)

    return call


class Terminal:
    """Standard input at which somebody sits and answers."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)

    def isatty(self) -> bool:
        return True

    def readline(self, *_: object) -> str:
        return f"{self._answers.pop(0)}\n"


@pytest.fixture
def answers(monkeypatch):
    """Somebody who answers questions."""
    return lambda *texts: monkeypatch.setattr(sys, "stdin", Terminal(*texts))
