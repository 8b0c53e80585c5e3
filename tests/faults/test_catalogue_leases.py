"""Rows of section E: workers that look dead and are not, and those that write although they should not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import Any

import pytest

from durable import Workflow
from durable.core.records import RunState
from durable.errors import StoreUnavailable
from durable.store.base import RunFilter
from durable.store.operations import Claim, Done
from durable.store.sqlite import Limits, SQLiteRunStore
from durable.store.sqlite.filelock import FileLock
from tests.runs.kit import Child, eventually, flow, live, notes, state
from tests.store.sqlite_kit import QUEUE, W1, Clock, advance, child, do, opened, said, start, task, worker
from tests.store.test_sqlite_workers import Watch

# A worker that was taken for dead while it lives ---------------------------------------------------------------------


class Taken:
    """Two workers of one run: the first is taken for dead in the middle of a step, and does not know it yet."""

    def __init__(self, db: str, kind: str) -> None:
        self.ran: list[str] = []
        self.release = threading.Event()
        self.apps = [self._make(db, name, kind) for name in ("zombie", "owner")]

    def _make(self, db: str, name: str, kind: str) -> Workflow:
        app = Workflow("app", db=db)

        @app.task
        async def asynchronous() -> str:
            self.ran.append(f"first in {name}")
            if name == "zombie":
                await asyncio.to_thread(self.release.wait, 20)
            return name

        @app.task
        def plain() -> str:
            self.ran.append(f"first in {name}")
            if name == "zombie":
                self.release.wait(20)
            return name

        @app.task
        async def second(result: str) -> str:
            self.ran.append(f"second in {name} after {result}")
            return result

        @app.workflow(id="run")
        async def run() -> str:
            result = await (plain.aio() if kind == "plain" else asynchronous())
            await app.complete("run", "told", name)
            return await second(result)

        @app.workflow(id="other")
        async def other() -> str:
            return await second("nothing")

        return app


async def let_seem_dead(app: Workflow) -> str:
    """Free a worker's lock, as its death would; return its name."""
    engine = await app._engine()
    assert isinstance(engine.store, SQLiteRunStore)
    engine.store._locks._held.pop(engine.worker_id).close()
    return engine.worker_id


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_what_a_worker_does_after_its_runs_were_taken_counts_for_nothing(file, kind, caplog):
    """Covers: E1, E6, E7, E16"""
    taken = Taken(file, kind)
    zombie, owner = taken.apps

    async def main() -> None:
        async with zombie:
            _ = await flow(zombie, "run").start()
            await eventually(lambda: taken.ran)
            old_name = await let_seem_dead(zombie)
            async with owner:
                assert await owner.handle("run").result() == "owner"
            journal = [(event.name, event.value) for event in await owner.runs.history("run")]
            taken.release.set()
            await eventually(lambda: "was taken for dead; it goes on under a new name" in caplog.text)
            assert (await zombie._engine()).worker_id != old_name
            # It is a worker like others again, and has done nothing more of what it had lost.
            assert await (await flow(zombie, "other").start()).result() == "nothing"
            assert [(event.name, event.value) for event in await zombie.runs.history("run")] == journal
            assert not await zombie.complete("run", "told", "too late")

    live(owner, main)
    assert taken.ran == [
        "first in zombie", "first in owner", "second in owner after owner", "second in zombie after nothing",
    ]  # fmt: skip


GIL = """
    import re

    wf = Workflow("app", db=DB)

    @wf.task
    async def step(number: int) -> int:
        note(f"{number} {sys.argv[2]}")
        say(f"begins {number}")
        if number == 1 and sys.argv[2] == "first":
            began, length = time.monotonic(), 22
            while time.monotonic() - began < 1.0:  # no other thread runs meanwhile, for half of it without a pause
                re.match("(a+)+$", "a" * length + "b")
                length += 1
        return number

    @wf.workflow(id="run")
    async def run() -> int:
        return sum([await step(number) for number in range(4)])

    async def main():
        async with wf:
            say("ready")
            if sys.argv[2] == "first":
                await run.start()
            await asyncio.Event().wait()

    asyncio.run(main())
"""


