"""Facts about Advance: write-once entries, fences, repetition, and where a run goes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from durable.core.records import Reason, Requests, RunRecord, RunState, Status, Wait
from durable.store.operations import (
    Advance,
    Answer,
    Cancel,
    Continue,
    Done,
    Existing,
    Fenced,
    Finish,
    GoOn,
    NotFound,
    NotOpen,
    Operation,
    Paused,
    PauseRun,
    Release,
    SetAside,
    Started,
    Suspend,
    Then,
    Woken,
)
from durable.testing.contract.kit import (
    APP,
    T0,
    W1,
    W2,
    ContractPart,
    Lab,
    advance,
    at,
    cancel_entry,
    fact,
    final,
    received,
    same,
    send,
    settle,
    start,
    task,
)

LEAVING: list[Then] = [
    Suspend(None),
    Suspend(T0 + 5),
    Release(T0 + 5),
    Paused(),
    SetAside(Reason.DEADLOCK, "detail"),
    Finish(RunState.SUCCEEDED),
    Finish(RunState.FAILED, "ValueError", "message"),
]


class AdvanceFacts(ContractPart):
    """Accepted or refused whole, from the owner only, and each entry once."""

    @fact
    async def test_entries_are_appended_in_order(self, lab: Lab) -> None:
        run = await lab.running("r")
        entries = (
            task(1, b"\x00\xff", note="text", took=3, attempt=2, digest=2**63 - 1),
            task(2, b"", seq=None, step_id="step", status=Status.RETRY, due_at=T0 + 1),
            task(3, seq=-1, digest=-(2**63), at=T0 + 1),
        )
        await lab.done(advance(run, *entries[:2]))
        await lab.done(advance(run, entries[2]))
        assert (await lab.journal("r"))[1:] == list(entries)
        assert await lab.store.last_entry(run.key) == entries[2]

    @fact
    async def test_a_run_that_goes_on_stays_with_its_owner(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, task(1)))
        assert await lab.record("r") == run

    @fact
    async def test_an_advance_may_carry_nothing(self, lab: Lab) -> None:
        await lab.done(advance(await lab.running("r")))
        assert await lab.positions("r") == [0]

    @fact
    async def test_a_batch_advances_many_runs(self, lab: Lab) -> None:
        runs = [await lab.running(f"r{number}") for number in range(50)]
        committed = await lab.batch(*(advance(run, task(1, run.run_id.encode())) for run in runs))
        assert same(committed.outcomes, [Done.DONE] * 50)
        for run in runs:
            assert [entry.data for entry in await lab.journal(run.run_id)] == [b"input", run.run_id.encode()]

    @fact
    async def test_the_newest_progress_is_kept(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, task(1), progress="[1, 2, null]"))
        await lab.done(advance(run, task(2), consumed=(7,)))
        assert (await lab.record("r")).progress == "[1, 2, null]"
        await lab.done(advance(run, progress="[2, 2, null]"))
        assert (await lab.record("r")).progress == "[2, 2, null]"

    @pytest.mark.parametrize("then", LEAVING, ids=repr)
    @pytest.mark.parametrize("extras", [{}, {"progress": "[1]"}], ids=repr)
    @fact
    async def test_active_time_is_counted_when_the_run_leaves_its_owner(
        self, lab: Lab, then: Then, extras: dict[str, Any]
    ) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, task(1), active_ms=3))
        assert (await lab.record("r")).active_ms == 0
        await lab.done(advance(run, then=Release(T0), active_ms=5, **extras))
        run = await lab.taken("r")
        if isinstance(then, Paused):
            await lab.do(PauseRun(APP, "r"))
        await lab.done(advance(run, final(2), then=then, active_ms=6, **extras))
        assert (await lab.record("r")).active_ms == 11

    @fact
    async def test_active_time_is_not_counted_when_something_keeps_the_run_awake(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(Cancel(APP, "r"))
        for extras in ({}, {"progress": "[1]"}):
            outcome = await lab.do(advance(run, then=Suspend(None), active_ms=5, **extras))
            assert outcome is Woken.WOKEN
            assert (await lab.record("r")).active_ms == 0

    # Fences ----------------------------------------------------------------------------------------------------------

    @fact
    async def test_another_worker_is_fenced(self, lab: Lab) -> None:
        run = await lab.running("r")
        assert same(await lab.do(advance(replace(run, owner=W2), task(1))), Fenced(1))
        assert await lab.positions("r") == [0]

    @pytest.mark.parametrize("epoch", [0, 1, 3])
    @fact
    async def test_another_epoch_is_fenced(self, lab: Lab, epoch: int) -> None:
        await lab.running("r")
        await lab.store.unregister(W1)
        await lab.register(W1)
        run = await lab.taken("r")
        assert same(await lab.do(advance(at(run, epoch), task(1))), Fenced(2))
        assert await lab.positions("r") == [0]

    @fact
    async def test_whoever_writes_to_a_run_that_nobody_owns_is_fenced(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, task(1), then=Suspend(None)))
        for later in (advance(run, task(2)), advance(run, task(2), then=Suspend(None)), advance(run)):
            assert same(await lab.do(later), Fenced(1))
        assert await lab.positions("r") == [0, 1]

    @fact
    async def test_a_run_that_is_gone_fences_with_epoch_zero(self, lab: Lab) -> None:
        assert same(await lab.do(Advance(987_654, W1, 1, (task(1),), GoOn())), Fenced(0))

    @fact
    async def test_an_ended_run_takes_nothing_more(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, final(1), then=Finish(RunState.SUCCEEDED)))
        assert same(await lab.do(advance(run, task(2))), Fenced(1))
        assert same(await lab.do(advance(run, final(2), then=Finish(RunState.FAILED))), Fenced(1))
        assert (await lab.state("r"), await lab.positions("r")) == (RunState.SUCCEEDED, [0, 1])

    @fact
    async def test_an_entry_with_other_content_is_fenced(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, task(1)))
        for other in (
            task(1, b"other"),
            task(1, at=T0 + 1),
            task(1, note="x"),
            task(1, status=Status.ERROR),
            task(1, took=1),
        ):
            assert same(await lab.do(advance(run, other, task(2))), Fenced(1))
        assert (await lab.journal("r"))[1:] == [task(1)]

    @fact
    async def test_the_same_entry_under_another_epoch_is_fenced(self, lab: Lab) -> None:
        await lab.done(advance(await lab.running("r"), task(1), then=Release(T0)))
        run = await lab.taken("r")
        assert same(await lab.do(advance(run, task(1))), Fenced(2))
        await lab.done(advance(run, task(2)))

    @fact
    async def test_an_entry_beyond_the_next_position_is_fenced(self, lab: Lab) -> None:
        run = await lab.running("r")
        assert same(await lab.do(advance(run, task(2))), Fenced(1))
        assert await lab.positions("r") == [0]

    @fact
    async def test_a_refused_advance_leaves_nothing_behind(self, lab: Lab) -> None:
        run = await lab.running("r")
        other = await lab.running("other")
        await lab.done(send("r", "m1"))
        (message,) = (await lab.store.collect(W1)).pending or [None]
        assert message is None
        zombie = advance(
            replace(run, owner=W2), task(1), received(2), then=Suspend(None),
            waits=(Wait(1, "p:p"),), starts=(start("child"),), settles=(settle("p"),), sends=(send("other", "m"),),
            cancels=(Cancel(APP, "other"),), consumed=(1,), progress="x", active_ms=9,
        )  # fmt: skip
        assert same(await lab.do(zombie), Fenced(1))
        assert await lab.positions("r") == [0]
        assert await lab.store.run(APP, "child") is None
        assert await lab.store.promise(APP, "p") is None
        assert [await lab.record("r"), await lab.record("other")] == [run, other]
        assert await lab.collected() == {}
        await lab.done(advance(run, then=Release(T0)))
        await lab.done(advance(other, then=Release(T0)))
        pending = [claimed.pending for claimed in await lab.claim()]
        assert [[message.data for message in one.messages] for one in pending] == [[b"text"], []]

    @fact
    async def test_one_refusal_does_not_touch_the_other_runs_of_a_batch(self, lab: Lab) -> None:
        runs = [await lab.running(f"r{number}") for number in range(9)]
        wrong = {2: replace(runs[2], owner=W2), 5: at(runs[5], 7)}
        committed = await lab.batch(*(advance(wrong.get(place, run), task(1)) for place, run in enumerate(runs)))
        assert [place for place, outcome in enumerate(committed.outcomes) if same(outcome, Fenced(1))] == [2, 5]
        assert committed.outcomes.count(Done.DONE) == 7
        for place, run in enumerate(runs):
            assert await lab.positions(run.run_id) == ([0] if place in wrong else [0, 1])

    @fact
    async def test_a_malformed_batch_writes_nothing(self, lab: Lab) -> None:
        run = await lab.running("r")
        malformed: list[list[Operation]] = [
            [],
            [start("x"), advance(run, task(1), task(3))],
            [start("x"), advance(run, task(2), task(1))],
            [start("x"), advance(run, task(1)), advance(run, task(2))],
            [start("x"), advance(run, then=Finish(RunState.SUCCEEDED))],
            [start("x"), advance(run, final(1), then=Finish(RunState.PAUSED))],
            [start("x"), advance(run, task(1), then=Continue(b"", 0, ""))],
        ]
        for batch in malformed:
            with pytest.raises(ValueError, match=r"."):
                await lab.batch(*batch)
        assert await lab.store.run(APP, "x") is None
        assert await lab.positions("r") == [0]

    # Repetition ------------------------------------------------------------------------------------------------------

    @fact
    async def test_an_advance_that_is_repeated_is_done_once(self, lab: Lab) -> None:
        run = await lab.running("r")
        again = advance(run, task(1), task(2))
        assert same([await lab.do(again), await lab.do(again)], [Done.DONE, Done.DONE])
        assert await lab.positions("r") == [0, 1, 2]

    @fact
    async def test_entries_that_are_there_may_be_followed_by_new_ones(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, task(1), task(2)))
        await lab.done(advance(run, task(2), task(3)))
        assert await lab.positions("r") == [0, 1, 2, 3]

    @pytest.mark.parametrize("then", LEAVING, ids=repr)
    @fact
    async def test_an_advance_that_gave_the_run_away_is_recognised(self, lab: Lab, then: Then) -> None:
        run = await lab.running("r")
        if isinstance(then, Paused):
            await lab.do(PauseRun(APP, "r"))
        again = advance(run, task(1), final(2), then=then, active_ms=5)
        await lab.done(again)
        record = await lab.record("r")
        lab.clock.pass_ms(3)
        await lab.done(again)
        assert await lab.record("r") == record
        assert await lab.positions("r") == [0, 1, 2]

    @pytest.mark.parametrize(
        "then", [*(then for then in LEAVING if not isinstance(then, Finish)), Continue(b"", 1, "")], ids=repr
    )
    @fact
    async def test_an_advance_without_entries_that_gave_the_run_away_is_recognised(self, lab: Lab, then: Then) -> None:
        run = await lab.running("r")
        if isinstance(then, Paused):
            await lab.do(PauseRun(APP, "r"))
        await lab.done(advance(run, then=then))
        record = await lab.record("r")
        await lab.done(advance(run, then=then))
        assert await lab.record("r") == record

    @fact
    async def test_a_repeated_advance_is_fenced_once_the_run_was_claimed_again(self, lab: Lab) -> None:
        run = await lab.running("r")
        again = advance(run, task(1), then=Release(T0))
        await lab.done(again)
        taken = await lab.taken("r", W2)
        assert same(await lab.do(again), Fenced(2))
        assert await lab.record("r") == taken

    @fact
    async def test_an_advance_is_not_taken_for_repeated_after_the_run_was_taken_back(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.store.unregister(W1)
        assert same(await lab.do(advance(run, then=Suspend(None))), Fenced(1))
        assert same(await lab.do(advance(run, task(1), then=Suspend(None))), Fenced(1))
        assert await lab.state("r") is RunState.QUEUED

    @fact
    async def test_a_finish_is_recognised_and_its_final_entry_stays_the_first_one(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, final(1, b"one"), then=Finish(RunState.SUCCEEDED)))
        assert same(await lab.do(advance(run, final(1, b"two"), then=Finish(RunState.SUCCEEDED))), Fenced(1))
        await lab.done(advance(run, final(1, b"one"), then=Finish(RunState.SUCCEEDED)))
        last = await lab.store.last_entry(run.key)
        assert last is not None
        assert last.data == b"one"

    # What else an Advance does ---------------------------------------------------------------------------------------

    @fact
    async def test_answers_come_in_the_order_starts_settles_sends_cancels(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.queued("other")
        outcome = await lab.do(_asking(run))
        assert isinstance(outcome, Answer)
        assert isinstance(outcome.value, tuple)
        child, other, *rest = outcome.value
        assert isinstance(child, Started)
        assert isinstance(other, Existing)
        assert same(rest, [Answer(True), Done.DONE, NotFound(), Answer(RunState.CANCELLED)])
        assert not outcome.woken

    @fact
    async def test_what_an_advance_asks_for_is_done_once(self, lab: Lab) -> None:
        run = await lab.running("r")
        owned = await lab.running("owned")
        await lab.queued("other")
        again = _asking(run, cancelled="owned")
        first = await lab.do(again)
        assert isinstance(first, Answer)
        child = await lab.record("child")
        assert (await lab.collected())[owned.key].requests == Requests.CANCEL
        await lab.done(advance(owned, cancel_entry(1)))
        second = await lab.do(again)
        assert isinstance(second, Answer)
        assert isinstance(second.value, tuple)
        assert same(second.value[0], Existing(child))
        assert same(second.value[2:], (Answer(True), Done.DONE, NotFound(), Answer(RunState.RUNNING)))
        assert (await lab.record("owned")).requests == Requests.NONE
        assert await lab.collected() == {}

    @fact
    async def test_a_repeated_advance_reports_what_became_of_its_cancels(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.queued("queued")
        await lab.ended("ended")
        asking = advance(run, task(1), cancels=tuple(Cancel(APP, run_id) for run_id in ("queued", "ended", "nobody")))
        expected = Answer((Answer(RunState.CANCELLED), NotOpen(RunState.SUCCEEDED), NotFound()))
        assert same(await lab.do(asking), expected)
        assert same(await lab.do(asking), expected)

    @fact
    async def test_a_child_is_started_with_the_entry_that_says_so(self, lab: Lab) -> None:
        run = await lab.running("r")
        child = start("r/1", parent_id="r", worker=W1)
        committed = await lab.batch(advance(run, task(1), starts=(child, start("r/2", parent_id="r"))))
        (outcome,) = committed.outcomes
        assert isinstance(outcome, Answer)
        record = await lab.record("r/1")
        assert (record.parent_id, record.owner, record.epoch) == ("r", W1, 1)
        assert committed.due == ((await lab.record("r/2")).key,)

    @fact
    async def test_a_refused_suspension_is_told_with_the_answers(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(settle("p"))
        asking = advance(run, task(1), then=Suspend(None), waits=(Wait(1, "p:p"),), settles=(settle("q"),))
        assert same(await lab.do(asking), Answer((Answer(True),), woken=True))
        assert await lab.do(advance(run, then=Suspend(None))) is Woken.WOKEN

    # Where a run goes ------------------------------------------------------------------------------------------------

    @fact
    async def test_a_suspended_run_is_owned_by_nobody(self, lab: Lab) -> None:
        record = await lab.suspended("r", due_at=T0 + 5)
        assert (record.state, record.owner, record.due_at, record.epoch) == (RunState.SUSPENDED, None, T0 + 5, 1)
        assert await lab.store.owned(W1) == []

    @fact
    async def test_a_released_run_is_due_at_its_time(self, lab: Lab) -> None:
        run = await lab.running("r")
        committed = await lab.batch(advance(run, then=Release(T0 + 5)))
        record = await lab.record("r")
        assert (record.state, record.owner, record.due_at, committed.due) == (RunState.QUEUED, None, T0 + 5, ())
        assert await lab.claim(W2) == ()
        lab.clock.pass_ms(5)
        assert len(await lab.claim(W2)) == 1

    @fact
    async def test_a_run_released_for_now_is_told_to_be_due(self, lab: Lab) -> None:
        run = await lab.running("r")
        assert (await lab.batch(advance(run, then=Release(T0)))).due == (run.key,)

    @fact
    async def test_a_run_that_is_set_aside_says_why(self, lab: Lab) -> None:
        record = await lab.set_aside("r", Reason.KEY_MISSING)
        assert (record.state, record.owner, record.due_at) == (RunState.SET_ASIDE, None, None)
        assert (record.reason, record.detail) == ("key missing", "detail")

    @pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED])
    @fact
    async def test_a_run_ends(self, lab: Lab, state: RunState) -> None:
        run = await lab.running("r")
        lab.clock.pass_ms(4)
        await lab.done(advance(run, final(1), then=Finish(state, "ValueError", "message")))
        record = await lab.record("r")
        assert (record.state, record.owner, record.due_at, record.finished_at) == (state, None, None, T0 + 4)
        assert (record.reason, record.detail) == ("ValueError", "message")
        assert await lab.store.last_entry(run.key) == final(1)


def _asking(run: RunRecord, *, cancelled: str = "other") -> Advance:
    return advance(
        run, task(1), starts=(start("child"), start("other")), settles=(settle("p"),),
        sends=(send("r", "m1"), send("nobody", "m2")), cancels=(Cancel(APP, cancelled),),
    )  # fmt: skip
