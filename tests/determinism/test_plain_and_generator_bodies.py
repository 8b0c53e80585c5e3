"""Plain functions and generators as workflows, cut at every position."""

from typing import Any

import pytest

import durable
from durable import constant
from tests.support.bodies import Broken, play_and_cut
from tests.support.replaying import Event, Script, Stage

EVENTS = (
    Event(700, lambda wf: wf.complete("run", "early", "e")),
    Event(900, lambda wf: wf.send("run", "box", "letter", id="m")),
    Event(4_000_000, lambda wf: wf.complete("run", "late", "l")),
)


def tasks(stage: Stage) -> dict[str, Any]:
    wf, world = stage

    @wf.task(retries=3, backoff=constant(2))
    async def work(number: int, fails: int = 0) -> int:
        attempt = await world.job(30 + number)
        if attempt <= fails:
            raise Broken(number)
        return number

    @wf.task(retries=0)
    def plain(number: int) -> int:
        return -number

    @wf.workflow
    async def child(number: int) -> int:
        await durable.sleep(3)
        return await work(number)

    return {"work": work, "plain": plain, "child": child}


def test_a_plain_workflow_is_cut_at_every_position() -> None:
    def build(stage: Stage) -> None:
        wf = stage.wf
        t = tasks(stage)

        @wf.workflow
        def main() -> Any:
            began = durable.time()
            results: list[Any] = [t["work"].sync(1), t["plain"](2), t["work"].sync(3, fails=2)]
            durable.sleep(3_600)
            results += [wf.signal("early"), wf.signal("late"), wf.receive("box")]
            try:
                t["work"].sync(4, fails=9)
            except Broken as error:
                results.append(str(error))
            results.append(t["child"].sync(5))
            results.append(durable.map(t["work"], [6, 7, 8], limit=2))
            results.append(durable.patched("change"))
            results.append(t["work"].sync(9, step_id="nine"))
            return [*results, durable.time() - began > 3_600]

    played = play_and_cut(Script(build, events=EVENTS))
    assert played.result == [1, -2, 3, "e", "l", "letter", "4", 5, [6, 7, 8], True, 9, True]


def test_a_generator_workflow_is_cut_at_every_position() -> None:
    def build(stage: Stage) -> None:
        t = tasks(stage)

        @stage.wf.workflow
        def main(ctx: Any) -> Any:
            began = ctx.time()
            results: list[Any] = [(yield ctx.run(t["work"], 1)), (yield ctx.run(t["plain"], 2))]
            results.append((yield ctx.run(t["work"], 3, fails=2)))
            yield ctx.sleep(3_600)
            results += [(yield ctx.signal("early")), (yield ctx.signal("late")), (yield ctx.receive("box"))]
            try:
                yield ctx.run(t["work"], 4, fails=9)
            except Broken as error:
                results.append(str(error))
            handle = yield ctx.start(t["child"], 5)
            begun = yield ctx.start(t["work"], 6)
            results += [(yield handle), (yield begun)]
            results.append((yield ctx.gather(ctx.run(t["work"], 7), ctx.run(t["work"], 8), ctx.run(t["child"], 9))))
            return [*results, ctx.time() - began > 3_600, ctx.id]

    played = play_and_cut(Script(build, events=EVENTS))
    assert played.result == [1, -2, 3, "e", "l", "letter", "4", 5, 6, [7, 8, 9], True, "run"]


@pytest.mark.parametrize("kind", ["plain", "generator"])
def test_a_failure_ends_the_run(kind: str) -> None:
    def build(stage: Stage) -> None:
        t = tasks(stage)

        def plain() -> None:
            t["work"].sync(1)
            raise ValueError("no")

        def generator(ctx: Any) -> Any:
            yield ctx.run(t["work"], 1)
            raise ValueError("no")

        stage.wf.workflow(name="main")(plain if kind == "plain" else generator)

    result = play_and_cut(Script(build)).result
    assert isinstance(result, ValueError)


@pytest.mark.parametrize("kind", ["plain", "generator"])
def test_a_cancelled_run_may_clean_up(kind: str) -> None:
    def build(stage: Stage) -> None:
        t = tasks(stage)

        def plain() -> None:
            try:
                durable.sleep(60)
            finally:
                t["work"].sync(1)

        def generator(ctx: Any) -> Any:
            try:
                yield ctx.sleep(60)
            finally:
                yield ctx.run(t["work"], 1)

        stage.wf.workflow(name="main")(plain if kind == "plain" else generator)

    cancel = Event(5_000, lambda wf: wf.runs.cancel("run", reason="enough"))
    played = play_and_cut(Script(build, events=(cancel,)))
    assert isinstance(played.result, durable.RunCancelled)
    assert [entry.name for entry in played.journal[-3:]] == ["cancel", "work", "finish"]


def test_a_changed_plain_workflow_is_noticed() -> None:
    from tests.support.replaying import cuts, journal_at, play

    def script(numbers: list[int]) -> Script:
        def build(stage: Stage) -> None:
            t = tasks(stage)

            @stage.wf.workflow
            def main() -> Any:
                return [t["work"].sync(number) for number in numbers]

        return Script(build, direct=True)

    whole = play(script([1, 2, 3]))
    assert whole.result == [1, 2, 3]
    for cut in cuts(whole.log):
        journal = journal_at(whole, cut)
        changed = play(script([1, 4, 3]), at=cut, of=whole)
        if 2 < len(journal) < 5:
            assert isinstance(changed.result, durable.NonDeterminismError)
            assert changed.journal == journal
            assert play(script([1, 2, 3]), of=changed).result == [1, 2, 3]
