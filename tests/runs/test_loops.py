"""One application under several event loops, several applications in one process, and the end of the interpreter."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import warnings

import pytest

from durable import InMemoryStore, Workflow
from tests.runs.kit import Apps, Child, abandon, eventually, flow, live, notes

STRICT_FLAGS = ("-W", "error", "-X", "dev")


def test_a_module_level_application_works_under_several_loops(make_app: Apps):
    """Covers: H11"""
    app = make_app()
    ran: list[int] = []

    @app.task
    async def work(x: int) -> int:
        ran.append(x)
        return x

    @app.workflow(id="run-{x}")
    async def run(x: int) -> int:
        return await work(x)

    for x in range(5):
        assert asyncio.run(run(x)) == x
        assert asyncio.run(run(0)) == 0
    abandon(app)
    assert ran == list(range(5))


def test_a_run_that_one_loop_left_goes_on_in_the_next(make_app: Apps):
    app = make_app()
    ran: list[str] = []

    @app.task
    async def work(name: str) -> str:
        ran.append(name)
        if len(ran) == 2:
            await asyncio.Event().wait()
        return name

    @app.workflow(id="run")
    async def run() -> list[str]:
        return [await work("a"), await work("b"), await work("c")]

    async def leaves() -> None:
        call = asyncio.create_task(run())
        await eventually(lambda: len(ran) == 2)
        del call

    asyncio.run(leaves())
    assert live(app, run) == ["a", "b", "c"]
    assert ran == ["a", "b", "b", "c"]


def test_a_look_that_comes_due_while_the_loop_ends_is_not_begun(make_app: Apps, monkeypatch):
    """A poll in the last iteration left a coroutine that was never awaited, once in some ten thousand tests."""
    app = make_app()

    @app.workflow
    async def run() -> None: ...

    async def main() -> None:
        await run()
        loop = asyncio.get_running_loop()
        polls = app._engines[loop].claims
        polls._looked_at = -1e9

        async def poll_in_last_iteration(*_: object) -> None:
            loop.call_soon(polls._polled)

        loop.shutdown_default_executor = poll_in_last_iteration  # type: ignore[method-assign]

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        asyncio.run(main())
        abandon(app)
        gc.collect()
    assert [str(warning.message) for warning in warned] == []


def test_an_application_works_under_uvloop(make_app: Apps):
    """Covers: H11"""
    uvloop = pytest.importorskip("uvloop", reason="comes with the extra `fast`, everywhere but on Windows")
    app = make_app()

    @app.task
    async def work(x: int) -> int:
        await asyncio.sleep(0.001)
        return x

    @app.task
    def plain(x: int) -> int:
        return x

    @app.workflow
    async def run(n: int) -> int:
        async with asyncio.timeout(60):
            done = await asyncio.gather(*(work(x) for x in range(n)))
        return sum(done) + await plain.aio(1)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run(10)) == 46
        runner.run(app.stop())


def test_two_loops_in_two_threads_share_an_application(make_app: Apps):
    """Covers: H11"""
    app = make_app()
    ran: list[int] = []

    @app.task
    async def work(x: int) -> int:
        ran.append(x)
        return x * x

    @app.workflow(id="run-{x}")
    async def run(x: int) -> int:
        return await work(x)

    async def main() -> list[int]:
        try:
            return await asyncio.gather(*(run(x) for x in range(20)))
        finally:
            await app.stop()

    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(main()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[x * x for x in range(20)]] * 2
    assert sorted(ran) == list(range(20))


async def test_two_applications_in_one_process_do_not_meet(make_app: Apps):
    first, second = make_app("first"), make_app("second")
    for app, factor in ((first, 10), (second, 100)):

        @app.task
        async def work(x: int) -> int:
            return x * factor  # noqa: B023

        @app.workflow(id="run")
        async def run(x: int) -> int:
            return await work(x)

    factor = 10
    assert await flow(first, "run")(1) == 10
    factor = 100
    assert await flow(second, "run")(2) == 200
    assert len(await first.runs.list()) == len(await second.runs.list()) == 1


async def test_two_applications_of_one_name_on_other_databases_do_not_meet(tmp_path):
    apps = [Workflow("app", db=str(tmp_path / "a.db")), Workflow("app", db=InMemoryStore())]
    for number, app in enumerate(apps):

        @app.workflow(id="run")
        async def run(x: int) -> int:
            return x

        assert await run(number) == number
    for app in apps:
        await app.stop()


QUIET = """
    wf = Workflow("app", db=DB)

    @wf.task
    async def work(x: int) -> int:
        return x

    @wf.task
    def plain(x: int) -> int:
        return x

    @wf.workflow
    async def run(x: int) -> int:
        return sum(await asyncio.gather(*(work(i) for i in range(x)))) + await plain.aio(x)

    @wf.workflow(id="waits")
    async def waits() -> None:
        await durable.sleep(3600)

    @wf.workflow
    def plainly(x: int) -> int:
        return plain(x)
"""


def complaints(child: Child) -> list[str]:
    """Return what a child has said on stderr; that asyncio's debug mode finds a busy machine slow is no complaint."""
    return [line for line in child.errors.splitlines() if not re.match(r"Executing <.* took [\d.]+ seconds$", line)]


@pytest.mark.parametrize(
    "end",
    [
        "asyncio.run(run(3))",
        "asyncio.run(run(3)); asyncio.run(run(4))",
        "plainly(3)",
        "asyncio.run(plainly.aio(3)); plainly(4)",
        "run.sync(5)",
        """
async def main():
    async with wf:
        await (await run.start(3)).result()
asyncio.run(main())
""",
        """
async def main():
    call = asyncio.create_task(waits())
    while (await wf.runs.list(state="suspended")) == []:
        await asyncio.sleep(0.001)
asyncio.run(main())
""",
        """
async def main():
    await wf.start()
    await waits.start()
    await run(2)
asyncio.run(main())
""",
        """
async def main():
    await run(2)
    raise SystemExit(0)
asyncio.run(main())
""",
        "",
    ],
    ids=["once", "twice", "plain", "both", "sync", "worker", "suspended", "unstopped worker", "exit", "unused"],
)
def test_nothing_is_said_at_exit_with_warnings_as_errors(file, end):
    """Covers: H15"""
    import textwrap

    code = textwrap.dedent(QUIET) + "\n" + end + "\nnote('end')\n"
    with Child(code, file, flags=STRICT_FLAGS) as child:
        code_of_exit = child.ended()
        assert complaints(child) == []
        assert code_of_exit == 0
    assert notes(file) == ([] if "SystemExit" in end else ["end"])


def test_the_next_process_says_nothing_about_the_one_that_ended_before_it(file):
    code = QUIET + "\n    asyncio.run(run(int(sys.argv[2])))\n    time.sleep(0.6)\n    asyncio.run(run(9))\n"
    for number in ("1", "2"):
        with Child(code, file, number, flags=STRICT_FLAGS) as child:
            assert child.ended() == 0
            assert complaints(child) == []
