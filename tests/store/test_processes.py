"""A process has a name that no other process ever has, and every part of the library knows it by that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from durable.runtime.identity import new_worker
from durable.store import processes
from durable.store.processes import is_stopped, process_name, world
from durable.store.sqlite.liveness import WorkerLocks

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def test_a_name_stays_and_says_when_and_where_the_process_began() -> None:
    name = process_name(os.getpid())
    assert name == process_name(os.getpid())
    assert (name.pid, name.world) == (os.getpid(), world())
    assert name.started > 0


def test_a_process_that_is_not_there_has_no_start() -> None:
    assert process_name(2**22 + 1).started == 0


def test_the_world_names_the_whole_boot_and_the_pid_namespace_without_a_colon() -> None:
    """Covers: E11"""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert len(boot) == 36
    assert world() == f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"


def test_a_command_name_cannot_confuse_what_is_read_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    stat = "7 (a) T 1 (b) ) S " + " ".join(str(field) for field in range(4, 53))
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: stat)
    assert processes._stat(7) == ("S", 22)


@pytest.mark.parametrize("stat", ["", "7 (cut", "7 (cut) S 1 2", "7 (odd) S " + "x " * 40])
def test_what_cannot_be_read_says_nothing(monkeypatch: pytest.MonkeyPatch, stat: str) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: stat)
    assert processes._stat(7) == ("", 0)


def test_a_stopped_process_is_seen_to_be_stopped() -> None:
    """Covers: E10, E11"""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        name = process_name(process.pid)
        assert not is_stopped(name)
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert is_stopped(name)
        assert not is_stopped(name._replace(started=name.started + 1)), "another process with that id"
        assert not is_stopped(name._replace(world="elsewhere"))
        assert not is_stopped(name._replace(world=""))
    finally:
        process.kill()
        process.communicate()


def test_without_proc_nothing_is_said_of_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", absent)
    assert world() == ""
    assert not is_stopped(process_name(os.getpid()))


def test_workers_and_their_locks_go_by_the_same_name(tmp_path: Path) -> None:
    """Covers: E8"""
    worker, name = new_worker(5), process_name(os.getpid())
    *found, nonce = worker.worker_id.split(":")
    assert found == [name.world, str(name.pid), str(name.started)]
    assert (worker.pid, worker.boot_id, worker.started_at, len(nonce)) == (name.pid, name.world, 5, 16)
    assert new_worker(5).worker_id != worker.worker_id
    locks = WorkerLocks(str(tmp_path / "x.db"))
    locks.hold(worker.worker_id)
    written = Path(locks.path_of(worker.worker_id)).read_text()
    locks.close()
    assert written == f'[{name.pid}, {name.started}, "{name.world}"]'
