"""Command lines that nobody would type, played in this process: what `durable` makes of them.

Words are drawn for each parameter that the commands declare: some that fit, some that nearly do, some that are anything
which a process can be given. Whatever they are, the command ends soon with a documented exit code; an error is one line
on stderr and no traceback; with `--json` what it prints is JSON. `worker` is left out, since it does not end.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import click

from durable.cli import exits
from durable.cli.main import cli, run
from tests.torture._processes import Found
from tests.torture._rounds import scratch

SECONDS_MAX: Final = 60
"""Longest time of a command on a busy machine."""

FRESH_EVERY: Final = 40
"""Commands until the database is as it was in the beginning: some cancel runs and delete them."""

CODES: Final = frozenset({
    exits.OK, exits.UNSUCCESSFUL, exits.USAGE, exits.STORE, exits.NOT_FOUND, exits.REFUSED,
})  # fmt: skip
"""What a command may end with whose output is read and which nobody interrupts."""

FLOWS: Final = """\
import enum
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from durable import Workflow

app = Workflow("fuzzed", db="flows.db")


@dataclass
class Order:
    number: int
    lines: list[str]


class Size(enum.Enum):
    SMALL = 1
    LARGE = "large"


@app.task
async def echo(value: Any) -> Any:
    return value


@app.workflow
async def typed(
    a: int = 0, b: float | None = None, c: list[Order] | None = None, d: datetime | date | None = None,
    e: Size = Size.SMALL, f: Literal["x", 3] = "x", g: Any = None, h: bytes = b"", i: Path = Path(),
    j: timedelta = timedelta(), k: dict[str, int] | None = None, l: Decimal = Decimal(0),
    m: UUID | None = None, n: bool = False, o: str = "",
    p: Order | None = None, q: str | int | None = None, r: set[int] | None = None, s: tuple[int, str] | None = None,
) -> Any:
    return await echo([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s])


@app.workflow(id="named-{o}-{a}")
async def named(o: str, a: int = 0, /, *, k: int = 0) -> str:
    return await echo(o)


@app.workflow
async def waits(n: int) -> Any:
    return await app.signal("go")


@app.workflow
async def fails(n: int) -> None:
    await echo(n)
    raise ValueError("no")
"""
"""The user's module."""


async def _prepare() -> None:
    """Make runs of all kinds in `flows.db`."""
    import flows  # type: ignore[import-not-found]

    async with flows.app:
        await flows.typed.start(a=1, id="done")
        await flows.fails.start(1, id="failed")
        for number in range(4):
            await flows.waits.start(number, id=f"waits-{number}", tags={"customer": str(number)})
        await flows.app.handle("done").result()
        with suppress(ValueError):
            await flows.app.handle("failed").result()
    await flows.app.stop()


# Words ----------------------------------------------------------------------------------------------------------------

_ODD: Final = (
    "", " ", "0", "1", "-1", "007", "+5", "1_000", "1e3", "1.5", "\u0661", "9" * 25, "1" * 5_000, "-0", "0x10", "NaN",
    "Infinity", "-Infinity", "null", "None", "true", "{}", "[]", "{", '"', '{"a": 1', "[" * 3_000, '{"a":' * 500,
    '{"number": 1, "lines": ["x"]}', '[{"number": 1, "lines": []}]', '{"number": "x"}', '{"$class": "os:system"}',
    "=", "==", "a=b", "--", "-", "---", "-x", "--json=", "--limit", "é", "日本", "🙂", "\udcff", "a\udcffb", "\n",
    "a\nb", "\x1b[31mred", "\t", "%s", "{0}", "{a}", "$(x)", "../../etc/passwd", "x" * 600, "x" * 10_000, "\u202e",
    "\x7f", "1e400", "-1e400", "5e-324", "1e999999999", "12345678-1234-5678-1234-567812345678", "large", "SMALL",
)  # fmt: skip

_TIMES: Final = (
    "30d", "1h30m", "2h", "0s", "-1d", "1y", "1w", "d", "1d1d", "1.5h", "9" * 30 + "d", "99999999d", "1e9d", "infd",
    "nan", "1h 30m", "1H", "5", "today", "now", "yesterday", "2026-11-21", "2026-11-21T14:30", "2026-11-21 14:30:00+02",
    "2026-02-30", "0001-01-01", "9999-12-31T23:59:59", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "2026-W01",
    "20261121", "24:00", "1" * 400 + "s", "\u0663d", "1d\udcff",
)  # fmt: skip

