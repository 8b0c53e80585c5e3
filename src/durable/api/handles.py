"""References to runs that somebody else may execute."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from durable.api.durations import Duration, optional_ms
from durable.core.records import RunRecord, RunState
from durable.errors import RunNotFound
from durable.runtime.endings import Ended
from durable.runtime.scope import BodyScope, current
from durable.runtime.specs import WorkflowSpec
from durable.runtime.waits import ChildOperation

if TYPE_CHECKING:
    from durable.api.app import Workflow

R = TypeVar("R")

logger = logging.getLogger("durable")

NO_WORKER_SECONDS: Final = 5.0
"""Time after which a wait for a result warns that no worker can take the run."""


def value_of(ended: Ended) -> Any:
    """Return the result of a run that ended.

    Raises:
        BaseException: what it ended with.
    """
    if ended.error is None:
        return ended.value
    text = getattr(ended.error, "__durable_traceback__", "")
    if text and not any(text in note for note in getattr(ended.error, "__notes__", ())):
        ended.error.add_note(f"recorded where it was raised:\n{text}")
    raise ended.error


class RunHandle(Generic[R]):
    """A reference to one run. `await handle.result()`, or simply `await handle`."""

    def __init__(self, app: Workflow, run_id: str, spec: WorkflowSpec | None = None) -> None:
        self._app = app
        self._spec = spec
        self.id = run_id
        """The run's id."""

    def __repr__(self) -> str:
        return f"<run {self.id!r}>"

    def __await__(self) -> Generator[Any, None, R]:
        return self.result().__await__()

    async def result(self, timeout: Duration | None = None) -> R:
        """Wait for the run to end, and return its result. In a workflow, this is a durable wait.

        Args:
            timeout: Longest wait, in seconds or as timedelta; the run goes on after it.

        Raises:
            TimeoutError: it has not ended by then.
            RunNotFound: there is no such run.
            RunCancelled: it was cancelled.
            RunSetAside: it cannot go on until someone acts.
            Exception: what the run failed with, with its own type.
        """
        limit_ms = optional_ms(timeout, "timeout")
        limit = asyncio.timeout(None if limit_ms is None else limit_ms / 1000)
        try:
            async with limit:
                scope = current.get()
                if isinstance(scope, BodyScope):
                    return await ChildOperation(scope.activation, self._spec, self.id, None)  # type: ignore[no-any-return]
                return value_of(await self._ended())  # type: ignore[no-any-return]
        except TimeoutError as error:
            if not limit.expired():
                raise  # the run failed with one
            raise TimeoutError(f"run {self.id!r} had not ended after {timeout}; it goes on") from error

    async def _ended(self) -> Ended:
        engine = await self._app._engine()
        record = await self.record()
        future: asyncio.Future[Ended] = asyncio.ensure_future(engine.callers.wait_for(record))
        try:
            done, _ = await asyncio.wait([future], timeout=NO_WORKER_SECONDS)
            if not done:
                await self._warn_without_worker()
            return await future
        finally:
            future.cancel()

    async def _warn_without_worker(self) -> None:
        engine = await self._app._engine()
        record = await self.record()
        if record.state is not RunState.QUEUED or record.key in engine.active:
            return
        workers = await engine.store.workers()
        if not any(record.queue in worker.queues for worker in workers):
            queue = record.queue
            version = f" version {queue.version!r}" if queue.version else ""
            logger.warning(
                "run %r waits for a worker: no living one executes workflow %r%s of application %r in group %r. "
                "Start one with: durable worker MODULE:APP",
                self.id, queue.workflow, version, queue.app, queue.group,
            )  # fmt: skip

    async def record(self) -> RunRecord:
        """Return the run as the store knows it.

        Raises:
            RunNotFound: there is no such run.
        """
        engine = await self._app._engine()
        record = await engine.store.run(self._app.name, self.id)
        if record is None:
            raise RunNotFound(self.id, self._app.name)
        return record

    async def status(self) -> str:
        """Return the run's state in words: queued, running, suspended, paused, set aside, succeeded …."""
        return (await self.record()).state.label

    async def cancel(self, reason: str = "") -> bool:
        """Ask the run to cancel; True if it is or will be cancelled. No new step starts after this returns."""
        return await self._app.runs.cancel(self.id, reason=reason)

    async def pause(self) -> bool:
        """Stop the run at its next step, until it is resumed; True unless it had ended already."""
        return await self._app.runs.pause(self.id)

    async def resume(self) -> bool:
        """Let a paused run go on; True if it was paused."""
        return await self._app.runs.resume(self.id)

    async def signal(self, name: str, payload: Any = None) -> bool:
        """Settle the run's signal; True for the first one to do so."""
        return await self._app.complete(self.id, name, payload)

    async def send(self, name: str, payload: Any = None, *, id: str | None = None) -> None:
        """Append a message to the run's mailbox; see `Workflow.send`."""
        await self._app.send(self.id, name, payload, id=id)
