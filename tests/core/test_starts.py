"""New runs, ids that are taken, and what a claim does."""

from __future__ import annotations

from typing import Any

import pytest

from durable.core.decisions.standing import Standing, is_due
from durable.core.decisions.starts import new_run, start_entry, taken
from durable.core.operations import Continue, Start
from durable.core.records import Entry, Kind, Requests, RunState, Status
from tests.core.decisions_kit import NOW, QUEUE, RUNNING, RUNS, check_invariants, standing

START = Start(QUEUE, "r", b"input", 77, "note")
ME = "boot:1:0:me"


@pytest.mark.parametrize("start", [START, Continue(b"input", 77, "note")])
def test_a_journal_opens_with_the_arguments(start: Start | Continue) -> None:
    assert start_entry(NOW, start) == Entry(
        0, NOW, Kind.RUN, Status.OK, name="start", digest=77, note="note", data=b"input"
    )


# New runs ------------------------------------------------------------------------------------------------------------

QUEUED = Standing(RunState.QUEUED, 0, False, False, NOW, None, NOW, 1, NOW, 77, "note")
CLAIMED = Standing(RunState.RUNNING, 1, False, False, None, NOW, NOW, 1, NOW, 77, "note")


@pytest.mark.parametrize(
    ("changes", "worker_lives", "expected"),
    [
        ({}, True, QUEUED),
        ({}, False, QUEUED),
        ({"due_at": NOW + 1}, False, QUEUED._replace(due_at=NOW + 1)),
        ({"due_at": NOW - 1}, False, QUEUED._replace(due_at=NOW - 1)),
        ({"due_at": 0}, False, QUEUED._replace(due_at=0)),
        ({"worker": ME}, True, CLAIMED),
        ({"worker": ME}, False, QUEUED),
        ({"worker": ME, "due_at": NOW}, True, CLAIMED),
        ({"worker": ME, "due_at": 0}, True, CLAIMED),
        ({"worker": ME, "due_at": NOW + 1}, True, QUEUED._replace(due_at=NOW + 1)),
    ],
)
def test_a_new_run_is_queued_or_claimed_at_once(changes: Any, worker_lives: bool, expected: Standing) -> None:
    run = new_run(START._replace(**changes), NOW, worker_lives=worker_lives)
    check_invariants(run)
    assert run == expected


# Claims --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [run for run in RUNS if is_due(run, NOW)])
def test_a_claim_gives_a_due_run_a_new_epoch_and_keeps_what_was_asked_of_it(run: Standing) -> None:
    found = taken(run, NOW)
    check_invariants(found)
    assert found == run._replace(
        state=RunState.RUNNING, epoch=run.epoch + 1, was_left=False, due_at=None, moved_at=NOW,
        started_at=NOW if run.started_at is None else run.started_at,
    )  # fmt: skip


def test_only_the_first_claim_starts_a_run() -> None:
    assert taken(QUEUED, NOW + 3).started_at == NOW + 3
    assert taken(standing(RunState.QUEUED, started_at=0), NOW).started_at == 0


def test_a_claim_leaves_nothing_to_tell() -> None:
    assert not taken(standing(RunState.QUEUED, notice=True, requests=Requests.CANCEL), NOW).notice


@pytest.mark.parametrize("state", [state for state in RunState if state.name not in ("QUEUED", "SUSPENDED")])
def test_nobody_claims_what_is_owned_paused_set_aside_or_ended(state: RunState) -> None:
    with pytest.raises(ValueError, match=f"a run that is {state.label} cannot be claimed"):
        taken(standing(state), NOW)


def test_an_owned_run_has_no_time() -> None:
    assert RUNNING.due_at is None
