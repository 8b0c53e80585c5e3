"""Real processes that contend for the same runs, and a judge who sees what they may not be told."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.torture import contention
from tests.torture.contention import Told, Truth, judge


def test_what_four_processes_do_at_once_to_the_same_runs_has_one_outcome():
    """Covers: F1, F2, F4, F5, F6, F7, F8, F9, F12"""
    outcome = contention.campaign(60, 0)
    assert outcome.violations == []
    assert outcome.facts["cancelled"]
    assert outcome.facts["retried"]


def test_a_racer_that_does_not_come_to_the_end_is_told(monkeypatch):
    monkeypatch.setattr(contention, "PATIENCE_S", 0.0)
    monkeypatch.setattr(contention, "SECONDS_PER_RUN", 0.0)
    assert contention.campaign(20, 0, racers=2).violations == [
        "racer 0 has not come to the end", "racer 1 has not come to the end",
    ]  # fmt: skip


def test_a_wake_up_that_was_swept_up_is_told(tmp_path):
    (tmp_path / "told 0").write_text('{"missed": 7}\ndone\n')
    assert contention.read_told(tmp_path, 1) == ({}, ["run number 7 was reached and not woken: racer 0 swept it up"])


SEEN = ["succeeded", "digest"]


def told(racer: int, *acts: tuple[int, str, Any, Any], **changes: Any) -> Told:
    """Return what a racer is told when all is well, and what it did."""
    found = Told("run-1", racer, "contested", 0, list(acts), ["ok", [0, ["signal", 1], [[0, 1]]]], SEEN, "done")
    return Told(**{**vars(found), **changes})


def good() -> tuple[Truth, list[Told]]:
    """Return a run of which two racers were told the truth."""
    truth = Truth(
        "run-1", "contested", 0, "succeeded",
        [("run", "start", "ok", None), ("signal", "go", "ok", 1), ("message", "mail", "ok", [0, 1]),
         ("signal", "end", "ok", 0), ("run", "finish", "ok", None)],
        None, 40, {"go": 1, "end": 0}, [[1, 1]], SEEN, executed=Counter(between=1, last=1),
    )  # fmt: skip
    first = told(0, (1, "go", None, False), (1, "send", "0 1", "done"), (2, "end", None, True))
    second = told(
        1, (1, "go", None, True), (1, "send", "1 1", "done"), (1, "pause", None, True), (2, "end", None, False)
    )
    return truth, [first, second]


def test_the_truth_is_not_found_wrong():
    assert judge(*good()) == []


def _both_settle(truth: Truth, heard: list[Told]) -> None:
    heard[0].acts[0] = (1, "go", None, True)


def _lost(truth: Truth, heard: list[Told]) -> None:
    truth.signals.pop("go")


def _other_payload(truth: Truth, heard: list[Told]) -> None:
    truth.signals["go"] = 0


def _timer_too(truth: Truth, heard: list[Told]) -> None:
    truth.events.append(("timer", "timeout", "ok", None))


def _early(truth: Truth, heard: list[Told]) -> None:
    truth.fired_after_ms = truth.limit_ms - 1


def _cancel_unseen(truth: Truth, heard: list[Told]) -> None:
    heard[0].acts.append((1, "cancel", None, True))


def _cancelled_by_nobody(truth: Truth, heard: list[Told]) -> None:
    truth.state = "cancelled"
    for one in heard:
        one.outcome = ["RunCancelled"]


def _refused_and_cancelled(truth: Truth, heard: list[Told]) -> None:
    _cancelled_by_nobody(truth, heard)
    heard[0].acts.append((2, "cancel", None, True))
    heard[1].acts.append((2, "cancel", None, False))


def _pause_refused(truth: Truth, heard: list[Told]) -> None:
    heard[1].acts[2] = (1, "pause", None, False)


def _message_lost(truth: Truth, heard: list[Told]) -> None:
    truth.unread.clear()


def _message_twice(truth: Truth, heard: list[Told]) -> None:
    truth.unread.append([0, 1])


def _message_refused_and_there(truth: Truth, heard: list[Told]) -> None:
    heard[1].acts[1] = (1, "send", "1 1", "RunNotOpen")


def _out_of_order(truth: Truth, heard: list[Told]) -> None:
    heard[1].acts += [(1, "send", "1 2", "done")]
    truth.unread[:] = [[1, 2], [1, 1]]


def _other_arguments_attached(truth: Truth, heard: list[Told]) -> None:
    heard[1].variant = 1


def _same_arguments_refused(truth: Truth, heard: list[Told]) -> None:
    heard[1].start = "InputMismatch"


def _other_workflow_attached(truth: Truth, heard: list[Told]) -> None:
    heard[1].workflow = "other"


def _started_by_nobody(truth: Truth, heard: list[Told]) -> None:
    truth.variant = 1


def _call_ended_otherwise(truth: Truth, heard: list[Told]) -> None:
    heard[1].start, heard[1].called = "", ["RunCancelled"]


def _told_otherwise(truth: Truth, heard: list[Told]) -> None:
    heard[1].outcome = ["ok", [0, ["timer"], []]]


def _stuck(truth: Truth, heard: list[Told]) -> None:
    heard[1].outcome = ["TimeoutError"]


def _read_otherwise(truth: Truth, heard: list[Told]) -> None:
    heard[1].seen = ["succeeded", "another digest"]


def _retried_unasked(truth: Truth, heard: list[Told]) -> None:
    truth.events.append(("run", "retry", "ok", None))


def _retried_without_failure(truth: Truth, heard: list[Told]) -> None:
    heard[1].acts.append((2, "retry", None, "done"))


def _executed_twice(truth: Truth, heard: list[Told]) -> None:
    truth.executed["between"] = 2


def _not_executed(truth: Truth, heard: list[Told]) -> None:
    del truth.executed["last"]


WRONG: dict[Callable[[Truth, list[Told]], None], str] = {
    _both_settle: "signal 'go' was accepted 2 times",
    _lost: "signal 'go' of [1] was accepted, and is None",
    _other_payload: "signal 'go' of [1] was accepted, and is 0",
    _timer_too: "both the signal and the time limit were applied",
    _early: "its time limit of 40 ms was applied after 39 ms",
    _cancel_unseen: "the cancellation by [0] was acknowledged, and it has succeeded",
    _cancelled_by_nobody: "it is cancelled, and nobody was told so",
    _refused_and_cancelled: "a cancellation was refused, and it is cancelled",
    _pause_refused: "racers [1] could not pause it, and it had not ended",
    _message_lost: "message '1 1' was acknowledged, and is there 0 times",
    _message_twice: "message '0 1' was acknowledged, and is there 2 times",
    _message_refused_and_there: "were received or are unread, acknowledged were",
    _out_of_order: "the messages of 1 are in the order",
    _other_arguments_attached: "and was told done, not InputMismatch",
    _same_arguments_refused: "and was told InputMismatch, not done",
    _other_workflow_attached: "and was told done, not IdConflict",
    _started_by_nobody: "nobody has started contested with 1",
    _call_ended_otherwise: "racer 1 called it and got ['RunCancelled']",
    _told_otherwise: "it has succeeded, and racer 1 was told",
    _stuck: "it has succeeded, and racer 1 was told ['TimeoutError']",
    _read_otherwise: "racer 1 read another history",
    _retried_unasked: "it was retried 1 times",
    _retried_without_failure: "it was retried 0 times",
    _executed_twice: "between was executed 2 times",
    _not_executed: "it has succeeded with the steps {'between': 1}",
}


@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__.strip("_"))
def test_the_judge_sees_what_may_not_be(spoil):
    truth, heard = copy.deepcopy(good())
    spoil(truth, heard)
    assert any(WRONG[spoil] in text for text in judge(truth, heard)), judge(truth, heard)
