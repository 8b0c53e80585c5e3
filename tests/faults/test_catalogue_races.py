"""Rows of section F: two things at once, of which one has to be first."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from durable import RunCancelled, RunNotOpen, TaskInterrupted, UsageError
from durable.backoff import constant
from durable.core.records import Kind, RunState, Status, Wait
from durable.store.base import RunFilter
from durable.store.operations import Advance, Done, Existing, Extras, Settle, Started, Suspend
from tests.runs.kit import Apps, eventually, flow, state
from tests.store.sqlite_kit import QUEUE, T0, W1, finish, opened, start
from tests.support.bodies import Step, current_app, play_and_cut, script_for
from tests.support.replaying import Event, Script, cuts, journal_at, play

# Starts --------------------------------------------------------------------------------------------------------------


async def test_a_start_meets_the_old_run_or_a_new_one_while_runs_are_pruned(tmp_path):
    """Covers: F3, L7"""
    path = tmp_path / "x.db"
    async with opened(path) as store, opened(path, "boot:other") as other:
        outcomes = {Started: 0, Existing: 0}
        ended = asyncio.Event()

        async def start_again_and_again() -> None:
            for number in range(150):
                data = b"input %d" % number
                (outcome,) = (await store.execute([start("r", input=data, digest=number)], W1)).outcomes
                outcomes[type(outcome)] += 1
                assert isinstance(outcome, Started | Existing)
                journal = await store.journal(outcome.record.key)
                if isinstance(outcome, Started):
                    assert (outcome.record.digest, [entry.data for entry in journal]) == (number, [data])
                    await store.execute([finish(outcome.record, 1)], W1)
                else:
                    assert outcome.record.state is RunState.SUCCEEDED
                    assert journal == [] or [entry.data for entry in journal] == [
                        b"input %d" % outcome.record.digest, b"result",
                    ]  # fmt: skip
            ended.set()

        async def prune_now_and_then() -> None:
            source = random.Random(5)
            while not ended.is_set():
                await other.prune(RunFilter(), finished_before=T0 + 1, limit=10)
                await asyncio.sleep(source.random() / 500)

        await asyncio.gather(start_again_and_again(), prune_now_and_then())
        assert min(outcomes.values()) > 0, "both happened"
        assert await store.check() == []


@pytest.mark.parametrize("how", ["calls", "starts and awaits"])
async def test_a_run_that_waits_for_itself_is_told_so(make_app: Apps, how):
    """Covers: F19"""
    app = make_app()

    @app.workflow(id="run")
    async def run() -> object:
        own = flow(app, "run")
        return await (own() if how == "calls" else (await own.start()).result())

    with pytest.raises(UsageError, match="run 'run' waits for itself, which never ends"):
        await run()
    assert len(await app.runs.list()) == 1


async def test_a_run_that_starts_itself_finds_itself(make_app: Apps):
    """Covers: F19"""
    app = make_app()

    @app.workflow(id="run")
    async def run() -> str:
        return (await flow(app, "run").start()).id

    assert await run() == "run"
    assert len(await app.runs.list()) == 1


# Arrivals ------------------------------------------------------------------------------------------------------------

LIMIT_MS = 60_000


@pytest.mark.parametrize("early_ms", [1, -1], ids=["signal first", "timer first"])
def test_of_a_signal_and_a_timer_one_is_first_for_ever_and_the_signal_is_not_lost(early_ms):
    """Covers: F4"""

    async def body(step: Step) -> list[str]:
        try:
            async with asyncio.timeout(LIMIT_MS / 1000):
                first = f"signal {await current_app().signal('go')}"
        except TimeoutError:
            first = "timer"
        await step("between", 50)
        return [first, await current_app().signal("go")]

    signal = Event(LIMIT_MS - early_ms, lambda app: app.complete("run", "go", "payload"))
    played = play_and_cut(script_for(body, events=(signal,)))
    assert played.result == ["signal payload" if early_ms > 0 else "timer", "payload"]


@pytest.mark.parametrize("what", ["message", "signal"])
def test_a_choice_made_in_one_millisecond_stays_as_it_was_recorded(what):
    """Covers: F4"""

    async def body(step: Step) -> list[Any]:
        app = current_app()
        waiting = asyncio.ensure_future(app.signal("go") if what == "signal" else app.receive("go"))
        sleeping = asyncio.ensure_future(asyncio.sleep(LIMIT_MS / 1000, "slept"))
        done, _ = await asyncio.wait([waiting, sleeping], return_when=asyncio.FIRST_COMPLETED)
        first = [task.result() for task in done]
        return [first, await step("after", 100)]

    def arrives(app: Any) -> Any:
        return app.complete("run", "go", "come") if what == "signal" else app.send("run", "go", "come", id="m")

    script = script_for(body, events=(Event(LIMIT_MS, arrives),))
    whole = play(script)
    decided = [cut for cut in cuts(whole.log) if any(entry.note == '"after",100' for entry in journal_at(whole, cut))]
    assert decided
    for cut in decided:
        assert play(script, at=cut, of=whole).result == whole.result


async def test_a_message_is_received_kept_unread_or_refused_and_never_vanishes(make_app: Apps):
    """Covers: F5"""
    app = make_app()

    @app.workflow(id="reader-{n}")
    async def reader(n: int) -> list[int]:
        got = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.004 * n):
                while True:
                    got.append(await app.receive("box"))
        return got

    async def send_until_refused(n: int) -> list[int]:
        accepted = []
        with contextlib.suppress(RunNotOpen):
            for number in range(10_000):
                await app.send(f"reader-{n}", "box", number)
                accepted.append(number)
        return accepted

    async with app:
        store = (await app._engine()).store
        for n in range(1, 8):
            handle = await reader.start(n)
            accepted = await send_until_refused(n)
            received = await handle.result()
            unread = await store.inbox((await handle.record()).key)
            assert received == accepted[: len(received)]
            assert len(unread.messages) == len(accepted) - len(received)


async def test_ten_thousand_runs_that_wait_for_one_thing_are_woken_at_once(tmp_path):
    """Covers: F20"""
    async with opened(tmp_path / "x.db", durability="relaxed") as store:
        for wave in range(10):
            starts = [start(f"{wave}-{number}") for number in range(1_000)]
            runs: list[Any] = list((await store.execute(starts, W1)).outcomes)
            waits = Extras(waits=(Wait(1, "p:go"),))
            suspends = [Advance(run.record.key, W1, 1, (), Suspend(None), waits) for run in runs]
            assert set((await store.execute(suspends, W1)).outcomes) == {Done.DONE}
        assert await store.next_due((QUEUE,)) is None
        committed = await store.execute([Settle("app", "go", True, b"now", "token")])
        assert len(committed.due) == 10_000
        assert await store.count(RunFilter()) == {RunState.QUEUED: 10_000}


# Cancellation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [0.003, 1.2], ids=["in memory", "suspended"])
async def test_no_attempt_begins_once_a_cancellation_was_acknowledged(make_app: Apps, wait):
    """Covers: F8"""
    app = make_app()
    tried = 0

    @app.task(retries=10_000, backoff=constant(wait))
    async def fails() -> None:
        nonlocal tried
        tried += 1
        raise OSError("no")

    @app.workflow(id="run-{n}")
    async def run(n: int) -> None:
        await fails()

    async with app:
        for n in range(8 if wait < 1 else 2):
            before = tried
            handle = await run.start(n)
            await eventually(lambda: tried > before + (n if wait < 1 else 0))  # noqa: B023
            assert await handle.cancel()
            acknowledged = tried
            with pytest.raises(RunCancelled):
                await handle.result()
            assert tried == acknowledged


def parent_and_child(stage: Any) -> None:
    @stage.wf.task(retries=0)
    async def work() -> str:
        await stage.world.job(5_000)
        return "worked"

    @stage.wf.workflow
    async def child() -> str:
        return await work()

    @stage.wf.workflow
    async def main() -> str:
        return await child()


@pytest.mark.parametrize("early_ms", [300, 1, -300])
def test_a_child_that_ends_while_its_parent_is_cancelled_has_one_outcome(early_ms):
    """Covers: F6, F10"""
    cancel = Event(5_000 - early_ms, lambda app: app.runs.cancel("run", reason="enough"))
    played = play_and_cut(Script(parent_and_child, events=(cancel,)))
    ends = {
        run_id: [entry.status for entry in journal if entry.name == "finish"]
        for run_id, journal in played.journals.items()
    }
    assert [len(outcomes) for outcomes in ends.values()] == [1, 1]
    of_the_child = [entry.status for entry in played.journal if entry.kind is Kind.CHILD and entry.status is Status.OK]
    if early_ms > 0:
        assert isinstance(played.result, RunCancelled)
        assert of_the_child == []
    else:
        assert played.result == "worked"
        assert of_the_child == [Status.OK]


def test_a_cancellation_while_an_interrupted_task_is_dealt_with_leads_to_one_outcome():
    """Covers: F22"""

    def build(stage: Any) -> None:
        @stage.wf.task(at_most_once=True)
        async def once() -> None:
            await stage.world.job(1_000)

        @stage.wf.task(retries=0)
        async def tidy(what: str) -> str:
            await stage.world.job(2_000)
            return what

        @stage.wf.workflow
        async def main() -> str:
            try:
                await once()
            except TaskInterrupted:
                try:
                    return await tidy("after the interruption")
                finally:
                    await tidy("after the cancellation")
            return "uninterrupted"

    cancel = Event(1_500, lambda app: app.runs.cancel("run"))
    script = Script(build, events=(cancel,))
    whole = play(script)
    assert whole.result == "uninterrupted"
    begun = next(cut for cut in cuts(whole.log) if [e.status for e in journal_at(whole, cut)][-1:] == [Status.BEGUN])
    interrupted = play(script, at=begun, of=whole)
    assert isinstance(interrupted.result, RunCancelled)
    names = [(entry.name, entry.status) for entry in interrupted.journal[1:]]
    assert names == [
        ("once", Status.BEGUN), ("once", Status.ERROR), ("cancel", Status.OK), ("tidy", Status.OK),
        ("finish", Status.ERROR),
    ]  # fmt: skip
    for cut in cuts(interrupted.log, since=interrupted.began):
        again = play(script, at=cut, of=interrupted)
        assert isinstance(again.result, RunCancelled)
        assert [(entry.name, entry.status) for entry in again.journal[1:]] == names


# Many branches -------------------------------------------------------------------------------------------------------


def test_fifty_branches_that_end_in_any_order_are_replayed_in_the_order_recorded():
    """Covers: F17"""
    source = random.Random(17)
    spans = source.sample(range(10, 5_000), 50)

    async def body(step: Step) -> list[Any]:
        order: list[int] = []

        async def branch(number: int) -> int:
            await step(number, spans[number])
            order.append(number)
            await step(-number, 7)
            return number

        results = await asyncio.gather(*(branch(number) for number in range(50)))
        return [results, order]

    script = script_for(body)
    whole = play(script)
    results, order = whole.result
    assert results == list(range(50))
    assert order == sorted(range(50), key=lambda number: spans[number])
    for cut in list(cuts(whole.log))[::9]:
        again = play(script, at=cut, of=whole, later_ms=source.choice((0, 3_000, 10**9)))
        recorded = len([e for e in journal_at(whole, cut) if e.kind is Kind.TASK and not e.note.startswith('"-')])
        assert again.result[0] == results
        assert again.result[1][: recorded // 2] == order[: recorded // 2]


async def test_a_pause_and_a_resume_in_any_order_lose_no_run(make_app: Apps):
    """Covers: F9"""
    app = make_app()

    @app.task
    async def step(n: int) -> int:
        return n

    @app.workflow(id="run-{n}")
    async def run(n: int) -> int:
        return sum([await step(number) for number in range(n % 7)])

    source = random.Random(3)
    async with app:
        for n in range(40):
            handle = await run.start(n)
            for _ in range(source.randrange(6)):
                await asyncio.sleep(0)
            await handle.pause()
            for _ in range(source.randrange(6)):
                await asyncio.sleep(0)
            await handle.resume()
            await state(app, handle.id, "succeeded")
            assert await handle.result() == sum(range(n % 7))
    assert await app.runs.count() == {"succeeded": 40}
