"""A failed run called again goes on from the step that failed, unless that would repeat effects."""

from __future__ import annotations

import asyncio

import pytest

import durable
from durable import RunFailed
from tests.runs.kit import Apps


class Shop:
    """A task that fails until it is mended, and notes what ran."""

    def __init__(self, app) -> None:
        self.broken = {"b"}
        self.ran: list[str] = []

        @app.task(retries=0)
        async def step(name: str) -> str:
            if name in self.broken:
                raise OSError(name)
            self.ran.append(name)
            return name

        self.step = step


@pytest.fixture
def shop(app) -> Shop:
    return Shop(app)


async def fails_then_succeeds(shop: Shop, run):
    with pytest.raises(OSError, match="b"):
        await run()
    shop.broken.clear()
    return await run()


async def test_a_sequence_goes_on_at_its_failed_step(app, shop):
    @app.workflow
    async def run() -> list[str]:
        return [await shop.step(name) for name in "abc"]

    assert await fails_then_succeeds(shop, run) == ["a", "b", "c"]
    assert shop.ran == ["a", "b", "c"]


async def test_it_goes_on_as_often_as_it_takes(app, shop):
    @app.workflow
    async def run() -> list[str]:
        return [await shop.step(name) for name in "abc"]

    for _ in range(3):
        with pytest.raises(OSError, match="b"):
            await run()
    shop.broken = {"c"}
    with pytest.raises(OSError, match="c"):
        await run()
    shop.broken.clear()
    assert await run() == ["a", "b", "c"]
    assert shop.ran == ["a", "b", "c"]


async def test_parallel_branches_keep_what_succeeded(app, shop):
    @app.workflow
    async def run() -> list[str]:
        results = await asyncio.gather(*(shop.step(name) for name in "abcd"), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [str(result) for result in results]

    assert await fails_then_succeeds(shop, run) == ["a", "b", "c", "d"]
    assert sorted(shop.ran) == ["a", "b", "c", "d"]


async def test_a_wrapped_error_leads_to_its_step(app, shop):
    @app.workflow
    async def run() -> list[str]:
        done = [await shop.step("a")]
        try:
            done.append(await shop.step("b"))
        except OSError as error:
            raise ValueError("could not do b") from error
        return done

    with pytest.raises(ValueError, match="could not do b"):
        await run()
    shop.broken.clear()
    assert await run() == ["a", "b"]
    assert shop.ran == ["a", "b"]


async def test_a_group_leads_to_its_steps(app, shop):
    shop.broken = {"b", "c"}

    @app.workflow
    async def run() -> str:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(shop.step(name)) for name in "bc"]
        return "".join(task.result() for task in tasks)

    with pytest.raises(ExceptionGroup):
        await run()
    shop.broken.clear()
    assert await run() == "bc"
    assert sorted(shop.ran) == ["b", "c"]


async def test_an_error_of_the_body_itself_lets_only_the_end_run_again(app, shop):
    broken = True

    @app.workflow
    async def run() -> str:
        name = await shop.step("a")
        if broken:
            raise ValueError("in the body")
        return name

    with pytest.raises(ValueError, match="in the body"):
        await run()
    broken = False
    assert await run() == "a"
    assert shop.ran == ["a"]


async def test_going_on_that_would_repeat_effects_is_refused_and_names_them(app, shop):
    @app.workflow(id="run")
    async def run() -> str:
        try:
            await shop.step("b")
        except OSError as error:
            await shop.step("undo")
            raise ValueError("undone") from error
        return "fine"

    with pytest.raises(ValueError, match="undone"):
        await run()
    shop.broken.clear()
    with pytest.raises(RunFailed, match=r"going on would repeat step \(2\).*durable runs retry run") as caught:
        await run()
    assert isinstance(caught.value.__cause__, ValueError)
    assert shop.ran == ["undo"]
    await app.runs.retry("run")
    assert await run() == "fine"
    assert shop.ran == ["undo", "b"]


async def test_a_step_id_after_the_failure_is_not_kept(app, shop):
    @app.workflow(id="run")
    async def run() -> list[str]:
        try:
            return [await shop.step("b", step_id="first")]
        except OSError as error:
            await shop.step("undo", step_id="second")
            raise ValueError("undone") from error

    with pytest.raises(ValueError, match="undone"):
        await run()
    with pytest.raises(RunFailed, match="would repeat"):
        await run()


async def test_start_attaches_to_the_failure_and_a_handle_tells_it(make_app: Apps):
    app = make_app()
    shop = Shop(app)

    @app.workflow(id="run")
    async def run() -> list[str]:
        return [await shop.step(name) for name in "abc"]

    async with app:
        with pytest.raises(OSError, match="b"):
            await run()
        shop.broken.clear()
        for _ in range(2):
            with pytest.raises(OSError, match="b"):
                await (await run.start()).result()
        assert shop.ran == ["a"]
        assert await run() == ["a", "b", "c"]


async def test_what_was_received_is_received_again(make_app: Apps):
    app = make_app()
    shop = Shop(app)

    @app.workflow(id="run")
    async def run() -> list[object]:
        await shop.step("a")
        try:
            await shop.step("b")
        except OSError:
            await app.receive("news")
            raise
        return [await app.receive("news"), await app.receive("news")]

    handle = await run.start()
    await handle.send("news", 1)
    await handle.send("news", 2)
    with pytest.raises(OSError, match="b"):
        await run()
    shop.broken.clear()
    await app.runs.retry("run")
    assert await run() == [1, 2]


async def test_a_random_value_before_the_failure_stays(app, shop):
    @app.workflow
    async def run() -> float:
        value = durable.random()
        await shop.step("b")
        return value

    seen = []
    with pytest.raises(OSError, match="b"):
        await run()
    shop.broken.clear()
    seen.append(await run())
    seen.append(await run())
    assert seen[0] == seen[1]
