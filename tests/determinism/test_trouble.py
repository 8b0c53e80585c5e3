"""Bodies that do what a body cannot do are set aside, with a text that says where.

Covers: G17
"""

import asyncio
import contextlib
import inspect
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

import durable
from durable.core.records import Reason
from tests.support.bodies import Step, script_for
from tests.support.replaying import Played, Script, play


def set_aside(body: Any, **options: Any) -> tuple[Reason, str, Played]:
    """Play a body that has to be set aside; return why, and the play."""
    played = play(script_for(body, options={"strict": True, **options}, pump_seconds=0.005))
    error = played.result
    assert isinstance(error, durable.RunSetAside), repr(error)
    record = played.store._tables.by_id["app", "run"].record()
    assert record.state.label == "set aside"
    return Reason(error.reason), error.detail, played


def line_of(function: Callable[..., Any], text: str) -> int:
    """Return the number of the line of a function that contains a text."""
    lines, first = inspect.getsourcelines(function)
    return next(first + index for index, line in enumerate(lines) if text in line)


def test_a_deadlock_names_the_line_of_every_branch() -> None:
    async def body(step: Step) -> Any:
        async def waits_for_an_event() -> None:
            await asyncio.Event().wait()  # event

        async def waits_for_a_queue() -> None:
            queue: asyncio.Queue[int] = asyncio.Queue()
            await queue.get()  # queue

        await step("first")
        async with asyncio.TaskGroup() as group:
            group.create_task(waits_for_an_event(), name="eve")
            group.create_task(waits_for_a_queue(), name="quentin")

    reason, detail, played = set_aside(body)
    assert reason == Reason.DEADLOCK
    assert f"eve: {__file__}:{line_of(body, '# event')}" in detail
    assert f"quentin: {__file__}:{line_of(body, '# queue')}" in detail
    assert "main: " in detail
    assert [entry.name for entry in played.journal] == ["start", "step"]


def test_a_wait_for_a_signal_is_no_deadlock() -> None:
    async def body(step: Step) -> Any:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(5, event.set)
        await event.wait()
        return "woken"

    assert play(script_for(body)).result == "woken"


@pytest.mark.parametrize("kind", ["forever", "tasks"])
def test_a_busy_loop_is_set_aside_with_its_place(kind: str) -> None:
    async def body(step: Step) -> Any:
        await step("first")
        while kind == "forever":  # noqa: ASYNC110 - that it is no way to wait is the point
            await asyncio.sleep(0)  # busy

        async def spawn() -> None:
            kept.append(asyncio.create_task(spawn()))

        kept = [asyncio.create_task(spawn())]
        await asyncio.Event().wait()

    reason, detail, _ = set_aside(body)
    assert reason == Reason.BUSY_LOOP
    assert "without coming to a durable operation" in detail
    if kind == "forever":
        assert f"{__file__}:{line_of(body, '# busy')}" in detail


def test_many_turns_between_two_entries_are_no_busy_loop() -> None:
    async def body(step: Step) -> Any:
        for _ in range(30_000):
            await asyncio.sleep(0)
        return await step("end")

    assert play(script_for(body)).result == "end"


def test_too_many_open_operations_are_a_busy_loop() -> None:
    async def body(step: Step) -> Any:
        await asyncio.gather(*(asyncio.sleep(60) for _ in range(10_001)))

    reason, detail, _ = set_aside(body)
    assert reason == Reason.BUSY_LOOP
    assert "durable.map" in detail


