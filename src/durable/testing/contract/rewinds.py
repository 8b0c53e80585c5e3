"""Facts about runs that start over: rewound, or continued as new."""

from __future__ import annotations

import pytest

from durable.core.records import Entry, Kind, Reason, RunState, Settled, Status, Wait
from durable.store.operations import (
    Answer,
    Continue,
    Done,
    Existing,
    Fenced,
    Finish,
    NotFound,
    NotOpen,
    PauseRun,
    Rewind,
    SetAside,
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
    same,
    send,
    settle,
    start,
    task,
)


def _rewind(*dropped: int, position: int) -> Rewind:
    return Rewind(APP, "r", dropped, mark(position, *dropped))


class RewindFacts(ContractPart):
    """A rewind drops entries of a run that failed, says which, and queues it."""

    async def failed(self, lab: Lab) -> None:
        """Bring the run `r` to its failure at position 4."""
        run = await lab.running("r")
        entries = (task(1), task(2, status=Status.ERROR), task(3), final(4, status=Status.ERROR))
        await lab.done(advance(run, *entries, then=Finish(RunState.FAILED, "ValueError", "message")))

    @fact
    async def test_a_failed_run_goes_on_without_the_dropped_entries(self, lab: Lab) -> None:
        await self.failed(lab)
        lab.clock.pass_ms(3)
        committed = await lab.batch(_rewind(2, 4, position=5))
        assert same(committed.outcomes, [Done.DONE])
        record = await lab.record("r")
        assert (record.state, record.due_at, record.finished_at) == (RunState.QUEUED, T0 + 3, None)
        assert (record.reason, record.detail, record.deaths, record.epoch) == ("", "", 0, 1)
        assert committed.due == (record.key,)
        assert await lab.positions("r") == [0, 1, 3, 5]
        assert await lab.store.last_entry(record.key) == mark(5, 2, 4)

    @fact
    async def test_positions_are_never_used_again(self, lab: Lab) -> None:
        await self.failed(lab)
        await lab.done(_rewind(2, 3, 4, position=5))
        claimed = await lab.claim_run("r", W2)
        assert (claimed.position, claimed.record.epoch) == (6, 2)
        await lab.done(advance(claimed.record, task(6), final(7), then=Finish(RunState.SUCCEEDED)))
        assert await lab.positions("r") == [0, 1, 5, 6, 7]
        record = await lab.record("r")
        assert [entry.position for entry in await lab.store.journal(record.key, 2, 2)] == [5, 6]

    @fact
    async def test_a_repeated_rewind_is_done_once(self, lab: Lab) -> None:
        await self.failed(lab)
        await lab.done(_rewind(4, position=5))
        record = await lab.record("r")
        await lab.done(_rewind(4, position=5))
        assert await lab.record("r") == record
        run = await lab.taken("r")
        await lab.done(advance(run, task(6)))
        await lab.done(_rewind(4, position=5))
        assert await lab.positions("r") == [0, 1, 2, 3, 5, 6]

    @fact
    async def test_a_run_that_was_set_aside_may_be_rewound(self, lab: Lab) -> None:
        await lab.set_aside("r")
        await lab.done(_rewind(position=1))
        assert await lab.state("r") is RunState.QUEUED

    @fact
    async def test_a_run_may_be_rewound_again(self, lab: Lab) -> None:
        await self.failed(lab)
        await lab.done(_rewind(4, position=5))
        run = await lab.taken("r")
        await lab.done(advance(run, final(6), then=Finish(RunState.FAILED)))
        await lab.done(_rewind(3, 6, position=7))
        assert await lab.positions("r") == [0, 1, 2, 5, 7]

    @pytest.mark.parametrize("state", ["queued", "running", "suspended", "paused", "succeeded", "cancelled"])
    @fact
    async def test_no_other_state_is_rewound(self, lab: Lab, state: str) -> None:
        match state:
            case "queued":
                await lab.queued("r")
            case "running":
                await lab.running("r")
            case "suspended":
                await lab.suspended("r")
            case "paused":
                await lab.queued("r")
                await lab.do(PauseRun(APP, "r"))
            case _:
                await lab.ended("r", RunState[state.upper()])
        record, journal = await lab.record("r"), await lab.journal("r")
        assert same(await lab.do(_rewind(position=len(journal))), NotOpen(record.state))
        assert (await lab.record("r"), await lab.journal("r")) == (record, journal)

    @pytest.mark.parametrize("position", [4, 6])
    @fact
    async def test_a_mark_at_another_position_is_refused(self, lab: Lab, position: int) -> None:
        await self.failed(lab)
        assert same(await lab.do(_rewind(3, position=position)), NotOpen(RunState.FAILED))
        assert await lab.positions("r") == [0, 1, 2, 3, 4]

    @fact
    async def test_an_unknown_run_is_named(self, lab: Lab) -> None:
        assert same(await lab.do(_rewind(position=1)), NotFound())

    @fact
    async def test_the_start_entry_stays(self, lab: Lab) -> None:
        await self.failed(lab)
        with pytest.raises(ValueError, match=r"."):
            await lab.do(_rewind(0, 4, position=5))

    @fact
    async def test_waits_are_forgotten(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, then=SetAside(Reason.DEADLOCK, ""), waits=(Wait(1, "p:p"), Wait(2, "m:mail"))))
        await lab.done(_rewind(position=1))
        await lab.done(advance(await lab.taken("r"), then=Suspend(None)))
        assert (await lab.batch(settle("p"), send("r", "m1"))).due == ()
        assert await lab.state("r") is RunState.SUSPENDED

    @fact
    async def test_an_advance_of_before_is_fenced(self, lab: Lab) -> None:
        run = await lab.running("r")
        failing = advance(run, final(1), then=Finish(RunState.FAILED))
        await lab.done(failing)
        await lab.done(_rewind(1, position=2))
        assert same(await lab.do(failing), Fenced(1))
        assert await lab.positions("r") == [0, 2]

    @fact
    async def test_whoever_waits_for_a_rewound_run_goes_on_waiting(self, lab: Lab) -> None:
        await self.failed(lab)
        await lab.done(_rewind(4, position=5))
        await lab.suspended("waiter", "r:r")
        run = await lab.taken("r", W2)
        await lab.done(advance(run, final(6, b"well"), then=Finish(RunState.SUCCEEDED)))
        assert (await lab.claim_run("waiter")).pending.settled == (Settled(1, "r:r", True, b"well"),)


