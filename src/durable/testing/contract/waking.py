"""Facts about waiting: whatever the order of wait and arrival, nothing is lost, and notices are told once."""

from __future__ import annotations

from typing import Any

import pytest

from durable.core.records import Pending, Reason, Requests, RunState, Settled, Status, Wait
from durable.store.operations import (
    Answer,
    Cancel,
    Committed,
    Finish,
    Mend,
    Operation,
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
    fact,
    final,
    same,
    send,
    settle,
    start,
    task,
)

ARRIVALS = ["promise", "end of a run", "message", "cancel", "pause"]


async def _arrival(lab: Lab, kind: str) -> tuple[str, Operation]:
    """Return what the run `r` waits for, and the operation by which it arrives."""
    match kind:
        case "promise":
            return "p:p", settle("p")
        case "end of a run":
            other = await lab.running("other", W2)
            return "r:other", advance(other, final(1), then=Finish(RunState.SUCCEEDED))
        case "message":
            return "m:mail", send("r", "m1")
        case "cancel":
            return "p:never", Cancel(APP, "r", "why")
        case _:
            return "p:never", PauseRun(APP, "r")


def _heard(kind: str, pending: Pending) -> bool:
    match kind:
        case "promise":
            return pending.settled == (Settled(1, "p:p", True, b"answer"),)
        case "end of a run":
            return pending.settled == (Settled(1, "r:other", True, b"result"),)
        case "message":
            return [message.data for message in pending.messages] == [b"text"]
        case "cancel":
            return (pending.requests, pending.reason) == (Requests.CANCEL, "why")
        case _:
            return pending.requests == Requests.PAUSE