IO: dict[str, Callable[[asyncio.AbstractEventLoop], Any]] = {
    "create_connection": lambda loop: loop.create_connection(asyncio.Protocol, "127.0.0.1", 9),
    "create_server": lambda loop: loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
    "run_in_executor": lambda loop: loop.run_in_executor(None, print),
    "add_reader": lambda loop: loop.add_reader(0, print),
    "add_signal_handler": lambda loop: loop.add_signal_handler(2, print),
    "getaddrinfo": lambda loop: loop.getaddrinfo("localhost", 80),
    "sock_recv": lambda loop: loop.sock_recv(cast("socket.socket", None), 1),  # refused before anybody looks at it
    "subprocess_exec": lambda loop: loop.subprocess_exec(asyncio.SubprocessProtocol, "true"),
    "open_connection": lambda loop: asyncio.open_connection("127.0.0.1", 9),
    "to_thread": lambda loop: asyncio.to_thread(print),
    "run_until_complete": lambda loop: loop.run_until_complete(loop.create_future()),
    "stop": lambda loop: loop.stop(),
    "close": lambda loop: loop.close(),
}


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning", "ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("name", IO)
def test_io_through_the_loop_is_refused_even_if_a_library_swallows_the_error(name: str) -> None:
    async def body(step: Step) -> Any:
        await step("first")
        try:
            given = IO[name](asyncio.get_running_loop())
            if inspect.isawaitable(given):
                await given
        except Exception:
            pass
        return await step("after")

    reason, detail, played = set_aside(body)
    assert reason == Reason.FORBIDDEN
    assert "@task" in detail
    assert [entry.note for entry in played.journal if entry.name == "step"] == ['"first"']
    assert len(played.world.asked) == 1, "a step began after the run had been refused"


BLOCKING: dict[str, Callable[[], Any]] = {
    "open": lambda: open(os.devnull).close(),
    "listdir": lambda: os.listdir("/"),
    "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
    "subprocess": lambda: subprocess.run(["true"], check=True),
    "system": lambda: os.system("true"),
}


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("name", BLOCKING)
def test_strict_mode_refuses_files_sockets_and_processes(name: str) -> None:
    async def body(step: Step) -> Any:
        with contextlib.suppress(Exception):
            BLOCKING[name]()
        return await step("after")

    reason, detail, played = set_aside(body)
    assert reason == Reason.FORBIDDEN
    assert "@task" in detail
    assert not played.world.asked


def test_strict_mode_leaves_tasks_alone() -> None:
    def build(stage: Any) -> None:
        @stage.wf.task(retries=0)
        async def reads() -> int:
            with open(os.devnull) as file:
                return len(file.read())

        @stage.wf.task(retries=0)
        def lists() -> bool:
            return bool(os.listdir("/"))

        @stage.wf.workflow
        async def main() -> Any:
            return [await reads(), await lists.aio()]

    assert play(Script(build, options={"strict": True})).result == [0, True]


def test_without_strict_mode_files_may_be_read() -> None:
    async def body(step: Step) -> Any:
        with open(os.devnull) as file:
            return file.read()

    assert play(script_for(body, options={"strict": False})).result == ""


def test_a_wake_up_from_a_thread_is_refused() -> None:
    raised: list[BaseException] = []

    async def body(step: Step) -> Any:
        loop = asyncio.get_running_loop()
        come = loop.create_future()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(come.set_result, "from a thread")
            except durable.ForbiddenInWorkflow as error:
                raised.append(error)

        thread = threading.Thread(target=wake)
        thread.start()
        thread.join()
        await asyncio.sleep(0)
        return await step("after")

    reason, detail, played = set_aside(body)
    assert reason == Reason.FORBIDDEN
    assert "thread" in detail
    assert len(raised) == 1
    assert not played.world.asked


def test_a_run_that_was_set_aside_goes_on_with_mended_code() -> None:
    stuck = [True]

    async def body(step: Step) -> Any:
        first = await step("first")
        if stuck[0]:
            await asyncio.Event().wait()
        return [first, await step("second")]

    script = script_for(body, direct=True)
    halted = play(script)
    assert isinstance(halted.result, durable.Deadlock)
    stuck[0] = False
    mended = play(script, of=halted)
    assert mended.result == ["first", "second"]
    assert len(mended.world.asked) == 1


def test_the_other_runs_of_the_worker_go_on() -> None:
    def build(stage: Any) -> None:
        @stage.wf.task(retries=0)
        async def work(number: int) -> int:
            await stage.world.job(10 + number)
            return number

        @stage.wf.workflow
        async def busy() -> None:
            while True:  # noqa: ASYNC110
                await asyncio.sleep(0)

        @stage.wf.workflow
        async def main() -> Any:
            await busy.start()
            return [await work(number) for number in range(3)]

    assert play(Script(build, pump_seconds=0.005)).result == [0, 1, 2]