_IDS: Final = ("done", "failed", "waits-0", "waits-1", "waits-2", "waits-3", "nobody", "done/0", "DONE", "waits-\u0661")

_FITTING: Final[dict[str, tuple[str, ...]]] = {
    "run_id": _IDS, "ids": _IDS, "run": _IDS, "parent": _IDS, "prefix": ("waits-", "w", "%", "_"),
    "target": ("flows:typed", "flows:named", "flows.py:typed", "flows:app", "flows:echo", "flows:", ":typed", "flows",
               "nowhere:x", "flows:typed:x", "flows.typed", "no such file.py:x", "flows:Order"),
    "code": ("flows:app", "flows", "flows.py:app", "flows:typed", "nowhere:app", "flows:nothing"),
    "db": ("flows.db", "sqlite:///flows.db", "rubbish.db", "missing.db", "postgres://x", "sqlite://", "memory:", ".",
           "sqlite:///\udcff", "http://x", "nowhere/x.db"),
    "app": ("fuzzed", "other"), "workflow": ("typed", "waits", "fails", "nobody"), "name": ("go", "mail"),
    "tags": ("customer=1", "customer", "=", "=x", "a=b=c"), "reason": ("ValueError", "code changed"),
    "states": ("failed", "suspended", "succeeded", "set-aside", "FAILED", "queue"), "payload": ("1", '{"a": 1}', "x"),
    "output": ("-", "out.json", "nowhere/x.json", ".", "", "flows.db/x"), "shell": ("bash", "zsh", "fish", "sh"),
    "since": _TIMES, "until": _TIMES, "older_than": _TIMES, "limit": ("1", "100", "0"), "keep": ("0", "1", "99"),
    "start": ("0", "1", "2", "99"), "position": ("0", "1", "2", "99"), "message_id": ("m-1", ""), "because": ("why",),
}  # fmt: skip
"""Words that fit the parameter of this name, or nearly."""

_NEVER: Final = ("worker",)


def commands() -> list[tuple[tuple[str, ...], click.Command]]:
    """Return the commands there are, with the words that lead to them."""
    return list(_within(cli, (), click.Context(cli)))


