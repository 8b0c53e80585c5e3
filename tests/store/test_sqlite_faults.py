"""What goes wrong while a store is open: locks, deaths, full disks, lost answers, files that vanish, forks."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from durable.core.records import RunState, Wait
from durable.errors import OutcomeUnknown, StoreError, StoreUnavailable, StoreUnusable
from durable.store.base import RunFilter
from durable.store.operations import Advance, Claim, Done, Existing, Extras, GoOn, Settle, Started, Suspend
from durable.store.sqlite import Limits, SQLiteRunStore
from durable.store.sqlite import faults as fault_points
from durable.store.sqlite.filelock import FileLock, holder_pid
from tests.store.sqlite_kit import (
    QUEUE,
    T0,
    W1,
    Clock,
    advance,
    child,
    do,
    finish,
    finished,
    opened,
    said,
    start,
    started,
    task,
)

IMPATIENT = Limits(lock_wait_s=0.2)

HOLDER = """
    async def main():
        async with opened(sys.argv[1], "boot:holder") as store:
            await store.execute([start("held", worker="boot:holder")], "boot:holder")
            store._database.lock.acquire()
            print("holding", flush=True)
            sys.stdin.readline()
            store._database.lock.release()
    asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    fault_points.disarm()


def failing(code: int):
    """Return an action that raises as SQLite would."""

    def fail() -> None:
        error = sqlite3.OperationalError(f"injected {code}")
        error.sqlite_errorcode = code
        raise error

    return fail


# The lock ------------------------------------------------------------------------------------------------------------


async def test_a_lock_that_is_held_too_long_names_its_holder(tmp_path) -> None:
    path = tmp_path / "x.db"
    async with opened(path, limits=IMPATIENT) as store:
        holder = child(HOLDER, path)
        assert said(holder) == "holding"
        assert store.execute_now([start("now")], W1) is None
        with pytest.raises(StoreUnavailable, match=f"process {holder.pid} has held its write lock"):
            await store.execute([start("withdrawn")], W1)
        with pytest.raises(StoreUnavailable, match=f"process {holder.pid}"):
            await store.execute([start("withdrawn too")], W1)
        assert await store.run("app", "held") is not None, "reads go on"
        holder.communicate("let go\n", timeout=30)
        await started(store, "after")
        # What was withdrawn was written neither then nor later.
        assert {run.run_id for run in await store.runs(RunFilter())} == {"held", "after"}


async def test_a_process_killed_with_the_lock_delays_nobody(tmp_path) -> None:
    """Covers: A2"""
    path = tmp_path / "x.db"
    async with opened(path) as store:
        holder = child(HOLDER, path)
        assert said(holder) == "holding"
        waiting = asyncio.ensure_future(asyncio.wait_for(store.execute([start("r")], W1), 20))
        await asyncio.sleep(0)
        holder.kill()
        began = time.monotonic()
        assert isinstance((await waiting).outcomes[0], Started)
        holder.wait()
        expired = await store.expire()
        claimed = await do(store, Claim(W1, (QUEUE,)))
        assert time.monotonic() - began < 1
        assert expired.workers == ("boot:holder",)
        assert [run.record.run_id for run in claimed.value] == ["held"]
        holder.communicate()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says who holds a lock")
def test_the_holder_of_a_lock_is_known(tmp_path) -> None:
    path = str(tmp_path / "x.lock")
    assert holder_pid(path) is None
    lock = FileLock(path)
    assert holder_pid(path) is None
    lock.acquire()
    assert holder_pid(path) == os.getpid()
    lock.close()
    assert holder_pid(path) is None


async def test_a_lock_file_that_was_deleted_is_made_anew(tmp_path) -> None:
    path = tmp_path / "x.db"
    async with opened(path) as store, opened(path, "boot:2") as other:
        os.unlink(f"{path}.lock")
        store._database._looked_at = other._database._looked_at = 0.0
        await started(store, "a")
        await started(other, "b")
        assert store._database.lock.is_stale() is other._database.lock.is_stale() is False


