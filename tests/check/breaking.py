"""Changes that break runs which have recorded past them, made at every place of a module where they can be.

What they have in common: by construction, what is asked for under some number, or the type of what has to be read, is
no longer that of the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from tests.check import breaking_steps, breaking_values
from tests.check.changes import Change
from tests.check.plays import Played, names, played
from tests.check.sources import Source

FAMILIES: Final[tuple[Callable[[Source, Played], Iterator[Change]], ...]] = (
    breaking_steps.inserted, breaking_steps.removed, breaking_steps.swapped, breaking_steps.ended_early,
    breaking_steps.looped, breaking_steps.flipped, breaking_steps.uncaught, breaking_steps.unlimited,
    breaking_steps.gathered, breaking_steps.stepped_by_id, breaking_steps.slept,
    breaking_values.renamed, breaking_values.step_renamed, breaking_values.arguments, breaking_values.waited_for,
    breaking_values.children, breaking_values.values, breaking_values.patches, breaking_values.undecodable,
    breaking_values.parameters,
)  # fmt: skip


def breaking_changes(name: str) -> list[Change]:
    """Return all breaking changes of a module that at least one run has recorded past."""
    of, source = played(name), Source(played(name).source)
    changes = (change for family in FAMILIES for change in family(source, of))
    return [change for change in changes if any(change.judge(of.trace, history) for history in of.histories)]


@cache
def all_breaking_changes() -> list[tuple[str, Change]]:
    """Return the breaking changes of the whole corpus, with their modules."""
    return [(name, change) for name in names() for change in breaking_changes(name)]