def _within(
    command: click.Command, path: tuple[str, ...], ctx: click.Context
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(ctx):
        inner = command.get_command(ctx, name)
        if name not in _NEVER and inner is not None:
            yield from _within(inner, (*path, name), ctx)


def command_line(source: Random) -> list[str]:
    """Return the words of a command."""
    if source.random() < 0.02:
        return [_odd(source) for _ in range(source.randrange(4))]
    path, command = source.choice(commands())
    words: list[str] = []
    if source.random() < 0.5:
        words.append("--json")
    for parameter in command.params:
        words += _words_for(source, parameter)
    if source.random() < 0.05:
        words.insert(source.randrange(1 if words[:1] == ["--json"] else 0, len(words) + 1), _odd(source))
    return [*path, *words]


def _words_for(source: Random, parameter: click.Parameter) -> Iterator[str]:
    name = parameter.name or ""
    if isinstance(parameter, click.Option):
        if name == "as_json" or source.random() < 0.8:
            return
        option = source.choice([*parameter.opts])
        if parameter.is_flag:
            yield option
            return
        word = _word(source, name)
        yield from (f"{option}={word}",) if option.startswith("--") and source.random() < 0.3 else (option, word)
    elif name == "arguments":
        yield from (_pair(source) for _ in range(source.randrange(4)))
    elif parameter.nargs == -1:
        yield from (_word(source, name) for _ in range(source.randrange(3)))
    elif parameter.required or source.random() < 0.5:
        yield _word(source, name)


def _pair(source: Random) -> str:
    key = source.choice("abcdefghijklmnopqrs") if source.random() < 0.9 else _odd(source)
    return f"{key}={source.choice((_odd(source), source.choice(_TIMES)))}" if source.random() < 0.97 else key


def _word(source: Random, name: str) -> str:
    fitting = _FITTING.get(name, _ODD)
    return source.choice(fitting) if source.random() < 0.85 else _odd(source)


def _odd(source: Random) -> str:
    if source.random() < 0.7:
        return source.choice(_ODD)
    # What a process can be given: anything but NUL; bytes that are no UTF-8 come as lone surrogates.
    data = bytes(source.randrange(1, 256) for _ in range(source.randrange(1, 12)))
    return os.fsdecode(data)


# Playing --------------------------------------------------------------------------------------------------------------


@dataclass
class Ended:
    """What a command left behind."""

    code: int | None
    out: str
    err: str
    raised: BaseException | None = None


class _TooLong(BaseException):
    """The command does not end."""


def played(words: list[str], entry: Callable[[list[str]], int] = run) -> Ended:
    """Run a command line in this process, as another process would."""
    out, err = io.BytesIO(), io.BytesIO()
    raised: BaseException | None = None
    code: int | None = None
    before = set(sys.modules)
    with redirect_stdout(_text(out)) as texts, redirect_stderr(_text(err)) as told:
        signal.alarm(SECONDS_MAX)
        try:
            code = entry(words)
        except (Exception, SystemExit, _TooLong) as error:
            raised = error
        finally:
            signal.alarm(0)
    for name in set(sys.modules) - before:
        if name.startswith("flows"):
            del sys.modules[name]
    texts.flush()
    told.flush()
    return Ended(code, out.getvalue().decode(), err.getvalue().decode(), raised)


def _text(stream: io.BytesIO) -> io.TextIOWrapper:
    """Return a stream as the command makes of a standard one."""
    return io.TextIOWrapper(stream, "utf-8", "backslashreplace")


def wrongs(words: list[str], ended: Ended) -> Iterator[str]:
    """Tell what a command did wrong."""
    if isinstance(ended.raised, _TooLong):
        yield f"did not end within {SECONDS_MAX} s"
    elif ended.raised is not None:
        yield f"raised {type(ended.raised).__name__}: {str(ended.raised)[:300]}"
    elif ended.code not in CODES:
        yield f"ended with code {ended.code}"
    elif ended.code in (exits.USAGE, exits.STORE, exits.NOT_FOUND) and not ended.err:
        yield f"ended with code {ended.code} and said nothing"
    if "Traceback (most recent call last)" in ended.err:
        yield f"printed a traceback: {ended.err[-300:]!r}"
    # What a question is about is told before it, and the error that nobody can answer is the last line.
    told = ended.err.splitlines()
    if (
        ended.code == exits.USAGE
        and len(words) > 2
        and [line.startswith("durable: ") for line in told].count(True) != 1
    ):
        yield f"told an error of usage otherwise than in one line: {ended.err[:300]!r}"
    if "--json" in words[:3] and ended.code == exits.OK and "--help" not in words and not _is_json(ended.out):
        yield f"printed what is no JSON: {ended.out[:300]!r}"


def _is_json(text: str) -> bool:
    """Is this one document, or an object in each line?"""
    for documents in ([text], text.splitlines()):
        try:
            for document in documents:
                json.loads(document)
        except ValueError:
            continue
        return True
    return False


@contextmanager
def stage() -> Iterator[Path]:
    """Make a folder with the user's module and a database, and go there."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch("commands"))
        stack.enter_context(chdir(folder))
        log = logging.getLogger("durable")
        stack.callback(log.setLevel, log.level)
        log.setLevel(logging.CRITICAL)
        stack.callback(os.environ.update, dict(os.environ))
        stack.callback(os.environ.clear)
        for name in ("FORCE_COLOR", "COLUMNS"):
            os.environ.pop(name, None)
        os.environ["DURABLE_DB"] = "flows.db"
        stack.callback(sys.path.__setitem__, slice(None), list(sys.path))
        stack.callback(sys.modules.pop, "flows", None)
        stack.callback(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, _too_long))
        sys.path.insert(0, str(folder))
        (folder / "flows.py").write_text(FLOWS)
        asyncio.run(_prepare())
        del sys.modules["flows"]
        shutil.copytree(folder, folder / "kept")
        yield folder


def _too_long(signum: int, frame: Any) -> None:
    raise _TooLong


def _refresh(folder: Path) -> None:
    """Leave in the folder what there was in the beginning."""
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
        elif path.name != "kept":
            shutil.rmtree(path)
    shutil.copytree(folder / "kept", folder, dirs_exist_ok=True)
    (folder / "rubbish.db").write_bytes(b"no database at all" * 100)


def play_commands(first: int, count: int) -> Found:
    """Play the command lines of a range of seeds."""
    found = Found()
    with stage() as folder:
        for number, seed in enumerate(range(first, first + count)):
            if number % FRESH_EVERY == 0:
                _refresh(folder)
            words = command_line(Random(seed))
            ended = played(words)
            found.counts[f"code {ended.code}"] += 1
            found.violations += [f"command {seed}, {_shown(words)}: {wrong}" for wrong in wrongs(words, ended)]
    return found


def _shown(words: list[str]) -> str:
    return repr([word if len(word) < 80 else f"{word[:60]}… ({len(word)} characters)" for word in words])
