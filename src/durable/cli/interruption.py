"""SIGINT and SIGTERM: the first one asks to end well, the second one ends at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from durable.cli.exits import INTERRUPTED

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def to_stderr(text: str) -> None:
    """Print a line, on a terminal below the `^C` that it echoed."""
    begin = "\n" if sys.stderr.isatty() else ""
    os.write(2, f"{begin}{text}\n".encode())


@dataclass(slots=True)
class Interruption:
    """What the first signal sets."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    say: Callable[[str], object] = to_stderr
    """How it is told; a view that redraws itself does it in its own way."""


@contextmanager
def interruption(what_to_say: str) -> Iterator[Interruption]:
    """Turn SIGINT and SIGTERM into a request to end. Killing is always safe, so the second one does not wait.

    Args:
        what_to_say: Told at the first one.
    """
    loop = asyncio.get_running_loop()
    found = Interruption()

    def interrupted() -> None:
        if found.asked.is_set():
            os._exit(INTERRUPTED)
        found.asked.set()
        with suppress(OSError):
            found.say(what_to_say)

    old = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        try:
            loop.add_signal_handler(number, interrupted)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(interrupted))
    try:
        yield found
    finally:
        for number, handler in old.items():
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)