# Commits whose outcome is unknown ------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["commit", "committed"])
async def test_an_unknown_commit_is_resolved_by_executing_it_again(tmp_path, point: str) -> None:
    """Covers: B1"""
    async with opened(tmp_path / "x.db") as store:
        (run,) = await started(store, "r")
        batch = [start("new"), advance(run, task(1), then=Suspend(T0 + 5)), Settle("app", "p", True, b"v", "token")]
        fault_points.arm(point, failing(sqlite3.SQLITE_IOERR))
        with pytest.raises(OutcomeUnknown, match="may or may not have been written"):
            await store.execute(batch, W1)
        await store.reopen()
        again = (await store.execute(batch, W1)).outcomes
        assert isinstance(again[0], Existing if point == "committed" else Started)
        assert again[1] is Done.DONE
        assert again[2].value is True
        assert [entry.position for entry in await store.journal(run.key)] == [0, 1]
        assert await store.check() == []


async def test_nothing_is_served_until_the_log_is_safe(tmp_path, monkeypatch) -> None:
    """Covers: B1"""
    async with opened(tmp_path / "x.db") as store:
        (run,) = await started(store, "r")
        fault_points.arm("committed", failing(sqlite3.SQLITE_IOERR))
        monkeypatch.setattr(store._database, "recover", lambda: (_ for _ in ()).throw(StoreUnavailable("no")))
        with pytest.raises(OutcomeUnknown):
            await store.execute([advance(run, task(1))], W1)
        with pytest.raises(OutcomeUnknown):
            await store.execute([advance(run, task(1))], W1)
        with pytest.raises(StoreUnavailable, match="may or may not"):
            await store.run("app", "r")
        assert any("may or may not" in note for note in (await store.status()).notes)
        await store.reopen()
        assert await do(store, advance(run, task(1))) is Done.DONE
        assert [entry.position for entry in await store.journal(run.key)] == [0, 1]


async def test_what_was_told_in_a_lost_answer_is_told_again(tmp_path) -> None:
    """Covers: B1"""
    async with opened(tmp_path / "x.db") as store:
        (run,) = await started(store, "r")
        waits = Extras(waits=(Wait(1, "p:p"),))
        await do(store, Advance(run.key, W1, 1, (task(1),), GoOn(), waits))
        await store.execute([Settle("app", "p", True, b"v", "t")])
        fault_points.arm("committed", failing(sqlite3.SQLITE_IOERR))
        with pytest.raises(OutcomeUnknown):
            await store.execute([advance(run, task(2))], W1)
        await store.reopen()
        answer = await store.execute([advance(run, task(2))], W1)
        assert [settled.data for _, pending in answer.pending for settled in pending.settled] == [b"v"]


@pytest.mark.parametrize("point", ["before-begin", "before-commit"])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY])
async def test_a_failure_before_the_commit_writes_nothing_for_certain(tmp_path, point: str, code: int) -> None:
    """Covers: B2"""
    async with opened(tmp_path / "x.db") as store:
        (run,) = await started(store, "r")
        fault_points.arm(point, failing(code))
        with pytest.raises(StoreUnavailable):
            await store.execute([advance(run, task(1)), start("new")], W1)
        assert [entry.position for entry in await store.journal(run.key)] == [0]
        assert await do(store, advance(run, task(1))) is Done.DONE
        assert len(await store.runs(RunFilter())) == 1


async def test_names_of_a_rolled_back_transaction_are_not_remembered(tmp_path) -> None:
    async with opened(tmp_path / "x.db") as store:
        fresh = QUEUE._replace(app="fresh", workflow="fresh")
        fault_points.arm("before-commit", failing(sqlite3.SQLITE_FULL))
        with pytest.raises(StoreUnavailable):
            await store.execute([start("r", queue=fresh)], W1)
        record = (await do(store, start("r", queue=fresh))).record
        assert await store.run("fresh", "r") == record


def test_faults_have_names() -> None:
    with pytest.raises(ValueError, match="there is no fault 'nonsense'"):
        fault_points.arm("nonsense", lambda: None)


