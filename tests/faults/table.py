"""Writes `docs/faults.md`: which tests and campaigns show what of the catalogue. `python -m tests.faults.table`.

Nothing is executed or imported for it: tests, campaigns and facts of the contract are read as source, figures come from
the lines that campaigns have left (`tests/torture/_figures.py`).
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.faults.catalogue import CONTRACT, ROWS, SECTIONS, Row
from tests.torture import _figures

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "faults.md"
LIMITS: Final = ROOT / "docs" / "known-limits.md"
CAMPAIGNS: Final = ROOT / "tests" / "torture"
FACTS: Final = ROOT / "src" / "durable" / "testing" / "contract"

FIGURES_TITLE: Final = "## Figures of the campaigns"

_COVERS: Final = re.compile(r"^\s*Covers: (.*)$", re.MULTILINE)
_NAMED: Final = re.compile(r"^test_([a-l]\d+)_")
_BRACKETS: Final = re.compile(r"\(([A-L]\d+(?:,\s+[A-L]\d+)*)\)")

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


class Show(NamedTuple):
    """Something that shows a row: a test, or a module all of whose tests do."""

    path: str
    name: str = ""


@dataclass
class Shown:
    """What shows each row, by number."""

    tests: dict[str, list[Show]] = field(default_factory=dict)
    campaigns: dict[str, list[str]] = field(default_factory=dict)
    limits: set[str] = field(default_factory=set)

    def numbers(self) -> set[str]:
        return {*self.tests, *self.campaigns, *self.limits}


# Reading --------------------------------------------------------------------------------------------------------------


@cache
def shown() -> Shown:
    """Return what shows each row of the catalogue.

    Raises:
        ValueError: a `Covers:` line is not the last one of its docstring, or not made of numbers.
    """
    found = Shown(limits={number for line in _BRACKETS.findall(LIMITS.read_text()) for number in _numbers(line)})
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for numbers, show in _shows(path):
            for number in numbers:
                found.tests.setdefault(number, []).append(show)
    for name, module in facts().items():
        for number in CONTRACT.get(name, ()):
            found.tests.setdefault(number, []).append(Show(module, name))
    for name, tree in campaigns().items():
        for number in covered(tree, name):
            found.campaigns.setdefault(number, []).append(name)
    return found


def campaigns() -> dict[str, ast.Module]:
    """Return the sources of the campaigns there are, by name."""
    files = sorted(path for path in CAMPAIGNS.glob("*.py") if not path.stem.startswith("_"))
    return {path.stem: ast.parse(path.read_text()) for path in files}


def facts() -> dict[str, str]:
    """Return the modules of the contract's facts, by the names of the facts."""
    found = {}
    for path in sorted(FACTS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found[node.name] = str(path.relative_to(ROOT))
    return found


def _shows(path: Path) -> Iterator[tuple[list[str], Show]]:
    """Return the tests of a file that show something, and what."""
    tree = ast.parse(path.read_text())
    place = str(path.relative_to(ROOT))
    if numbers := covered(tree, place):
        yield numbers, Show(place)
    for node in tree.body:
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if named := _NAMED.match(inner.name):
                yield [named[1].upper()], Show(place, inner.name)
            if numbers := covered(inner, f"{place}::{inner.name}"):
                yield numbers, Show(place, inner.name)
        if isinstance(node, ast.ClassDef) and (numbers := covered(node, place)):
            yield numbers, Show(place, node.name)


def covered(node: _Definition, place: str) -> list[str]:
    """Return the numbers in the last line of a docstring.

    Args:
        node: What has the docstring, or none.
        place: What to call it in an error.

    Raises:
        ValueError: the line is not the last one, or not made of numbers.
    """
    text = (ast.get_docstring(node) or "").rstrip()
    lines = _COVERS.findall(text)
    if not lines:
        return []
    if len(lines) > 1 or not text.splitlines()[-1].strip().startswith("Covers: "):
        raise ValueError(f"{place}: `Covers:` stands once, in the last line of a docstring")
    if not re.fullmatch(r"[A-L]\d+(, [A-L]\d+)*", lines[0]):
        raise ValueError(f"{place}: {lines[0]!r} after `Covers:` is no list of numbers such as 'A3, A4'")
    return _numbers(lines[0])


def _numbers(text: str) -> list[str]:
    return re.split(r",\s+", text)


# Writing --------------------------------------------------------------------------------------------------------------

_HEAD: Final = """\
# Faults

What can go wrong, what holds all the same, and which tests show it. The tests are part of the suite (`./dev test`); the
*campaigns* are long tests with random or exhaustive faults (`./dev torture NAME`), of which the suite plays a short
form. Where a row stands under [known limits](known-limits.md), it says so.

This page is made from the tests by `python -m tests.faults.table`. The [guarantees](guarantees.md) say the same from
the other side.
"""

_TAIL: Final = """\
Each campaign's last line that was kept (`./dev torture NAME --keep`), its day and commit, and what they all add up to.
`n` counts what the campaign counts: kills, schedules, power failures, system calls.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *_sections(), FIGURES_TITLE, "", _TAIL, *_rows_of_figures(), ""])


def table(text: str) -> str:
    """Return a page without the figures, which change with every campaign."""
    return text.partition(FIGURES_TITLE)[0]


def _sections() -> Iterator[str]:
    for letter, title in SECTIONS.items():
        yield f"## {letter}. {title}\n"
        yield "| | what happens | what holds | shown by |\n|---|---|---|---|"
        for row in ROWS:
            if row.section == letter:
                yield f"| {row.number} | {row.happens} | {row.holds} | {_shown_by(row)} |"
        yield ""


def _shown_by(row: Row) -> str:
    found = shown()
    files: dict[str, list[str]] = {}
    for show in found.tests.get(row.number, ()):
        files.setdefault(show.path, []).append(show.name)
    parts = [_tests(path, names) for path, names in files.items()]
    if campaigns := found.campaigns.get(row.number):
        parts.append("campaign " + ", ".join(f"*{name}*" for name in campaigns))
    if row.number in found.limits:
        parts.append("[known limits](known-limits.md)")
    return "<br>".join(parts)


def _tests(path: str, names: list[str]) -> str:
    shown_names = [f"`{name}`" for name in names if name]
    return f"`{path}`" + (": " + ", ".join(shown_names) if shown_names else "")


def _rows_of_figures() -> Iterator[str]:
    lines = _figures.lines()
    yield "| campaign | last: n | violations | seeds | seconds | more | day | commit | in all: n | violations |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name in campaigns():
        own = [line for line in lines if line["name"] == name]
        if not own:
            yield f"| *{name}* | | | | | | | | | |"
            continue
        last = own[-1]
        first, final = last.get("seeds", ("", ""))
        cells = [
            f"*{name}*", _number(last["n"]), _number(last["violations"]), f"{first}–{final}", str(last["seconds"]),
            _facts(last), last["date"], last["commit"], _number(sum(line["n"] for line in own)),
            _number(sum(line["violations"] for line in own)),
        ]  # fmt: skip
        yield "| " + " | ".join(cells) + " |"


_KNOWN: Final = ("name", "n", "violations", "seeds", "seconds", "date", "commit")


def _facts(line: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_number(value)}" for key, value in line.items() if key not in _KNOWN)


def _number(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {_number(inner)}" for key, inner in value.items()) + ")"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page())
    missing = [row.number for row in ROWS if row.number not in shown().numbers()]
    print(f"{PAGE.relative_to(ROOT)}: {len(ROWS)} rows, {len(missing)} without a test: {', '.join(missing) or 'none'}")
    sys.exit(1 if missing else 0)
