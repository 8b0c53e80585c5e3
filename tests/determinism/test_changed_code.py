"""Code that changed under a run is noticed before anything happens, and nothing is lost.

Covers: G1, G2, G3, G4
"""

import asyncio
from typing import Any

import pytest

import durable
from durable import NonDeterminismError, UsageError
from durable.core.records import Reason
from tests.support.bodies import Step, current_app, play_and_cut, script_for
from tests.support.replaying import Cut, Event, Played, Script, cuts, is_trouble, journal_at, play


async def original(step: Step) -> Any:
    first = await step("first")
    await durable.sleep(5)
    second = await step("second")
    pair = await asyncio.gather(step("left", 40), step("right", 20))
    moment = durable.time()
    answer = await current_app().signal("go")
    return [first, second, *pair, moment, answer, await step("last")]


async def a_step_added_at_the_front(step: Step) -> Any:
    await step("new")
    return await original(step)


async def a_step_added_in_the_middle(step: Step) -> Any:
    first = await step("first")
    await durable.sleep(5)
    await step("new")
    second = await step("second")
    pair = await asyncio.gather(step("left", 40), step("right", 20))
    return [first, second, *pair, durable.time(), await current_app().signal("go"), await step("last")]


async def a_step_removed(step: Step) -> Any:
    await durable.sleep(5)
    second = await step("second")
    pair = await asyncio.gather(step("left", 40), step("right", 20))
    return [second, *pair, durable.time(), await current_app().signal("go"), await step("last")]


async def steps_swapped(step: Step) -> Any:
    second = await step("second")
    await durable.sleep(5)
    first = await step("first")
    pair = await asyncio.gather(step("left", 40), step("right", 20))
    return [first, second, *pair, durable.time(), await current_app().signal("go"), await step("last")]


async def branches_swapped(step: Step) -> Any:
    first = await step("first")
    await durable.sleep(5)
    second = await step("second")
    pair = await asyncio.gather(step("right", 20), step("left", 40))
    return [first, second, *pair, durable.time(), await current_app().signal("go"), await step("last")]


async def arguments_changed(step: Step) -> Any:
    first = await step("first", 11)
    await durable.sleep(5)
    second = await step("second")
    pair = await asyncio.gather(step("left", 40), step("right", 20))
    return [first, second, *pair, durable.time(), await current_app().signal("go"), await step("last")]


async def a_task_renamed(step: Step) -> Any:
    async def work(name: str) -> str:
        return name

    first = await current_app().step("renamed", work, "first")
    await durable.sleep(5)
    return [first, await step("second")]


async def a_sleep_removed(step: Step) -> Any:
    first = await step("first")
    second = await step("second")
    return [first, second]


async def a_step_instead_of_a_sleep(step: Step) -> Any:
    first = await step("first")
    await step("sleep")
    return [first, await step("second")]


async def another_value(step: Step) -> Any:
    first = await step("first")
    await durable.sleep(5)
    second = await step("second")
    pair = await asyncio.gather(step("left", 40), step("right", 20))
    return [first, second, *pair, durable.random(), await current_app().signal("go"), await step("last")]


async def another_signal(step: Step) -> Any:
    first = await step("first")
    await durable.sleep(5)
    second = await step("second")
    pair = await asyncio.gather(step("left", 40), step("right", 20))
    return [first, second, *pair, durable.time(), await current_app().signal("stop"), await step("last")]


async def an_earlier_end(step: Step) -> Any:
    return await step("first")


async def a_branch_left_out(step: Step) -> Any:
    first = await step("first")
    await durable.sleep(5)
    second = await step("second")
    return [first, second, await step("left", 40), await step("right", 20)]


CHANGES = [
    a_step_added_at_the_front, a_step_added_in_the_middle, a_step_removed, steps_swapped, branches_swapped,
    arguments_changed, a_task_renamed, a_sleep_removed, a_step_instead_of_a_sleep, another_value, another_signal,
    an_earlier_end, a_branch_left_out,
]  # fmt: skip

GO = Event(30_000, lambda wf: wf.complete("run", "go", "answer"))
STOP = Event(30_000, lambda wf: wf.complete("run", "stop", "answer"))


def whole_play() -> Played:
    return play(script_for(original, events=(GO,), direct=True))


