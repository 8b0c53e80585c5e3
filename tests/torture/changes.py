"""Changed code against recorded runs: `durable check` finds what breaks them, and raises no alarm over what does not.

Each round takes one breaking change of a workflow of the corpus, at one place; all runs that have recorded past it have
to be found, and none that has not come to it. Beside it go ten changes that break nothing, and now and then a random
tree whose code has not changed at all. There are over a thousand changes of both kinds; rounds beyond put another
change on top. A violation is printed with its seed; `python -m tests.torture changes -n 1 --seed S` repeats it.

Covers: G1, G2, G3, G4
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from functools import cache
from typing import Final

from durable.api.code import code_of
from durable.runtime.histories import read_history
from durable.runtime.rehearsal import rehearse
from durable.store.base import RunFilter
from tests.check.breaking import all_breaking_changes
from tests.check.changes import Change, judged
from tests.check.compatible import all_compatible_changes, with_noise
from tests.check.plays import played
from tests.check.stage import empty_stage
from tests.support.replaying import cuts, play, restored
from tests.support.trees import Grower, script_of
from tests.torture._outcome import Outcome

N_DEFAULT: Final = 100

COMPATIBLE_EACH: Final = 10
"""Changes that break nothing, for each one that does."""

TREE_EVERY: Final = 10
"""Rounds from one unchanged tree to the next."""

Numbered = tuple[str, Change]


@cache
def _shuffled(kind: str) -> list[Numbered]:
    """Return all changes of a kind, in an order that is always the same and mixes modules and families."""
    changes = all_breaking_changes() if kind == "breaking" else all_compatible_changes()
    random.Random(kind).shuffle(changes)
    return changes


def pick(kind: str, number: int) -> Numbered:
    """Return the change with a number; beyond the last one, with another change on top that breaks nothing."""
    changes = _shuffled(kind)
    name, change = changes[number % len(changes)]
    return name, change if number < len(changes) else with_noise(
        change, played(name), random.Random(f"{kind} {number}")
    )


def wrongs(name: str, change: Change) -> Iterator[str]:
    """Tell what the check says wrongly of a change."""
    verdict = judged(change, played(name))
    for history in verdict.missed:
        yield f"{name}: {change} was not found in {history.run_id} ({len(history.entries)} entries)"
    for history, finding in verdict.alarms:
        yield f"{name}: {change} is no change for {history.run_id} ({len(history.entries)} entries): {finding}"


def tree_wrongs(seed: int) -> Iterator[str]:
    """Tell what the check says of a random tree that did not change, at every moment of its runs."""
    source = random.Random(seed)
    script = script_of(Grower(source).grow(), cancel=source.random() < 0.2, sliced=source.random() < 0.5)
    whole = play(script)
    stage = empty_stage()
    script.build(stage)
    code = code_of(stage.wf)
    for cut in cuts(whole.log):
        store = restored(whole.log, cut)
        for record in asyncio.run(store.runs(RunFilter(), limit=1000)):
            history = asyncio.run(read_history(store, record))
            spec = code.spec_for(history)
            assert spec is not None
            for finding in rehearse(code, spec, history).findings:
                yield f"tree, {cut}: {record.run_id} ({len(history.entries)} entries): {finding}"


def campaign(n: int, seed: int) -> Outcome:
    """Check `n` breaking changes and ten times as many others; tell which were judged wrongly."""
    logging.getLogger("durable").setLevel(logging.CRITICAL)
    outcome = Outcome(facts={"breaking": n, "compatible": n * COMPATIBLE_EACH})
    for number in range(seed, seed + n):
        told = [*wrongs(*pick("breaking", number))][:1]
        for other in range(number * COMPATIBLE_EACH, (number + 1) * COMPATIBLE_EACH):
            told += [*wrongs(*pick("compatible", other))][:1]
        if not number % TREE_EVERY:
            told += [*tree_wrongs(number)][:1]
        outcome.violations += [f"round {number}: {text}" for text in told]
    return outcome
