"""What is open at a journal's end is compared as far as it has left a trace; what older code left is no alarm."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

import durable
from durable import InMemoryStore, Workflow
from durable.api.code import code_of
from durable.codec import Encryption, JsonCodec, KeyRing
from durable.codec.chain import CodecChain
from durable.core.records import Inbox, Message, PromiseRecord, RunState, Wait
from durable.runtime import rehearsal
from durable.runtime.checking import check_run, runs_where
from durable.runtime.findings import Problem
from durable.runtime.histories import History
from durable.runtime.rehearsal import rehearse
from durable.store.base import RunFilter
from durable.store.sqlite.reading import reading
from durable.store.threads import DaemonPool
from durable.testing.replays import history_of
from tests.check.project import SHIP, Project

Body = Any


def application(body: Body, codec: Any = None) -> Any:
    """Return a workflow whose body is `body(wf, save)`, async or plain."""
    wf = Workflow("shop", db=InMemoryStore(), default_retries=0, codec=codec)

    @wf.task
    async def save(text: str) -> str:
        return text

    if asyncio.iscoroutinefunction(body):

        @wf.workflow
        async def main() -> Any:
            return await body(wf, save)
    else:

        @wf.workflow
        def main() -> Any:
            return body(wf, save)

    return main


def suspended(body: Body, codec: Any = None) -> History:
    """Return the history of a run of a body that waits."""

    async def play() -> History:
        main = application(body, codec)
        wf = main._app
        async with wf, asyncio.timeout(10):
            await main.options(id="run").start()
            while (await wf.runs.get("run")).state is not RunState.SUSPENDED:  # noqa: ASYNC110 - nothing else tells
                await asyncio.sleep(0.005)
            return await history_of(wf, "run")

    return asyncio.run(play())


def verdict(history: History, body: Body, codec: Any = None) -> rehearsal.Verdict:
    main = application(body, codec)
    return rehearse(code_of(main._app), main.spec, history)


def problem(history: History, body: Body, codec: Any = None) -> Problem | None:
    found = verdict(history, body, codec).findings
    return found[0].problem if found else None


async def waits(wf: Workflow, save: Any) -> None:
    await save("first")
    await wf.signal("go")
    await save("last")


# Registrations --------------------------------------------------------------------------------------------------------


async def patched_before_the_wait(wf: Workflow, save: Any) -> None:
    await save("first")
    if durable.patched("extra"):
        await wf.signal("extra")
    await wf.signal("go")
    await save("last")


def test_a_guarded_step_before_an_open_wait_is_no_alarm_now_or_later() -> None:
    before = suspended(waits)
    assert problem(before, patched_before_the_wait) is None
    # When the new code has run, the registration of the old one stays behind under the same number.
    after = suspended(patched_before_the_wait)
    assert before.waits == (Wait(2, "p:run\ngo"),)
    for state in (RunState.SUSPENDED, RunState.RUNNING, RunState.QUEUED):
        both = replace(after, waits=tuple(sorted(before.waits + after.waits)), state=state)
        assert problem(both, patched_before_the_wait) is None
    # Nor is it one in the moment before the new wait is registered.
    assert problem(replace(after, waits=before.waits), patched_before_the_wait) is None


def test_a_wait_that_the_journal_has_overtaken_is_no_alarm() -> None:
    history = suspended(waits)
    stale = (Wait(1, "p:run\nolder"), *history.waits)
    assert problem(replace(history, waits=stale), waits) is None
    assert problem(replace(history, waits=(*stale, Wait(3, "p:run\nelse"))), waits) is Problem.DIVERGES


def test_an_open_wait_for_another_thing_is_found() -> None:
    async def other_signal(wf: Workflow, save: Any) -> None:
        await save("first")
        await wf.signal("went")

    async def message(wf: Workflow, save: Any) -> None:
        await save("first")
        await wf.receive("go")

    async def ends(wf: Workflow, save: Any) -> None:
        await save("first")

    async def sleeps(wf: Workflow, save: Any) -> None:
        await save("first")
        await durable.sleep(5)
        await wf.signal("go")

    def plain(wf: Workflow, save: Any) -> None:
        save.sync("first")
        wf.signal("went")

    history = suspended(waits)
    for body in (other_signal, message, ends, sleeps, plain):
        (finding,) = verdict(history, body).findings
        assert (finding.problem, finding.position) == (Problem.DIVERGES, 2)
        assert finding.recorded == "the run waits for signal 'go' (operation 2)"


def test_more_waits_beside_the_open_one_are_no_alarm() -> None:
    async def more(wf: Workflow, save: Any) -> None:
        await save("first")
        await asyncio.gather(wf.signal("go"), wf.signal("too"))

    assert problem(suspended(waits), more) is None


def test_steps_with_a_step_id_leave_a_part_unseen() -> None:
    async def inserted(wf: Workflow, save: Any) -> None:
        await save("new", step_id="new")
        await waits(wf, save)

    history = suspended(waits)
    assert verdict(history, inserted) == ((), True)
    assert verdict(history, waits) == ((), False)


# Values that were delivered -------------------------------------------------------------------------------------------


def test_what_was_delivered_and_not_received_must_be_readable() -> None:
    history = suspended(waits)
    good, bad = JsonCodec().encode("yes", label=""), b'T{"$class":"gone:Gone"}'

    def with_signal(name: str, data: bytes, ok: bool = True) -> History:
        return replace(history, inbox=Inbox((PromiseRecord(f"run\n{name}", 1, ok, data),), ()))

    assert problem(with_signal("go", good), waits) is None
    assert problem(with_signal("go", bad), waits) is Problem.UNREADABLE
    assert problem(with_signal("go", bad, ok=False), waits) is Problem.UNREADABLE
    assert problem(with_signal("early", bad), waits) is Problem.UNREADABLE
    assert problem(replace(with_signal("early", bad), continuation=1), waits) is None
    assert problem(replace(history, inbox=Inbox((), (Message(1, "letter", bad),))), waits) is Problem.UNREADABLE


def test_encrypted_values_need_their_key() -> None:
    def codec(name: str) -> Any:
        return CodecChain(JsonCodec(), Encryption(KeyRing({name: name[:1].encode() * 32}, primary=name)))

    history = suspended(waits, codec("one"))
    assert problem(history, waits, codec("one")) is None
    assert problem(history, waits, codec("two")) is Problem.UNREADABLE


# Bodies that do not come to the end -----------------------------------------------------------------------------------


async def raises(wf: Workflow, save: Any) -> None:
    await save("first")
    raise NameError("name 'oops' is not defined")


async def decides_to_fail(wf: Workflow, save: Any) -> None:
    await save("first")
    raise ValueError("no")


async def leaves(wf: Workflow, save: Any) -> None:
    await save("first")
    raise SystemExit(3)


async def sleeps_for_ever(wf: Workflow, save: Any) -> None:
    await save("first")
    await asyncio.Event().wait()


async def spins(wf: Workflow, save: Any) -> None:
    await save("first")
    while save:  # noqa: ASYNC110 - that is the point
        await asyncio.sleep(0)


async def reads(wf: Workflow, save: Any) -> None:
    await save("first")
    with open("/etc/hostname") as file:
        file.read()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (raises, Problem.RAISES), (decides_to_fail, Problem.RAISES), (leaves, Problem.STUCK),
        (sleeps_for_ever, Problem.STUCK), (spins, Problem.STUCK), (reads, Problem.STUCK),
    ],
)  # fmt: skip
def test_a_body_that_raises_or_could_not_go_on_is_told(body: Body, expected: Problem) -> None:
    found = verdict(replace(suspended(waits), waits=()), body).findings
    assert [finding.problem for finding in found] == [expected]
    assert found[0].position == 2


def test_a_body_may_be_about_to_fail_while_its_run_is_executed() -> None:
    running = replace(suspended(waits), state=RunState.RUNNING, waits=())
    assert problem(running, decides_to_fail) is None
    assert problem(running, raises) is Problem.RAISES
    queued = replace(running, state=RunState.QUEUED)
    assert problem(queued, decides_to_fail) is Problem.RAISES
    assert problem(replace(queued, deaths=1), decides_to_fail) is None


def test_a_plain_body_that_computes_for_ever_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    history = suspended(waits)
    monkeypatch.setattr(rehearsal, "PLAIN_SECONDS_MAX", 0.05)
    go_on: list[bool] = []

    def computes(wf: Workflow, save: Any) -> None:
        save.sync("first")
        while not go_on:
            time.sleep(0.001)

    (finding,) = verdict(history, computes).findings
    go_on.append(True)
    assert (finding.problem, "no durable operation within 0.05 s" in finding.recorded) == (Problem.STUCK, True)


# While workers run ----------------------------------------------------------------------------------------------------

BUSY = SHIP.replace(
    '    await wf.signal("go")\n',
    "    for i in range(40):\n        await save(str(i))\n        await asyncio.sleep(0.001)\n",
)


def test_runs_that_workers_execute_meanwhile_raise_no_alarm_and_are_not_held_up(project: Project) -> None:
    project.write(BUSY)

    async def act(wf: Workflow, module: Any) -> int:
        pool, checked = DaemonPool(1, "check"), 0
        for number in range(20):
            await module.ship.start(number)
        async with wf:
            with reading(project.db) as reader:
                while (await wf.runs.count()).get("succeeded", 0) < 20:
                    async for record in runs_where(
                        reader, RunFilter(app="shop", states=(RunState.RUNNING, RunState.SUSPENDED))
                    ):
                        found = await check_run(reader, code_of(wf), record, pool)
                        assert found.verdict is not None
                        assert found.verdict.findings == ()
                        checked += 1
                    await asyncio.sleep(0)
        pool.shutdown()
        return checked

    assert project.work(act) > 20
