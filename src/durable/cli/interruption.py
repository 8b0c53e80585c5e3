"""SIGINT and SIGTERM as an event: the first one asks to end well, the second one ends at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from durable.cli.exits import INTERRUPTED

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruption(what_to_say: str) -> Iterator[asyncio.Event]:
    """Return an event that the first SIGINT or SIGTERM sets. Killing is always safe, so the second one does not wait.

    Args:
        what_to_say: Printed on stderr at the first one.
    """
    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def interrupted() -> None:
        if event.is_set():
            os._exit(INTERRUPTED)
        event.set()
        with suppress(OSError):
            os.write(2, f"\n{what_to_say}\n".encode())

    old = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        try:
            loop.add_signal_handler(number, interrupted)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(interrupted))
    try:
        yield event
    finally:
        for number, handler in old.items():
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)