def test_a_worker_whose_interpreter_is_held_by_a_c_call_keeps_its_runs(file):
    """Covers: E2"""
    with Child(GIL, file, "second") as second, Child(GIL, file, "first") as first:
        second.hears("ready")
        first.hears("begins 3")
        assert second.errors == ""
    assert notes(file) == [f"{number} first" for number in range(4)]


# Stopped at a bad moment ---------------------------------------------------------------------------------------------

WRITES = """
    from durable.store.sqlite import faults

    def stop():
        print("stops", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)

    async def main():
        async with opened(sys.argv[1], "boot:other") as store:
            run = (await store.execute([start("r", worker="boot:other")], "boot:other")).outcomes[0].record
            print("owns", flush=True)
            sys.stdin.readline()
            if sys.argv[2] == "within":
                faults.arm("before-commit", stop)
            print("writes", flush=True)
            outcome = (await store.execute([advance(run, task(1))], "boot:other")).outcomes[0]
            print(type(outcome).__name__, await store.registered("boot:other"), flush=True)

    import signal
    asyncio.run(main())
"""

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def tell(process) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


def stop(process) -> None:
    """Stop a process, and wait until it is."""
    process.send_signal(signal.SIGSTOP)
    wait_until_stopped(process)


def wait_until_stopped(process) -> None:
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


@linux_only
async def test_a_write_that_waited_for_the_lock_while_its_run_was_taken_is_refused(tmp_path):
    """Covers: E1, E14"""
    path = tmp_path / "x.db"
    zombie = child(WRITES, path, "waiting for the lock")
    assert said(zombie) == "owns"
    async with opened(path) as store:
        store._observer._clock = watch = Watch()
        held = FileLock(f"{path}.lock")
        held.acquire()
        tell(zombie)
        assert said(zombie) == "writes"
        await eventually(lambda: waits_in_the_kernel(zombie.pid))
        stop(zombie)
        held.close()
        assert (await store.expire()).workers == ()
        watch.now += 30
        assert (await store.expire()).workers == ("boot:other",)
        (claimed,) = (await do(store, Claim(W1, (QUEUE,)))).value
        zombie.send_signal(signal.SIGCONT)
        assert said(zombie) == "Fenced False"
        zombie.communicate(timeout=20)
        assert [entry.position for entry in await store.journal(claimed.record.key)] == [0]
        assert await do(store, advance(claimed.record, task(1))) is Done.DONE


def waits_in_the_kernel(pid: int) -> bool:
    """Does a process wait for a lock of a file?"""
    with open("/proc/locks") as file:
        return any("->" in line and f" {pid} " in line for line in file)


@linux_only
async def test_a_worker_that_stands_still_within_its_write_cannot_be_overtaken(tmp_path):
    """Covers: E17"""
    path = tmp_path / "x.db"
    pausing = child(WRITES, path, "within")
    assert said(pausing) == "owns"
    async with opened(path, limits=Limits(lock_wait_s=0.1)) as store:
        store._observer._clock = watch = Watch()
        tell(pausing)
        assert [said(pausing), said(pausing)] == ["writes", "stops"]
        wait_until_stopped(pausing)
        await store.expire()
        watch.now += 30
        with pytest.raises(StoreUnavailable, match=f"process {pausing.pid} has held its write lock"):
            await store.expire()
        assert (await store.runs(RunFilter()))[0].owner == "boot:other"
        pausing.send_signal(signal.SIGCONT)
        assert said(pausing) == "Done True"
        pausing.communicate(timeout=20)


@linux_only
async def test_a_worker_that_goes_on_while_its_takeover_waits_keeps_its_runs(tmp_path):
    """A worker was stopped in the middle of a write. Others took it for dead, but had to wait for the lock that it
    held; when it went on and let go of the lock, they took its runs although it lived.

    Covers: E17
    """
    path = tmp_path / "x.db"
    pausing = child(WRITES, path, "within")
    assert said(pausing) == "owns"
    async with opened(path) as store:
        store._observer._clock = watch = Watch()
        tell(pausing)
        assert [said(pausing), said(pausing)] == ["writes", "stops"]
        wait_until_stopped(pausing)
        await store.expire()
        watch.now += 30
        takeover = asyncio.create_task(store.expire())
        await eventually(lambda: waits_in_the_kernel(os.getpid()))
        pausing.send_signal(signal.SIGCONT)
        assert (await takeover).workers == ()
        assert said(pausing) == "Done True"
        pausing.communicate(timeout=20)


