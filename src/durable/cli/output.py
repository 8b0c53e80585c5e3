"""Where commands print: tables for people, lines of JSON for programs, questions."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from durable.cli.exits import REFUSED, CommandError
from durable.cli.formatting import json_line, plain
from durable.core.records import RunState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STATE_STYLES: Final[dict[str, str]] = {
    RunState.QUEUED.label: "cyan", RunState.RUNNING.label: "blue", RunState.SUSPENDED.label: "magenta",
    RunState.PAUSED.label: "yellow", RunState.SET_ASIDE.label: "bold red", RunState.SUCCEEDED.label: "green",
    RunState.FAILED.label: "red", RunState.CANCELLED.label: "yellow",
}  # fmt: skip

GAP: Final = 2
COLUMN_MIN: Final = 12
"""Columns between which a table has blanks, and what its last column keeps on a narrow terminal."""


def make_console(*, err: bool = False) -> Console:
    """Return a console that takes text as it is: no markup, no guessing at numbers. It obeys NO_COLOR and TERM."""
    from rich.console import Console

    class PipedConsole(Console):
        """A console that leaves it to the entry point what becomes of a pipe that nobody reads."""

        def on_broken_pipe(self) -> None:
            """Raise what rich has caught."""
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    return PipedConsole(stderr=err, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print one line of JSON."""
    click.echo(json_line(value))


def say(text: str, *, err: bool = False) -> None:
    """Print one line of text, whoever wrote it."""
    click.echo(plain(text), err=err)


def print_table(
    console: Console, headers: Sequence[str], rows: Iterable[Sequence[str]], *, state_column: int = -1
) -> None:
    """Print rows in columns. On a terminal the last column is cut to its width; for programs nothing is."""
    lines = [[plain(cell) for cell in row] for row in rows]
    for text in table_lines(headers, lines, console.width if console.is_terminal else 0, state_column):
        console.print(text)


def table_lines(headers: Sequence[str], rows: list[list[str]], width: int, state_column: int = -1) -> list[Text]:
    """Return the lines of a table; `width` 0 cuts nothing."""
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    widths = [max(cell_len(row[i]) for row in (list(headers), *rows)) for i in range(len(headers))]
    if width:
        before = sum(widths[:-1]) + GAP * (len(widths) - 1)
        widths[-1] = min(widths[-1], max(width - before, COLUMN_MIN))
    lines: list[Text] = []
    for number, row in enumerate([list(headers), *rows]):
        line = Text()
        for i, cell in enumerate(row):
            fitted = cell if cell_len(cell) <= widths[i] else set_cell_size(cell, widths[i] - 1) + "…"
            style = "bold" if number == 0 else STATE_STYLES.get(cell, "") if i == state_column else ""
            line.append(fitted, style)
            if i < len(row) - 1:
                line.append(" " * (widths[i] - cell_len(fitted) + GAP))
        line.rstrip()
        lines.append(line)
    return lines


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if the answer is yes.

    Raises:
        CommandError: it is no, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Nobody can answer here: add --yes")
    if not click.confirm(question, err=True):
        raise CommandError("nothing was changed", REFUSED)


def count_of(number: int, word: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def as_row(*cells: Any) -> list[str]:
    """Return cells as text, dashes for nothing."""
    return ["-" if cell is None or cell == "" else str(cell) for cell in cells]
