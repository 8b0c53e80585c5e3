"""Starting runs for workers: at once, later, with tags; who takes them, and who does not."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import RunFailed, RunHandle, RunNotFound, UsageError, Workflow
from durable.api import handles
from tests.runs.kit import Apps, eventually, forward, state
from tests.support.clock import START_MS, VirtualClock


def doubling(app: Workflow, **options: object) -> Any:
    @app.task
    async def double(x: int) -> int:
        return 2 * x

    @app.workflow(id="double-{x}", **options)  # type: ignore[call-overload]
    async def doubles(x: int) -> int:
        return await double(x)

    return doubles


async def test_a_start_returns_at_once_and_a_worker_executes_it(make_app: Apps):
    client, worker = make_app(), make_app()
    start = doubling(client).start
    doubling(worker)
    handle = await start(4)
    assert handle.id == "double-4"
    assert await handle.status() == "queued"
    async with worker:
        assert await handle.result() == 8
        assert await handle == 8
    assert await handle.status() == "succeeded"


async def test_a_client_executes_no_run_that_it_only_started(make_app: Apps):
    client = make_app()
    handle = await doubling(client).start(4)
    with pytest.raises(TimeoutError):
        await handle.result(timeout=0.05)
    assert await handle.status() == "queued"


async def test_a_second_start_attaches(make_app: Apps):
    """Covers: F21"""
    app = make_app()
    doubles = doubling(app)
    first, second = await doubles.start(1), await doubles.start(1)
    assert first.id == second.id
    assert len(await app.runs.list()) == 1
    async with app:
        assert await second.result() == 2
        assert await (await doubles.start(1)).result() == 2


async def test_a_direct_call_takes_up_a_queued_run(make_app: Apps):
    app = make_app()
    doubles = doubling(app)
    handle = await doubles.start(3)
    assert await doubles(3) == 6
    assert await handle.result() == 6


@pytest.mark.parametrize("way", ["delay", "timedelta", "at"])
async def test_a_delayed_start_waits_for_its_time(make_app: Apps, way):
    clock = VirtualClock()
    app = make_app(clock=clock)
    doubles = doubling(app)
    due = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(minutes=1)
    ways: dict[str, Any] = {"delay": 60, "timedelta": timedelta(minutes=1), "at": due}
    options = {"at" if way == "at" else "delay": ways[way]}
    async with app:
        handle = await doubles.start(5, **options)
        await eventually(lambda: clock.next_at == START_MS + 60_000)
        forward(clock, 59.999)
        await asyncio.sleep(0.05)
        assert await handle.status() == "queued"
        forward(clock, 0.001)
        assert await handle.result() == 10


async def test_options_of_a_start_are_checked(app):
    """Covers: D7"""
    doubles = doubling(app)
    soon = datetime.now(UTC)
    wrong = (
        ({"delay": 1, "at": soon}, UsageError, "one of the two"),
        ({"at": datetime(2030, 1, 1)}, ValueError, "time zone"),
        ({"at": "tomorrow"}, TypeError, "datetime"),
        ({"delay": "1"}, TypeError, "seconds"),
        ({"delay": float("nan")}, ValueError, "finite"),
        ({"tags": "red"}, UsageError, "tags"),
        ({"tags": {"a": 1}}, UsageError, "tag 'a'"),
        ({"tags": {"": "x"}}, UsageError, "tag"),
        ({"on_conflict": "replace"}, UsageError, "on_conflict"),
    )
    for options, kind, text in wrong:
        with pytest.raises(kind, match=text):
            await doubles.start(1, **options)
    assert await app.runs.list() == []


async def test_an_option_that_is_a_parameter_goes_to_the_function(make_app: Apps):
    app = make_app()

    @app.workflow
    async def tagged(tags: list[str], delay: int = 0) -> list[str]:
        return [*tags, str(delay)]

    async with app:
        assert await (await tagged.start(tags=["a"], delay=5)).result() == ["a", "5"]


async def test_a_run_of_a_version_waits_for_a_worker_of_that_version(make_app: Apps):
    """Covers: G8, G12"""
    client, old, new = make_app(), make_app(), make_app()
    handle = await doubling(client, version="2").start(1)
    doubling(old, version="1")
    doubling(new, version="2")
    async with old:
        with pytest.raises(TimeoutError):
            await handle.result(timeout=0.1)
        assert await handle.status() == "queued"
        async with new:
            assert await handle.result() == 2


async def test_several_versions_may_live_in_one_application(make_app: Apps):
    app = make_app()
    handles_of: list[RunHandle[str]] = []
    for version in ("1", "2"):

        @app.workflow(name="versioned", version=version, id="run-{x}")
        async def versioned(x: int, answer: str = version) -> str:
            return answer

        handles_of.append(await versioned.start(len(handles_of)))
    async with app:
        assert [await handle.result() for handle in handles_of] == ["1", "2"]


async def test_a_run_of_a_group_waits_for_a_worker_of_that_group(make_app: Apps):
    client, other, gpu = make_app(), make_app(), make_app()
    handle = await doubling(client, group="gpu").start(1)
    doubling(other)
    doubling(gpu, group="gpu")
    async with other:
        with pytest.raises(TimeoutError):
            await handle.result(timeout=0.1)
        async with gpu:
            assert await handle.result() == 2


async def test_a_run_of_an_unknown_workflow_stays_queued(make_app: Apps):
    """Covers: G9"""
    client, worker = make_app(), make_app()
    handle = await doubling(client).start(1)

    @worker.workflow
    async def other() -> int:
        return 1

    async with worker:
        assert await (await other.start()).result() == 1
        assert await handle.status() == "queued"
    async with client:
        assert await handle.result() == 2


async def test_waiting_for_a_run_that_nobody_can_take_warns_once_with_the_command(make_app: Apps, monkeypatch, caplog):
    """Covers: G9"""
    monkeypatch.setattr(handles, "NO_WORKER_SECONDS", 0.05)
    client = make_app()
    handle = await doubling(client).start(1)
    with caplog.at_level(logging.WARNING, "durable"), pytest.raises(TimeoutError):
        await handle.result(timeout=0.4)
    assert len(caplog.records) == 1
    assert "run 'double-1' waits for a worker" in caplog.text
    assert "durable worker MODULE:APP" in caplog.text


async def test_waiting_for_a_run_that_a_worker_can_take_does_not_warn(make_app: Apps, monkeypatch, caplog):
    monkeypatch.setattr(handles, "NO_WORKER_SECONDS", 0.05)
    app = make_app()
    release = asyncio.Event()

    @app.task
    async def waits() -> int:
        await release.wait()
        return 1

    @app.workflow
    async def slow() -> int:
        return await waits()

    async with app:
        handle = await slow.start()
        with pytest.raises(TimeoutError):
            await handle.result(timeout=0.2)
        release.set()
        assert await handle.result() == 1
    assert caplog.text == ""


async def test_a_handle_of_a_run_that_is_not_there_says_so(app):
    doubling(app)
    handle = app.handle("nobody")
    for ask in (handle.result, handle.status, handle.cancel, handle.pause, handle.record):
        with pytest.raises(RunNotFound, match="'nobody' does not exist in application 'app'"):
            await ask()


async def test_a_handle_raises_what_the_run_raised(make_app: Apps):
    app = make_app()

    @app.workflow
    async def fails(x: int) -> None:
        raise KeyError("missing", x)

    async with app:
        handle = await fails.start(1)
        with pytest.raises(KeyError) as caught:
            await handle.result()
        assert caught.value.args == ("missing", 1)
        assert await handle.status() == "failed"
        assert not isinstance(caught.value, RunFailed)


async def test_a_start_attaches_to_a_failure_and_repeats_nothing(make_app: Apps):
    app = make_app()
    ran: list[int] = []

    @app.task(retries=0)
    async def fails() -> None:
        ran.append(1)
        raise OSError("no")

    @app.workflow
    async def once() -> None:
        await fails()

    async with app:
        for _ in range(3):
            with pytest.raises(OSError, match="no"):
                await (await once.start()).result()
    assert ran == [1]


async def test_starts_may_be_many_at_once(make_app: Apps):
    app = make_app()
    doubles = doubling(app)
    async with app:
        started = await asyncio.gather(*(doubles.start(x) for x in range(200)))
        assert await asyncio.gather(*started) == [2 * x for x in range(200)]


async def test_a_worker_starts_and_stops_more_than_once(make_app: Apps):
    app = make_app()
    doubles = doubling(app)
    await app.stop()
    for x in range(3):
        await app.start()
        await app.start()
        assert await (await doubles.start(x)).result() == 2 * x
        await app.stop()
        await app.stop()
    handle = await doubles.start(9)
    assert await state(app, handle.id, "queued")