class WakingFacts(ContractPart):
    """An arrival reaches the run that waits for it, before, between or after."""

    @pytest.mark.parametrize("kind", ARRIVALS)
    @fact
    async def test_what_arrives_before_the_wait_is_registered_refuses_the_suspension(self, lab: Lab, kind: str) -> None:
        run = await lab.running("r")
        target, arrives = await _arrival(lab, kind)
        await lab.do(arrives)
        suspend = advance(run, task(1), then=Suspend(None), waits=(Wait(1, target),))
        committed = await lab.batch(suspend, worker=W1)
        assert same(committed.outcomes, [Woken.WOKEN])
        ((key, pending),) = committed.pending
        assert key == run.key
        assert _heard(kind, pending)
        record = await lab.record("r")
        assert (record.state, record.owner, record.epoch) == (RunState.RUNNING, W1, 1)
        assert await lab.positions("r") == [0, 1]

    @pytest.mark.parametrize("kind", ARRIVALS)
    @fact
    async def test_what_arrives_between_wait_and_suspension_is_noticed(self, lab: Lab, kind: str) -> None:
        run = await lab.running("r")
        target, arrives = await _arrival(lab, kind)
        await lab.done(advance(run, waits=(Wait(1, target),)))
        assert await lab.collected() == {}
        await lab.do(arrives)
        assert _heard(kind, (await lab.collected())[run.key])
        assert await lab.collected() == {}
        committed = await lab.batch(advance(run, then=Suspend(None)), worker=W1)
        assert same(committed.outcomes, [Woken.WOKEN])
        assert _heard(kind, dict(committed.pending)[run.key])

    @pytest.mark.parametrize("kind", [kind for kind in ARRIVALS if kind != "pause"])
    @fact
    async def test_what_arrives_after_the_suspension_makes_the_run_due(self, lab: Lab, kind: str) -> None:
        run = await lab.running("r")
        target, arrives = await _arrival(lab, kind)
        await lab.done(advance(run, then=Suspend(None), waits=(Wait(1, target),)))
        lab.clock.pass_ms(4)
        committed = await lab.batch(arrives)
        assert committed.due == (run.key,)
        record = await lab.record("r")
        assert (record.state, record.owner, record.due_at) == (RunState.QUEUED, None, T0 + 4)
        assert _heard(kind, (await lab.claim_run("r", W2)).pending)

    @pytest.mark.parametrize("kind", [kind for kind in ARRIVALS if kind != "pause"])
    @pytest.mark.parametrize("suspends_first", [True, False])
    @fact
    async def test_wait_and_arrival_may_share_a_batch(self, lab: Lab, kind: str, suspends_first: bool) -> None:
        run = await lab.running("r")
        target, arrives = await _arrival(lab, kind)
        suspend = advance(run, then=Suspend(None), waits=(Wait(1, target),))
        await lab.batch(*((suspend, arrives) if suspends_first else (arrives, suspend)))
        if await lab.state("r") is RunState.RUNNING:
            assert _heard(kind, (await lab.collected())[run.key])
        else:
            assert _heard(kind, (await lab.claim_run("r", W2)).pending)

    @pytest.mark.parametrize("kind", [kind for kind in ARRIVALS if kind != "pause"])
    @fact
    async def test_an_arrival_is_heard_by_each_owner_until_it_is_consumed(self, lab: Lab, kind: str) -> None:
        run = await lab.running("r")
        target, arrives = await _arrival(lab, kind)
        await lab.done(advance(run, then=Suspend(None), waits=(Wait(1, target),)))
        await lab.do(arrives)
        for _ in range(3):
            claimed = await lab.claim_run("r")
            assert _heard(kind, claimed.pending)
            assert await lab.collected() == {}
            await lab.done(advance(claimed.record, then=Release(T0)))

    @fact
    async def test_a_consumed_arrival_keeps_nobody_awake(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(settle("p"))
        wait = Wait(1, "p:p")
        assert await lab.do(advance(run, then=Suspend(None), waits=(wait,))) is Woken.WOKEN
        await lab.done(advance(run, task(1), then=Suspend(None), unwaits=(wait,)))
        assert await lab.state("r") is RunState.SUSPENDED

    @fact
    async def test_a_forgotten_wait_wakes_nobody(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, waits=(Wait(1, "p:p"), Wait(2, "p:q"))))
        await lab.done(advance(run, then=Suspend(None), unwaits=(Wait(1, "p:p"), Wait(9, "p:other"))))
        await lab.do(settle("p"))
        assert await lab.state("r") is RunState.SUSPENDED
        await lab.do(settle("q"))
        assert await lab.state("r") is RunState.QUEUED

    @fact
    async def test_a_wait_that_is_registered_and_forgotten_at_once_is_forgotten(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(settle("p"))
        wait = (Wait(1, "p:p"),)
        await lab.done(advance(run, then=Suspend(None), waits=wait, unwaits=wait))

    @fact
    async def test_two_operations_may_wait_for_the_same(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, waits=(Wait(1, "p:p"), Wait(-2, "p:p"))))
        await lab.done(advance(run, then=Suspend(None), unwaits=(Wait(1, "p:p"),)))
        await lab.do(settle("p"))
        assert (await lab.claim_run("r")).pending.settled == (Settled(-2, "p:p", True, b"answer"),)

    @fact
    async def test_a_wait_may_be_registered_twice(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, waits=(Wait(1, "p:p"),)))
        await lab.done(advance(run, then=Suspend(None), waits=(Wait(1, "p:p"),)))
        await lab.do(settle("p"))
        assert len((await lab.claim_run("r")).pending.settled) == 1

    @fact
    async def test_a_settled_target_gives_notice_when_the_wait_is_registered(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.do(settle("p", b"no", ok=False))
        committed = await lab.batch(advance(run, waits=(Wait(1, "p:p"),)), worker=W1)
        assert committed.pending == ((run.key, Pending(settled=(Settled(1, "p:p", False, b"no"),))),)

    @fact
    async def test_what_arrived_is_listed_by_time_then_seq(self, lab: Lab) -> None:
        run = await lab.running("r")
        waits = tuple(Wait(seq, target) for seq, target in [(1, "p:a"), (2, "p:b"), (3, "r:c"), (4, "p:b")])
        child = await lab.running("c")
        await lab.done(advance(run, then=Suspend(None), waits=waits))
        for arrives in (settle("b"), advance(child, final(1), then=Finish(RunState.SUCCEEDED)), settle("a")):
            lab.clock.pass_ms(1)
            await lab.do(arrives)
        assert [settled.seq for settled in (await lab.claim_run("r")).pending.settled] == [2, 4, 3, 1]

    @fact
    async def test_a_wake_up_brings_a_timer_forward(self, lab: Lab) -> None:
        await lab.suspended("r", "p:p", due_at=T0 + 1000)
        await lab.do(settle("p"))
        assert (await lab.record("r")).due_at == T0

    # Promises --------------------------------------------------------------------------------------------------------

    @fact
    async def test_a_promise_is_settled_once(self, lab: Lab) -> None:
        def by(token: str, data: bytes, ok: bool = True) -> Operation:
            return settle("p", data, ok=ok, token=token)

        assert await lab.store.promise(APP, "p") is None
        lab.clock.pass_ms(2)
        assert same(await lab.do(by("a", b"one")), Answer(True))
        assert same(await lab.do(by("b", b"two", ok=False)), Answer(False))
        assert same(await lab.do(by("a", b"one")), Answer(True))
        promise = await lab.store.promise(APP, "p")
        assert promise is not None
        assert (promise.promise_id, promise.settled_at, promise.ok, promise.data) == ("p", T0 + 2, True, b"one")

    @fact
    async def test_the_first_settle_of_a_batch_wins(self, lab: Lab) -> None:
        settles = [settle("p", str(number).encode(), token=str(number)) for number in range(3)]
        assert same((await lab.batch(*settles)).outcomes, [Answer(True), Answer(False), Answer(False)])
        promise = await lab.store.promise(APP, "p")
        assert promise is not None
        assert promise.data == b"0"

    @fact
    async def test_promises_belong_to_an_application(self, lab: Lab) -> None:
        await lab.suspended("r", "p:p")
        assert same(await lab.do(settle("p")._replace(app="other")), Answer(True))
        assert await lab.state("r") is RunState.SUSPENDED
        assert await lab.store.promise(APP, "p") is None

    @fact
    async def test_a_promise_wakes_all_that_wait_for_it(self, lab: Lab) -> None:
        runs = [await lab.suspended(f"r{number}", "p:p") for number in range(40)]
        owned = await lab.running("owned")
        await lab.done(advance(owned, waits=(Wait(5, "p:p"),)))
        committed = await lab.batch(settle("p"), worker=W1)
        assert sorted(committed.due) == [run.key for run in runs]
        assert [key for key, _ in committed.pending] == [owned.key]

    # Ends of other runs ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED])
    @pytest.mark.parametrize("waits_first", [True, False])
    @fact
    async def test_the_end_of_a_run_is_heard_with_its_final_entry(
        self, lab: Lab, state: RunState, waits_first: bool
    ) -> None:
        other = await lab.running("other", W2)
        end = advance(other, final(1, b"end", Status.ERROR), then=Finish(state))
        if not waits_first:
            await lab.done(end)
        run = await lab.running("r")
        outcome = await lab.do(advance(run, then=Suspend(None), waits=(Wait(1, "r:other"),)))
        assert (outcome is Woken.WOKEN) is not waits_first
        if waits_first:
            await lab.done(end)
            pending = (await lab.claim_run("r")).pending
        else:
            pending = (await lab.collected())[run.key]
        assert pending.settled == (Settled(1, "r:other", state is RunState.SUCCEEDED, b"end"),)

    @fact
    async def test_waiting_for_a_run_that_does_not_exist_says_so(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.queued("other", queue=QUEUE._replace(app="elsewhere"))
        committed = await lab.batch(advance(run, then=Suspend(None), waits=(Wait(1, "r:other"),)), worker=W1)
        assert same(committed.outcomes, [Woken.WOKEN])
        assert committed.pending == ((run.key, Pending(settled=(Settled(1, "r:other", False, b"", missing=True),))),)

    @fact
    async def test_a_child_that_is_started_and_awaited_at_once_is_not_missing(self, lab: Lab) -> None:
        run = await lab.running("r")
        both: dict[str, Any] = {"starts": (start("child"),), "waits": (Wait(1, "r:child"),)}
        outcome = await lab.do(advance(run, then=Suspend(None), **both))
        assert isinstance(outcome, Answer)
        assert not outcome.woken
        assert await lab.state("r") is RunState.SUSPENDED

    @fact
    async def test_a_cancelled_start_ends_the_wait_for_it(self, lab: Lab) -> None:
        await lab.queued("other", due_at=T0 + 5)
        await lab.suspended("r", "r:other")
        await lab.do(Cancel(APP, "other"))
        assert (await lab.claim_run("r")).pending.settled == (Settled(1, "r:other", False, b""),)

    @fact
    async def test_a_run_that_is_set_aside_has_not_ended(self, lab: Lab) -> None:
        await lab.set_aside("other")
        await lab.suspended("r", "r:other")
        await lab.do(Mend(APP, "other"))
        other = await lab.taken("other")
        await lab.done(advance(other, final(1), then=Finish(RunState.SUCCEEDED)))
        assert await lab.state("r") is RunState.QUEUED

    # Runs that do not wait -------------------------------------------------------------------------------------------

    @fact
    async def test_an_arrival_does_not_hasten_a_queued_run_and_is_not_lost(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, then=Release(T0 + 9), waits=(Wait(1, "p:p"),)))
        await lab.do(settle("p"))
        assert (await lab.record("r")).due_at == T0 + 9
        lab.clock.pass_ms(9)
        assert len((await lab.claim_run("r")).pending.settled) == 1

    @fact
    async def test_an_arrival_does_not_wake_a_paused_run_and_is_not_lost(self, lab: Lab) -> None:
        await lab.suspended("r", "p:p", "m:mail")
        await lab.do(PauseRun(APP, "r"))
        assert (await lab.batch(settle("p"), send("r", "m1"))).due == ()
        assert await lab.state("r") is RunState.PAUSED
        await lab.do(ResumeRun(APP, "r"))
        pending = (await lab.claim_run("r")).pending
        assert (len(pending.settled), len(pending.messages)) == (1, 1)

    @fact
    async def test_an_arrival_does_not_wake_a_run_that_is_set_aside_and_is_not_lost(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, then=SetAside(Reason.DEADLOCK, ""), waits=(Wait(1, "p:p"),)))
        assert (await lab.batch(settle("p"))).due == ()
        assert await lab.state("r") is RunState.SET_ASIDE
        await lab.do(Mend(APP, "r"))
        assert len((await lab.claim_run("r")).pending.settled) == 1

    # Notices ---------------------------------------------------------------------------------------------------------

    @fact
    async def test_a_notice_is_told_once_and_to_the_owner_only(self, lab: Lab) -> None:
        run = await lab.running("r", W1)
        await lab.done(advance(run, waits=(Wait(1, "p:p"),)))
        assert (await lab.batch(settle("p"), worker=W2)).pending == ()
        assert (await lab.batch(settle("x"))).pending == ()
        assert [key for key, _ in (await lab.batch(settle("y"), worker=W1)).pending] == [run.key]
        assert (await lab.batch(settle("z"), worker=W1)).pending == ()
        assert await lab.collected(W1) == {}

    @fact
    async def test_a_later_notice_tells_everything_that_is_not_consumed(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, waits=(Wait(1, "p:a"), Wait(2, "p:b"))))
        await lab.do(settle("a"))
        assert [one.seq for one in (await lab.collected())[run.key].settled] == [1]
        await lab.do(settle("b"))
        assert [one.seq for one in (await lab.collected())[run.key].settled] == [1, 2]

    @fact
    async def test_a_notice_that_was_not_told_is_heard_by_the_next_owner(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, waits=(Wait(1, "p:p"),)))
        await lab.do(settle("p"))
        await lab.store.unregister(W1)
        claimed = await lab.claim_run("r", W2)
        assert len(claimed.pending.settled) == 1
        assert await lab.collected(W2) == {}

    @fact
    async def test_what_was_told_is_told_again_after_reopening(self, lab: Lab) -> None:
        run = await lab.running("r")
        quiet = await lab.running("quiet")
        await lab.done(advance(run, waits=(Wait(1, "p:p"),)))
        await lab.do(settle("p"))
        told = await lab.collected()
        await lab.store.reopen()
        assert await lab.collected() == told
        assert await lab.collected() == {}
        assert await lab.record("quiet") == quiet

    @fact
    async def test_collecting_has_no_outcomes(self, lab: Lab) -> None:
        assert same(await lab.store.collect(W1), Committed([]))

    @fact
    async def test_a_sweep_finds_nothing_that_the_transactions_missed(self, lab: Lab) -> None:
        await lab.suspended("waits", "p:p", "r:waits", "m:mail")
        await lab.suspended("woken", "p:q")
        await lab.do(settle("q"))
        await lab.do(send("waits", "m1", name="other"))
        assert await lab.store.sweep() == ()
        assert await lab.state("waits") is RunState.SUSPENDED
