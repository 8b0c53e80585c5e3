"""Facts about Start."""

from __future__ import annotations

import pytest

from durable.core.records import Kind, RunState, Status
from durable.store.operations import Existing, Started
from durable.testing.contract.kit import (
    APP,
    QUEUE,
    T0,
    W1,
    W2,
    ContractPart,
    Lab,
    fact,
    same,
    send,
    settle,
    start,
)

LONG_ID = "é" * 200 + "\U0001f40d" * 28
"""512 bytes of UTF-8."""


class StartFacts(ContractPart):
    """A start makes one run, and finds it again."""

    @fact
    async def test_a_new_run_is_queued_and_due_now(self, lab: Lab) -> None:
        committed = await lab.batch(
            start("r", note="text", tags=(("a", "1"), ("b", "")), parent_id="p", deadline_at=T0 + 9)
        )
        (outcome,) = committed.outcomes
        assert isinstance(outcome, Started)
        run = outcome.record
        assert (run.run_id, run.queue, run.state, run.epoch, run.owner) == ("r", QUEUE, RunState.QUEUED, 0, None)
        assert (run.due_at, run.created_at, run.started_at, run.finished_at) == (T0, T0, None, None)
        assert (run.digest, run.note, run.tags) == (7, "text", {"a": "1", "b": ""})
        assert (run.parent_id, run.deadline_at, run.deaths, run.continuation) == ("p", T0 + 9, 0, 0)
        assert committed.due == (run.key,)
        assert await lab.record("r") == run

    @fact
    async def test_the_start_entry_is_written_with_the_run(self, lab: Lab) -> None:
        await lab.queued("r", note="text")
        (entry,) = await lab.journal("r")
        assert (entry.position, entry.at, entry.kind, entry.status) == (0, T0, Kind.RUN, Status.OK)
        assert (entry.name, entry.data, entry.digest, entry.note) == ("start", b"input", 7, "text")

    @fact
    async def test_a_run_may_be_due_later(self, lab: Lab) -> None:
        committed = await lab.batch(start("r", due_at=T0 + 1))
        assert committed.due == ()
        assert await lab.claim() == ()
        lab.clock.pass_ms(1)
        assert len(await lab.claim()) == 1

    @fact
    async def test_a_second_start_reports_the_run_that_is_there(self, lab: Lab) -> None:
        first = await lab.queued("r")
        lab.clock.pass_ms(5)
        other = start("r", queue=QUEUE._replace(workflow="other"), input=b"other", digest=8)
        assert same(await lab.do(other), Existing(first))
        assert await lab.record("r") == first
        assert [entry.data for entry in await lab.journal("r")] == [b"input"]

    @fact
    async def test_two_starts_of_one_id_in_a_batch_make_one_run(self, lab: Lab) -> None:
        first, second = (await lab.batch(start("r"), start("r"))).outcomes
        assert isinstance(first, Started)
        assert same(second, Existing(first.record))

    @fact
    async def test_ids_are_unique_within_an_application_only(self, lab: Lab) -> None:
        run = await lab.queued("r")
        other = await lab.queued("r", queue=QUEUE._replace(app="other"), input=b"other")
        assert run.key != other.key
        assert await lab.store.run("other", "r") == other

    @fact
    async def test_an_ended_run_is_reported_too(self, lab: Lab) -> None:
        ended = await lab.ended("r")
        assert same(await lab.do(start("r", worker=W1)), Existing(ended))

    @fact
    async def test_a_start_may_claim_in_the_same_step(self, lab: Lab) -> None:
        lab.clock.pass_ms(3)
        committed = await lab.batch(start("r", worker=W1))
        (outcome,) = committed.outcomes
        assert isinstance(outcome, Started)
        run = outcome.record
        assert (run.state, run.owner, run.epoch, run.due_at) == (RunState.RUNNING, W1, 1, None)
        assert run.started_at == T0 + 3
        assert committed.due == ()
        assert await lab.claim(W2) == ()
        assert await lab.store.owned(W1) == [run]

    @fact
    async def test_a_run_that_is_due_later_is_not_claimed_in_the_same_step(self, lab: Lab) -> None:
        run = await lab.queued("r", worker=W1, due_at=T0 + 1)
        assert (run.state, run.owner, run.epoch, run.due_at) == (RunState.QUEUED, None, 0, T0 + 1)

    @fact
    async def test_a_worker_that_is_not_registered_claims_nothing_in_the_same_step(self, lab: Lab) -> None:
        run = await lab.queued("r", worker="stranger")
        assert (run.state, run.owner, run.epoch, run.due_at) == (RunState.QUEUED, None, 0, T0)

    @fact
    async def test_a_start_that_is_repeated_finds_the_run_that_it_made(self, lab: Lab) -> None:
        run = await lab.running("r")
        for worker in (W1, W2, None):
            assert same(await lab.do(start("r", worker=worker)), Existing(run))

    @fact
    async def test_ids_of_512_bytes_are_kept_as_they_are(self, lab: Lab) -> None:
        assert len(LONG_ID.encode()) == 512
        run = await lab.queued(LONG_ID, parent_id=LONG_ID, tags=((LONG_ID, LONG_ID),))
        assert await lab.record(LONG_ID) == run
        assert run.tags == {LONG_ID: LONG_ID}
        await lab.done(send(LONG_ID, LONG_ID, LONG_ID))
        signal = f"{LONG_ID}\n{LONG_ID}"
        await lab.do(settle(signal, token=LONG_ID))
        promise = await lab.store.promise(APP, signal)
        assert promise is not None
        assert promise.promise_id == signal
        ((message,),) = (claimed.pending.messages for claimed in await lab.claim())
        assert message.name == LONG_ID

    @pytest.mark.parametrize(
        "run_id", ["e\u0301", "\u00e9", "a b", "A", "a", "%", "_", "*", "'; --", "\u202eabc", "\uffff"]
    )
    @fact
    async def test_ids_are_compared_exactly(self, lab: Lab, run_id: str) -> None:
        others = ["e\u0301", "\u00e9", "a b", "A", "a", "%", "_", "*", "'; --", "\u202eabc", "\uffff"]
        await lab.batch(*(start(other) for other in others))
        assert (await lab.record(run_id)).run_id == run_id
        assert await lab.store.run(APP, run_id + " ") is None

    @pytest.mark.parametrize("run_id", ["", "x" * 513, "a\0b", "\ud800"])
    @fact
    async def test_ids_that_no_database_takes_are_refused(self, lab: Lab, run_id: str) -> None:
        with pytest.raises(ValueError, match=r"."):
            await lab.batch(start("other"), start(run_id))
        assert await lab.store.run(APP, "other") is None

    @fact
    async def test_a_thousand_runs_start_in_one_batch(self, lab: Lab) -> None:
        committed = await lab.batch(*(start(f"r{number}") for number in range(1000)))
        records = [outcome.record for outcome in committed.outcomes if isinstance(outcome, Started)]
        assert [record.run_id for record in records] == [f"r{number}" for number in range(1000)]
        assert len({record.key for record in records}) == 1000
