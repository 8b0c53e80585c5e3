"""A background event loop, on which plain code runs what is async."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from durable.errors import UsageError

T = TypeVar("T")


class Portal:
    """One daemon thread with an event loop, started on first use."""

    def __init__(self, name: str, on_stop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._name = name
        self._on_stop = on_stop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the background loop, block until it has ended, and return its result.

        KeyboardInterrupt leaves at once; what was begun goes on in the background.

        Raises:
            UsageError: called on the background loop itself, which would wait for itself.
        """
        loop = self._started()
        if threading.current_thread() is self._thread:
            raise UsageError("a blocking call was made on the loop that has to carry it out; use the async form")
        future = asyncio.run_coroutine_threadsafe(_run(make), loop)
        return future.result()

    def _started(self) -> asyncio.AbstractEventLoop:
        self._begin_anew_after_fork()
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name=f"durable-{self._name}", daemon=True
                )
                self._thread.start()
                atexit.register(self.stop)
            return self._loop

    def _begin_anew_after_fork(self) -> None:
        # Threads do not survive a fork; what the parent began stays the parent's.
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._lock = threading.Lock()
            self._loop = self._thread = None

    def stop(self) -> None:
        """End the thread, handing back what runs. Idempotent."""
        self._begin_anew_after_fork()
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        atexit.unregister(self.stop)
        try:
            asyncio.run_coroutine_threadsafe(self._on_stop(), loop).result(timeout=10)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=10)
            loop.close()


async def _run(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return await make()