def last_cut(whole: Played) -> Cut:
    """Return the last moment at which the run has not ended."""
    return [cut for cut in cuts(whole.log) if journal_at(whole, cut) and journal_at(whole, cut)[-1].name != "finish"][
        -1
    ]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_noticed_and_waits_for_the_old_code(change: Any) -> None:
    whole = whole_play()
    cut = last_cut(whole)
    before = journal_at(whole, cut)
    changed = play(script_for(change, direct=True), at=cut, of=whole)
    error = changed.result
    assert isinstance(error, NonDeterminismError)
    assert error.run_id == "run"
    assert 0 < error.position < len(before)
    assert "durable.patched" in str(error)
    assert "'run'" in str(error)
    assert changed.world.asked == [], "something ran before the change was noticed"
    assert changed.journal == before, "the journal was touched"
    record = changed.store._tables.by_id["app", "run"].record()
    assert (record.state.label, record.reason) == ("set aside", Reason.CODE_CHANGED)
    mended = play(script_for(original, direct=True), of=changed)
    assert mended.result == whole.result


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_met_at_any_moment_is_taken_or_noticed_but_never_mixed(change: Any) -> None:
    whole = whole_play()
    for cut in cuts(whole.log):
        before = journal_at(whole, cut)
        changed = play(script_for(change, events=(GO, STOP), direct=True), at=cut, of=whole)
        if is_trouble(changed.result):
            assert changed.journal[: len(before)] == before
            assert changed.world.asked == []
            mended = play(script_for(original, direct=True, events=(GO,)), of=changed)
            assert whole.result[:4] == mended.result[:4]
        else:
            assert changed.journal[: len(before)] == before
            assert changed.journal[-1].name == "finish"


def test_the_error_names_what_was_recorded_and_what_was_asked() -> None:
    whole = whole_play()
    error = play(script_for(arguments_changed, direct=True), at=last_cut(whole), of=whole).result
    assert isinstance(error, NonDeterminismError)
    assert (error.position, "step" in error.recorded, '"first"' in error.recorded) == (1, True, True)
    assert '"first",11' in error.asked
    assert "retry run --from 1" in str(error)


def test_a_worker_sets_the_run_aside_and_goes_on_with_others() -> None:
    whole = play(script_for(original, events=(GO,)))
    cut = last_cut(whole)
    changed = play(script_for(steps_swapped), at=cut, of=whole)
    assert isinstance(changed.result, durable.RunSetAside)
    assert changed.result.reason == Reason.CODE_CHANGED
    assert changed.journal == journal_at(whole, cut)


def test_a_new_duration_is_no_change() -> None:
    async def shorter(step: Step) -> Any:
        first = await step("first")
        await durable.sleep(1)
        return [first, await step("second")]

    async def longer(step: Step) -> Any:
        first = await step("first")
        await durable.sleep(5)
        return [first, await step("second")]

    whole = play(script_for(longer))
    for cut in cuts(whole.log):
        assert play(script_for(shorter), at=cut, of=whole).result == ["first", "second"]


def test_unchecked_arguments_may_change() -> None:
    def script(argument: str) -> Script:
        def build(stage: Any) -> None:
            @stage.wf.task(check_args=False, retries=0)
            async def work(argument: str) -> str:
                await stage.world.job(20)
                return argument

            @stage.wf.workflow
            async def main() -> Any:
                return [await work(argument), await work("end")]

        return Script(build)

    whole = play(script("old"))
    assert play(script("new"), at=last_cut(whole), of=whole).result == ["old", "end"]


# Patches -------------------------------------------------------------------------------------------------------------


async def unpatched(step: Step) -> Any:
    return [await step("a"), await step("old"), await step("z")]


async def patched(step: Step) -> Any:
    first = await step("a")
    second = await step("new") if durable.patched("swap") else await step("old")
    return [first, second, await step("z"), durable.patched("swap")]


def test_a_run_that_passed_the_place_of_a_patch_keeps_the_old_code() -> None:
    """Covers: G8"""
    whole = play(script_for(unpatched))
    for cut in cuts(whole.log):
        names = [entry.note for entry in journal_at(whole, cut)]
        if any("old" in name for name in names) and journal_at(whole, cut)[-1].name != "finish":
            assert play(script_for(patched), at=cut, of=whole).result == ["a", "old", "z", False]


def test_a_run_that_had_not_come_to_a_patch_takes_the_new_code_for_ever() -> None:
    whole = play(script_for(unpatched))
    early = [cut for cut in cuts(whole.log) if len(journal_at(whole, cut)) in (1, 2)]
    assert early
    for cut in early:
        taken = play(script_for(patched), at=cut, of=whole)
        assert taken.result == ["a", "new", "z", True]
    assert play_and_cut(script_for(patched)).result == ["a", "new", "z", True]


