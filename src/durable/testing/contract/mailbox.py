"""Facts about messages: first in, first out, each once."""

from __future__ import annotations

import pytest

from durable.core.records import Pending, RunState, Wait
from durable.store.operations import (
    Answer,
    Continue,
    Done,
    Extras,
    Finish,
    NotFound,
    NotOpen,
    PauseRun,
    Release,
    Rewind,
    Suspend,
)
from durable.testing.contract.kit import (
    APP,
    T0,
    W1,
    ContractPart,
    Lab,
    advance,
    fact,
    final,
    mark,
    received,
    same,
    send,
    start,
    task,
)


def _texts(pending: Pending) -> list[bytes]:
    return [message.data for message in pending.messages]


class MailboxFacts(ContractPart):
    """A message is accepted once, kept in order, and received once."""

    @fact
    async def test_messages_keep_their_order(self, lab: Lab) -> None:
        await lab.queued("r")
        await lab.queued("other")
        for number in range(3):
            await lab.done(send("r", f"m{number}", name=f"n{number % 2}", data=b"%d" % number))
            await lab.done(send("other", f"m{number}"))
        await lab.batch(*(send("r", f"m{number}", data=b"%d" % number) for number in range(3, 200)))
        pending = (await lab.claim_run("r")).pending
        assert _texts(pending) == [b"%d" % number for number in range(200)]
        assert [message.name for message in pending.messages[:4]] == ["n0", "n1", "n0", "mail"]
        numbers = [message.number for message in pending.messages]
        assert numbers == sorted(set(numbers))

    @fact
    async def test_a_message_id_is_accepted_once(self, lab: Lab) -> None:
        await lab.queued("r")
        await lab.done(send("r", "m1", data=b"one"))
        await lab.done(send("r", "m1", data=b"two"))
        assert same((await lab.batch(send("r", "m2"), send("r", "m2"))).outcomes, [Done.DONE, Done.DONE])
        assert _texts((await lab.claim_run("r")).pending) == [b"one", b"text"]

    @fact
    async def test_a_message_needs_a_run_that_is_open(self, lab: Lab) -> None:
        assert same(await lab.do(send("nobody", "m1")), NotFound())
        for state in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED):
            await lab.ended(state.label, state)
            assert same(await lab.do(send(state.label, "m1")), NotOpen(state))

    @pytest.mark.parametrize("state", ["running", "suspended", "paused", "set aside"])
    @fact
    async def test_a_message_is_kept_in_every_open_state(self, lab: Lab, state: str) -> None:
        match state:
            case "running":
                await lab.running("r")
            case "suspended":
                await lab.suspended("r")
            case "paused":
                await lab.queued("r")
                await lab.do(PauseRun(APP, "r"))
            case _:
                await lab.set_aside("r")
        before = await lab.record("r")
        await lab.done(send("r", "m1"))
        assert await lab.record("r") == before

    @fact
    async def test_a_repeated_send_is_done_whatever_became_of_the_run(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(send("r", "m1"))
        await lab.done(advance(run, final(1), then=Finish(RunState.SUCCEEDED)))
        assert await lab.do(send("r", "m1")) is Done.DONE
        assert same(await lab.do(send("r", "m2")), NotOpen(RunState.SUCCEEDED))

    @fact
    async def test_a_message_sent_to_a_run_of_the_same_batch_is_kept(self, lab: Lab) -> None:
        outcomes = (await lab.batch(send("r", "m1"), start("r"))).outcomes
        assert outcomes[0] is Done.DONE
        assert len((await lab.claim_run("r")).pending.messages) == 1

    @fact
    async def test_a_received_message_is_not_told_again_and_its_id_stays_known(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.batch(send("r", "m1", data=b"one"), send("r", "m2", data=b"two"))
        await lab.done(advance(run, then=Release(T0)))
        claimed = await lab.claim_run("r")
        first = claimed.pending.messages[0].number
        await lab.done(advance(claimed.record, received(1), then=Release(T0), consumed=(first,)))
        await lab.done(send("r", "m1", data=b"again"))
        assert _texts((await lab.claim_run("r")).pending) == [b"two"]

    @fact
    async def test_a_repeated_receipt_is_one_receipt(self, lab: Lab) -> None:
        await lab.queued("r")
        await lab.batch(send("r", "m1", data=b"one"), send("r", "m2", data=b"two"))
        claimed = await lab.claim_run("r")
        again = advance(claimed.record, received(1), consumed=(claimed.pending.messages[0].number,))
        await lab.done(again)
        await lab.done(again)
        await lab.done(advance(claimed.record, then=Release(T0)))
        assert _texts((await lab.claim_run("r")).pending) == [b"two"]

    @fact
    async def test_a_message_nobody_waits_for_gives_no_notice(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, waits=(Wait(1, "m:other"),)))
        await lab.done(send("r", "m1"))
        assert await lab.collected() == {}
        await lab.done(advance(run, then=Suspend(None)))
        await lab.done(send("r", "m2"))
        assert await lab.state("r") is RunState.SUSPENDED

    @fact
    async def test_a_message_that_is_there_gives_notice_when_its_wait_is_registered(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(send("r", "m1"))
        committed = await lab.batch(advance(run, waits=(Wait(1, "m:mail"),)), worker=W1)
        ((key, pending),) = committed.pending
        assert (key, _texts(pending)) == (run.key, [b"text"])

    @fact
    async def test_receiving_the_last_message_lets_the_run_wait_for_the_next(self, lab: Lab) -> None:
        run = await lab.suspended("r", "m:mail")
        await lab.done(send("r", "m1"))
        claimed = await lab.claim_run("r")
        number = claimed.pending.messages[0].number
        again = Extras(waits=(Wait(2, "m:mail"),), unwaits=(Wait(1, "m:mail"),), consumed=(number,))
        await lab.done(advance(claimed.record, received(1), then=Suspend(None))._replace(extras=again))
        assert (await lab.batch(send("r", "m2"))).due == (run.key,)

    @fact
    async def test_a_run_may_write_to_itself(self, lab: Lab) -> None:
        run = await lab.running("r")
        outcome = await lab.do(advance(run, then=Suspend(None), waits=(Wait(1, "m:mail"),), sends=(send("r", "m1"),)))
        assert same(outcome, Answer((Done.DONE,), woken=True))

    @fact
    async def test_the_mailbox_outlives_a_continuation(self, lab: Lab) -> None:
        await lab.queued("r")
        await lab.batch(send("r", "m1", data=b"one"), send("r", "m2", data=b"two"), send("r", "m3", data=b"three"))
        claimed = await lab.claim_run("r")
        first, second, _ = (message.number for message in claimed.pending.messages)
        await lab.done(advance(claimed.record, received(1), consumed=(first,)))
        await lab.done(advance(claimed.record, then=Continue(b"", 0, ""), consumed=(second,)))
        await lab.done(send("r", "m1", data=b"again"))
        assert _texts((await lab.claim_run("r")).pending) == [b"three"]

    @fact
    async def test_a_rewind_makes_unread_what_it_names(self, lab: Lab) -> None:
        await lab.queued("r")
        await lab.batch(send("r", "m1", data=b"one"), send("r", "m2", data=b"two"), send("r", "m3", data=b"three"))
        claimed = await lab.claim_run("r")
        first, second, _ = (message.number for message in claimed.pending.messages)
        entries = (received(1), task(2), received(3), final(4))
        await lab.done(advance(claimed.record, *entries, then=Finish(RunState.FAILED), consumed=(first, second)))
        await lab.done(Rewind(APP, "r", (3, 4), mark(5, 3, 4), unread=(first,)))
        assert _texts((await lab.claim_run("r")).pending) == [b"one", b"three"]
