"""Each kind of entry is cut at: before it, after it, and between it and those that are committed with it.

Covers: A6, A7
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import durable
from durable import GiveUp, TaskInterrupted, constant
from durable.core.records import Entry, Kind, Status
from tests.support.bodies import Broken, Step, current_app, play_and_cut, script_for
from tests.support.clock import START_MS
from tests.support.replaying import Event, Script, Stage, cuts, journal_at, play


def kinds_of(journal: list[Entry]) -> set[tuple[Kind, Status]]:
    return {(entry.kind, entry.status) for entry in journal}


async def values(step: Step) -> Any:
    moment = await durable.now.aio()
    return [
        durable.time(),
        str(durable.now()),
        durable.time() - START_MS / 1000,
        await step("a"),
        durable.time(),
        str(moment),
    ]


def test_cut_at_values() -> None:
    """Covers: D11"""
    played = play_and_cut(script_for(values))
    assert [entry.name for entry in played.journal[1:-1]] == ["now", "time", "now", "time", "step", "time"]
    assert (Kind.VALUE, Status.OK) in kinds_of(played.journal)


def test_cut_at_random_values() -> None:
    async def body(step: Step) -> Any:
        drawn = [{"drawn": "random", "value": durable.random()}, {"drawn": "uuid4", "value": str(durable.uuid4())}]
        await step("between")
        return [*drawn, {"drawn": "random", "value": durable.random()}]

    script = script_for(body)
    whole = play_and_cut(script)
    for cut in cuts(whole.log):
        again = play(script, at=cut, of=whole)
        recorded = [again.app.codec.decode(entry.data) for entry in again.journal if entry.kind is Kind.VALUE]
        assert [item["value"] for item in again.result] == recorded


def test_cut_at_patches() -> None:
    async def body(step: Step) -> Any:
        return [durable.patched("a"), await step("b"), durable.patched("c"), durable.patched("a"), await step("d")]

    played = play_and_cut(script_for(body))
    assert [entry.name for entry in played.journal[1:-1]] == ["patched a", "step", "patched c", "step"]


def test_cut_at_timers() -> None:
    """Covers: A10, A11"""

    async def body(step: Step) -> Any:
        await durable.sleep(0.2)
        await durable.sleep(3_000)
        await durable.sleep(0)
        await durable.sleep(-1)
        return durable.time()

    played = play_and_cut(script_for(body))
    assert {(Kind.TIMER, Status.BEGUN), (Kind.TIMER, Status.OK)} <= kinds_of(played.journal)
    assert played.result == START_MS / 1000 + 3_000.2


def test_cut_at_failed_tasks() -> None:
    async def body(step: Step) -> Any:
        try:
            await step("bad", 20, fails=True)
        except Broken as error:
            return [str(error), await step("good")]

    played = play_and_cut(script_for(body))
    assert {(Kind.TASK, Status.ERROR), (Kind.TASK, Status.OK)} <= kinds_of(played.journal)
    assert played.result == ["bad", "good"]


def retrying(stage: Stage) -> None:
    wf, world = stage

    @wf.task(retries=5, backoff=lambda earlier: (0.3, 2, 3_600)[earlier])
    async def flaky(fails: int) -> int:
        attempt = await world.job(40)
        if attempt <= fails:
            raise Broken(attempt)
        return attempt

    @wf.task(retries=5, backoff=constant(1))
    async def hopeless() -> None:
        if await world.job(50) == 2:
            raise GiveUp("no use")
        raise Broken

    @wf.workflow
    async def main() -> Any:
        first = await flaky(3)
        try:
            await hopeless()
        except GiveUp as error:
            return [first, str(error)]


def test_cut_at_failed_attempts() -> None:
    """Covers: A15"""
    played = play_and_cut(Script(retrying))
    assert (Kind.TASK, Status.RETRY) in kinds_of(played.journal)
    assert [entry.attempt for entry in played.journal if entry.name == "flaky"] == [1, 2, 3, 4]
    assert played.result == [4, "no use"]


def test_cut_at_signals() -> None:
    async def body(step: Step) -> Any:
        early = await current_app().signal("early")
        late = await current_app().signal("late")
        return [early, late, await current_app().signal("early"), await step("end")]

    events = (
        Event(5, lambda wf: wf.complete("run", "early", "e")),
        Event(90_000, lambda wf: wf.complete("run", "late", "l")),
    )
    played = play_and_cut(script_for(body, events=events))
    assert (Kind.PROMISE, Status.OK) in kinds_of(played.journal)
    assert played.result == ["e", "l", "e", "end"]


def test_cut_at_messages() -> None:
    """Covers: A12"""

    async def body(step: Step) -> Any:
        got = [await current_app().receive("box")]
        await step("work", 500)
        both = await asyncio.gather(current_app().receive("box"), current_app().receive("other"))
        return [*got, *both, await current_app().receive("box")]

    def send(name: str, number: int) -> Event:
        return Event(100 * number, lambda wf: wf.send("run", name, number, id=f"m{number}"))

    events = (send("box", 1), send("box", 2), send("box", 3), send("other", 4))
    played = play_and_cut(script_for(body, events=events))
    assert (Kind.MESSAGE, Status.OK) in kinds_of(played.journal)
    assert played.result == [1, 2, 4, 3]


def test_cut_at_requests_to_other_runs() -> None:
    async def body(step: Step) -> Any:
        wf = current_app()
        first = await wf.complete("run", "own", "mine")
        second = await wf.complete("run", "own", "again")
        await wf.send("run", "box", "letter")
        return [first, second, await wf.signal("own"), await wf.receive("box")]

    played = play_and_cut(script_for(body))
    assert (Kind.CALL, Status.OK) in kinds_of(played.journal)
    assert played.result == [True, False, "mine", "letter"]


def parents(stage: Stage) -> None:
    wf, world = stage

    @wf.task(retries=0)
    async def work(number: int) -> int:
        await world.job(30 + number)
        return number

    @wf.workflow
    async def child(number: int) -> int:
        if number < 0:
            raise Broken(number)
        await durable.sleep(2)
        return await work(number)

    @wf.workflow
    async def main() -> Any:
        handle = await child.start(5)
        awaited = await child(1)
        try:
            await child(-1)
        except Broken as error:
            return [awaited, str(error), await handle.result(), handle.id]


def test_cut_at_children() -> None:
    """Covers: A13"""
    played = play_and_cut(Script(parents))
    expected = {
        (Kind.CHILD, Status.BEGUN),
        (Kind.CHILD, Status.OK),
        (Kind.CHILD, Status.ERROR),
        (Kind.START, Status.OK),
    }
    assert expected <= kinds_of(played.journals["run"])
    assert played.result == [1, "-1", 5, "run/1"]


def test_cut_at_the_end_of_a_failed_run() -> None:
    """Covers: A8"""

    async def body(step: Step) -> Any:
        await step("good")
        await step("bad", fails=True)

    played = play_and_cut(script_for(body))
    assert isinstance(played.result, Broken)
    assert played.journal[-1][2:4] == (Kind.RUN, Status.ERROR)


def test_cut_at_the_cancellation_of_a_run() -> None:
    """Covers: A14"""

    async def body(step: Step) -> Any:
        try:
            await step("long", 60_000)
        finally:
            await step("undo", 70)

    event = Event(1_000, lambda wf: wf.runs.cancel("run", reason="enough"))
    played = play_and_cut(script_for(body, events=(event,)))
    assert [entry.name for entry in played.journal] == ["start", "cancel", "step", "finish"]
    assert isinstance(played.result, durable.RunCancelled)


@pytest.mark.parametrize("limit", ["timeout", "deadline"])
def test_cut_at_the_limits_of_a_run(limit: str) -> None:
    async def body(step: Step) -> Any:
        try:
            await step("long", 60_000)
        finally:
            await step("undo", 70)

    played = play_and_cut(script_for(body, workflow={limit: 2}))
    assert [entry.name for entry in played.journal] == ["start", limit, "step", "finish"]
    assert played.journal[1].at == START_MS + 2_000
    assert isinstance(played.result, durable.RunTimedOut)


def test_cut_at_the_rewind_of_a_failed_run() -> None:
    async def body(step: Step) -> Any:
        first = await step("first")
        second = await step("second", 20, fails=broken[0])
        return [first, second, await step("third")]

    broken = [True]
    script = script_for(body, direct=True)
    failed = play(script)
    assert isinstance(failed.result, Broken)
    broken[0] = False
    going_on = play(script, of=failed, later_ms=1_000)
    assert going_on.result == ["first", "second", "third"]
    assert [entry.name for entry in going_on.journal] == ["start", "step", "rewind", "step", "step", "finish"]
    # The journal with its rewind mark is replayed from every moment after it.
    for cut in cuts(going_on.log, since=going_on.began):
        if any(entry.name == "rewind" for entry in journal_at(going_on, cut)):
            again = play(script, at=cut, of=going_on)
            assert again.result == ["first", "second", "third"]
            assert [entry.name for entry in again.journal] == [entry.name for entry in going_on.journal]


def interrupted(stage: Stage) -> None:
    wf, world = stage

    @wf.task(at_most_once=True)
    async def once(number: int) -> int:
        await world.job(100 * number)
        return number

    @wf.workflow
    async def main() -> Any:
        results: list[Any] = []
        for number in (1, 2):
            try:
                results.append(await once(number))
            except TaskInterrupted:
                results.append("interrupted")
        return results


def test_cut_at_the_marker_of_an_at_most_once_task() -> None:
    """Covers: A3"""
    script = Script(interrupted)
    whole = play(script)
    assert whole.result == [1, 2]
    assert (Kind.TASK, Status.BEGUN) in kinds_of(whole.journal)
    for cut in cuts(whole.log, within=True):
        journal = journal_at(whole, cut)
        interrupted_one = bool(journal) and journal[-1].status is Status.BEGUN
        done = sum(entry.kind is Kind.TASK and entry.status is Status.OK for entry in journal)
        again = play(script, at=cut, of=whole)
        rest = range(done + 1 + interrupted_one, 3)
        assert again.result == [*range(1, done + 1), *["interrupted"] * interrupted_one, *rest]
        begun_before = set(list(whole.world.jobs)[: cut.jobs])
        assert not begun_before & set(again.world.asked), "an attempt that had begun was repeated"


def test_cut_at_a_continuation_as_new() -> None:
    """Covers: A16"""

    def build(stage: Stage) -> None:
        wf, world = stage

        @wf.task(retries=0)
        async def work(number: int) -> int:
            await world.job(20)
            return number

        @wf.workflow
        async def main(number: int = 0) -> Any:
            got = await work(number)
            if number < 3:
                durable.continue_as_new(number + 1)
            return [got, await work(100)]

    played = play_and_cut(Script(build))
    assert played.result == [3, 100]
    assert [entry.name for entry in played.journal] == ["start", "work", "work", "finish"]


def test_no_kind_of_entry_was_forgotten() -> None:
    """A kind or status that is added later fails here until this file has a test that names it."""
    source = Path(__file__).read_text()
    for item in (*Kind, *Status):
        assert f"{type(item).__name__}.{item.name}" in source
