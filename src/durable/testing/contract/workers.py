"""Facts about workers: who is known, whose death is noticed, and what becomes of their runs."""

from __future__ import annotations

import os
from dataclasses import replace

from durable.core.lease import DEATHS_MAX, DELAYS_MS
from durable.core.records import Reason, RunState, WorkerRecord
from durable.store.base import Expired
from durable.store.operations import Fenced, Mend, Suspend
from durable.testing.contract.kit import APP, QUEUE, T0, W1, W2, ContractPart, Lab, advance, fact, same, start, task


class WorkerFacts(ContractPart):
    """A run never stays with a worker that is gone."""

    @fact
    async def test_registered_workers_are_listed(self, lab: Lab) -> None:
        assert sorted(worker.worker_id for worker in await lab.store.workers()) == [W1, W2]
        assert await lab.store.registered(W1)
        assert not await lab.store.registered("stranger")

    @fact
    async def test_registering_again_replaces_what_is_claimed(self, lab: Lab) -> None:
        queues = (QUEUE, QUEUE._replace(version="2"))
        worker = WorkerRecord("boot:1:0:w3", os.getpid(), "host é", "boot", T0, (QUEUE,))
        await lab.store.register(worker)
        await lab.register("boot:1:0:w3", queues)
        (found,) = [one for one in await lab.store.workers() if one.worker_id == "boot:1:0:w3"]
        assert found.queues == queues

    @fact
    async def test_a_worker_record_is_kept_as_it_is(self, lab: Lab) -> None:
        worker = WorkerRecord("boot:1:0:w3", os.getpid(), "host é", "boot", T0 - 5, ())
        await lab.store.register(worker)
        assert worker in await lab.store.workers()

    @fact
    async def test_a_worker_that_leaves_gives_its_runs_back(self, lab: Lab) -> None:
        run = await lab.running("mine", W1)
        other = await lab.running("other", W2)
        suspended = await lab.suspended("waits", due_at=T0 + 100)
        lab.clock.pass_ms(3)
        await lab.store.unregister(W1)
        record = await lab.record("mine")
        assert (record.state, record.owner, record.due_at, record.deaths) == (RunState.QUEUED, None, T0 + 3, 0)
        assert record.epoch == run.epoch
        assert [await lab.record("other"), await lab.record("waits")] == [other, suspended]
        assert not await lab.store.registered(W1)
        await lab.store.unregister(W1)
        await lab.store.unregister("stranger")

    @fact
    async def test_a_worker_that_left_is_fenced_and_claims_nothing(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.store.unregister(W1)
        assert same(await lab.do(advance(run, task(1))), Fenced(1))
        assert await lab.claim(W1) == ()

    @fact
    async def test_owned_lists_the_runs_of_a_worker(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.running("other", W2)
        await lab.suspended("waits")
        assert await lab.store.owned(W1) == [run]
        assert await lab.store.owned("stranger") == []

    # Death -----------------------------------------------------------------------------------------------------------

    @fact
    async def test_living_workers_keep_their_runs_whatever_the_clock_says(self, lab: Lab) -> None:
        run = await lab.running("r")
        lab.clock.pass_ms(10 * 365 * 86_400_000)
        lab.store.beat()
        assert await lab.store.expire() == Expired()
        assert await lab.record("r") == run

    @fact
    async def test_the_runs_of_a_dead_worker_are_due_at_once(self, lab: Lab) -> None:
        run = await lab.running("r")
        other = await lab.running("other", W2)
        waits = await lab.suspended("waits")
        lab.clock.pass_ms(3)
        await lab.kill(W1)
        assert await lab.store.expire() == Expired((W1,), (run.key,))
        record = await lab.record("r")
        assert (record.state, record.owner, record.due_at, record.deaths) == (RunState.QUEUED, None, T0 + 3, 1)
        assert [await lab.record("other"), await lab.record("waits")] == [other, waits]
        assert not await lab.store.registered(W1)
        assert [worker.worker_id for worker in await lab.store.workers()] == [W2]
        assert await lab.store.expire() == Expired()

    @fact
    async def test_a_dead_worker_without_runs_is_forgotten(self, lab: Lab) -> None:
        await lab.kill(W1)
        assert await lab.store.expire() == Expired((W1,), ())
        assert not await lab.store.registered(W1)

    @fact
    async def test_a_worker_that_was_forgotten_is_fenced_and_claims_nothing(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.kill(W1)
        await lab.store.expire()
        for late in (
            advance(run, task(1)),
            advance(run, task(1), then=Suspend(None)),
            advance(run, then=Suspend(None)),
        ):
            assert same(await lab.do(late), Fenced(1))
        assert await lab.claim(W1) == ()
        run = await lab.queued("new", worker=W1)
        assert run.owner is None
        taken = await lab.taken("r", W2)
        assert taken.epoch == 2
        assert same(await lab.do(advance(replace(taken, owner=W1), task(1))), Fenced(2))

    async def die(self, lab: Lab, number: int, *, progress: bool = False) -> int:
        """Let a new worker take the run `r` and die; return how long the run waits after that."""
        worker = f"boot:1:0:d{number}"
        await lab.register(worker)
        claimed = await lab.claim_run("r", worker)
        if progress:
            await lab.done(advance(claimed.record, task(claimed.position)))
        await lab.kill(worker)
        await lab.store.expire()
        due_at = (await lab.record("r")).due_at
        delay = 0 if due_at is None else due_at - lab.clock.now
        lab.clock.pass_ms(delay)
        return delay

    @fact
    async def test_deaths_in_a_row_delay_a_run_and_then_poison_it(self, lab: Lab) -> None:
        await lab.queued("r")
        for number in range(DEATHS_MAX - 1):
            base = DELAYS_MS[number]
            assert 0.5 * base <= await self.die(lab, number) <= 1.5 * base
            assert (await lab.record("r")).deaths == number + 1
        await self.die(lab, 99)
        record = await lab.record("r")
        assert (record.state, record.reason, record.due_at) == (RunState.SET_ASIDE, Reason.POISONED, None)
        assert record.detail
        assert (record.deaths, record.owner, await lab.positions("r")) == (DEATHS_MAX, None, [0])

    @fact
    async def test_a_new_entry_makes_the_count_begin_again(self, lab: Lab) -> None:
        await lab.queued("r")
        for number in range(DEATHS_MAX - 1):
            await self.die(lab, number)
        for number in range(DEATHS_MAX):
            assert await self.die(lab, 10 + number, progress=True) == 0
            assert (await lab.record("r")).deaths == 1
        assert await lab.state("r") is RunState.QUEUED

    @fact
    async def test_a_poisoned_run_that_is_mended_begins_to_count_again(self, lab: Lab) -> None:
        await lab.queued("r")
        for number in range(DEATHS_MAX):
            await self.die(lab, number)
        await lab.do(Mend(APP, "r"))
        assert (await lab.record("r")).deaths == 0
        assert await self.die(lab, 50) == 0
        assert (await lab.record("r")).deaths == 1

    @fact
    async def test_deaths_do_not_touch_runs_that_were_suspended(self, lab: Lab) -> None:
        await lab.queued("r")
        await self.die(lab, 1)
        await lab.done(advance(await lab.taken("r"), then=Suspend(None)))
        await lab.kill(W1)
        await lab.store.expire()
        assert (await lab.record("r")).deaths == 1

    @fact
    async def test_many_runs_of_a_dead_worker_are_all_taken_back(self, lab: Lab) -> None:
        await lab.batch(*(start(f"r{number}", worker=W1) for number in range(300)))
        await lab.kill(W1)
        assert len((await lab.store.expire()).runs) == 300
        assert len(await lab.claim(W2, limit=1000)) == 300

    @fact
    async def test_workers_die_with_the_store_through_which_they_registered(self, lab: Lab) -> None:
        peer = await lab.peer()
        run = await lab.running("r", W1)
        worker = "boot:1:0:peer"
        await peer.register(WorkerRecord(worker, os.getpid(), "host", "boot", T0))
        await peer.execute([start("peers", worker=worker)])
        assert await lab.store.expire() == Expired()
        await peer.close()
        assert (await lab.store.expire()).workers == (worker,)
        assert await lab.state("peers") is RunState.QUEUED
        assert await lab.record("r") == run