def test_a_patch_taken_out_again_is_a_change() -> None:
    whole = play(script_for(patched, direct=True))
    result = play(script_for(unpatched, direct=True), at=last_cut(whole), of=whole).result
    assert isinstance(result, NonDeterminismError)
    assert "swap" in str(result)


# Step ids ------------------------------------------------------------------------------------------------------------


def named(order: str) -> Script:
    """Return a script whose steps are called in this order; small letters are step ids, capitals have numbers."""

    def build(stage: Any) -> None:
        @stage.wf.task(retries=0)
        async def work(letter: str) -> str:
            await stage.world.job(10 + ord(letter))
            return letter

        @stage.wf.workflow
        async def main() -> Any:
            return [await (work(letter, step_id=letter) if letter.islower() else work(letter)) for letter in order]

    return Script(build)


@pytest.mark.parametrize(
    ("old", "new"),
    [("ab", "ba"), ("abc", "cab"), ("aYb", "abY"), ("aYb", "Yab"), ("aY", "naY"), ("aY", "anY"), ("XaY", "XnaY")],
)
def test_steps_with_a_step_id_may_be_moved_and_inserted(old: str, new: str) -> None:
    whole = play(named(old))
    for cut in cuts(whole.log):
        before = journal_at(whole, cut)
        if before and before[-1].name == "finish":
            continue
        moved = play(named(new), at=cut, of=whole)
        assert moved.result == list(new)
        assert moved.journal[: len(before)] == before
        steps = [entry.note for entry in moved.journal[1:-1]]
        assert len(steps) == len(set(steps)), "a recorded step ran again"
        # What came of it is a journal like any other.
        for later in cuts(moved.log, since=moved.began):
            assert play(named(new), at=later, of=moved).result == list(new)


def test_a_step_id_that_is_not_asked_for_any_more_is_a_change() -> None:
    whole = play(named("ab"))
    assert is_trouble(play(named("b"), at=last_cut(whole), of=whole).result)


def test_a_step_id_used_twice_is_an_error() -> None:
    """Covers: F18"""
    played = play(named("aa"))
    assert isinstance(played.result, UsageError)
    assert "'a' is used twice" in str(played.result)


# Children that are open while the code changes -----------------------------------------------------------------------


def parent(run_id: str = "", *, inserted: bool = False) -> Script:
    """Return a script whose workflow awaits one child, under an id of its own or by step id."""

    def build(stage: Any) -> None:
        @stage.wf.task(retries=0)
        async def work(text: str) -> str:
            await stage.world.job(10)
            return text

        @stage.wf.workflow
        async def child(number: int) -> int:
            await durable.sleep(100_000)
            return number

        @stage.wf.workflow
        async def main() -> Any:
            first = [await work("inserted", step_id="inserted")] if inserted else []
            return [*first, await (child.run(run_id, 7) if run_id else child(7, step_id="child"))]

    return Script(build, direct=True)


def where_the_child_is_open(whole: Played) -> list[Cut]:
    found = [
        cut for cut in cuts(whole.log) if [entry.kind.name for entry in journal_at(whole, cut)] == ["RUN", "CHILD"]
    ]
    assert found
    return found


def test_a_parent_hears_of_its_child_although_a_step_was_inserted_before_it() -> None:
    """A parent waited for ever for a child with a step id that had begun under the old code.

    Steps with a step id are keyed in the order in which they are issued, so one that was inserted before the child gave
    it another key than that of the registered wait. Nothing was registered again for a child that had begun, and its
    end, told under the old key, was passed over.
    """
    whole = play(parent())
    for cut in where_the_child_is_open(whole):
        assert play(parent(inserted=True), at=cut, of=whole).result == ["inserted", 7]


def test_another_id_for_an_open_child_is_a_change() -> None:
    """A parent waited for ever for a child to which the new code gave another id.

    The entry that says that the child has begun was compared by kind, name and arguments, and its id is none of these:
    the parent waited for a run that nobody had started, and the end of the one that it had started was passed over.
    """
    whole = play(parent("first"))
    for cut in where_the_child_is_open(whole):
        changed = play(parent("second"), at=cut, of=whole)
        assert isinstance(changed.result, NonDeterminismError)
        assert ("first" in changed.result.recorded, "second" in changed.result.asked) == (True, True)
        assert play(parent("first"), of=changed).result == whole.result
