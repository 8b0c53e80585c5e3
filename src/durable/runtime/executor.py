"""Executes attempts of tasks, in this process: coroutines on the worker's loop, plain functions in threads."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, Final, Protocol

from durable.core.records import Status
from durable.core.retry import next_attempt_at
from durable.errors import EncodeError, GiveUp
from durable.runtime.scope import TaskScope, current
from durable.runtime.steps import MISSING, TaskOperation
from durable.store.threads import DaemonPool

if TYPE_CHECKING:
    from durable.runtime.activation import Activation
    from durable.runtime.engine import Engine

THREADS_DEFAULT: Final = 32
"""Plain tasks that run at once, unless the application says otherwise."""


class StepMemory(Protocol):
    """A store that remembers results of steps by name, beside the journal (`durable.Store`)."""

    async def recall(self, run_id: str, step_id: str) -> tuple[bool, bytes]:
        """Return whether the result is known, and its encoded form."""

    async def remember(self, run_id: str, step_id: str, data: bytes, attempt: int) -> None:
        """Keep an encoded result."""


class Executor:
    """Runs attempts and reports their outcomes to the activations."""

    def __init__(self, host: Engine, threads_max: int = THREADS_DEFAULT) -> None:
        self._host = host
        self._threads_max = threads_max
        self._pool: DaemonPool | None = None
        self._attempts: dict[TaskOperation, asyncio.Task[None]] = {}

    def execute(self, op: TaskOperation) -> None:
        """Start an attempt; everything before it is durable. `op.act` hears of its end."""
        op.act.in_flight += 1
        if op.act.interruptions.limited and (limit_at := op.act.limit_at()) is not None:
            self._host.alarms.ring_at(limit_at, op.act)
        context = op.context.copy() if op.attempt else op.context  # what an attempt sets is not the next one's
        task = self._host.loop.create_task(self._attempt(op), context=context, name=op.name)
        if not task.done():  # an eager task factory may have run it to its end
            self._attempts[op] = task

    def stop(self, op: TaskOperation) -> None:
        """Cancel the attempt of an operation that was withdrawn, if one runs."""
        task = self._attempts.get(op)
        if task is not None:
            task.cancel()

    def stop_attempts(self, act: Activation) -> None:
        """Cancel all attempts of an activation that has ended, or cannot go on."""
        if act.in_flight:
            for op in [op for op in self._attempts if op.act is act]:
                self.stop(op)

    async def stop_all(self) -> None:
        """Cancel every attempt and wait until the coroutines among them have ended."""
        tasks = list(self._attempts.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.close()

    def close(self) -> None:
        """Forget the threads; what runs in them ends by itself and is not waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    async def _attempt(self, op: TaskOperation) -> None:
        act = op.act
        clock = self._host.clock
        began = clock.now_ms()
        current.set(TaskScope(op))
        limit = op.timeout_ms(began)
        try:
            if limit is None:
                result = await self._call(op)
            else:
                result = await self._call_within(op, *limit)
            data, value = self._host.codec.round_trip(result, op.spec.result_type, label=op.label, aad=op.place)
        except (KeyboardInterrupt, SystemExit):
            # The process ends; that is not an outcome of the task. The loop raises it itself, to whoever runs it.
            op.interrupted = True
            _retrieve_later(asyncio.current_task())
            raise
        except GeneratorExit as error:
            if self._attempts.get(op) is not _current_task():
                op.interrupted = True
                raise  # closed from outside: the loop is gone
            self._failed(op, error, began)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                # Withdrawn, or the loop ends: nothing to record.
                op.interrupted = True
                raise
            self._failed(op, error, began)
        except BaseException as error:  # noqa: BLE001 - the one place that turns a task's errors into outcomes
            self._failed(op, error, began)
        else:
            act.arrive(op, Status.OK, data, value, took=clock.now_ms() - began)
        finally:
            op.running = False
            self._attempts.pop(op, None)
            act.in_flight -= 1
            if not act.in_flight:
                self._host.turn_soon(act)

    async def _call(self, op: TaskOperation) -> Any:
        if self._host.step_memory is None:
            return await self._call_function(op)
        return await self._recall_or_call(op, self._host.step_memory)

    async def _recall_or_call(self, op: TaskOperation, memory: StepMemory) -> Any:
        step_id = op.memory_id
        known, data = await memory.recall(op.act.run_id, step_id)
        if known:
            return self._host.codec.decode(data, op.spec.result_type, label=op.label)
        result = await self._call_function(op)
        data = self._host.codec.encode(result, label=op.label)
        await memory.remember(op.act.run_id, step_id, data, op.attempt + 1)
        return result

    async def _call_function(self, op: TaskOperation) -> Any:
        if op.spec.is_async:
            return await op.spec.fn(*op.args, **op.kwargs)
        if self._pool is None:
            self._pool = DaemonPool(self._threads_max, "durable-task")
        context = contextvars.copy_context()
        return await self._host.loop.run_in_executor(self._pool, lambda: context.run(_call_plain, op))

    async def _call_within(self, op: TaskOperation, limit_ms: int, limit: str) -> Any:
        attempt = self._host.loop.create_task(self._call(op), name=op.name)
        try:
            done, _ = await asyncio.wait([attempt], timeout=limit_ms / 1000)
            if done:
                return attempt.result()
            # One that swallows its cancellation is left behind after the grace time; what it does then is not recorded.
            attempt.cancel()
            await asyncio.wait([attempt], timeout=self._host.options.grace_ms / 1000)
        except asyncio.CancelledError:
            attempt.cancel()
            raise
        finally:
            _retrieve_later(attempt)
        raise op.timed_out(limit)

    def _failed(self, op: TaskOperation, error: BaseException, began: int) -> None:
        now = self._host.clock.now_ms()
        due_at = None
        if not isinstance(error, (GiveUp, EncodeError)) and not _refused_its_arguments(error):
            try:
                due_at = next_attempt_at(op.options, op.attempt + 1, error, now=now, called_at=op.called_at)
            except Exception as broken:  # noqa: BLE001 - a user's backoff may raise anything; that fails the step
                broken.__context__ = error
                error = broken
        data = self._host.codec.encode_error(error, aad=op.place)
        status = Status.ERROR if due_at is None else Status.RETRY
        op.act.arrive(op, status, data, MISSING, took=now - began, due_at=due_at or 0)


def _refused_its_arguments(error: BaseException) -> bool:
    """Did the call itself fail, before a line of the function ran? It will every time."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return isinstance(error, TypeError) and trace is not None and trace.tb_frame.f_code in _CALLING


def _call_plain(op: TaskOperation) -> Any:
    try:
        return op.spec.fn(*op.args, **op.kwargs)
    except StopIteration as error:
        # A future cannot carry it: the task would never end. A coroutine turns it into the same RuntimeError.
        raise RuntimeError(f"task {op.name!r} raised StopIteration") from error


_CALLING: Final = (Executor._call_function.__code__, _call_plain.__code__)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _retrieve_later(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.add_done_callback(_retrieve)


def _retrieve(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
