"""The command: what was asked for, the repetitions, the lines."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench import machine, slowflush
from bench.child import repetition
from bench.figures import json_line, medians, versions
from bench.scenarios import SCENARIOS
from bench.settings import Settings
from durable.errors import UsageError
from durable.store.sqlite.url import Durability, parse_url

MEMORY_FILESYSTEMS = ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True)
class Place:
    """Where databases are made, and how durable they are."""

    folder: str | None
    durability: Durability


@dataclass(frozen=True, slots=True)
class Flush:
    """How flushes behave: as they are, or slower."""

    words: str
    suffix: str
    environment: Mapping[str, str]


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; return the exit code."""
    options = _parser().parse_args(arguments)
    names = list(SCENARIOS) if "all" in options.scenario else list(dict.fromkeys(options.scenario))
    place = _place(options.store)
    with tempfile.TemporaryDirectory(prefix="durable-bench-") as folder:
        flushes = [Flush("", "", {})]
        if options.slow_flush:
            library = slowflush.compiled(folder)
            words = f", {options.slow_flush:g} ms added to every flush"
            suffix = f"+{options.slow_flush:g}ms"
            flushes.append(Flush(words, suffix, slowflush.environment(library, options.slow_flush)))
        _say_machine(place)
        for name in names:
            for flush in flushes if SCENARIOS[name].flushes else flushes[:1]:
                _measure(name, options, place, flush)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench/run.py", description="Measure durable. One JSON line per figure.")
    parser.add_argument("scenario", nargs="+", choices=[*SCENARIOS, "all"], metavar="SCENARIO",
                        help=f"one or more of: {', '.join(SCENARIOS)}; or all")  # fmt: skip
    parser.add_argument("--store", metavar="URL", help="a SQLite URL: new files are made in its folder, and its "
                        "options count; default: the folder for temporary files, full durability")  # fmt: skip
    parser.add_argument("--repeat", type=_positive, default=5, metavar="N", help="the median of so many (default: 5)")
    parser.add_argument("--n", type=_positive, metavar="N", help="size of the scenario, instead of its own")
    parser.add_argument("--quick", action="store_true", help="small sizes: do the scenarios work?")
    parser.add_argument("--slow-flush", type=float, default=0, metavar="MS",
                        help="measure again with so many milliseconds added to every flush to disk")  # fmt: skip
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _place(url: str | None) -> Place:
    if url is None:
        return Place(None, "full")
    try:
        location = parse_url(url)
    except UsageError as error:
        raise SystemExit(f"bench: --store: {error}") from error
    return Place(os.path.dirname(os.path.abspath(location.path)), location.durability)


def _say_machine(place: Place) -> None:
    folder = place.folder or tempfile.gettempdir()
    filesystem = machine.filesystem_of(folder)
    known = versions()
    _say(f"{machine.described()}; Python {known['python']}, SQLite {known['sqlite']}, durable {known['durable']}")
    _say(f"databases in {folder} ({filesystem}), durability {place.durability}")
    if filesystem in MEMORY_FILESYSTEMS:
        _say("that folder lies in memory, where a flush costs nothing: name another one with --store")


def _measure(name: str, options: argparse.Namespace, place: Place, flush: Flush) -> None:
    scenario = SCENARIOS[name]
    n = options.n or (scenario.n_quick if options.quick else scenario.n)
    _say(f"{name}: {scenario.words.format(n=n)}{flush.words}; medians of {options.repeat}")
    repetitions = []
    for _ in range(options.repeat):
        with _folder(place) as folder:
            repetitions.append(repetition(name, Settings(n, folder, place.durability), flush.environment))
    for figure in medians(repetitions):
        print(json_line(figure, store="sqlite", durability=place.durability + flush.suffix), flush=True)


@contextmanager
def _folder(place: Place) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="durable-bench-", dir=place.folder) as folder:
        yield folder


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
