"""Are the tests of the core any good? Each small change of `durable.core` has to make one of them fail (T30).

A mutant is one change of one module, as `_mutator.py` makes them; tests/core runs against each, those named like the
module first. A test that fails, an endless loop and a memory that fills up are catches. The score is the share of
mutants that are caught, of those that can be: `equivalents.toml` lists the others, each with the reason why nobody can
tell it from the original. Survivors are printed on stderr, as places where a test is missing.

All mutants take half an hour or longer; `-n 100` takes a sample, another one for each seed.
"""

from __future__ import annotations

import ast
import random
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.torture._mutator import Mutant, mutants
from tests.torture._outcome import Outcome
from tests.torture._processes import cores
from tests.torture._rounds import ROOT, Played, play

IN_ALL = False

N_DEFAULT: Final = 1_000_000
"""More than there are: all of them."""

SOURCES: Final = ROOT / "src" / "durable" / "core"
TESTS: Final = "tests/core"
EQUIVALENTS: Final = Path(__file__).with_name("equivalents.toml")

SCORE_MIN: Final = 0.90

PATIENCE_S: Final = 300.0
"""Longest time of a trial on a busy machine; one that does not wait is ended by its processor time much earlier."""


class Name(NamedTuple):
    """What a mutant is called from one version of the source to the next."""

    file: str
    where: str
    change: str


@dataclass(frozen=True)
class Candidate:
    """A mutant and the module that it belongs to."""

    file: str
    number: int
    mutant: Mutant

    @property
    def name(self) -> Name:
        return Name(self.file, self.mutant.where, self.mutant.change)

    def __str__(self) -> str:
        return f"{self.file}:{self.mutant.line} {self.mutant.where}: {self.mutant.change}"


def candidates() -> list[Candidate]:
    """Return all mutants of the core."""
    found = []
    for path in sorted(SOURCES.rglob("*.py")):
        file = str(path.relative_to(ROOT))
        found += [Candidate(file, number, one) for number, one in enumerate(mutants(ast.parse(path.read_text())))]
    return found


@cache
def equivalents() -> dict[Name, str]:
    """Return the mutants that nobody can tell from the original, and why."""
    rows = tomllib.loads(EQUIVALENTS.read_text())["mutant"]
    return {Name(row["file"], row["where"], row["change"]): row["why"] for row in rows}


@dataclass
class Tally:
    """What became of the mutants."""

    caught: Counter[str] = field(default_factory=Counter)
    """How many, by the way in which they were."""
    survivors: list[Candidate] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Trials that said nothing about their mutant."""

    @property
    def score(self) -> float:
        tried = self.caught.total() + len(self.survivors)
        return self.caught.total() / tried if tried else 1.0

    def violations(self) -> list[str]:
        low = f"the score is {self.score:.1%}, less than {SCORE_MIN:.0%}: {len(self.survivors)} mutants survived"
        return self.broken + ([low] if self.score < SCORE_MIN else [])


def campaign(n: int, seed: int) -> Outcome:
    """Try n mutants, or all there are; a sample is drawn from the seed."""
    known = equivalents()
    there = [one for one in candidates() if one.name not in known]
    chosen = there if n >= len(there) else random.Random(seed).sample(there, n)
    tally = judged(chosen)
    facts = {
        "score": round(tally.score, 4), "caught": dict(tally.caught), "survived": len(tally.survivors),
        "there_are": len(there), "equivalent": len(known),
    }  # fmt: skip
    return Outcome(tally.violations(), facts, n=len(chosen))


def judged(chosen: list[Candidate]) -> Tally:
    """Try mutants, and the source as it is: tests that fail without a mutant catch none."""
    rounds: list[tuple[Any, ...]] = [(str(SOURCES.relative_to(ROOT)), None, [TESTS])]
    rounds += [(one.file, one.number, ordered_tests(one.file)) for one in chosen]
    return tallied(play("tests.torture._trial:trial", rounds, jobs=cores(), patience_s=PATIENCE_S), chosen)


def tallied(plays: Iterable[Played], chosen: list[Candidate]) -> Tally:
    """Count what became of the trials of some mutants."""
    tally = Tally()
    by_place = {(one.file, one.number): one for one in chosen}
    for played in plays:
        file, number, _ = played.arguments
        if number is not None:
            _count(tally, by_place[file, number], played)
        elif played.failure or played.result["code"]:
            tally.broken.append(f"the tests fail without a mutant: {played.failure or played.result['failed']}")
            break
    return tally


def ordered_tests(file: str) -> list[str]:
    """Return the tests, those first that are named like the module: they find most."""
    own = f"{TESTS}/test_{Path(file).stem}.py"
    return [own, TESTS] if (ROOT / own).exists() else [TESTS]


def _count(tally: Tally, one: Candidate, played: Played) -> None:
    if played.failure.startswith("stuck"):
        tally.caught["time"] += 1
    elif played.failure.startswith("ended with code -"):
        tally.caught["killed"] += 1
    elif played.failure:
        tally.broken.append(f"{one}: the trial {played.failure}")
    elif played.result["code"] == 0:
        tally.survivors.append(one)
        print(f"survived: {one}", file=sys.stderr, flush=True)
    elif played.result["failed"]:
        tally.caught["import" if played.result["failed"].startswith("import: ") else "test"] += 1
    else:
        # A test module that could not be imported.
        tally.caught["collection"] += 1