# Full disks ----------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder, megabytes: int):
    """Mount a small file system, which only root may do."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if os.getuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("a small disk needs root and mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_stops_writes_and_freed_space_lets_them_go_on(tmp_path) -> None:
    """Covers: B2, B22"""
    with small_disk(tmp_path / "disk", 6) as disk:
        store = SQLiteRunStore(disk / "x.db")
        await store.open(Clock())
        await store.register(_record())
        (run,) = await started(store, "r")
        filler = disk / "filler"
        filler.write_bytes(b"x" * (3 << 20))
        written, failures = 0, 0
        while failures == 0 and written < 500:
            try:
                await _append_surely(store, run, written + 1, b"v" * 50_000)
                written += 1
            except (StoreUnavailable, OutcomeUnknown):
                failures += 1
        # Reads go on, and a second try changes nothing.
        with pytest.raises(StoreError):
            await _append_surely(store, run, written + 1, b"v" * 50_000)
        filler.unlink()
        await _append_surely(store, run, written + 1, b"v" * 50_000)
        entries = await store.journal(run.key)
        assert [entry.position for entry in entries] == list(range(written + 2))
        assert await store.check() == []
        await store.close()


async def _append_surely(store: SQLiteRunStore, run, position: int, data: bytes) -> None:
    """Append an entry as the runtime would: an unknown outcome is resolved by reopening, if that is possible."""
    batch = [advance(run, task(position, data))]
    try:
        committed = await store.execute(batch, W1)
    except OutcomeUnknown:
        await store.reopen()
        committed = await store.execute(batch, W1)
    assert committed.outcomes == [Done.DONE]


def _record():
    from tests.store.sqlite_kit import worker

    return worker()


def test_a_file_size_limit_is_met_without_damage(tmp_path) -> None:
    """Covers: B5"""
    code = """
        import resource, signal
        from durable.errors import OutcomeUnknown, StoreError, StoreUnavailable
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        async def main():
            async with opened(sys.argv[1]) as store:
                (run,) = await started(store, "r")
                resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
                position, error = 1, None
                while error is None:
                    try:
                        await store.execute([advance(run, task(position, b"v" * 20_000))], W1)
                        position += 1
                    except StoreError as found:
                        error = found
                assert isinstance(error, (StoreUnavailable, OutcomeUnknown)), error
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                await store.reopen()
                committed = await store.execute([advance(run, task(position, b"v" * 20_000))], W1)
                assert len(await store.journal(run.key)) == position + 1, position
                assert await store.check() == []
        asyncio.run(main())
    """
    finished(child(code, tmp_path / "x.db"))


# Files that vanish ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "replaced by another file"])
async def test_a_file_that_is_gone_stops_the_store_for_good(tmp_path, how: str) -> None:
    """Covers: B8, E15"""
    path = tmp_path / "x.db"
    store = SQLiteRunStore(path)
    await store.open(Clock())
    await store.register(_record())
    (run,) = await started(store, "r")
    path.rename(tmp_path / "old.db")
    if how != "deleted":
        shutil.copy(tmp_path / "old.db", path)
    store._database._looked_at = 0.0  # A second has passed.
    for _ in range(2):
        with pytest.raises(StoreUnusable, match=f"was {how} while it was open"):
            await store.execute([advance(run, task(1))], W1)
    with pytest.raises(StoreUnusable, match=how):
        await store.reopen()
    assert path.exists() == (how != "deleted")
    await store.close()


# Forks and the end of a process --------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_refused_and_disturbs_nothing(tmp_path) -> None:
    """Covers: B16"""
    code = """
        import warnings, gc
        warnings.simplefilter("ignore", DeprecationWarning)
        from durable.errors import StoreUnusable
        async def refused(store):
            for attempt in (lambda: store.execute([start("child")], W1), lambda: store.run("app", "r"), store.reopen,
                            lambda: store.open(Clock())):
                try:
                    await attempt()
                except StoreUnusable as error:
                    assert "forked child" in str(error), error
                else:
                    raise AssertionError(attempt)
            await store.close()
        async def main():
            async with opened(sys.argv[1]) as store:
                (run,) = await started(store, "r")
                child = os.fork()
                if child == 0:
                    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                    try:
                        asyncio.events._set_running_loop(None)
                        asyncio.new_event_loop().run_until_complete(refused(store))
                        fds = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                               if os.path.exists(f"/proc/self/fd/{fd}")]
                        assert not [name for name in fds if name.endswith(".lock")], fds
                        del store
                        gc.collect()
                        os._exit(0)
                    except BaseException as error:
                        os.write(2, repr(error).encode())
                        os._exit(1)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                await store.execute([advance(run, task(1))], W1)
                assert (await store.expire()).workers == ()
                assert os.path.exists(sys.argv[1] + "-wal")
        asyncio.run(main())
    """
    finished(child(code, tmp_path / "x.db"))


def test_a_child_outliving_its_parent_keeps_no_worker_alive(tmp_path) -> None:
    """Covers: B16"""
    path = tmp_path / "x.db"
    code = """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        async def main():
            store = SQLiteRunStore(sys.argv[1])
            await store.open(Clock())
            await store.register(worker("boot:parent"))
            told, tell = os.pipe()
            if os.fork() == 0:
                os.write(tell, b"x")
                os.read(0, 1)  # lives until the test ends
                os._exit(0)
            os.read(told, 1)
            print("ready", flush=True)
            os.kill(os.getpid(), 9)
        asyncio.run(main())
    """
    parent = child(code, path)
    assert said(parent) == "ready"
    parent.wait()

    async def look() -> None:
        async with opened(path) as store:
            assert (await store.expire()).workers == ("boot:parent",)

    asyncio.run(look())
    parent.communicate("x")


@pytest.mark.parametrize("how", ["left open", "dropped", "loop closed with a job under way"])
def test_a_store_that_nobody_closes_ends_quietly(tmp_path, how: str) -> None:
    """Covers: H15"""
    code = """
        import gc
        how = sys.argv[2]
        async def main():
            global store
            store = SQLiteRunStore(sys.argv[1])
            await store.open(Clock())
            await store.register(worker())
            await started(store, "r")
            await store.runs(__import__("durable.store.base").store.base.RunFilter())
            if how.startswith("loop"):
                _ = store.execute([start("late")], W1)
        asyncio.run(main())
        if how == "dropped":
            del store
            gc.collect()
        print("end")
    """
    path = tmp_path / "x.db"
    began = time.monotonic()
    assert finished(child(code, path, how)) == "end\n"
    assert time.monotonic() - began < 20
    assert not os.path.exists(f"{path}-wal"), "the log was emptied and removed"

    async def look() -> None:
        async with opened(path, None) as store:
            assert (await store.run("app", "r")).state is RunState.RUNNING
            assert (await store.run("app", "late") is not None) == how.startswith("loop")

    asyncio.run(look())


def test_a_process_that_ends_while_another_holds_the_lock_does_not_hang(tmp_path) -> None:
    """Covers: H15"""
    code = """
        async def main():
            global store
            store = SQLiteRunStore(sys.argv[1])
            await store.open(Clock())
            other = FileLock(sys.argv[1] + ".lock")
            other.acquire()
            _ = store.execute([start("never")], None)
        from durable.store.sqlite.filelock import FileLock
        asyncio.run(main())
        print("end")
    """
    assert finished(child(code, tmp_path / "x.db"), timeout=30) == "end\n"


async def test_a_store_under_one_loop_after_another(tmp_path) -> None:
    path = tmp_path / "x.db"

    def use() -> None:
        async def main(store: SQLiteRunStore, number: int) -> None:
            await store.open(Clock())
            await store.register(_record())
            await started(store, f"r{number}")

        store = SQLiteRunStore(path)
        for number in range(3):
            asyncio.run(main(store, number))
        store.close_now()
        store.close_now()

    await asyncio.to_thread(use)
    async with opened(path, None) as store:
        assert len(await store.runs(RunFilter())) == 3
    gc.collect()


def test_a_kill_at_any_moment_leaves_whole_transactions(tmp_path) -> None:
    """Each batch starts a run and finishes another one; after any kill the two counts agree.

    Covers: A5, A8
    """
    path = tmp_path / "x.db"
    code = """
        async def main():
            me = f"boot:{os.getpid()}"
            async with opened(sys.argv[1], me) as store:
                last = (await store.execute([start(f"{me}-0", worker=me)], me)).outcomes[0].record
                print("ready", flush=True)
                for number in range(1, 100_000):
                    batch = [start(f"{me}-{number}", worker=me), finish(last, 1)]
                    last = (await store.execute(batch, me)).outcomes[0].record
        asyncio.run(main())
    """
    for kill in range(6):
        process = child(code, path)
        assert said(process) == "ready"
        time.sleep(0.02 * kill)
        process.send_signal(signal.SIGKILL)
        process.communicate()

        async def look() -> None:
            async with opened(path, "boot:judge") as store:
                assert (await store.expire()).workers
                counts = await store.count(RunFilter())
                assert counts.pop(RunState.QUEUED) == 1
                assert set(counts) <= {RunState.SUCCEEDED}
                assert await store.check() == []
                (claimed,) = (await do(store, Claim("boot:judge", (QUEUE,)))).value
                await store.execute([finish(claimed.record, 1)], "boot:judge")

        asyncio.run(look())
