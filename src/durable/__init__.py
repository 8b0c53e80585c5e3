"""Durable execution for Python: ordinary functions that survive crashes.

import durable
from durable import Workflow

wf = Workflow("orders")

@wf.task
async def charge(order_id: str) -> str: ...

@wf.workflow(id="order-{order_id}")
async def order(order_id: str) -> str:
receipt = await charge(order_id)
await durable.sleep(86_400)
return receipt
"""

from typing import TYPE_CHECKING, Any

from durable.api.app import Workflow
from durable.api.clock import now, random, sleep, time, uuid4
from durable.api.context import GeneratorContext
from durable.api.current import continue_as_new, idempotency_key, logger, map, patched, progress, run_id
from durable.api.handles import RunHandle
from durable.api.workflows import unique
from durable.backoff import BackoffStrategy, constant, exponential, linear
from durable.errors import (
    BusyLoop,
    Deadlock,
    DecodeError,
    DurableError,
    EncodeError,
    ForbiddenInWorkflow,
    GiveUp,
    HistoryLimit,
    IdConflict,
    InputMismatch,
    KeyMissing,
    NonDeterminismError,
    OutcomeUnknown,
    PayloadTooLarge,
    RunCancelled,
    RunError,
    RunFailed,
    RunNotFound,
    RunNotOpen,
    RunSetAside,
    RunTimedOut,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
    TaskError,
    TaskInterrupted,
    TaskTimedOut,
    UsageError,
    WorkflowError,
)
from durable.store import InMemoryStore, RunContext, Store

if TYPE_CHECKING:
    from durable.store import SQLiteStore

__all__ = [
    "BackoffStrategy",
    "BusyLoop",
    "Deadlock",
    "DecodeError",
    "DurableError",
    "EncodeError",
    "ForbiddenInWorkflow",
    "GeneratorContext",
    "GiveUp",
    "HistoryLimit",
    "IdConflict",
    "InMemoryStore",
    "InputMismatch",
    "KeyMissing",
    "NonDeterminismError",
    "OutcomeUnknown",
    "PayloadTooLarge",
    "RunCancelled",
    "RunContext",
    "RunError",
    "RunFailed",
    "RunHandle",
    "RunNotFound",
    "RunNotOpen",
    "RunSetAside",
    "RunTimedOut",
    "SQLiteStore",
    "Store",
    "StoreCorrupt",
    "StoreError",
    "StoreUnavailable",
    "StoreUnusable",
    "TaskError",
    "TaskInterrupted",
    "TaskTimedOut",
    "UsageError",
    "Workflow",
    "WorkflowError",
    "constant",
    "continue_as_new",
    "exponential",
    "idempotency_key",
    "linear",
    "logger",
    "map",
    "now",
    "patched",
    "progress",
    "random",
    "run_id",
    "sleep",
    "time",
    "unique",
    "uuid4",
]


def __getattr__(name: str) -> Any:
    # A database is imported when it is used.
    if name != "SQLiteStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from durable.store import SQLiteStore  # noqa: PLC0415

    return SQLiteStore
