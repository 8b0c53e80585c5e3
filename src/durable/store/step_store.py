"""Small stores with python-durable's seven methods, and what makes a `RunStore` of one.

A `Store` remembers results of steps by name, and signals; nothing else. So a run on it lives in the memory of one
process, and after a crash its body is executed again from the top, each task asking first whether its result is known.
That is enough for direct calls in one process. Timers, workers and takeovers need the full contract.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from durable.codec.base import Codec
from durable.core.ids import CallIds
from durable.core.records import Queue, RunState, WorkerId, WorkerRecord
from durable.errors import UsageError
from durable.store.memory import MemoryStore
from durable.store.operations import Advance, Answer, Committed, Finish, Operation, Outcome, Settle

SLEEP_MS_MAX: Final = 1_000
"""Longest sleep in a workflow on a `Store`, which has no place for a timer."""


class Store(ABC):
    """Where the results of steps are kept, for direct calls in one process.

    A subclass is passed as `Workflow("app", db=MyStore())`. Values are what `json.dumps` takes. Sleeps of more than a
    second, workers and several processes need a full store (`durable.store.RunStore`).
    """

    @abstractmethod
    async def setup(self) -> None:
        """Prepare the store; called before anything else, perhaps more than once."""

    @abstractmethod
    async def get_step(self, run_id: str, step_id: str) -> tuple[bool, Any]:
        """Return whether the step's result is known, and the result; None is a result."""

    @abstractmethod
    async def set_step(self, run_id: str, step_id: str, result: Any, attempt: int = 1) -> None:
        """Keep the step's result, durably when this returns."""

    @abstractmethod
    async def mark_run_done(self, run_id: str) -> None:
        """The run has succeeded."""

    @abstractmethod
    async def mark_run_failed(self, run_id: str, error: str) -> None:
        """The run has failed or was cancelled."""

    @abstractmethod
    async def get_signal(self, run_id: str, name: str) -> tuple[bool, Any]:
        """Return whether the signal was delivered, and its payload."""

    @abstractmethod
    async def set_signal(self, run_id: str, name: str, payload: Any) -> bool:
        """Keep the signal's payload unless there is one; return whether this was the first."""


@dataclass
class RunContext:
    """A run on a `Store`: gives its steps their names."""

    run_id: str
    workflow_id: str
    store: Store
    _calls: CallIds = field(default_factory=CallIds)

    def next_step_id(self, name: str) -> str:
        """Return the id of the next call of a task: `name`, then `name#1`, `name#2`, …"""
        return self._calls.next(name)


class StepStoreRunStore(MemoryStore):
    """Runs in memory, whose steps and signals a `Store` remembers."""

    sleep_ms_max = SLEEP_MS_MAX

    def __init__(self, steps: Store, codec: Codec) -> None:
        super().__init__()
        self.steps = steps
        self._codec = codec
        self._ready = False

    def peer(self) -> StepStoreRunStore:
        """Return another store on the same runs."""
        peer = StepStoreRunStore(self.steps, self._codec)
        peer._tables = self._tables
        return peer

    async def register(self, worker: WorkerRecord) -> None:
        """Register a process for its direct calls.

        Raises:
            UsageError: it wants to claim runs of others.
        """
        _refuse_worker(worker.queues, self.steps)
        if not self._ready:
            await self.steps.setup()
            self._ready = True
        await super().register(worker)

    async def recall(self, run_id: str, step_id: str) -> tuple[bool, bytes]:
        """Return whether the step's result is known, and its encoded form."""
        found, value = await self.steps.get_step(run_id, step_id)
        return (True, _tag(self._codec) + json.dumps(value).encode()) if found else (False, b"")

    async def remember(self, run_id: str, step_id: str, data: bytes, attempt: int) -> None:
        """Keep the encoded result of a step."""
        await self.steps.set_step(run_id, step_id, json.loads(data[1:]), attempt)

    async def execute(self, batch: Sequence[Operation], worker: WorkerId | None = None) -> Committed:
        """Execute as `MemoryStore` does; signals go through the `Store`, which also hears how runs end."""
        operations, refused = await self._through_signals(batch)
        committed = await super().execute(operations, worker)
        outcomes: list[Outcome] = list(committed.outcomes[: len(batch)])
        for index in refused:
            outcomes[index] = Answer(False)
        await self._tell_ends(batch)
        return committed._replace(outcomes=outcomes)

    async def _through_signals(self, batch: Sequence[Operation]) -> tuple[list[Operation], list[int]]:
        operations, found, refused = list(batch), list[Operation](), list[int]()
        for index, operation in enumerate(batch):
            if isinstance(operation, Settle):
                run_id, _, name = operation.promise_id.partition("\n")
                if not await self.steps.set_signal(run_id, name, json.loads(operation.data[1:])):
                    refused.append(index)
            elif isinstance(operation, Advance) and operation.extras is not None:
                targets = [wait.target[2:] for wait in operation.extras.waits if wait.target.startswith("p:")]
                found += [settle for target in targets if (settle := await self._known_signal(operation, target))]
        return operations + found, refused

    async def _known_signal(self, advance: Advance, promise_id: str) -> Settle | None:
        run_id, _, name = promise_id.partition("\n")
        known, payload = await self.steps.get_signal(run_id, name)
        record = await self.run_by_key(advance.run)
        if not known or record is None:
            return None
        data = _tag(self._codec) + json.dumps(payload).encode()
        return Settle(record.queue.app, promise_id, True, data, "remembered")

    async def _tell_ends(self, batch: Sequence[Operation]) -> None:
        for operation in batch:
            if not isinstance(operation, Advance) or not isinstance(operation.then, Finish):
                continue
            record = await self.run_by_key(operation.run)
            if record is None or record.state is not operation.then.state:
                continue
            if record.state is RunState.SUCCEEDED:
                await self.steps.mark_run_done(record.run_id)
            else:
                await self.steps.mark_run_failed(record.run_id, f"{record.reason}: {record.detail}")


def _tag(codec: Codec) -> bytes:
    # A tuple needs the tagged form, which holds every value; what is remembered may be of either form.
    return codec.encode((), label="nothing")[:1]


def _refuse_worker(queues: tuple[Queue, ...], steps: Store) -> None:
    if queues:
        raise UsageError(
            f"{type(steps).__name__} is a durable.Store, which serves direct calls in one process: a worker needs a "
            "full store, such as db='sqlite:///app.db'"
        )
