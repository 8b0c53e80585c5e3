"""Cancelling a run: compensation runs, a swallowed request comes once more.

Covers: H5, H6
"""

import asyncio
import contextlib
from typing import Any

import durable
from tests.support.bodies import Step, play_and_cut, script_for
from tests.support.replaying import Event, Played, Script

CANCEL = Event(1_000, lambda wf: wf.runs.cancel("run", reason="enough"))


def cancelled_play(body: Any) -> Played:
    return play_and_cut(script_for(body, events=(CANCEL,)))


def names(played: Played) -> list[str]:
    return [f"{entry.name} {entry.note}".strip() for entry in played.journal[1:]]


def test_compensation_in_except_and_finally_runs_to_its_end() -> None:
    async def body(step: Step) -> Any:
        try:
            try:
                await step("long", 60_000)
            except asyncio.CancelledError:
                await step("in except", 70)
                await durable.sleep(10)
                raise
            finally:
                await step("in finally", 30)
        finally:
            await asyncio.gather(step("left", 40), step("right", 20))

    played = cancelled_play(body)
    assert isinstance(played.result, durable.RunCancelled)
    assert names(played) == [
        "cancel enough", 'step "in except",70', "sleep", "sleep", 'step "in finally",30', 'step "right",20',
        'step "left",40', "finish",
    ]  # fmt: skip


def test_asking_again_does_not_end_the_compensation() -> None:
    """A client whose answer was lost with its process asked again, and that ended the clean-up."""

    async def body(step: Step) -> Any:
        try:
            await step("long", 60_000)
        finally:
            await step("undo 0", 500)
            await step("undo 1", 500)

    again = Event(1_200, lambda wf: wf.runs.cancel("run", reason="I said cancel"))
    played = play_and_cut(script_for(body, events=(CANCEL, again)))
    assert isinstance(played.result, durable.RunCancelled)
    assert played.result.reason == "enough"
    assert names(played) == [
        "cancel enough", "cancel I said cancel", 'step "undo 0",500', 'step "undo 1",500', "finish",
    ]  # fmt: skip


def test_a_run_that_went_on_after_its_cancellations_can_be_cancelled_again() -> None:
    async def body(step: Step) -> Any:
        for attempt in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await step(f"long {attempt}", 60_000)
        await step("for ever", 60_000)

    again = Event(30_000, lambda wf: wf.runs.cancel("run", reason="for good"))
    played = play_and_cut(script_for(body, events=(CANCEL, again)))
    assert isinstance(played.result, durable.RunCancelled)
    assert names(played) == ["cancel enough", "cancel once more", "cancel for good", "finish"]


def test_a_swallowed_cancellation_comes_once_more() -> None:
    async def body(step: Step) -> Any:
        with contextlib.suppress(asyncio.CancelledError):
            await step("long", 60_000)
        return await step("goes on", 50_000)

    played = cancelled_play(body)
    assert isinstance(played.result, durable.RunCancelled)
    assert played.result.reason == "enough"
    assert names(played) == ["cancel enough", "cancel once more", "finish"]


def test_a_swallowed_cancellation_comes_once_more_to_a_sleep() -> None:
    async def body(step: Step) -> Any:
        with contextlib.suppress(asyncio.CancelledError):
            await durable.sleep(60)
        await durable.sleep(60)

    played = cancelled_play(body)
    assert isinstance(played.result, durable.RunCancelled)
    assert [name for name in names(played) if name != "sleep"] == ["cancel enough", "cancel once more", "finish"]


def test_swallowed_twice_the_run_goes_on() -> None:
    async def body(step: Step) -> Any:
        for attempt in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await step(f"long {attempt}", 60_000)
        return await step("to the end", 50_000)

    played = cancelled_play(body)
    assert played.result == "to the end"
    assert names(played) == ["cancel enough", "cancel once more", 'step "to the end",50000', "finish"]


def test_a_body_that_returns_on_cancellation_has_a_result() -> None:
    async def body(step: Step) -> Any:
        try:
            await step("long", 60_000)
        except asyncio.CancelledError:
            return "as far as I came"

    assert cancelled_play(body).result == "as far as I came"


def test_an_error_raised_on_cancellation_is_the_run_s_failure() -> None:
    async def body(step: Step) -> Any:
        try:
            await step("long", 60_000)
        except asyncio.CancelledError:
            raise ValueError("while leaving") from None

    assert isinstance(cancelled_play(body).result, ValueError)


def test_groups_and_their_branches_are_cancelled_and_may_compensate() -> None:
    async def body(step: Step) -> Any:
        async def branch(name: str) -> None:
            try:
                await step(name, 60_000)
            finally:
                await step(f"undo {name}", 25)

        async with asyncio.timeout(50), asyncio.TaskGroup() as group:
            for name in "ab":
                group.create_task(branch(name))

    played = cancelled_play(body)
    assert isinstance(played.result, durable.RunCancelled)
    assert names(played)[-4:] == ["cancel enough", 'step "undo a",25', 'step "undo b",25', "finish"]


def test_children_are_cancelled_with_their_parent() -> None:
    """Covers: F10"""

    def build(stage: Any) -> None:
        @stage.wf.task(retries=0)
        async def work(number: int) -> int:
            await stage.world.job(60_000 + number)
            return number

        @stage.wf.workflow
        async def child(number: int) -> int:
            return await work(number)

        @stage.wf.workflow
        async def main() -> Any:
            return await asyncio.gather(child(1), child(2))

    played = play_and_cut(Script(build, events=(CANCEL,)))
    assert isinstance(played.result, durable.RunCancelled)
    assert [journal[1].name for run_id, journal in played.journals.items() if run_id != "run"] == ["cancel", "cancel"]


def test_branches_that_are_left_open_are_cancelled_when_the_body_ends() -> None:
    """Covers: H13"""
    ended: list[str] = []

    async def body(step: Step) -> Any:
        async def straggler(name: str) -> None:
            try:
                await step(name, 60_000)
            finally:
                ended.append(name)
                await step(f"undo {name}", 25)

        tasks = [asyncio.create_task(straggler(name)) for name in "ab"]
        await step("main", 20)
        return len(tasks)

    played = play_and_cut(script_for(body))
    assert played.result == 2
    assert names(played) == ['step "main",20', 'step "undo a",25', 'step "undo b",25', "finish"]
    assert ended[:2] == ["a", "b"]
