"""A clock that processes take for the machine's, and that jumps when it is told to: libfaketime.

    clock = FakeClock(folder)
    process = subprocess.Popen(…, env=clock.environment())
    clock.set(3_600)        # it is an hour later there, at once

Only the wall clock is faked. The monotonic clock, on which asyncio waits, and the times of files are the kernel's, as
on a machine whose clock is set. How far the clock is off stands in a file that is read whenever somebody asks for the
time; it is replaced as a whole, so nobody reads half of it.
"""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, SupportsIndex

from tests.torture._tools import need_debian

LIBRARIES: Final = Path("/usr/lib")

READ_LATE_S: Final = 0.05
"""Time for which a process that has just looked may still go by what it saw."""


@dataclass(slots=True)
class Span:
    """A stretch of time in which the clock was off by as much, in seconds; the ends are monotonic."""

    since: float
    until: float
    offset_s: float


class History:
    """What a clock has shown that jumps: the right time, off by so much in each stretch."""

    def __init__(self) -> None:
        self._wall_s = time.time() - time.monotonic()
        self._spans: list[Span] = []

    def note(self, offset_s: float, since: float, until: float) -> None:
        """Note a jump: somewhere between these two moments of the monotonic clock."""
        if self._spans:
            self._spans[-1].until = until + READ_LATE_S
        self._spans.append(Span(since, float("inf"), offset_s))

    @property
    def offset_s(self) -> float:
        """How far the clock is off, in seconds."""
        return self._spans[-1].offset_s

    def latest_ms(self, since: float, until: float) -> float:
        """Return the latest time that it can have shown between two moments of the monotonic clock."""
        spans = [span for span in self._spans if span.since <= until and span.until >= since]
        return max((min(span.until, until) + self._wall_s + span.offset_s) * 1000 for span in spans)


class FakeClock:
    """The wall clock of the processes that are started with its environment.

    Args:
        folder: Where the file lies.

    Raises:
        ToolMissing: there is no libfaketime, and it cannot be installed.
    """

    def __init__(self, folder: Path) -> None:
        need_debian(lambda: _library() is not None, "libfaketime")
        self.history = History()
        self._file = folder / "clock"
        self.set(0.0)

    def set(self, offset_s: float) -> None:
        """Let the clock be off by as much from now on."""
        made = self._file.with_suffix(".new")
        made.write_text(f"{offset_s:+.3f}\n")
        since = time.monotonic()
        made.replace(self._file)
        self.history.note(offset_s, since, time.monotonic())

    def environment(self) -> dict[str, str]:
        """Return the variables of the environment with which a process has this clock."""
        return {
            **os.environ,
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Threads of Python hand the GIL over by waits on the monotonic clock; "mended", those end late.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }


def mend_sleep() -> None:
    """Let `time.sleep` work in a process with such a clock.

    It waits with `clock_nanosleep` on the monotonic clock, and libfaketime 0.9.10 calls that an invalid argument.
    """

    def sleep(seconds: float | SupportsIndex) -> None:
        select.select((), (), (), float(seconds))

    time.sleep = sleep


def _library() -> Path | None:
    # The one for programs with threads.
    return next(iter(LIBRARIES.glob("*/faketime/libfaketimeMT.so.1")), None)