RETRIES = """
    from durable.store.sqlite import Limits, SQLiteRunStore

    wf = Workflow("app", db=SQLiteRunStore(DB, limits=Limits(stopped_s=1.0)))

    @wf.task(retries=1, backoff=constant(0.8))
    async def step() -> str:
        note(sys.argv[2])
        if sys.argv[2] == "first":
            asyncio.get_running_loop().call_later(0.2, say, "waits")
            raise OSError("not yet")
        return sys.argv[2]

    @wf.workflow(id="run")
    async def run() -> str:
        return await step()

    async def main():
        async with wf:
            say("ready")
            if sys.argv[2] == "first":
                await run.start()
            while not (await wf.runs.get("run")).state.is_final or not await named(os.getpid()):
                await asyncio.sleep(0.01)
            say(await wf.handle("run").result())

    async def named(pid):
        engine = await wf._engine()
        return pid in [worker.pid for worker in await engine.store.workers()]

    asyncio.run(main())
"""


@linux_only
def test_a_worker_that_wakes_up_begins_nothing_of_what_it_has_lost(file):
    """A stopped worker waited for its next attempt, which was due when it woke up, before it had looked whether its
    runs were still its own: a step was executed that another worker had recorded long ago.

    Covers: E1
    """
    with Child(RETRIES, file, "first") as first:
        first.hears("waits")
        first.send(signal.SIGSTOP)
        with Child(RETRIES, file, "second") as second:
            second.hears("second")
        first.send(signal.SIGCONT)
        first.hears("second")
    assert notes(file) == ["first", "second"]


# Many who want the same ----------------------------------------------------------------------------------------------


async def test_a_death_that_many_notice_at_once_is_counted_once_and_its_runs_are_shared(tmp_path):
    """Covers: E12, E13"""
    path = tmp_path / "x.db"
    async with opened(path, "boot:dead") as dead:
        await dead.execute([start(f"r{number}", worker="boot:dead") for number in range(40)], "boot:dead")
        peers = [SQLiteRunStore(path) for _ in range(10)]
        for number, peer in enumerate(peers):
            await peer.open(Clock())
            await peer.register(worker(f"boot:{number}"))
        try:
            dead._locks._held.pop("boot:dead").close()
            expired = await asyncio.gather(*(peer.expire() for peer in peers))
            assert sorted(found.workers for found in expired if found.workers) == [("boot:dead",)]
            claims = [Claim(f"boot:{number}", (QUEUE,), (), 10) for number in range(10)]
            claimed = await asyncio.gather(
                *(peer.execute([claim], claim.worker) for peer, claim in zip(peers, claims, strict=True))
            )
            answers: list[Any] = [batch.outcomes[0] for batch in claimed]
            taken = [item.record.run_id for answer in answers for item in answer.value]
            assert sorted(taken) == sorted(f"r{number}" for number in range(40))
            records = await peers[0].runs(RunFilter())
            assert {(run.state, run.epoch, run.deaths) for run in records} == {(RunState.RUNNING, 2, 1)}
        finally:
            for peer in peers:
                await peer.close()


def test_a_second_worker_of_the_same_configuration_has_a_name_of_its_own(file):
    """Covers: E8"""

    async def main() -> list[str]:
        apps = [Workflow("app", db=file) for _ in range(2)]
        for app in apps:

            @app.workflow(id="waits")
            async def waits() -> None:
                await app.signal("never")  # noqa: B023

        async with apps[0], apps[1]:
            _ = await flow(apps[0], "waits").start()
            await state(apps[0], "waits", "suspended")
            return [(await app._engine()).worker_id for app in apps]

    first, second = asyncio.run(main())
    assert first != second
    assert first.split(":")[:3] == second.split(":")[:3], "one process"
