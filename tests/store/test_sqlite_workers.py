"""Which workers are dead: the lock file of each, and what is watched beside it."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from durable.core.records import Reason, RunState
from durable.errors import StoreUnavailable
from durable.store.operations import Claim
from durable.store.sqlite import Limits
from durable.store.sqlite.liveness import Look, Observer, Sign, WorkerLocks
from tests.store.sqlite_kit import (
    QUEUE,
    W1,
    child,
    do,
    opened,
    said,
    started,
    tell,
    worker,
)


class Watch:
    """A monotonic clock under control."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def observer(watch: Watch) -> Observer:
    return Observer(stopped_s=30, hang_s=600, clock=watch)


def test_a_free_lock_is_proof_of_death(observer: Observer) -> None:
    """Covers: E11"""
    assert observer.is_dead("w", Look(Sign.FREE))


def test_a_worker_that_beats_lives_for_ever(observer: Observer, watch: Watch) -> None:
    for beat in range(100):
        assert not observer.is_dead("w", Look(Sign.ALIVE, beat))
        watch.now += 599


def test_a_worker_without_progress_dies_after_the_hang_time_that_we_watched(observer: Observer, watch: Watch) -> None:
    """Covers: E4"""
    watch.now = 50_000
    assert not observer.is_dead("w", Look(Sign.ALIVE, 7)), "however old its last beat, we have just begun to watch"
    watch.now += 599
    assert not observer.is_dead("w", Look(Sign.ALIVE, 7))
    watch.now += 1
    assert observer.is_dead("w", Look(Sign.ALIVE, 7))


@pytest.mark.parametrize("sign", [Sign.STOPPED, Sign.GONE])
def test_a_stopped_worker_dies_after_the_lease_time(observer: Observer, watch: Watch, sign: Sign) -> None:
    """Covers: E1"""
    for _ in range(2):
        assert not observer.is_dead("w", Look(sign, 1))
        watch.now += 29
        assert not observer.is_dead("w", Look(sign, 1))
        assert not observer.is_dead("w", Look(Sign.ALIVE, 1)), "it went on: the time begins again"
        watch.now += 1
    assert not observer.is_dead("w", Look(sign, 1))
    watch.now += 30
    assert observer.is_dead("w", Look(sign, 1))


def test_workers_are_watched_apart_and_forgotten(observer: Observer, watch: Watch) -> None:
    observer.is_dead("a", Look(Sign.STOPPED, 1))
    watch.now += 30
    assert not observer.is_dead("b", Look(Sign.STOPPED, 1))
    observer.forget_all_but(["b"])
    assert not observer.is_dead("a", Look(Sign.STOPPED, 1))


def test_a_look_shows_what_the_lock_file_says(tmp_path) -> None:
    """Covers: E8, E12"""
    ours, theirs = WorkerLocks(str(tmp_path / "x.db")), WorkerLocks(str(tmp_path / "x.db"))
    assert theirs.look("w") == (Look(Sign.GONE), None)
    ours.hold("w")
    first, lock = theirs.look("w")
    assert (first.sign, lock) == (Sign.ALIVE, None)
    os.utime(ours.path_of("w"), ns=(1, 1))
    stale, _ = theirs.look("w")
    ours.beat()
    assert len({first.beat, stale.beat, theirs.look("w")[0].beat}) == 3
    with pytest.raises(StoreUnavailable, match="another process uses the same worker id"):
        theirs.hold("w")
    ours.close()
    look, lock = theirs.look("w")
    assert look.sign is Sign.FREE
    assert theirs.look("w")[0].sign is Sign.ALIVE, "whoever found it dead holds it until it is buried"
    assert lock is not None
    lock.close()


def test_a_lock_file_that_was_taken_away_is_made_again_by_the_next_beat(tmp_path) -> None:
    ours, theirs = WorkerLocks(str(tmp_path / "x.db")), WorkerLocks(str(tmp_path / "x.db"))
    ours.hold("w")
    os.unlink(ours.path_of("w"))
    assert theirs.look("w")[0].sign is Sign.GONE
    ours.beat()
    assert theirs.look("w")[0].sign is Sign.ALIVE
    ours.close()


