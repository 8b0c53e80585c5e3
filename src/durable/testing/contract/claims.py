"""Facts about Claim and `next_due`."""

from __future__ import annotations

import pytest

from durable.core.records import RunState, Status
from durable.store.operations import Answer, Claim, PauseRun, Release, Suspend
from durable.testing.contract.kit import APP, QUEUE, T0, W1, W2, ContractPart, Lab, advance, fact, start, task


class ClaimFacts(ContractPart):
    """A claim takes the earliest due runs of its queues, each under a new epoch."""

    @fact
    async def test_nothing_due_is_no_claim(self, lab: Lab) -> None:
        assert await lab.claim() == ()
        await lab.queued("later", due_at=T0 + 1)
        assert await lab.claim() == ()

    @fact
    async def test_a_claimed_run_has_an_owner_and_a_new_epoch(self, lab: Lab) -> None:
        await lab.queued("r")
        lab.clock.pass_ms(7)
        (claimed,) = await lab.claim()
        run = claimed.record
        assert (run.state, run.owner, run.epoch, run.due_at) == (RunState.RUNNING, W1, 1, None)
        assert run.started_at == T0 + 7
        assert claimed.position == 1
        assert claimed.pending == ((0), "", (), ())
        assert await lab.record("r") == run

    @fact
    async def test_a_run_is_claimed_once(self, lab: Lab) -> None:
        await lab.queued("r")
        assert len(await lab.claim(W1)) == 1
        assert await lab.claim(W2) == ()
        assert await lab.claim(W1) == ()

    @fact
    async def test_each_claim_raises_the_epoch_and_the_first_one_stays_the_start(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, task(1), then=Release(T0)))
        lab.clock.pass_ms(9)
        claimed = await lab.claim_run("r", W2)
        assert (claimed.record.epoch, claimed.record.owner, claimed.record.started_at) == (2, W2, T0)
        assert claimed.position == 2

    @fact
    async def test_the_earliest_go_first_and_equals_in_order_of_their_start(self, lab: Lab) -> None:
        await lab.batch(
            start("c", due_at=T0 - 1), start("a", due_at=T0 - 3), start("d", due_at=T0 - 1), start("b", due_at=T0 - 2)
        )
        assert [claimed.record.run_id for claimed in await lab.claim()] == ["a", "b", "c", "d"]

    @fact
    async def test_a_claim_takes_no_more_than_its_limit(self, lab: Lab) -> None:
        await lab.batch(*(start(f"r{number}", due_at=T0 - 10 + number) for number in range(5)))
        assert await lab.claim(limit=0) == ()
        assert [claimed.record.run_id for claimed in await lab.claim(limit=2)] == ["r0", "r1"]
        assert [claimed.record.run_id for claimed in await lab.claim(limit=9)] == ["r2", "r3", "r4"]

    @fact
    async def test_a_claim_takes_from_its_queues_only(self, lab: Lab) -> None:
        queues = [QUEUE, *(QUEUE._replace(**{name: "x"}) for name in QUEUE._fields)]
        await lab.batch(*(start(f"r{place}", queue=queue) for place, queue in enumerate(queues)))
        assert [claimed.record.queue for claimed in await lab.claim()] == [QUEUE]
        assert await lab.claim(queues=()) == ()
        claimed = await lab.claim(queues=tuple(queues[2:4]))
        assert [one.record.queue for one in claimed] == queues[2:4]

    @fact
    async def test_the_earliest_of_several_lines_go_first(self, lab: Lab) -> None:
        other = QUEUE._replace(workflow="other")
        await lab.batch(start("b", due_at=T0 - 1), start("a", queue=other, due_at=T0 - 2), start("c", queue=other))
        claimed = await lab.claim(queues=(QUEUE, other), limit=2)
        assert [one.record.run_id for one in claimed] == ["a", "b"]

    @fact
    async def test_named_runs_are_claimed_whatever_line_they_stand_in(self, lab: Lab) -> None:
        other = await lab.queued("other", queue=QUEUE._replace(group="other"))
        later = await lab.queued("later", due_at=T0 + 1)
        await lab.queued("same")
        claimed = await lab.claim(queues=(), runs=(other.key, later.key, 987_654))
        assert [one.record.run_id for one in claimed] == ["other"]

    @fact
    async def test_a_run_that_is_named_and_stands_in_the_line_is_claimed_once(self, lab: Lab) -> None:
        run = await lab.queued("r")
        assert len(await lab.claim(runs=(run.key, run.key))) == 1
        assert (await lab.record("r")).epoch == 1

    @fact
    async def test_claims_come_last_in_a_batch(self, lab: Lab) -> None:
        run = await lab.running("old")
        claim, *_ = (await lab.batch(Claim(W2, (QUEUE,)), start("new"), advance(run, then=Release(T0)))).outcomes
        assert isinstance(claim, Answer)
        assert isinstance(claim.value, tuple)
        assert [claimed.record.run_id for claimed in claim.value] == ["old", "new"]

    @fact
    async def test_two_claims_of_a_batch_share_what_is_due(self, lab: Lab) -> None:
        await lab.batch(start("a"), start("b"), start("c"))
        first, second = (await lab.batch(Claim(W1, (QUEUE,), limit=2), Claim(W2, (QUEUE,)))).outcomes
        assert isinstance(first, Answer)
        assert isinstance(second, Answer)
        assert [len(answer.value) for answer in (first, second) if isinstance(answer.value, tuple)] == [2, 1]

    @fact
    async def test_a_batch_does_not_call_due_what_it_claimed(self, lab: Lab) -> None:
        committed = await lab.batch(start("a"), start("b"), Claim(W1, (QUEUE,), limit=1))
        assert committed.due == ((await lab.record("b")).key,)

    @fact
    async def test_a_worker_that_is_not_registered_claims_nothing(self, lab: Lab) -> None:
        await lab.queued("r")
        assert await lab.claim("stranger") == ()
        assert await lab.state("r") is RunState.QUEUED

    @fact
    async def test_a_suspended_run_is_claimed_when_its_time_has_come(self, lab: Lab) -> None:
        await lab.suspended("r", due_at=T0 + 10)
        lab.clock.pass_ms(9)
        assert await lab.claim() == ()
        lab.clock.pass_ms(1)
        (claimed,) = await lab.claim(W2)
        assert (claimed.record.state, claimed.record.epoch, claimed.record.owner) == (RunState.RUNNING, 2, W2)

    @fact
    async def test_runs_that_wait_without_a_time_are_paused_set_aside_or_ended_are_not_claimed(self, lab: Lab) -> None:
        await lab.suspended("waits")
        await lab.ended("ended")
        await lab.set_aside("aside")
        await lab.queued("paused")
        await lab.do(PauseRun(APP, "paused"))
        lab.clock.pass_ms(10**9)
        keys = [(await lab.record(run_id)).key for run_id in ("waits", "ended", "aside", "paused")]
        assert await lab.claim(runs=tuple(keys)) == ()

    @fact
    async def test_next_due_is_the_earliest_time_of_these_lines_and_runs(self, lab: Lab) -> None:
        other = QUEUE._replace(version="2")
        assert await lab.store.next_due([QUEUE, other]) is None
        await lab.queued("a", due_at=T0 + 30)
        key = (await lab.queued("b", queue=other, due_at=T0 + 20)).key
        assert await lab.store.next_due([QUEUE]) == T0 + 30
        assert await lab.store.next_due([QUEUE, other]) == T0 + 20
        assert await lab.store.next_due([QUEUE], [key]) == T0 + 20
        assert await lab.store.next_due([], [key]) == T0 + 20
        assert await lab.store.next_due([]) is None

    @fact
    async def test_next_due_counts_suspended_runs_and_may_lie_in_the_past(self, lab: Lab) -> None:
        await lab.suspended("r", due_at=T0 + 5)
        assert await lab.store.next_due([QUEUE]) == T0 + 5
        lab.clock.pass_ms(50)
        assert await lab.store.next_due([QUEUE]) == T0 + 5

    @fact
    async def test_next_due_leaves_out_what_nobody_may_claim(self, lab: Lab) -> None:
        await lab.running("owned")
        await lab.suspended("waits")
        await lab.queued("paused", due_at=T0 + 5)
        await lab.do(PauseRun(APP, "paused"))
        assert await lab.store.next_due([QUEUE]) is None

    @pytest.mark.parametrize("count", [300])
    @fact
    async def test_many_due_runs_are_claimed_in_pages(self, lab: Lab, count: int) -> None:
        await lab.batch(*(start(f"r{number}", due_at=T0 - 1000 + number) for number in range(count)))
        found: list[str] = []
        while page := await lab.claim(limit=70):
            found += [claimed.record.run_id for claimed in page]
        assert found == [f"r{number}" for number in range(count)]

    @fact
    async def test_a_claim_tells_the_next_position(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, task(1), task(2, status=Status.ERROR), then=Suspend(T0)))
        assert (await lab.claim_run("r")).position == 3
