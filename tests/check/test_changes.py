"""Changed code is found where a run has recorded past it, and nowhere else.

The campaign `changes` takes all changes of the whole corpus; here is one of each kind.

Covers: G1, G2, G3, G4
"""

import pytest

from tests.check.breaking import all_breaking_changes
from tests.check.changes import Change, judged
from tests.check.compatible import all_compatible_changes
from tests.check.plays import names, played
from tests.torture.changes import pick, wrongs


def one_of_each(changes: list[tuple[str, Change]]) -> list[tuple[str, Change]]:
    found: dict[str, tuple[str, Change]] = {}
    for place, (name, change) in enumerate(changes):
        # Spread over the corpus: of each kind another module's.
        if change.kind not in found or place % 7 == 0:
            found[change.kind] = (name, change)
    return list(found.values())


BREAKING = one_of_each(all_breaking_changes())
COMPATIBLE = one_of_each(all_compatible_changes())


def test_there_are_enough_changes_of_each_sort() -> None:
    assert len(all_breaking_changes()) > 1000
    assert len(all_compatible_changes()) > 1000
    assert (len(BREAKING), len(COMPATIBLE)) >= (36, 20)
    assert len(names()) >= 12


@pytest.mark.parametrize(("name", "change"), BREAKING, ids=str)
def test_a_change_is_found_in_every_run_that_has_recorded_past_it(name: str, change: Change) -> None:
    verdict = judged(change, played(name))
    assert (verdict.missed, verdict.alarms) == ((), ())
    assert verdict.found


@pytest.mark.parametrize(("name", "change"), COMPATIBLE, ids=str)
def test_a_change_that_breaks_nothing_raises_no_alarm(name: str, change: Change) -> None:
    assert judged(change, played(name)).alarms == ()


@pytest.mark.parametrize("number", [0, 1, 2, 5000, 5001])
def test_a_round_of_the_campaign_judges_rightly(number: int) -> None:
    assert list(wrongs(*pick("breaking", number))) == []
    assert list(wrongs(*pick("compatible", number))) == []
