"""Facts about cancel, pause, resume and mend."""

from __future__ import annotations

import pytest

from durable.core.records import Kind, Pending, Reason, Requests, RunState, Status
from durable.store.operations import (
    Answer,
    Cancel,
    Finish,
    Mend,
    NotFound,
    NotOpen,
    Operation,
    Paused,
    PauseRun,
    Release,
    ResumeRun,
    SetAside,
    Suspend,
    Woken,
)
from durable.testing.contract.kit import (
    APP,
    QUEUE,
    T0,
    W1,
    W2,
    ContractPart,
    Lab,
    advance,
    cancel_entry,
    fact,
    final,
    same,
    task,
)

CANCEL, PAUSE, RESUME, MEND = Cancel(APP, "r", "why"), PauseRun(APP, "r"), ResumeRun(APP, "r"), Mend(APP, "r")


class CancelFacts(ContractPart):
    """An acknowledged cancel reaches the run, whoever has it."""

    @pytest.mark.parametrize("due_at", [None, T0 + 5])
    @pytest.mark.parametrize("is_paused", [True, False])
    @fact
    async def test_a_run_that_was_never_claimed_ends_at_once(
        self, lab: Lab, due_at: int | None, is_paused: bool
    ) -> None:
        await lab.queued("r", due_at=due_at)
        if is_paused:
            await lab.do(PAUSE)
        lab.clock.pass_ms(3)
        assert same(await lab.do(CANCEL), Answer(RunState.CANCELLED))
        record = await lab.record("r")
        assert (record.state, record.finished_at, record.due_at, record.reason) == (
            RunState.CANCELLED,
            T0 + 3,
            None,
            "why",
        )
        last = (await lab.journal("r"))[-1]
        assert (last.position, last.kind, last.status, last.name) == (1, Kind.RUN, Status.ERROR, "finish")
        assert (last.at, last.note, last.data) == (T0 + 3, "why", b"")
        assert await lab.claim() == ()

    @fact
    async def test_an_owner_is_told_and_its_entry_consumes_the_request(self, lab: Lab) -> None:
        run = await lab.running("r")
        assert same(await lab.do(CANCEL), Answer(RunState.RUNNING))
        assert (await lab.record("r")).requests == Requests.CANCEL
        assert await lab.collected() == {run.key: Pending(Requests.CANCEL, "why")}
        await lab.done(advance(run, cancel_entry(1), then=Suspend(T0)))
        assert (await lab.record("r")).requests == Requests.NONE
        assert (await lab.claim_run("r")).pending == Pending()

    @fact
    async def test_other_entries_do_not_consume_the_request(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(CANCEL)
        await lab.done(advance(run, task(1, name="cancel")))
        assert await lab.do(advance(run, then=Suspend(None))) is Woken.WOKEN

    @pytest.mark.parametrize("state", ["suspended", "sleeping", "queued later", "paused", "set aside"])
    @fact
    async def test_a_run_that_nobody_owns_is_due_now(self, lab: Lab, state: str) -> None:
        await _bring(lab, state)
        lab.clock.pass_ms(3)
        committed = await lab.batch(CANCEL)
        record = await lab.record("r")
        assert same(committed.outcomes, [Answer(RunState.QUEUED)])
        assert (record.state, record.due_at, committed.due) == (RunState.QUEUED, T0 + 3, (record.key,))
        assert (record.reason, record.detail) == ("", "")
        assert (await lab.claim_run("r", W2)).pending == Pending(Requests.CANCEL, "why")

    @fact
    async def test_a_request_is_heard_by_each_owner_until_it_is_applied(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(CANCEL)
        for _ in range(3):
            await lab.done(advance(run, then=Release(T0)))
            claimed = await lab.claim_run("r")
            assert claimed.pending == Pending(Requests.CANCEL, "why")
            run = claimed.record
            assert await lab.collected() == {}

    @fact
    async def test_a_second_request_before_the_first_is_applied_changes_nothing(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(CANCEL)
        await lab.collected()
        assert same(await lab.do(Cancel(APP, "r", "other")), Answer(RunState.RUNNING))
        assert await lab.collected() == {}
        await lab.done(advance(run, then=Release(T0)))
        assert (await lab.claim_run("r")).pending.reason == "why"

    @fact
    async def test_a_request_after_the_first_was_applied_is_another_one(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(CANCEL)
        await lab.done(advance(run, cancel_entry(1)))
        await lab.do(Cancel(APP, "r", "other"))
        assert await lab.collected() == {run.key: Pending(Requests.CANCEL, "other")}

    @fact
    async def test_ended_and_unknown_runs_are_named(self, lab: Lab) -> None:
        assert same(await lab.do(CANCEL), NotFound())
        await lab.ended("r")
        assert same(await lab.do(CANCEL), NotOpen(RunState.SUCCEEDED))
        await lab.ended("failed", RunState.FAILED)
        assert same(await lab.do(Cancel(APP, "failed")), NotOpen(RunState.FAILED))
        await lab.ended("cancelled", RunState.CANCELLED)
        assert same(await lab.do(Cancel(APP, "cancelled")), Answer(RunState.CANCELLED))

    @fact
    async def test_a_repeated_cancel_of_a_run_that_was_never_claimed_answers_the_same(self, lab: Lab) -> None:
        await lab.queued("r")
        assert same([await lab.do(CANCEL), await lab.do(CANCEL)], [Answer(RunState.CANCELLED)] * 2)
        assert await lab.positions("r") == [0, 1]

    @fact
    async def test_an_end_takes_requests_with_it(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.batch(CANCEL, PAUSE)
        await lab.done(advance(run, final(1), then=Finish(RunState.SUCCEEDED)))
        record = await lab.record("r")
        assert (record.state, record.requests) == (RunState.SUCCEEDED, Requests.NONE)
        assert await lab.collected() == {}

    @pytest.mark.parametrize("then", [SetAside(Reason.DEADLOCK, ""), Release(T0 + 50)], ids=repr)
    @fact
    async def test_a_request_that_crosses_the_owner_leaving_makes_the_run_due(
        self, lab: Lab, then: SetAside | Release
    ) -> None:
        run = await lab.running("r")
        await lab.do(CANCEL)
        assert (await lab.batch(advance(run, then=then), worker=W1)).due == (run.key,)
        record = await lab.record("r")
        assert (record.state, record.due_at, record.reason) == (RunState.QUEUED, T0, "")
        assert (await lab.claim_run("r")).pending.requests == Requests.CANCEL

    @fact
    async def test_an_owner_that_was_told_may_set_the_run_aside_all_the_same(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(CANCEL)
        await lab.collected()
        await lab.done(advance(run, then=SetAside(Reason.CODE_CHANGED, "")))
        assert (await lab.record("r")).state is RunState.SET_ASIDE
        await lab.do(MEND)
        assert (await lab.claim_run("r")).pending.requests == Requests.CANCEL

    @fact
    async def test_a_request_outlives_the_death_of_the_owner(self, lab: Lab) -> None:
        await lab.running("r")
        await lab.batch(CANCEL, PAUSE)
        await lab.store.unregister(W1)
        assert (await lab.claim_run("r", W2)).pending == Pending(Requests.CANCEL | Requests.PAUSE, "why")

    @fact
    async def test_a_cancel_that_names_a_parent_reaches_its_children_only(self, lab: Lab) -> None:
        await lab.queued("child", parent_id="parent")
        await lab.queued("foreign")
        for stranger in ("foreign", "nobody"):
            assert same(await lab.do(Cancel(APP, stranger, parent_id="parent")), NotFound())
        assert same(await lab.do(Cancel(APP, "child", parent_id="other")), NotFound())
        assert [await lab.state(run_id) for run_id in ("child", "foreign")] == [RunState.QUEUED] * 2
        assert same(await lab.do(Cancel(APP, "child", parent_id="parent")), Answer(RunState.CANCELLED))

    @fact
    async def test_an_advance_cancels_its_own_children_only_also_when_it_is_repeated(self, lab: Lab) -> None:
        parent = await lab.running("parent")
        await lab.queued("child", parent_id="parent")
        await lab.queued("foreign")
        cancels = tuple(Cancel(APP, run_id, parent_id="parent") for run_id in ("child", "foreign"))
        again = advance(parent, task(1), then=Release(T0), cancels=cancels)
        for _ in range(2):
            assert same(await lab.do(again), Answer((Answer(RunState.CANCELLED), NotFound())))
        assert await lab.state("foreign") is RunState.QUEUED

    @fact
    async def test_only_the_run_of_that_application_is_cancelled(self, lab: Lab) -> None:
        await lab.queued("r", queue=QUEUE._replace(app="other"))
        assert same(await lab.do(CANCEL), NotFound())


class PauseFacts(ContractPart):
    """A pause holds a run until it is resumed, and loses nothing."""

    @pytest.mark.parametrize("state", ["queued", "suspended", "sleeping", "queued later"])
    @fact
    async def test_a_run_that_nobody_owns_pauses_at_once_and_is_due_when_resumed(self, lab: Lab, state: str) -> None:
        await _bring(lab, state)
        assert same(await lab.do(PAUSE), Answer(RunState.PAUSED))
        assert same(await lab.do(PAUSE), Answer(RunState.PAUSED))
        lab.clock.pass_ms(10**6)
        assert await lab.claim() == ()
        committed = await lab.batch(RESUME)
        record = await lab.record("r")
        assert same(committed.outcomes, [Answer(RunState.QUEUED)])
        assert (record.state, record.requests, committed.due) == (RunState.QUEUED, Requests.NONE, (record.key,))
        assert (await lab.claim_run("r")).pending == Pending()

    @fact
    async def test_a_start_that_is_due_later_keeps_its_time_over_a_pause(self, lab: Lab) -> None:
        await lab.queued("r", due_at=T0 + 5)
        await lab.do(PAUSE)
        await lab.do(RESUME)
        record = await lab.record("r")
        assert (record.state, record.due_at) == (RunState.QUEUED, T0 + 5)

    @fact
    async def test_an_owner_is_told_and_obeys(self, lab: Lab) -> None:
        run = await lab.running("r")
        assert same(await lab.do(PAUSE), Answer(RunState.RUNNING))
        assert await lab.collected() == {run.key: Pending(Requests.PAUSE)}
        await lab.done(advance(run, task(1), then=Paused()))
        record = await lab.record("r")
        assert (record.state, record.owner, record.due_at, record.requests) == (
            RunState.PAUSED,
            None,
            None,
            Requests.NONE,
        )

    @fact
    async def test_an_owner_that_obeys_a_withdrawn_request_keeps_the_run(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(PAUSE)
        await lab.collected()
        assert same(await lab.do(RESUME), Answer(RunState.RUNNING))
        assert await lab.do(advance(run, task(1), then=Paused())) is Woken.WOKEN
        record = await lab.record("r")
        assert (record.state, record.owner) == (RunState.RUNNING, W1)
        assert await lab.positions("r") == [0, 1]
        await lab.done(advance(run, then=Suspend(None)))

    @fact
    async def test_a_request_that_is_withdrawn_leaves_no_notice(self, lab: Lab) -> None:
        await lab.running("r")
        await lab.batch(PAUSE, RESUME)
        assert await lab.collected() == {}

    @fact
    async def test_a_cancel_that_crosses_the_pause_makes_the_run_due(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(PAUSE)
        await lab.collected()
        await lab.do(CANCEL)
        assert (await lab.batch(advance(run, then=Paused()), worker=W1)).due == (run.key,)
        assert (await lab.claim_run("r")).pending == Pending(Requests.CANCEL, "why")

    @fact
    async def test_a_cancelled_run_that_is_paused_hears_the_cancel_when_resumed(self, lab: Lab) -> None:
        await lab.suspended("r")
        await lab.batch(CANCEL, PAUSE)
        assert await lab.state("r") is RunState.PAUSED
        await lab.do(RESUME)
        assert (await lab.claim_run("r")).pending == Pending(Requests.CANCEL, "why")

    @fact
    async def test_a_request_that_found_no_owner_in_time_is_withdrawn_too(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(PAUSE)
        await lab.done(advance(run, then=Release(T0)))
        assert same(await lab.do(RESUME), Answer(RunState.QUEUED))
        assert (await lab.claim_run("r")).pending == Pending()

    @fact
    async def test_a_pause_answers_an_earlier_request_to_pause(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(PAUSE)
        await lab.done(advance(run, then=Release(T0)))
        assert same(await lab.do(PAUSE), Answer(RunState.PAUSED))
        assert (await lab.record("r")).requests == Requests.NONE
        await lab.do(CANCEL)
        assert (await lab.claim_run("r")).pending == Pending(Requests.CANCEL, "why")

    @pytest.mark.parametrize("operation", [PAUSE, RESUME, MEND], ids=repr)
    @fact
    async def test_unknown_and_ended_runs_are_named(self, lab: Lab, operation: Operation) -> None:
        assert same(await lab.do(operation), NotFound())
        await lab.ended("r")
        assert same(await lab.do(operation), NotOpen(RunState.SUCCEEDED))

    @fact
    async def test_a_run_that_is_set_aside_cannot_pause(self, lab: Lab) -> None:
        await lab.set_aside("r")
        assert same(await lab.do(PAUSE), NotOpen(RunState.SET_ASIDE))
        assert same(await lab.do(RESUME), NotOpen(RunState.SET_ASIDE))

    @pytest.mark.parametrize("state", ["queued", "suspended", "running"])
    @fact
    async def test_there_is_nothing_to_resume_in_a_run_that_is_not_paused(self, lab: Lab, state: str) -> None:
        await _bring(lab, state)
        before = await lab.record("r")
        assert same(await lab.do(RESUME), NotOpen(before.state))
        assert await lab.record("r") == before


class MendFacts(ContractPart):
    """What was set aside may try again."""

    @fact
    async def test_a_run_that_was_set_aside_is_queued_and_due_now(self, lab: Lab) -> None:
        await lab.set_aside("r")
        lab.clock.pass_ms(3)
        committed = await lab.batch(MEND)
        record = await lab.record("r")
        assert same(committed.outcomes, [Answer(RunState.QUEUED)])
        assert (record.state, record.due_at, record.reason, record.detail) == (RunState.QUEUED, T0 + 3, "", "")
        assert (record.deaths, committed.due) == (0, (record.key,))
        assert await lab.positions("r") == [0]

    @pytest.mark.parametrize("state", ["queued", "suspended", "running", "paused"])
    @fact
    async def test_there_is_nothing_to_mend_in_other_states(self, lab: Lab, state: str) -> None:
        await _bring(lab, state)
        before = await lab.record("r")
        assert same(await lab.do(MEND), NotOpen(before.state))
        assert await lab.record("r") == before


async def _bring(lab: Lab, state: str) -> None:
    """Bring the run `r` into a state in words."""
    match state:
        case "queued":
            await lab.queued("r")
        case "running":
            await lab.running("r")
        case "suspended":
            await lab.suspended("r")
        case "sleeping":
            await lab.suspended("r", due_at=T0 + 1000)
        case "queued later":
            await lab.done(advance(await lab.running("r"), then=Release(T0 + 1000)))
        case "paused":
            await lab.suspended("r")
            await lab.do(PAUSE)
        case _:
            await lab.set_aside("r")
