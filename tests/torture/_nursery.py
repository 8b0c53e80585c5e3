"""Forks processes on demand, so that a campaign can kill several a second without paying for an interpreter each time.

The nursery is a process that has imported everything and opened nothing. Each child is a process of its own and dies of
`kill -9` like any other. When the nursery's stdin ends, it ends its children and itself.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0


class Nursery:
    """Starts and kills children.

    Args:
        module: A module that calls `serve(main)`.
        arguments: What its children need to know.
        environment: Their variables; default: those of this process.
    """

    def __init__(self, module: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def spawn(self, *role: str) -> int:
        """Start a child in this role, and return its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\t".join(role) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()


def kill(pid: int) -> bool:
    """End a child with `kill -9`, and return whether it had not ended before."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    limit = time.monotonic() + PATIENCE_S
    while is_alive(pid):
        assert time.monotonic() < limit, f"process {pid} does not die"
        time.sleep(0.0005)
    return True


def is_alive(pid: int) -> bool:
    """Is the process there?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def serve(main: Callable[[list[str]], None]) -> None:
    """Be a nursery: fork a child for every line of stdin, which calls `main` with the line's words."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the dead, so that their ids vanish at once
    children: list[int] = []
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _be_child(main, line.rstrip("\n").split("\t"))
        children.append(pid)
        print(pid, flush=True)
    for pid in children:
        kill(pid)


def _be_child(main: Callable[[list[str]], None], role: list[str]) -> None:
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(0)
        random.seed()
        main(role)
        code = 0
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
