"""Records that cross layers: what is left out means nothing, what is stored keeps its meaning, and nothing changes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from durable.core.operations import Advance, Answer, Cancel, Claim, Extras, Finish, GoOn, Rewind, Start
from durable.core.records import (
    ID_BYTES_MAX,
    Entry,
    Inbox,
    Kind,
    Pending,
    PromiseRecord,
    Queue,
    Reason,
    Requests,
    RunRecord,
    RunState,
    Settled,
    Status,
    WorkerRecord,
)

QUEUE = Queue("app", "flow", "1", "group")
RECORD = RunRecord(1, "r", QUEUE, RunState.QUEUED, 0, None, None, 5, None, None, 7)
ENTRY = Entry(1, 5, Kind.TASK, Status.OK)


def test_what_an_entry_does_not_name_is_nothing() -> None:
    assert ENTRY == (1, 5, Kind.TASK, Status.OK, None, None, "", 0, 0, 0, 0, "", b"")


def test_what_a_run_does_not_name_is_nothing() -> None:
    assert RunRecord(
        1, "r", QUEUE, RunState.QUEUED, 0, None, None, 5, None, None, 7,
        note="", parent_id=None, continuation=0, deaths=0, active_ms=0, deadline_at=None, requests=Requests.NONE,
        reason="", detail="", progress="", tags={},
    ) == RECORD  # fmt: skip


def test_what_arrived_is_nothing_unless_it_is_named() -> None:
    assert Pending() == (Requests.NONE, "", (), ())
    assert Inbox() == ((), ())
    assert Settled(1, "p:p", True, b"").missing is False
    assert WorkerRecord("w", 1, "host", "boot", 5).queues == ()


def test_what_an_operation_does_not_name_is_nothing() -> None:
    assert Extras() == ((), (), (), (), (), (), (), None)
    assert Start(QUEUE, "r", b"", 7)[4:] == ("", None, (), None, None, None)
    assert Advance(1, "w", 2, (), GoOn())[5:] == (None, 0)
    assert Claim("w")[1:] == ((), (), 100)
    assert Cancel("app", "r")[2:] == ("", None)
    assert Rewind("app", "r", (), ENTRY).unread == ()
    assert Finish(RunState.FAILED)[1:] == ("", "")
    assert Answer(True).woken is False


def test_numbers_and_words_that_are_stored_stay_what_they_are() -> None:
    """Databases hold them: none may ever mean something else."""
    assert [(request.name, request.value) for request in (Requests.NONE, Requests.CANCEL, Requests.PAUSE)] == [
        ("NONE", 0), ("CANCEL", 1), ("PAUSE", 2),
    ]  # fmt: skip
    assert [str(reason) for reason in Reason] == [
        "code changed", "poisoned", "busy loop", "deadlock", "forbidden in workflow", "corrupt", "unreadable",
        "key missing", "history limit", "internal error",
    ]  # fmt: skip
    assert ID_BYTES_MAX == 512


@pytest.mark.parametrize(
    ("record", "name"),
    [(RECORD, "state"), (ENTRY, "data"), (PromiseRecord("p", 1, True, b""), "ok"),
     (WorkerRecord("w", 1, "host", "boot", 5), "pid")],
)  # fmt: skip
def test_nothing_changes_a_record_or_hangs_something_on_it(record: Any, name: str) -> None:
    with pytest.raises((FrozenInstanceError, AttributeError)):
        setattr(record, name, None)
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(record, "more", 1)
