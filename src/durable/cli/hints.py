"""Commands that are shown to be copied: they look where the command looked that shows them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from durable.api.app import Workflow
from durable.cli.opening import Target, applications


@dataclass(frozen=True, slots=True)
class Hints:
    """Makes commands with the options that find the same database and application."""

    options: tuple[str, ...] = ()

    def words(self, *words: str) -> list[str]:
        """Return the words of a command, quoted for a POSIX shell."""
        return [shlex.quote(word) for word in ("durable", *words, *self.options)]

    def command(self, *words: str) -> str:
        """Return a command in one line: `durable runs retry order-42 --db orders.db`."""
        return " ".join(self.words(*words))


def hints_for(target: Target) -> Hints:
    """Return hints with the options that a command was given."""
    given = {"--db": target.db, "--app": target.app, "--code": target.code}
    return Hints(tuple(word for name, value in given.items() if value is not None for word in (name, value)))


async def hints_for_application(app: Workflow) -> Hints:
    """Return hints with the options that find an application's database without its code."""
    options: list[str] = []
    db = os.fspath(app.db) if isinstance(app.db, str | os.PathLike) else None
    if db is not None and db != Target().location:
        options += ["--db", db]
    if len(await applications((await app._engine()).store)) > 1:
        options += ["--app", app.name]
    return Hints(tuple(options))


def folded(words: Sequence[str], width: int) -> list[str]:
    """Return a command in lines that fit, if words allow, each but the last with the backslash that continues it."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) + len(" \\") <= width:
            lines[-1] += f" {word}"
        else:
            lines[-1] += " \\"
            lines.append(word)
    return lines