def test_files_of_nobody_are_tidied_up(tmp_path) -> None:
    locks = WorkerLocks(str(tmp_path / "x.db"))
    for name in ("held", "known", "unknown"):
        locks.hold(name)
    for name in ("known", "unknown"):
        locks._held.pop(name).close()
    WorkerLocks(str(tmp_path / "x.db")).tidy(["known"])
    left = {name for name in ("held", "known", "unknown") if os.path.exists(locks.path_of(name))}
    assert left == {"held", "known"}
    locks.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
async def test_a_stopped_process_is_seen_and_its_runs_taken_over(tmp_path) -> None:
    """Covers: E1, E6"""
    code = """
        async def main():
            async with opened(sys.argv[1], "boot:other") as store:
                await store.execute([start("r", worker="boot:other")], "boot:other")
                print("ready", flush=True)
                sys.stdin.readline()
                (record,) = await store.runs(RunFilter())
                committed = await store.execute([advance(record, task(1))._replace(worker="boot:other", epoch=1)])
                print(type(committed.outcomes[0]).__name__, await store.registered("boot:other"), flush=True)
        from durable.store.base import RunFilter
        asyncio.run(main())
    """
    path = tmp_path / "x.db"
    other = child(code, path)
    assert said(other) == "ready"
    async with opened(path, limits=Limits(stopped_s=30)) as store:
        watch = store._observer._clock = Watch()
        assert (await store.expire()).workers == ()
        other.send_signal(signal.SIGSTOP)
        os.waitpid(other.pid, os.WUNTRACED)  # noqa: ASYNC222 - it stops at once
        assert (await store.expire()).workers == ()
        watch.now += 29
        assert (await store.expire()).workers == ()
        watch.now += 1
        assert (await store.expire()).workers == ("boot:other",)
        (claimed,) = (await do(store, Claim(W1, (QUEUE,)))).value
        assert (claimed.record.epoch, claimed.record.deaths) == (2, 1)
        other.send_signal(signal.SIGCONT)
        tell(other)
        assert said(other) == "Fenced False"
        other.communicate(timeout=30)


async def test_takeovers_of_one_worker_are_spread_by_run(tmp_path) -> None:
    path = tmp_path / "x.db"
    async with opened(path, None) as store:
        for death in range(2):
            me = f"boot:{death}"
            await store.register(worker(me))
            if death == 0:
                await started(store, *(f"r{number}" for number in range(50)))
            await do(store, Claim(me, (QUEUE,)))
            store._locks._held.pop(me).close()
            assert len((await store.expire()).runs) == 50
        from durable.store.base import RunFilter

        due = [run.due_at for run in await store.runs(RunFilter())]
        assert len(set(due)) > 40
        assert {run.deaths for run in await store.runs(RunFilter())} == {2}


async def test_an_id_may_hold_what_a_file_name_may_not(tmp_path) -> None:
    strange = "../../etc/\u00e9 " + "x" * 400
    async with opened(tmp_path / "x.db", strange) as store:
        assert [record.worker_id for record in await store.workers()] == [strange]
        assert os.listdir(f"{tmp_path}/x.db.workers") == [os.path.basename(store._locks.path_of(strange))]
        await store.unregister(strange)
        assert os.listdir(f"{tmp_path}/x.db.workers") == []


async def test_a_poisoned_run_says_so(tmp_path) -> None:
    """Covers: A21"""
    async with opened(tmp_path / "x.db", None) as store:
        clock = store._clock
        for death in range(5):
            me = f"boot:{death}"
            await store.register(worker(me))
            if death == 0:
                await started(store, "r")
            clock.now += 100_000
            await do(store, Claim(me, (QUEUE,)))
            store._locks._held.pop(me).close()
            await store.expire()
        run = await store.run("app", "r")
        assert (run.state, run.reason, run.deaths) == (RunState.SET_ASIDE, Reason.POISONED, 5)
