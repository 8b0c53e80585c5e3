"""Applications in another place: a test's store, a test's clock."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from durable.api.app import Workflow
from durable.errors import UsageError
from durable.runtime.clock import Clock
from durable.store.memory import MemoryStore
from durable.testing.clock import VirtualClock

__all__ = ["Rehomed", "rehome"]


class Rehomed:
    """An application that keeps its runs elsewhere for a while; made by `rehome`.

    Entered with `with`, only that. Entered with `async with`, it is a worker as well: it executes whatever is due.
    """

    def __init__(self, app: Workflow, db: object, clock: Clock, options: dict[str, Any]) -> None:
        self.app = app
        self.clock = clock
        self._db = db
        self._options = options
        self._place: AbstractContextManager[None] | None = None

    def __enter__(self) -> Workflow:
        if self._place is not None:
            raise UsageError(f"{self.app!r} was moved already by this rehome(); call it again for another place")
        place = self.app.rehomed(self._db, clock=self.clock, **self._options)
        place.__enter__()
        self._place = place
        return self.app

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.__exit__(kind, error, trace)

    async def __aenter__(self) -> Workflow:
        self.__enter__()
        try:
            await self.app.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self.app

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.app.stop()
        finally:
            self.__exit__(kind, error, trace)


def rehome(
    app: Workflow, db: object | None = None, *, clock: Clock | None = None, cache_runs: int = 0, strict: bool = True,
    **options: Any,
) -> Rehomed:  # fmt: skip
    """Move an application into a place of a test's own: an empty store in memory, and a virtual clock.

        with rehome(shop.wf): ...                # calls and starts
        async with rehome(shop.wf) as wf: ...    # and a worker that executes them

    At the end of the block it is back where it was, and what it was executing is let go.

    Args:
        app: The application.
        db: Where to keep runs instead: a store, a path or a URL. Default: a new store in memory.
        clock: The source of time. Default: a new `VirtualClock`, which is then `app.clock`.
        cache_runs: Suspended runs that are kept in memory instead of being replayed; 0 shows mistakes of replay.
        strict: Refuse files, sockets and processes in workflow bodies.
        options: Fields of `EngineOptions` that are to differ.

    Raises:
        UsageError: `app` is no application.
    """
    if not isinstance(app, Workflow):
        raise UsageError(f"rehome({app!r}): expected an application, what Workflow(...) returned")
    options |= {"cache_runs": cache_runs, "strict": strict}
    return Rehomed(app, MemoryStore() if db is None else db, clock or VirtualClock(), options)
