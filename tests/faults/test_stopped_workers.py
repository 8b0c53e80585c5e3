"""T10 in short: real workers that are stopped and continued, and proof that the checkers see what they look for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.torture import stopped
from tests.torture._application import Ledger, make_app
from tests.torture._witness import Witness


def test_workers_that_are_stopped_and_wake_up_write_and_begin_nothing_that_they_have_lost():
    """Covers: E1, E6, E7"""
    outcome = stopped.campaign(2, seed=5)
    assert outcome.violations == []
    assert outcome.facts["zombies"] == outcome.facts["pauses"] == 2


@pytest.mark.parametrize(
    ("kind", "name", "wrong"),
    [
        (stopped.Pauses, "it", "was taken for dead although it was stopped for a moment only"),
        (stopped.Zombies, "it", "was taken for dead when it had gone on"),
        (stopped.Zombies, "dead", "was taken for dead, goes on, and has not begun anew"),
    ],
)
def test_a_worker_that_is_taken_over_too_early_or_does_not_begin_anew_is_seen(
    tmp_path, monkeypatch, kind: type[stopped.Stopping], name: str, wrong: str
):
    async def nobody_is_registered() -> dict[str, int]:
        return {}

    monkeypatch.setattr(stopped, "TAKEOVER_MAX_S", 0.0)
    campaign = kind(str(tmp_path), 1, 0)
    campaign.taken = {"dead"}
    campaign._names = nobody_is_registered  # type: ignore[method-assign]
    asyncio.run(campaign._continued(10, name))
    assert campaign.witness.violations == [f"worker: 10 {wrong}"]


STEP = ("steps-1", "s0", 1)


@pytest.mark.parametrize(("began", "wrong"), [(0, 0), (1, 1)])
def test_the_witness_accepts_repetitions_only_of_what_began_before_the_takeover(tmp_path: Path, began: int, wrong: int):
    path = tmp_path / "ledger"
    earlier = "other\ts0\t1\t10\n" * began
    path.write_text(earlier + "".join("\t".join(map(str, (*STEP, pid))) + "\n" for pid in (10, 11)))
    witness = Witness(make_app(str(tmp_path / "x.db"), Ledger(str(path))), str(path))
    witness.replaced = {10: 1}
    witness.check_ledger()
    assert witness.violations == []
    assert len(witness.late) == wrong
    witness.replaced = {12: 1}
    witness.check_ledger()
    assert witness.violations == ["steps-1: s0 was executed by 10, which was not killed, and again by 11"]


def test_a_few_tasks_that_begin_late_are_chance_and_more_are_not():
    assert not stopped.too_many(1, 1)
    assert stopped.too_many(2, 3)
    assert not stopped.too_many(10, 200)
    assert stopped.too_many(11, 200)
