"""Deadlines are fixed when a wait begins, and stand over any number of crashes."""

import asyncio
from typing import Any

import pytest

import durable
from durable.core.records import Entry, Kind, Status
from tests.support.bodies import Step, script_for
from tests.support.clock import START_MS
from tests.support.replaying import Cut, Script, cuts, journal_at, play


async def by_durable_sleep(step: Step) -> Any:
    await step("before", 250)
    await durable.sleep(3_600)
    return await step("after", 10)


async def by_asyncio_sleep(step: Step) -> Any:
    await step("before", 250)
    await asyncio.sleep(3_600)
    return await step("after", 10)


async def by_timeout(step: Step) -> Any:
    await step("before", 250)
    try:
        async with asyncio.timeout(3_600):
            await asyncio.get_running_loop().create_future()
    except TimeoutError:
        return await step("after", 10)


async def by_call_later(step: Step) -> Any:
    await step("before", 250)
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(3_600, event.set)
    await event.wait()
    return await step("after", 10)


WAITS = [by_durable_sleep, by_asyncio_sleep, by_timeout, by_call_later]


def woken_at(journal: list[Entry]) -> int:
    return next(entry.at for entry in journal if entry.kind is Kind.TIMER and entry.status is Status.OK) - START_MS


def while_waiting(script: Script) -> tuple[Any, Cut]:
    whole = play(script)
    waiting = [
        cut for cut in cuts(whole.log)
        if journal_at(whole, cut) and journal_at(whole, cut)[-1][2:4] == (Kind.TIMER, Status.BEGUN)
    ]  # fmt: skip
    return whole, waiting[0]


@pytest.mark.parametrize("body", WAITS, ids=lambda body: body.__name__)
def test_a_wait_takes_its_time_in_all_however_often_the_worker_dies(body: Any) -> None:
    """Covers: A10"""
    script = script_for(body)
    played, cut = while_waiting(script)
    for later_ms in (1_000_000, 1_000_000, 500_000):
        played = play(script, at=cut, of=played, later_ms=later_ms)
        assert (woken_at(played.journal), played.result) == (3_600_250, "after")
        cut = next(
            c for c in cuts(played.log, since=played.began)
            if c.now == cut.now + later_ms and journal_at(played, c)[-1].status is Status.BEGUN
        )  # fmt: skip


@pytest.mark.parametrize("body", WAITS, ids=lambda body: body.__name__)
def test_a_wait_whose_deadline_has_passed_returns_at_once(body: Any) -> None:
    script = script_for(body)
    whole, cut = while_waiting(script)
    late = play(script, at=cut, of=whole, later_ms=10_000_000)
    assert (woken_at(late.journal), late.result) == (10_000_250, "after")


@pytest.mark.parametrize("body", WAITS, ids=lambda body: body.__name__)
def test_a_wait_is_not_shorter_by_what_the_body_has_been_away_before_it(body: Any) -> None:
    script = script_for(body)
    whole = play(script)
    before = [cut for cut in cuts(whole.log, within=True) if len(journal_at(whole, cut)) == 2]
    late = play(script, at=before[0], of=whole, later_ms=5_000_000)
    assert woken_at(late.journal) == 250 + 5_000_000 + 3_600_000


def test_a_retry_keeps_its_time_over_a_crash() -> None:
    """Covers: A15"""

    def build(stage: Any) -> None:
        @stage.wf.task(retries=1, backoff=durable.constant(7_200))
        async def flaky() -> int:
            attempt: int = await stage.world.job(100)
            if attempt == 1:
                raise ValueError("once")
            return attempt

        @stage.wf.workflow
        async def main() -> Any:
            return [await flaky(), round(durable.time() - START_MS / 1000, 3)]

    script = Script(build)
    whole = play(script)
    assert whole.result == [2, 7_200.2]
    waiting = [
        cut for cut in cuts(whole.log) if journal_at(whole, cut) and journal_at(whole, cut)[-1].status is Status.RETRY
    ]
    assert waiting
    for cut in waiting[:2]:
        assert play(script, at=cut, of=whole, later_ms=3_000_000).result == [2, 7_200.2]
        assert play(script, at=cut, of=whole, later_ms=9_000_000).result == [2, 9_000.2]


def test_values_read_before_a_crash_stay() -> None:
    async def body(step: Step) -> Any:
        first = durable.time()
        await step("between", 500)
        return [first, durable.time()]

    script = script_for(body)
    whole = play(script)
    cut = next(cut for cut in cuts(whole.log) if len(journal_at(whole, cut)) == 2)
    first, second = play(script, at=cut, of=whole, later_ms=60_000).result
    assert (first, second) == (START_MS / 1000, START_MS / 1000 + 60.5)


@pytest.mark.parametrize("kind", ["child", "at most once", "timer", "value"])
def test_the_loop_s_time_is_the_same_on_every_replay(kind: str) -> None:
    def build(stage: Any) -> None:
        @stage.wf.task(at_most_once=True)
        async def once() -> None:
            await stage.world.job(5_000)

        @stage.wf.task(retries=0)
        async def step(moment: float) -> float:
            await stage.world.job(100)
            return moment

        @stage.wf.workflow
        async def child() -> float:
            return await step(0)

        async def value() -> float:
            return durable.time()

        @stage.wf.workflow
        async def main() -> Any:
            calls = {"child": child, "at most once": once, "timer": lambda: durable.sleep(7), "value": value}
            branch = asyncio.ensure_future(calls[kind]())
            await asyncio.sleep(0)
            moment = asyncio.get_running_loop().time()
            given = await step(moment)
            branch.cancel()
            return given == moment

    script = Script(build)
    whole = play(script)
    for cut in cuts(whole.log):
        late = play(script, at=cut, of=whole, later_ms=1_000)
        assert late.result is True
        for second in cuts(late.log, since=late.began):
            assert play(script, at=second, of=late, later_ms=1_000).result is True