class ContinueFacts(ContractPart):
    """A run that continues as new has one successor: itself."""

    @fact
    async def test_the_journal_becomes_one_start_entry(self, lab: Lab) -> None:
        run = await lab.running("r", note="old", tags=(("a", "b"),), parent_id="p")
        await lab.done(advance(run, task(1), task(2)))
        lab.clock.pass_ms(3)
        committed = await lab.batch(advance(run, then=Continue(b"again", 8, "new")))
        assert same(committed.outcomes, [Done.DONE])
        record = await lab.record("r")
        assert (record.state, record.owner, record.due_at, record.epoch) == (RunState.QUEUED, None, T0 + 3, 1)
        assert (record.continuation, record.digest, record.note) == (1, 8, "new")
        assert (record.tags, record.parent_id, record.created_at) == ({"a": "b"}, "p", T0)
        assert committed.due == (record.key,)
        entry = Entry(0, T0 + 3, Kind.RUN, Status.OK, name="start", digest=8, note="new", data=b"again")
        assert await lab.journal("r") == [entry]

    @fact
    async def test_the_next_owner_begins_at_position_one(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, task(1), task(2)))
        await lab.done(advance(run, then=Continue(b"again", 8, "")))
        claimed = await lab.claim_run("r", W2)
        assert (claimed.position, claimed.record.epoch) == (1, 2)
        await lab.done(advance(claimed.record, task(1, b"other")))
        assert [entry.data for entry in await lab.journal("r")] == [b"again", b"other"]

    @fact
    async def test_a_repeated_continuation_is_one(self, lab: Lab) -> None:
        run = await lab.running("r")
        again = advance(run, then=Continue(b"again", 8, ""))
        await lab.done(again)
        await lab.done(again)
        assert (await lab.record("r")).continuation == 1
        taken = await lab.taken("r")
        assert same(await lab.do(again), Fenced(2))
        await lab.done(advance(taken, then=Continue(b"more", 9, "")))
        assert (await lab.record("r")).continuation == 2

    @fact
    async def test_entries_of_before_are_fenced(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, task(1)))
        await lab.done(advance(run, then=Continue(b"", 0, "")))
        assert same(await lab.do(advance(run, task(1))), Fenced(1))
        assert same(await lab.do(advance(run, task(2))), Fenced(1))
        assert await lab.positions("r") == [0]

    @fact
    async def test_waits_are_forgotten_and_requests_stay(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, waits=(Wait(1, "p:p"),)))
        await lab.do(PauseRun(APP, "r"))
        await lab.done(advance(run, then=Continue(b"", 0, "")))
        await lab.do(settle("p"))
        pending = (await lab.claim_run("r")).pending
        assert (pending.requests.name, pending.settled) == ("PAUSE", ())

    @fact
    async def test_whoever_waits_for_its_end_goes_on_waiting(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.suspended("waiter", "r:r")
        await lab.done(advance(run, then=Continue(b"", 0, "")))
        assert await lab.state("waiter") is RunState.SUSPENDED
        taken = await lab.taken("r", W2)
        await lab.done(advance(taken, final(1, b"end"), then=Finish(RunState.SUCCEEDED)))
        assert (await lab.claim_run("waiter")).pending.settled == (Settled(1, "r:r", True, b"end"),)

    @fact
    async def test_its_id_stays_taken(self, lab: Lab) -> None:
        await lab.done(advance(await lab.running("r"), then=Continue(b"", 0, "")))
        assert same(await lab.do(start("r", worker=W1)), Existing(await lab.record("r")))

    @fact
    async def test_it_may_start_children_as_it_goes(self, lab: Lab) -> None:
        run = await lab.running("r")
        outcome = await lab.do(
            advance(run, then=Continue(b"", 0, ""), settles=(settle("p"),), starts=(start("child"),))
        )
        assert isinstance(outcome, Answer)
        assert await lab.state("child") is RunState.QUEUED
        assert (await lab.record("r")).queue == QUEUE
