"""What `durable run` shows while a run executes: what is under way, what ended, how far it is."""

import asyncio
import contextlib

import pytest

import durable
from durable import InMemoryStore, Workflow
from durable.backoff import constant
from durable.cli.view import LineView, LiveView, Sight, Watch


class Seen:
    """A view that remembers."""

    def __init__(self) -> None:
        self.sights: list[Sight] = []

    def show(self, sight: Sight) -> None:
        self.sights.append(sight)


@pytest.fixture
async def app():
    wf = Workflow("view", db=InMemoryStore(), default_backoff=constant(3_600))
    done = asyncio.Event()

    @wf.task
    async def hangs(name: str) -> None:
        await done.wait()

    @wf.task
    async def fails() -> None:
        raise ConnectionError("refused")

    @wf.task
    async def quick(number: int) -> int:
        return number

    @wf.workflow(id="child")
    async def child() -> None:
        await wf.receive("mail")

    @wf.workflow(id="many")
    async def many() -> None:
        await quick(1)
        durable.progress(3, 10, "half way")
        await asyncio.gather(hangs("a"), fails(), durable.sleep(7_200), wf.signal("ok"), child())

    @wf.workflow(id="counted")
    async def counted() -> int:
        return sum([await quick(number) for number in range(20)])

    yield wf
    done.set()
    await wf.stop()


@contextlib.asynccontextmanager
async def executing(wf: Workflow, name: str):
    task = asyncio.ensure_future(wf.workflows[name].aio())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def look_until_failed(app: Workflow) -> list[Sight]:
    """Look at `many` until all it does is under way and its failure is recorded; return everything that was seen."""
    seen = Seen()
    watch = Watch(app, "many", seen)
    while not any(entry.name == "fails" for sight in seen.sights for entry, _ in sight.news):
        await watch.look()
        await asyncio.sleep(0)
    return seen.sights


async def test_everything_under_way_is_named(app) -> None:
    async with executing(app, "many"):
        sights = await look_until_failed(app)
    assert sorted(
        line.partition(" starts in")[0].partition(", 1 h")[0].partition(", 2 h")[0] for line in sights[-1].under_way
    ) == [
        "fails(), attempt 2",
        'hangs("a")',
        "sleep",
        "waits for child child",
        "waits for signal 'ok': durable runs signal many ok PAYLOAD",
    ]
    ended = [(entry.name, value) for sight in sights for entry, value in sight.news]
    assert ended == [("quick", ""), ("fails", "ConnectionError: refused")]


async def test_a_run_that_does_not_exist_yet_is_nothing_to_see(app) -> None:
    seen = Seen()
    await Watch(app, "many", seen).look()
    assert seen.sights == []


async def test_what_was_recorded_before_is_counted_and_not_told(app) -> None:
    assert await app.workflows["counted"].aio() == 190
    seen = Seen()
    watch = Watch(app, "counted", seen)
    watch._began += 60_000
    await watch.look()
    assert (seen.sights[0].steps, seen.sights[0].news, seen.sights[0].under_way) == (20, [], [])


async def test_lines_tell_what_is_new(app, capsys) -> None:
    view = LineView("many")
    async with executing(app, "many"):
        for sight in await look_until_failed(app):
            view.show(sight)
    err = capsys.readouterr().err
    assert "run 'many' is running" in err
    assert "quick ok after" in err
    assert "progress 3/10 half way" in err
    assert "fails failed after" in err
    assert "ConnectionError: refused; again in " in err
    assert err.count("quick ok") == err.count("progress") == 1


async def test_the_live_view_fits_80_columns_without_colour(app, capsys, monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    async with executing(app, "many"):
        sights = await look_until_failed(app)
        with LiveView("many") as view:
            for sight in sights:
                view.show(sight)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].split()[:2] == ["many", "running"]
    assert lines[0].endswith("2 steps")
    assert "3/10 half way" in lines[1]
    assert "fails failed after" in lines[3]
    assert sum(line.lstrip().startswith("now  ") for line in lines) == 5
    assert max(map(len, lines)) <= 80


async def test_the_live_view_keeps_the_last_steps(app, capsys) -> None:
    assert await app.workflows["counted"].aio() == 190
    seen = Seen()
    watch = Watch(app, "counted", seen)
    watch._began = 0
    await watch.look()
    with LiveView("counted") as view:
        view.show(seen.sights[0])
    err = capsys.readouterr().err
    assert "20 steps" in err
    assert err.count("quick ok") == 8
