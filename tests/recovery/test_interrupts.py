"""Ends that a person or an operator brings about: Ctrl-C, SIGTERM, and the worker's `stop`."""

from __future__ import annotations

import signal

from tests.runs.kit import Child, notes

INTERRUPTED = """
    wf = Workflow("app", db=DB)
    HANGS = sys.argv[2] == "hang"

    @wf.task
    async def step(number: int) -> int:
        if HANGS and number == 2:
            say("here")
            await asyncio.sleep(3600)
        note(f"step {number}")
        return number

    @wf.task
    def plain_step(number: int) -> int:
        if HANGS and number == 2:
            say("here")
            time.sleep(3600)
        note(f"step {number}")
        return number

    @wf.workflow(id="async")
    async def asynchronous() -> int:
        return sum([await step(number) for number in range(4)])

    @wf.workflow(id="plain")
    def plain() -> int:
        return sum([plain_step(number) for number in range(4)])
"""


def interrupt_and_resume(file: str, call: str) -> None:
    code = (
        INTERRUPTED
        + f"""
    try:
        say(f"result {{{call}}}")
    except KeyboardInterrupt:
        say("interrupted")
        os._exit(130) if "plain" in {call!r} else sys.exit(130)
"""
    )
    with Child(code, file, "hang") as child:
        child.hears("here")
        child.send(signal.SIGINT)
        child.hears("interrupted")
        assert child.ended() == 130
    assert notes(file) == ["step 0", "step 1"]
    with Child(code, file, "no") as child:
        child.hears("result 6")
        assert child.ended() == 0
    assert notes(file) == [f"step {number}" for number in range(4)]


def test_ctrl_c_in_an_async_workflow_leaves_it_to_be_resumed(file):
    """Covers: H7"""
    interrupt_and_resume(file, "asyncio.run(asynchronous())")


def test_ctrl_c_in_a_plain_workflow_leaves_it_to_be_resumed(file):
    """Covers: H7"""
    interrupt_and_resume(file, "plain()")


def test_a_keyboard_interrupt_raised_by_a_task_is_not_an_outcome(file):
    """Covers: H7"""
    code = """
        wf = Workflow("app", db=DB)

        @wf.task
        async def step(number: int) -> int:
            if number == 1 and sys.argv[2] == "interrupt":
                raise KeyboardInterrupt
            note(f"step {number}")
            return number

        @wf.workflow(id="run")
        async def run() -> int:
            return sum([await step(number) for number in range(3)])

        try:
            say(f"result {asyncio.run(run())}")
        except KeyboardInterrupt:
            say("interrupted")
    """
    with Child(code, file, "interrupt") as child:
        child.hears("interrupted")
    with Child(code, file, "no") as child:
        child.hears("result 3")
    assert notes(file) == ["step 0", "step 1", "step 2"]


WORKER = """
    wf = Workflow("app", db=DB)

    @wf.task
    async def step(number: int) -> int:
        note(f"begins {number} {os.getpid()}")
        say(f"begins {number}")
        if number == 1:
            await asyncio.sleep(0.3)
        note(f"ends {number} {os.getpid()}")
        return number

    @wf.workflow(id="run")
    async def run() -> int:
        return sum([await step(number) for number in range(4)])

    @wf.workflow(id="sleeps")
    async def sleeps() -> None:
        await durable.sleep(3600)

    async def main():
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        async with wf:
            if sys.argv[2] == "first":
                await run.start()
                await sleeps.start()
            else:
                say(f"result {await wf.handle('run').result()}")
                stop.set()
            await stop.wait()
        say("stopped")

    asyncio.run(main())
"""


def test_a_worker_that_is_asked_to_stop_ends_its_step_and_hands_back_its_runs(file):
    """Covers: A20"""
    with Child(WORKER, file, "first") as first:
        first.hears("begins 1")
        first.send(signal.SIGTERM)
        first.hears("stopped")
        assert first.ended() == 0
        pid = first.pid
        assert first.errors == ""
    assert notes(file)[-1] == f"ends 1 {pid}"
    with Child(WORKER, file, "second") as second:
        second.hears("result 6")
        assert second.ended() == 0
        assert second.errors == ""
    begun = [line.split()[1] for line in notes(file) if line.startswith("begins")]
    assert begun == ["0", "1", "2", "3"]


def test_runs_that_were_handed_back_are_taken_at_once_and_count_no_death(file):
    """Covers: A20"""
    with Child(WORKER, file, "first") as first:
        first.hears("begins 1")
        with Child(WORKER, file, "second") as second:
            first.send(signal.SIGTERM)
            first.hears("stopped")
            second.hears("begins 2")
            second.hears("result 6")
            assert "is dead" not in second.errors
            assert second.ended() == 0
