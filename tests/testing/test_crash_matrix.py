"""`crash_matrix`: what a crash changes is found, told with its lines, and nothing else is."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from datetime import timedelta
from unittest.mock import Mock

import pytest

import durable
from durable import InMemoryStore, TaskInterrupted, UsageError, Workflow
from durable.backoff import constant
from durable.testing import CrashMatrixFailed, CrashReport, Fake, crash_matrix, effect


@pytest.fixture
def wf() -> Workflow:
    return Workflow("shop", db=InMemoryStore())


@pytest.fixture
def charge(wf):
    @wf.task
    async def charge(order: str) -> str:
        effect("charged", order)
        return f"receipt {order}"

    return charge


def failure_of(workflow, *args, **options) -> CrashMatrixFailed:
    with pytest.raises(CrashMatrixFailed) as caught:
        crash_matrix(workflow, *args, **options)
    return caught.value


def found_in(failure: CrashMatrixFailed) -> list[tuple[str, str]]:
    return [(finding.what, finding.text) for finding in failure.findings]


def line_of(fn, mark: str) -> str:
    """Return `file:line` of the line that ends with a comment."""
    lines, first = inspect.getsourcelines(inspect.unwrap(fn))
    offset = next(index for index, line in enumerate(lines) if line.rstrip().endswith(f"# {mark}"))
    return f"{str(inspect.getsourcefile(inspect.unwrap(fn))).rpartition('/')[2]}:{first + offset}"


# Without mistakes -----------------------------------------------------------------------------------------------------


def test_it_crashes_before_and_after_each_commit_and_again_with_each_entry_by_itself(wf, charge):
    @wf.workflow
    async def order(number: str) -> str:
        receipt = await charge(number)
        await durable.sleep(timedelta(days=30))
        return f"{receipt} {durable.uuid4() is not None}"

    report = crash_matrix(order, "42")
    assert isinstance(report, CrashReport)
    assert report.result == "receipt 42 True"
    assert [str(done) for done in report.effects] == ["charged '42'"]
    # It is started and claimed; has charged and sleeps; is claimed anew; wakes up, takes a value and ends. Nothing can
    # happen between a commit and a claim after it. The second time, what was recorded by two commits is so by four.
    assert report.boundaries == 4
    assert report.plays == 2 + (4 * 2 - 1) + 1 + 4 * 2


def test_each_boundary_costs_two_plays_and_no_more(wf, charge):
    @wf.workflow
    async def long() -> int:
        for number in range(50):
            await charge(str(number))
        return 50

    report = crash_matrix(long)
    assert (report.result, report.boundaries) == (50, 51)
    assert 2 + 2 * 51 <= report.plays <= 2 + 2 * 51 + 10


def test_signals_messages_retries_children_and_branches_are_no_mistakes(wf, charge):
    @wf.task(retries=2, backoff=constant(3600))
    async def pack(order: str) -> str:
        return order

    @wf.workflow
    async def label(order: str) -> str:
        await durable.sleep(5)
        return await charge(f"label of {order}")

    @wf.workflow
    async def order(number: str) -> list[object]:
        done = await asyncio.gather(charge(number), pack(number), label(number))
        notes = [await wf.receive("note"), await wf.receive("note")]
        return [*done, await wf.signal("approval"), *notes, *await durable.map(charge, ["x", "y"])]

    packed = Fake("box", fails=[OSError("no box"), OSError("no tape")])
    with wf.override(pack, packed):
        report = crash_matrix(
            order, "42", signals={"approval": True}, messages=[("note", "first"), ("note", "second")]
        )  # fmt: skip
    assert report.result == [
        "receipt 42", "box", "receipt label of 42", True, "first", "second", "receipt x", "receipt y"
    ]  # fmt: skip
    assert sorted(map(str, report.effects)) == [
        "charged '42'", "charged 'label of 42'", "charged 'x'", "charged 'y'", "pack '42'"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["plain", "generator", "new"])
def test_every_way_to_write_a_workflow_can_be_played(wf, charge, kind):
    @wf.task
    def weigh(order: str) -> int:
        effect("weighed", order)
        return 7

    @wf.workflow
    def plain(number: str) -> str:
        durable.sleep(60)
        return f"{weigh(number)} {charge.sync(number)}"

    @wf.workflow
    def generator(ctx, number: str):
        yield ctx.sleep(60)
        weight = yield ctx.run(weigh, number)
        receipt = yield ctx.run(charge, number)
        return f"{weight} {receipt}"

    @wf.workflow(id="new")
    async def new(number: str, round: int = 1) -> str:
        text = f"{await weigh.aio(number)} {await charge(number)}"
        if round < 2:
            durable.continue_as_new(number, round=2)
        return text

    report = crash_matrix(wf.workflows[kind], "42")
    assert report.result == "7 receipt 42"
    assert [str(done) for done in report.effects] == ["weighed '42'", "charged '42'"] * (2 if kind == "new" else 1)


def test_a_workflow_that_fails_may_fail_in_the_same_way_each_time(wf):
    @wf.task(retries=0)
    async def charge(order: str) -> None:
        raise ValueError("no money", order)

    @wf.workflow
    async def order(number: str) -> None:
        await charge(number)

    report = crash_matrix(order, "42")
    assert isinstance(report.result, ValueError)
    assert report.result.args == ("no money", "42")


def test_what_comes_from_outside_comes_at_its_time(wf, charge):
    @wf.workflow
    async def order(number: str) -> str:
        try:
            async with asyncio.timeout(3 * 86_400):
                return await wf.signal("approval")
        except TimeoutError:
            return await charge("nobody")

    async def approve(handle) -> None:
        await handle.signal("approval", "in time")

    assert crash_matrix(order, "42", at={timedelta(days=2): approve}).result == "in time"
    assert crash_matrix(order, "42", at={timedelta(days=4): approve}).result == "receipt nobody"


# Effects outside of tasks ---------------------------------------------------------------------------------------------


def test_an_effect_outside_a_task_is_found_between_its_two_lines(wf, charge):
    @wf.workflow
    async def order(number: str) -> None:
        await charge(number)  # before
        effect("mailed", number)  # mistake
        await durable.sleep(timedelta(days=30))  # after
        await charge(f"{number} again")

    failure = failure_of(order, "42")
    assert found_in(failure) == [("repeated", "mailed '42'")]
    assert failure.findings[0].found == 2
    text = str(failure)
    before, mistake, after = (re.escape(line_of(order, mark)) for mark in ("before", "mistake", "after"))
    assert re.search(
        rf"mailed '42'` happened twice, without a crash once.*outside any task, between these two lines:\s+"
        rf"{before}: await charge\(number\).*\(step 1: task 'charge'\)\s+"
        rf"> {mistake}: effect\(\"mailed\", number\).*\n\s+"
        rf"{after}: await durable.sleep\(.*\(step 2: sleep\).*"
        rf"The process died before commit 2 of 5.*{mistake} ran again.*Move the effect into a @wf.task",
        text,
        re.DOTALL,
    ), text


@pytest.mark.parametrize("kind", ["list", "set", "mock", "function"])
def test_what_a_body_adds_to_a_watched_object_is_an_effect(wf, charge, kind):
    mailed: list[str] = ["yesterday's"]
    mailer = Mock()

    @wf.workflow
    async def order(number: str) -> None:
        await charge(number)  # before
        mailed.append(number)
        mailer.send(number)
        await charge("again")  # after

    if kind == "set":  # adding twice to a set changes nothing
        assert crash_matrix(order, "42", watch={"mailed": set()}).plays
        return
    target = {"list": mailed, "mock": mailer.send, "function": lambda: mailed}[kind]
    failure = failure_of(order, "42", watch={"mailed": target}, setup=lambda: mailed.__setitem__(slice(1, None), []))
    assert [what for what, _ in found_in(failure)] == ["repeated"]
    assert f"{line_of(order, 'before')}: " in str(failure)
    assert f"{line_of(order, 'after')}: " in str(failure)
    assert f"> {line_of(order, 'before').rpartition(':')[0]}" in str(failure)
    if kind == "list":
        assert mailed == ["yesterday's"]  # as it was


def test_a_fake_that_a_body_calls_is_an_effect(wf, charge):
    mailer = Fake(name="mailed")

    @wf.workflow
    async def order(number: str) -> None:
        mailer(number)
        await charge(number)

    assert found_in(failure_of(order, "42")) == [("repeated", "mailed '42'")]


def test_a_plain_workflow_shows_it_without_any_crash(wf, charge):
    @wf.workflow
    def order(number: str) -> None:
        charge.sync(number)
        effect("mailed", number)
        durable.sleep(60)

    failure = failure_of(order, "42")
    assert found_in(failure) == [("repeated", "mailed '42'")]
    assert "Nobody died. A plain (def) workflow is executed again from the top after each suspension" in str(failure)


def test_lines_of_generators_plain_functions_and_helpers_are_found(wf, charge):
    async def mail(number: str) -> None:
        await charge(number)  # helper
        effect("mailed")

    @wf.workflow
    async def helped(number: str) -> None:
        await mail(number)
        await charge("last")  # helped

    @wf.workflow
    def generator(ctx, number: str):
        yield ctx.run(charge, number)  # generator
        effect("mailed")
        durable.random()
        yield ctx.run(charge, "last")

    @wf.workflow
    def plain(number: str) -> None:
        charge.sync(number)  # plain
        effect("mailed")
        charge.sync("last")

    text = str(failure_of(helped, "42"))
    assert f"{line_of(mail, 'helper')}: " in text
    assert f"{line_of(helped, 'helped')}: " in text
    text = str(failure_of(generator, "42"))
    assert f"{line_of(generator, 'generator')}: " in text
    assert "durable.random())" in text.replace("durable.random()    ", "")
    assert f"{line_of(plain, 'plain')}: " in str(failure_of(plain, "42"))


def test_the_beginning_and_the_end_of_a_workflow_are_boundaries_too(wf, charge):
    @wf.workflow
    async def order(number: str) -> None:
        effect("first")
        await charge(number)
        effect("last")

    text = str(failure_of(order, "42"))
    assert re.search(r"the beginning of the workflow\s+> test_crash_matrix", text)
    assert re.search(r"> test_crash_matrix\S+ effect\(\"last\"\)\s+the end of the workflow", text)


def test_a_child_s_own_code_is_told_with_the_child_s_lines(wf, charge):
    @wf.workflow
    async def child(number: str) -> None:
        await charge(number)  # in the child
        effect("mailed")
        await charge("again")

    @wf.workflow
    async def parent(number: str) -> None:
        await asyncio.gather(charge("parent"), child(number))

    failure = failure_of(parent, "42")
    assert found_in(failure) == [("repeated", "mailed")]
    assert f"{line_of(child, 'in the child')}: " in str(failure)


# What tasks do --------------------------------------------------------------------------------------------------------


def test_a_task_may_repeat_its_effect_unless_the_test_says_otherwise(wf, charge):
    @wf.workflow
    async def order(number: str) -> str:
        return await charge(number)

    assert crash_matrix(order, "42").plays
    failure = failure_of(order, "42", repeats=False)
    assert found_in(failure) == [("repeated", "charged '42'")]
    assert "Give durable.idempotency_key() to the other side" in " ".join(str(failure).split())
    assert "Task 'charge' does it" in str(failure)


def test_watched_effects_of_interrupted_tasks_may_be_repeated_as_well(wf):
    charged: list[str] = []

    @wf.task
    async def charge(order: str) -> None:
        charged.append(order)

    @wf.workflow
    async def order(number: str) -> None:
        await asyncio.gather(charge(number), charge(f"{number} too"))

    assert crash_matrix(order, "42", watch={"charged": charged}).plays
    failure = failure_of(order, "42", watch={"charged": charged}, repeats=False)
    assert set(found_in(failure)) == {("repeated", "charged: '42'"), ("repeated", "charged: '42 too'")}


def test_a_task_that_takes_itself_for_done_loses_its_effect(wf):
    begun: set[str] = set()  # outside of the process: a table of the payment service

    @wf.task
    async def charge(order: str) -> None:
        if order in begun:
            return  # the mistake: begun is not done
        begun.add(order)
        await asyncio.sleep(10)
        effect("charged", order)

    @wf.task
    async def quick() -> None:
        await asyncio.sleep(5)

    @wf.workflow
    async def order(number: str) -> None:
        await asyncio.gather(charge(number), quick())

    failure = failure_of(order, "42", setup=begun.clear)
    assert found_in(failure) == [("lost", "charged '42'")]
    assert "got lost: it happened never, without a crash once" in str(failure)


def test_a_process_that_dies_runs_no_finally(wf):
    cleaned: list[str] = []

    @wf.task
    async def slow() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            cleaned.append("slow")

    @wf.task
    def quick() -> None: ...

    @wf.workflow
    async def order() -> None:
        await asyncio.gather(slow(), quick.aio())

    # Crashed while `slow` sleeps, and after it: only in the second case its effect was there before.
    failure = failure_of(order, watch={"cleaned": cleaned}, repeats=False)
    assert [finding.played.plan[0].when for finding in failure.findings] == ["before"]
    assert failure.findings[0].played.plan[0].boundary == failure.report.boundaries


def test_at_most_once_tasks_may_lead_elsewhere_after_a_crash_but_never_twice(wf, charge):
    @wf.task(at_most_once=True)
    async def launch() -> str:
        effect("launched")
        return "launched"

    @wf.workflow
    async def mission() -> str:
        try:
            return await launch()
        except TaskInterrupted:
            await charge("somebody to look")
            return "who knows"

    assert crash_matrix(mission).result == "launched"

    @wf.workflow
    async def twice() -> str:
        try:
            return await launch()
        except TaskInterrupted:
            effect("looked")
            return await charge("somebody")

    assert crash_matrix(twice).result == "launched"  # only what a crash repeats is a mistake there


def test_a_workflow_that_decides_by_a_global_goes_another_way_after_a_crash(wf, charge):
    lives: list[int] = []

    @wf.workflow
    async def order(number: str) -> None:
        lives.append(1)
        await charge(number)
        if len(lives) > 1:
            await charge("extra")

    failure = failure_of(order, "42", setup=lives.clear)
    assert ("new", "charged 'extra'") in found_in(failure)
    assert "charged 'extra'` happened once, without a crash never" in str(failure)
    assert "decides by something that is not recorded" in " ".join(str(failure).split())


def test_a_result_that_depends_on_the_number_of_lives_is_found(wf, charge):
    lives: list[int] = []

    @wf.workflow
    async def order(number: str) -> int:
        lives.append(1)
        await charge(number)
        return len(lives)

    failure = failure_of(order, "42", setup=lives.clear)
    assert [what for what, _ in found_in(failure)] == ["outcome"]
    assert "the run returned 2\n  without a crash it returned 1" in str(failure)
    assert crash_matrix(order, "42", setup=lives.clear, same=lambda one, other: other >= one).result == 1


def test_a_run_that_is_set_aside_after_a_crash_is_found(wf, charge):
    lives: list[int] = []

    @wf.workflow
    async def order(number: str) -> None:
        lives.append(1)
        await charge(f"{number} {len(lives)}")
        await durable.sleep(1)

    failure = failure_of(order, "42", setup=lives.clear)
    assert ("outcome", "") in [(what, "") for what, _ in found_in(failure)]
    assert "was set aside: run " in str(failure)


# Pairs ----------------------------------------------------------------------------------------------------------------


def test_what_only_two_crashes_show_is_found_with_pairs(wf, charge):
    lives: list[int] = []

    @wf.workflow
    async def order(number: str) -> None:
        lives.append(1)
        await charge(number)
        await durable.sleep(1)
        if len(lives) > 2:
            effect("third time")

    assert crash_matrix(order, "42", setup=lives.clear).plays < 25
    failure = failure_of(order, "42", setup=lives.clear, pairs=True)
    assert ("repeated", "third time") in found_in(failure)
    assert len(failure.findings[0].played.died) == 2
    assert failure.report.plays > 60
    assert str(failure).count("The process died") >= 2


# Calls that cannot work -----------------------------------------------------------------------------------------------


def test_a_run_that_waits_for_ever_is_told_with_its_line(wf, charge):
    @wf.workflow
    async def order(number: str) -> None:
        await charge(number)
        await wf.signal("approval")  # waits

    with pytest.raises(UsageError) as caught:
        crash_matrix(order, "42")
    assert f"waits for ever at {line_of(order, 'waits')}" in str(caught.value)
    assert "signals={...}" in str(caught.value)


def test_a_run_that_is_set_aside_without_any_crash_is_told(wf):
    @wf.workflow
    async def reads() -> str:
        with open("/etc/hostname") as file:
            return file.read()

    with pytest.raises(UsageError, match=r"without any crash the run was set aside.*open"):
        crash_matrix(reads)


def test_a_test_that_leaves_something_over_is_told(wf, charge):
    lives: list[int] = []

    @wf.workflow
    async def order() -> int:
        lives.append(1)
        if len(lives) == 1:
            await charge("first")
        return 0

    @wf.workflow
    async def count() -> int:
        lives.append(1)
        return len(lives)

    with pytest.raises(
        UsageError, match=r"differ: `charged 'first'` happened 1 times in the first, 0 times in the second; .*setup="
    ):
        crash_matrix(order)
    lives.clear()
    with pytest.raises(UsageError, match=r"the first returned 1, the second returned 2; .*same="):
        crash_matrix(count)


def test_wrong_arguments_are_refused(wf, charge):
    @wf.workflow
    async def order(number: str) -> None:
        await charge(number)

    with pytest.raises(UsageError, match="expected a workflow"):
        crash_matrix(charge, "42")
    with pytest.raises(UsageError, match="missing a required argument: 'number'"):
        crash_matrix(order)
    with pytest.raises(UsageError, match="expected names with what is watched"):
        crash_matrix(order, "42", watch=[[]])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected a list, a set, a mock"):
        crash_matrix(order, "42", watch={"x": "text"})


# Around it ------------------------------------------------------------------------------------------------------------


async def test_it_works_on_a_running_loop_and_leaves_everything_as_it_was(tmp_path):
    wf = Workflow("shop", db=str(tmp_path / "shop.db"))
    level = logging.getLogger("durable").level
    clock = wf.clock

    @wf.task
    async def charge(order: str) -> str:
        effect("charged")
        return order

    @wf.workflow(id="order-{number}")
    async def order(number: str) -> str:
        return await charge(number)

    assert await order("41") == "41"
    fake = Fake("fake")
    with wf.override(charge, fake):
        assert crash_matrix(order, "42").result == "fake"
    assert [run.run_id for run in await wf.runs.list()] == ["order-41"]
    assert wf.clock is clock
    assert logging.getLogger("durable").level == level
    await wf.stop()


def test_a_fake_begins_anew_for_each_play(wf, charge):
    @wf.workflow
    async def order(number: str) -> str:
        return await charge.with_options(retries=2, backoff=constant(1))(number)

    fake = Fake("receipt", fails=[TimeoutError(), TimeoutError("twice")])
    with wf.override(charge, fake):
        assert crash_matrix(order, "42").result == "receipt"


def test_tasks_in_threads_call_each_other(wf):
    @wf.task
    def inner(number: int) -> int:
        effect("inner", number)
        return number

    @wf.task
    def outer(number: int) -> int:
        return inner(number) + 1

    @wf.workflow
    def order() -> int:
        return sum(durable.map(outer, [1, 2, 3]))

    report = crash_matrix(order)
    assert report.result == 9
    assert sorted(map(str, report.effects)) == ["inner 1", "inner 2", "inner 3"]
