"""Plays many rounds of a campaign, a few at a time, each in a process of its own.

    for played in play("tests.torture.io:one_round", [(1, "a"), (2, "b")]):
        print(played.arguments, played.result)

Theory of operation. A host process imports the target once and forks a child for each round, so that a round costs no
interpreter. The child is the leader of a process group: whatever it starts ends with it. It calls the target and hands
its result (anything that JSON can say) to the host through a pipe. A round that takes longer than `patience_s` is
killed and counts as stuck. When the host's stdin ends, because the campaign stops or dies, it kills what is left.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]

JOBS: Final = 4
"""Rounds at a time: they wait more than they work."""

PATIENCE_S: Final = 60.0

SHARED_MEMORY: Final = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a round."""

    arguments: list[Any]
    result: Any
    failure: str
    """Why there is no result; empty if there is one."""


def play(
    target: str,
    rounds: Iterable[tuple[Any, ...]],
    *,
    jobs: int = JOBS,
    patience_s: float = PATIENCE_S,
    environment: dict[str, str] | None = None,
) -> Iterator[Played]:
    """Play rounds until they are used up or the caller stops asking; yield each when it has ended.

    Args:
        target: `module:function`; the function takes what a round consists of, and returns what JSON can say.
        rounds: Arguments; taken as rounds end, so that an endless iterator is welcome.
        jobs: Rounds at a time.
        patience_s: Longest time of a round.
        environment: Variables of the host.
    """
    command = [sys.executable, "-m", "tests.torture._rounds", target, str(patience_s)]
    host = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert host.stdin is not None
    assert host.stdout is not None
    try:
        source = iter(rounds)
        open_rounds = 0
        while True:
            while open_rounds < jobs and (arguments := next(source, None)) is not None:
                host.stdin.write(json.dumps(arguments) + "\n")
                host.stdin.flush()
                open_rounds += 1
            if not open_rounds:
                return
            line = host.stdout.readline()
            if not line:
                raise RuntimeError(f"the host of {target} has ended with code {host.wait()}")
            open_rounds -= 1
            yield Played(**json.loads(line))
    finally:
        with suppress(OSError):
            host.stdin.close()
        host.stdout.close()
        host.wait()


@contextmanager
def scratch(name: str, *, fast: bool = True) -> Iterator[Path]:
    """Make a folder for a while; in memory, where flushing costs nothing, if there is such a place."""
    place = SHARED_MEMORY if fast and os.access(SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=f"durable-{name}-", dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def fork(call: Callable[[], int]) -> int:
    """Fork a process that calls this and ends with the code that it returns; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = call()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def exit_code(pid: int, patience_s: float = PATIENCE_S) -> int | None:
    """Wait for a forked process and return its exit code; None if it is stuck and was killed."""
    limit = time.monotonic() + patience_s
    while time.monotonic() < limit:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.003)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


# The host -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Child:
    pid: int
    arguments: list[Any]
    limit: float
    said: bytearray = field(default_factory=bytearray)


class _Host:
    def __init__(self, target: str, patience_s: float) -> None:
        module, _, name = target.partition(":")
        self._call = getattr(importlib.import_module(module), name)
        self._patience_s = patience_s
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, _Child] = {}
        """By the file descriptor of their pipe."""

    def serve(self) -> None:
        self._selector.register(0, selectors.EVENT_READ)
        rest = b""
        while True:
            for key, _ in self._selector.select(self._next_limit()):
                if key.fd != 0:
                    self._hear(key.fd)
                    continue
                text = os.read(0, 65536)
                if not text:
                    return self._end()
                *lines, rest = (rest + text).split(b"\n")
                for line in lines:
                    self._fork(json.loads(line))
            now = time.monotonic()
            for fd, child in list(self._children.items()):
                if now >= child.limit:
                    self._bury(fd, f"stuck for {self._patience_s:g} s")

    def _next_limit(self) -> float | None:
        limits = [child.limit for child in self._children.values()]
        return max(min(limits) - time.monotonic(), 0) if limits else None

    def _fork(self, arguments: list[Any]) -> None:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            self._be_child(arguments, write)
        os.close(write)
        self._children[read] = _Child(pid, arguments, time.monotonic() + self._patience_s)
        self._selector.register(read, selectors.EVENT_READ)

    def _be_child(self, arguments: list[Any], write: int) -> None:
        code = 1
        try:
            os.setpgid(0, 0)
            self._selector.close()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            # Only results are for stdout; what rounds and their processes print goes where it is seen.
            os.dup2(2, 1)
            random.seed()
            with os.fdopen(write, "wb") as pipe:
                pipe.write(json.dumps(self._call(*arguments)).encode() + b"\n")
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _hear(self, fd: int) -> None:
        text = os.read(fd, 1 << 20)
        self._children[fd].said += text
        # A line is a whole result. Waiting for the end of the pipe would mean waiting for all heirs of it.
        if not text or text.endswith(b"\n"):
            self._bury(fd, "")

    def _bury(self, fd: int, failure: str) -> None:
        """Report a round that has ended, or should have."""
        child = self._children.pop(fd)
        self._selector.unregister(fd)
        os.close(fd)
        if not failure:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        code = self._end_group(child.pid)
        result = None
        if not failure:
            if code == 0:
                result = json.loads(child.said.decode())
            else:
                failure = f"ended with code {code}"
        print(json.dumps({"arguments": child.arguments, "result": result, "failure": failure}), flush=True)

    @staticmethod
    def _end_group(pid: int) -> int:
        """End a child and whatever it has started; while it is not buried, nobody else has its number."""
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError, PermissionError):
                kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _end(self) -> None:
        for child in self._children.values():
            self._end_group(child.pid)


if __name__ == "__main__":
    _Host(sys.argv[1], float(sys.argv[2])).serve()
