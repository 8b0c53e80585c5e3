"""What `durable run` shows while a run executes: what is under way, what ended, how far it is."""

import asyncio
import contextlib
import dataclasses
import shlex

import pytest

import durable
from durable import InMemoryStore, Workflow
from durable.backoff import constant
from durable.cli.hints import Hints
from durable.cli.view import LineView, LiveView, Sight, UnderWay, Watch


class Seen(LineView):
    """A view that remembers."""

    def __init__(self) -> None:
        super().__init__("")
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
        line.partition(" starts in")[0].partition(", 1 h")[0].partition(", 2 h")[0]
        for line in map(str, sights[-1].under_way)
    ) == [
        "fails(), attempt 2",
        'hangs("a")',
        "sleep",
        "waits for child child",
        "waits for signal ok: durable runs signal many ok PAYLOAD",
    ]
    ended = [(entry.name, value) for sight in sights for entry, value in sight.news]
    assert ended == [("quick", ""), ("fails", "ConnectionError: refused")]


async def test_a_run_that_does_not_exist_yet_is_nothing_to_see(app) -> None:
    seen = Seen()
    await Watch(app, "many", seen).look()
    assert seen.sights == []


async def test_what_was_recorded_before_is_counted_and_not_told(app) -> None:
    seen = Seen()
    async with executing(app, "many"):
        await look_until_failed(app)
        watch = Watch(app, "many", seen)
        watch._began += 60_000
        await watch.look()
    assert (seen.sights[0].steps, seen.sights[0].news) == (2, [])


async def test_of_a_run_that_had_ended_before_there_is_nothing_to_see(app) -> None:
    assert await app.workflows["counted"].aio() == 190
    seen = Seen()
    watch = Watch(app, "counted", seen)
    watch._began += 60_000
    await watch.look()
    assert seen.sights == []


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
    assert ", attempt 1, again in 1 h 00 m: ConnectionError: refused\n" in err
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
    assert lines[4].split() == ["ConnectionError:", "refused"]
    assert sum(line.lstrip().startswith("now  ") for line in lines) == 5
    assert max(map(len, lines)) <= 78  # a `^C` that is echoed at the end of the last line stays in that line


async def test_a_long_failure_is_cut_and_says_so(app, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    async with executing(app, "many"):
        sights = await look_until_failed(app)
        news = [(entry, "ConnectionError: " + "word " * 40) for sight in sights for entry, _ in sight.news]
        with LiveView("many") as view:
            view.show(dataclasses.replace(sights[-1], news=news))
    lines = capsys.readouterr().err.splitlines()
    assert all(line.endswith("…") and len(line) == 78 for line in lines if "ConnectionError" in line)
    assert any("ConnectionError" in line for line in lines)


@pytest.mark.parametrize("columns", [80, 40])
async def test_the_command_that_helps_is_whole_and_stands_alone(app, capsys, monkeypatch, columns) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    hints = Hints(("--db", "a database.db", "--app", "view"))
    command = hints.words("runs", "signal", "a-long-id-" * 2, "ok", "PAYLOAD")
    async with executing(app, "many"):
        sights = await look_until_failed(app)
        under_way = [UnderWay("waits for signal 'ok'", tuple(command))]
        with LiveView("many") as view:
            view.show(dataclasses.replace(sights[-1], under_way=under_way))
    out = capsys.readouterr().err
    shown = out[out.index("durable runs") :]
    joined = shown.replace("\\\n", "")  # as a shell reads it
    assert shlex.split(joined) == shlex.split(" ".join(command))
    assert max(map(len, shown.splitlines())) <= columns


async def test_what_is_said_meanwhile_stands_above_the_live_view(app, capsys) -> None:
    async with executing(app, "many"):
        sights = await look_until_failed(app)
        with LiveView("many") as view:
            view.show(sights[-1])
            view.say("stopping")
    assert capsys.readouterr().err.splitlines()[0] == "stopping"


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
