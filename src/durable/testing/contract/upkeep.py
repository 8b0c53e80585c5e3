"""Facts about a store's own life: opening, closing, peers, large values, and pruning."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any

import pytest

from durable.core.records import Requests, RunState, Settled, Wait
from durable.store.base import RunFilter, RunStore
from durable.store.operations import (
    Answer,
    Cancel,
    Committed,
    Continue,
    Done,
    Existing,
    Fenced,
    Finish,
    PauseRun,
    Release,
    ResumeRun,
    Rewind,
    Started,
    Suspend,
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
    mark,
    received,
    same,
    send,
    settle,
    start,
    task,
)


class LifeFacts(ContractPart):
    """A store may be closed and opened at any time, and answers in order."""

    @fact
    async def test_opening_and_closing_may_be_repeated(self, lab: Lab) -> None:
        fresh = await self.make_store()
        await fresh.close()
        await fresh.open(lab.clock)
        await fresh.open(lab.clock)
        await fresh.close()
        await fresh.close()
        fresh.close_now()

    @fact
    async def test_a_closed_store_goes_on_when_it_is_opened_again(self, lab: Lab) -> None:
        await _fill(lab)
        before = await _everything(lab.store)
        await lab.store.close()
        await lab.store.open(lab.clock)
        await lab.store.expire()
        assert await _everything(lab.store) == before
        await lab.register("boot:1:0:new")
        assert same(await lab.do(settle("first")), Answer(True))
        pending = (await lab.claim_run("requested", "boot:1:0:new")).pending
        assert (pending.requests, pending.reason) == (Requests.CANCEL, "why")
        assert [message.name for message in pending.messages] == ["mail"]
        assert pending.settled == (Settled(1, "p:first", True, b"answer"),)
        assert await lab.do(send("requested", "m1")) is Done.DONE
        lab.clock.pass_ms(1000)
        assert [claimed.record.run_id for claimed in await lab.claim("boot:1:0:new")] == ["sleeps", "later"]

    @fact
    async def test_a_store_closed_without_the_loop_has_done_what_was_asked(self, lab: Lab) -> None:
        _ = lab.store.execute([start("r")])
        lab.store.close_now()
        await lab.store.open(lab.clock)
        assert await lab.state("r") is RunState.QUEUED

    @fact
    async def test_closing_finishes_what_is_under_way(self, lab: Lab) -> None:
        answers = [asyncio.ensure_future(_answer(lab.store.execute([start(f"r{number}")]))) for number in range(5)]
        await lab.store.close()
        assert [len((await answer).outcomes) for answer in answers] == [1] * 5
        await lab.store.open(lab.clock)
        assert len(await lab.store.runs(RunFilter())) == 5

    @fact
    async def test_the_same_batch_may_be_executed_after_reopening(self, lab: Lab) -> None:
        run = await lab.running("r")
        batch = (start("new", worker=W1), advance(run, task(1), then=Suspend(T0 + 5)), settle("p"), send("r", "m1"))
        first = await lab.batch(*batch)
        await lab.store.reopen()
        made = await lab.record("new")
        assert same(first.outcomes[0], Started(made))
        assert same((await lab.batch(*batch)).outcomes, [Existing(made), *first.outcomes[1:]])
        assert await lab.positions("r") == [0, 1]

    @fact
    async def test_answers_never_come_before_execute_returns(self, lab: Lab) -> None:
        answer = asyncio.ensure_future(_answer(lab.store.execute([start("r")])))
        assert not answer.done()
        assert len((await answer).outcomes) == 1

    @fact
    async def test_batches_take_effect_in_the_order_of_the_calls(self, lab: Lab) -> None:
        run = await lab.running("r")
        answers = [lab.store.execute([advance(run, task(position))]) for position in range(1, 30)]
        for answer in answers:
            assert (await answer).outcomes == [Done.DONE]
        assert await lab.positions("r") == list(range(30))

    @fact
    async def test_a_caller_that_is_cancelled_takes_nothing_back(self, lab: Lab) -> None:
        waiting = asyncio.ensure_future(_answer(lab.store.execute([start("r")])))
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        await lab.queued("other")
        assert await lab.state("r") is RunState.QUEUED

    # Peers -----------------------------------------------------------------------------------------------------------

    @fact
    async def test_peers_see_each_others_commits(self, lab: Lab) -> None:
        peer = await lab.peer()
        run = await lab.queued("r")
        assert await peer.run(APP, "r") == run
        peer.changed()
        assert not peer.changed()
        await lab.do(settle("p"))
        assert peer.changed()
        assert not peer.changed()

    @fact
    async def test_peers_share_one_truth_about_owners(self, lab: Lab) -> None:
        peer = await lab.peer()
        await lab.batch(*(start(f"r{number}") for number in range(20)))
        found = [await lab.claim(W1, limit=10), await lab.claim(W2, limit=20)]
        assert [len(claimed) for claimed in found] == [10, 10]
        assert len(await peer.owned(W1)) == 10

    @fact
    async def test_peers_that_start_one_id_at_once_make_one_run(self, lab: Lab) -> None:
        peer = await lab.peer()
        asked = [store.execute([start(f"r{number}")]) for number in range(20) for store in (lab.store, peer)]
        outcomes = [(await answer).outcomes[0] for answer in asked]
        assert sum(isinstance(outcome, Started) for outcome in outcomes) == 20

    @fact
    async def test_a_peers_arrival_reaches_the_owner(self, lab: Lab) -> None:
        peer = await lab.peer()
        run = await lab.running("r")
        await lab.done(advance(run, waits=(Wait(1, "p:p"),)))
        await peer.execute([settle("p")])
        assert len((await lab.collected())[run.key].settled) == 1

    # Values ----------------------------------------------------------------------------------------------------------

    @fact
    async def test_bytes_come_back_as_they_are(self, lab: Lab) -> None:
        every = bytes(range(256)) * 3
        run = await lab.running("r", input=every)
        await lab.done(advance(run, task(1, every), task(2, b""), waits=(Wait(1, "p:p"),)))
        await lab.batch(settle("p", every), send("r", "m1", data=every))
        assert [entry.data for entry in await lab.journal("r")] == [every, every, b""]
        await lab.done(advance(run, then=Release(T0)))
        pending = (await lab.claim_run("r")).pending
        assert [pending.settled[0].data, pending.messages[0].data] == [every, every]

    @fact
    async def test_large_values_are_kept(self, lab: Lab) -> None:
        large = bytes(range(256)) * 20_000
        run = await lab.running("r", input=large)
        await lab.done(advance(run, task(1, large[::-1])))
        await lab.batch(settle("p", large), send("r", "m1", data=large))
        assert [entry.data for entry in await lab.journal("r")] == [large, large[::-1]]
        promise = await lab.store.promise(APP, "p")
        assert promise is not None
        assert promise.data == large

    @fact
    async def test_texts_come_back_as_they_are(self, lab: Lab) -> None:
        text = "\u00e9 \U0001f40d \u202e % _ ' \" \\ \n\t \uffff " + "x" * 3000
        run = await lab.running("r", note=text)
        await lab.done(advance(run, task(1, note=text, name=text), progress=text))
        await lab.done(advance(run, final(2), then=Finish(RunState.FAILED, text, text)))
        record = await lab.record("r")
        assert (record.note, record.progress, record.reason, record.detail) == (text, text, text, text)
        assert [(entry.note, entry.name) for entry in (await lab.journal("r"))[1:2]] == [(text, text)]


class PruneFacts(ContractPart):
    """What is pruned is gone without a trace, and nothing that is needed goes."""

    async def prune(self, lab: Lab, *, finished_before: int = T0 + 10**9, limit: int = 100, **where: Any) -> list[str]:
        """Prune, and return the ids of what is left."""
        before = len(await lab.store.runs(RunFilter()))
        count = await lab.store.prune(RunFilter(**where), finished_before=finished_before, limit=limit)
        left = sorted(run.run_id for run in await lab.store.runs(RunFilter()))
        assert count == before - len(left)
        return left

    @fact
    async def test_ended_runs_go_and_open_ones_stay(self, lab: Lab) -> None:
        for state in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED):
            await lab.ended(state.label, state)
        await lab.queued("queued")
        await lab.running("running")
        await lab.suspended("suspended")
        await lab.set_aside("aside")
        await lab.queued("paused")
        await lab.do(PauseRun(APP, "paused"))
        assert await self.prune(lab) == ["aside", "paused", "queued", "running", "suspended"]

    @fact
    async def test_runs_go_by_the_time_of_their_end(self, lab: Lab) -> None:
        for run_id in ("a", "b", "c"):
            await lab.ended(run_id)
            lab.clock.pass_ms(10)
        assert await self.prune(lab, finished_before=T0) == ["a", "b", "c"]
        assert await self.prune(lab, finished_before=T0 + 11) == ["c"]

    @fact
    async def test_the_earliest_ended_go_first_and_no_more_than_asked(self, lab: Lab) -> None:
        runs = [await lab.running(run_id) for run_id in ("a", "b", "c")]
        for run in reversed(runs):
            await lab.done(advance(run, final(1), then=Finish(RunState.SUCCEEDED)))
            lab.clock.pass_ms(1)
        assert await self.prune(lab, limit=0) == ["a", "b", "c"]
        assert await self.prune(lab, limit=2) == ["a"]

    @fact
    async def test_only_runs_that_match_go(self, lab: Lab) -> None:
        await lab.ended("a", tags=(("keep", "no"),))
        await lab.ended("b", RunState.FAILED)
        await lab.ended("c", queue=QUEUE._replace(workflow="other"))
        assert await self.prune(lab, tags={"keep": "no"}) == ["b", "c"]
        assert await self.prune(lab, states=(RunState.SUCCEEDED,), workflow="flow") == ["b", "c"]
        assert await self.prune(lab, states=(RunState.FAILED,)) == ["c"]

    @fact
    async def test_a_run_that_another_waits_for_stays(self, lab: Lab) -> None:
        await lab.ended("end")
        run = await lab.running("r")
        await lab.do(advance(run, waits=(Wait(1, "r:end"),)))
        assert await self.prune(lab) == ["end", "r"]
        await lab.done(advance(run, unwaits=(Wait(1, "r:end"),)))
        assert await self.prune(lab) == ["r"]

    @pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED])
    @fact
    async def test_a_run_that_has_ended_waits_for_nothing(self, lab: Lab, state: RunState) -> None:
        await lab.queued("end")
        run = await lab.running("r")
        await lab.done(advance(run, waits=(Wait(1, "r:end"),)))
        await lab.done(advance(run, final(1), then=Finish(state)))
        await lab.do(Cancel(APP, "end"))
        assert await self.prune(lab, id_prefix="end") == ["r"]

    @fact
    async def test_a_child_stays_as_long_as_its_parent_is_open(self, lab: Lab) -> None:
        parent = await lab.running("parent")
        await lab.ended("child", parent_id="parent")
        await lab.ended("orphan", parent_id="gone")
        assert await self.prune(lab) == ["child", "parent"]
        await lab.done(advance(parent, final(1), then=Finish(RunState.SUCCEEDED)))
        assert await self.prune(lab) == []

    @fact
    async def test_nothing_of_a_pruned_run_is_seen_by_the_next_of_its_id(self, lab: Lab) -> None:
        await lab.queued("r", tags=(("old", "1"),), input=b"old")
        await lab.batch(send("r", "m1"), settle("r\nsignal"), settle("r"), settle("rr\nsignal"))
        claimed = await lab.claim_run("r")
        old = claimed.record
        await lab.done(advance(old, task(1), final(2), then=Finish(RunState.SUCCEEDED)))
        assert await self.prune(lab) == []
        assert await lab.store.run_by_key(old.key) is None
        assert await lab.store.journal(old.key) == []
        assert same(await lab.do(advance(old, task(3))), Fenced(0))
        assert await lab.store.promise(APP, "r\nsignal") is None
        assert await lab.store.promise(APP, "r") is not None
        assert await lab.store.promise(APP, "rr\nsignal") is not None
        new = await lab.running("r")
        assert (new.key != old.key, new.tags, new.epoch) == (True, {}, 1)
        await lab.done(send("r", "m1", data=b"new"))
        await lab.done(advance(new, then=Release(T0)))
        assert [message.data for message in (await lab.claim_run("r")).pending.messages] == [b"new"]
        assert [entry.data for entry in await lab.journal("r")] == [b"input"]
        assert await lab.store.runs(RunFilter(tags={"old": "1"})) == []
        assert await lab.store.check() == []


async def _answer(asked: Awaitable[Committed]) -> Committed:
    return await asked


async def _fill(lab: Lab) -> None:
    """Bring about something of everything, owned by nobody."""
    await lab.queued("later", due_at=T0 + 1000, note="note", deadline_at=T0 + 5, parent_id="waits")
    await lab.suspended("waits", "p:p", "m:mail", "r:later")
    await lab.suspended("sleeps", due_at=T0 + 500, tags=(("a", "b"),))
    await lab.ended("done")
    await lab.set_aside("aside")
    await lab.suspended("paused", "p:p")
    await lab.batch(PauseRun(APP, "paused"), settle("first"))
    await lab.suspended("resumed")
    await lab.batch(PauseRun(APP, "resumed"), ResumeRun(APP, "resumed"), PauseRun(APP, "resumed"))
    run = await lab.running("requested")
    await lab.batch(Cancel(APP, "requested", "why"), send("requested", "m1"), send("requested", "m2"))
    await lab.done(advance(run, then=Release(T0), waits=(Wait(1, "p:first"),)))
    claimed = await lab.claim_run("requested")
    number = claimed.pending.messages[0].number
    await lab.done(
        advance(claimed.record, received(1), then=Release(T0), consumed=(number,), progress="[1]", active_ms=3)
    )
    await lab.done(advance(await lab.running("continued"), then=Continue(b"x", 1, "")))
    await lab.do(PauseRun(APP, "continued"))
    await lab.ended("failed", RunState.FAILED)
    await lab.done(Rewind(APP, "failed", (1,), mark(2, 1)))
    await lab.do(PauseRun(APP, "failed"))


async def _everything(store: RunStore) -> list[object]:
    runs = await store.runs(RunFilter(), limit=1000)
    journals = [await store.journal(run.key) for run in runs]
    return [*runs, *journals, await store.promise(APP, "first"), await store.count(RunFilter())]
