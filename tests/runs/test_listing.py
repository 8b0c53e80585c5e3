"""Looking at runs: lists with filters, records, counts, histories; and acting on many at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

import durable
from durable import RunNotFound, UsageError, Workflow
from durable.backoff import constant
from durable.core.records import RunState
from tests.runs.kit import Apps, state
from tests.support.clock import START_MS, VirtualClock


def ids(records: list) -> list[str]:
    return [record.run_id for record in records]


@pytest.fixture
async def shelf(make_app: Apps) -> Workflow:
    """An application with runs in several states, one a minute."""
    clock = VirtualClock()
    app = make_app(clock=clock)

    @app.task(retries=0)
    async def work(x: int) -> int:
        if x == 2:
            raise OSError("two")
        return x

    @app.workflow(id="good-{x}")
    async def good(x: int) -> int:
        return await work(x)

    @app.workflow(id="bad-{x}")
    async def bad(x: int) -> int:
        return await work(x)

    @app.workflow(id="stuck")
    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    await good.options(tags={"colour": "red", "size": "1"})(1)
    clock.set_forward(START_MS + 60_000)
    with pytest.raises(OSError, match="two"):
        await bad.options(tags={"colour": "red", "size": "2"})(2)
    clock.set_forward(START_MS + 120_000)
    with pytest.raises(durable.DurableError, match="nothing will ever wake"):
        await stuck()
    clock.set_forward(START_MS + 180_000)
    _ = await good.start(3, tags=["urgent"])
    _ = await good.start(4, tags={"colour": "blue"})
    await app.runs.pause("good-4")
    return app


async def test_all_runs_are_listed_newest_first(shelf):
    assert ids(await shelf.runs.list()) == ["good-4", "good-3", "stuck", "bad-2", "good-1"]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"workflow": "bad"}, ["bad-2"]),
        ({"workflow": "nothing"}, []),
        ({"state": "failed"}, ["bad-2"]),
        ({"state": RunState.QUEUED}, ["good-3"]),
        ({"state": "set aside"}, ["stuck"]),
        ({"state": "set-aside"}, ["stuck"]),
        ({"states": ("succeeded", "paused")}, ["good-4", "good-1"]),
        ({"state": "failed", "states": ("paused",)}, ["good-4", "bad-2"]),
        ({"id_prefix": "good-"}, ["good-4", "good-3", "good-1"]),
        ({"id_prefix": "good_"}, []),
        ({"id_prefix": "%"}, []),
        ({"tags": {"colour": "red"}}, ["bad-2", "good-1"]),
        ({"tags": {"colour": "red", "size": "2"}}, ["bad-2"]),
        ({"tags": {"urgent": ""}}, ["good-3"]),
        ({"tags": {"colour": "green"}}, []),
        ({"reason": "deadlock"}, ["stuck"]),
        ({"workflow": "good", "state": "queued", "tags": {"urgent": ""}}, ["good-3"]),
        ({"limit": 2}, ["good-4", "good-3"]),
    ],
    ids=str,
)
async def test_filters_of_a_list(shelf, where, found):
    assert ids(await shelf.runs.list(**where)) == found


async def test_runs_are_found_by_the_time_of_their_creation(shelf):
    minute = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(minutes=1)
    assert ids(await shelf.runs.list(created_from=minute, created_before=minute + timedelta(minutes=1))) == ["bad-2"]
    assert ids(await shelf.runs.list(created_before=minute)) == ["good-1"]
    with pytest.raises(ValueError, match="time zone"):
        await shelf.runs.list(created_from=datetime(2024, 1, 1))


async def test_a_list_is_read_page_by_page(shelf):
    found, before = [], None
    while page := await shelf.runs.list(limit=2, before=before):
        found += ids(page)
        before = page[-1]
    assert found == ["good-4", "good-3", "stuck", "bad-2", "good-1"]


@pytest.mark.parametrize("where", [{"state": "dreaming"}, {"limit": 0}, {"limit": 1001}, {"states": ("ok",)}])
async def test_a_filter_that_cannot_be_is_refused(shelf, where):
    with pytest.raises(UsageError):
        await shelf.runs.list(**where)


async def test_counts_by_state(shelf):
    assert await shelf.runs.count() == {"succeeded": 1, "failed": 1, "set aside": 1, "queued": 1, "paused": 1}


async def test_a_record_tells_about_its_run(shelf):
    record = await shelf.runs.get("bad-2")
    assert (record.queue.app, record.queue.workflow) == ("app", "bad")
    assert record.state.label == "failed"
    assert (record.reason, record.detail) == ("OSError", "two")
    assert record.tags == {"colour": "red", "size": "2"}
    assert "2" in record.note
    assert record.created_at == START_MS + 60_000
    assert record.finished_at == START_MS + 60_000
    with pytest.raises(RunNotFound, match="'none'"):
        await shelf.runs.get("none")


async def test_applications_do_not_see_each_others_runs(shelf, make_app):
    other = make_app("other")
    assert await other.runs.list() == []
    assert await other.runs.count() == {}
    with pytest.raises(RunNotFound):
        await other.runs.get("good-1")


async def test_a_history_tells_what_happened_in_order(app):
    tried = 0

    @app.task(retries=2, backoff=constant(0))
    async def flaky(name: str) -> dict[str, str]:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise ConnectionError(f"attempt {tried}")
        return {"name": name}

    @app.workflow(id="told")
    async def told() -> None:
        durable.time()
        await flaky("ada")
        await flaky("eva", step_id="second")
        await durable.sleep(0.001)

    await told()
    history = await app.runs.history("told")
    told_of = [(e.position, e.kind, e.status, e.name, e.step, e.attempt) for e in history]
    assert told_of == [
        (0, "run", "ok", "start", "", 0),
        (1, "value", "ok", "time", "1", 0),
        (2, "task", "retry", "flaky", "2", 1),
        (3, "task", "retry", "flaky", "2", 2),
        (4, "task", "ok", "flaky", "2", 3),
        (5, "task", "ok", "flaky", "second", 1),
        (6, "timer", "begun", "sleep", "3", 0),
        (7, "timer", "ok", "sleep", "3", 0),
        (8, "run", "ok", "finish", "", 0),
    ]
    assert [str(e.error) for e in history[2:4]] == ["attempt 1", "attempt 2"]
    assert all(isinstance(e.error, ConnectionError) and e.next_at is not None for e in history[2:4])
    assert history[4].value == {"name": "ada"}
    assert "ada" in history[4].arguments
    assert [e.at for e in history] == sorted(e.at for e in history)
    with pytest.raises(RunNotFound):
        await app.runs.history("none")


async def test_many_runs_are_cancelled_by_filter(make_app: Apps):
    app = make_app()

    @app.workflow(id="waits-{x}")
    async def waits(x: int) -> None:
        await durable.sleep(3600)

    for x in range(6):
        _ = await waits.start(x, tags={"even": str(x % 2 == 0)})
    async with app:
        for x in range(6):
            await state(app, f"waits-{x}", "suspended")
        assert await app.runs.cancel_all(tags={"even": "True"}) == 3
        for x in range(6):
            await state(app, f"waits-{x}", "cancelled" if x % 2 == 0 else "suspended")
        assert await app.runs.cancel_all(tags={"even": "True"}) == 0


async def test_many_runs_are_paused_and_resumed_by_filter(make_app: Apps):
    app = make_app()

    @app.workflow(id="quick-{x}")
    async def quick(x: int) -> int:
        return x

    for x in range(4):
        _ = await quick.start(x)
    assert await app.runs.pause_all(id_prefix="quick-") == 4
    async with app:
        assert await app.runs.count() == {"paused": 4}
        assert await app.runs.resume_all(workflow="quick") == 4
        for x in range(4):
            assert await app.handle(f"quick-{x}").result() == x


async def test_many_runs_are_retried_by_filter(make_app: Apps):
    app = make_app()
    broken = True

    @app.task(retries=0)
    async def fragile(x: int) -> int:
        if broken:
            raise OSError("no")
        return x

    @app.workflow(id="fragile-{x}")
    async def run(x: int) -> int:
        return await fragile(x)

    for x in range(3):
        with pytest.raises(OSError, match="no"):
            await run(x)
    broken = False
    async with app:
        assert await app.runs.retry_all(workflow="run") == 3
        assert [await app.handle(f"fragile-{x}").result() for x in range(3)] == [0, 1, 2]


async def test_old_runs_are_pruned(shelf):
    later = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(hours=1)
    assert await shelf.runs.prune(finished_before=later) == 1
    assert ids(await shelf.runs.list()) == ["good-4", "good-3", "stuck", "bad-2"]
    assert await shelf.runs.prune(finished_before=later, states=("failed",)) == 1
    assert ids(await shelf.runs.list()) == ["good-4", "good-3", "stuck"]
