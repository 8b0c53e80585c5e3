"""Executes attempts of tasks, in this process: coroutines on the worker's loop, plain functions in threads."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

from durable.core.records import Status
from durable.core.retry import next_attempt_at
from durable.errors import EncodeError, GiveUp
from durable.runtime.clock import elapsed_ms
from durable.runtime.scope import TaskScope, current
from durable.runtime.steps import MISSING, TaskOperation
from durable.store.threads import DaemonPool

if TYPE_CHECKING:
    from durable.runtime.activation import Activation
    from durable.runtime.engine import Engine

logger = logging.getLogger("durable.worker")

LEFT_BEHIND_MAX: Final = 10
"""Threads that may be left behind for each that may work, before plain tasks wait for one of them to end."""

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
        self._turns = asyncio.Semaphore(threads_max)
        """Plain tasks that may run at once; one that nobody waits for any more gives its turn to the next."""
        self._told: set[str] = set()
        """Tasks of which a thread was left behind, and that was logged."""
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
        clock, claims = self._host.clock, self._host.claims
        began = clock.now_ms()
        current.set(TaskScope(op))
        has_turn = False
        try:
            if not op.spec.is_async:
                has_turn = await self._turns.acquire()
                began = clock.now_ms()  # the wait for a thread is not the task's own time
            if claims.has_stood_still():
                await claims.sign_of_life()
                # Once more from where it was held: a cancellation may have come meanwhile, and be applied or not.
                op.put_off()
                self._host.turn_soon(act)
                return
            limit = op.timeout_ms(began)
            if limit is None:
                result = await self._call(op)
            else:
                result = await self._call_within(op, *limit)
            data, value = self._host.codec.round_trip(result, op.spec.result_type, label=op.label, aad=op.place)
        except (KeyboardInterrupt, SystemExit) as error:
            # The process ends; that is not an outcome of the task. The loop raises it itself, to whoever runs it.
            self._host.ended_by(op, error)
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
            act.arrive(op, Status.OK, data, value, took=elapsed_ms(began, clock.now_ms()))
        finally:
            self._ended(op, has_turn)

    def _ended(self, op: TaskOperation, has_turn: bool) -> None:
        act = op.act
        if has_turn:
            self._turns.release()
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
        if self._host.options.call_task is not None:
            return await self._host.options.call_task(op)
        if op.spec.is_async:
            return await op.spec.fn(*op.args, **op.kwargs)
        if self._pool is None:
            self._pool = DaemonPool(self._threads_max * (1 + LEFT_BEHIND_MAX), "durable-task")
        call = _PlainCall(op)
        try:
            return await self._host.loop.run_in_executor(self._pool, call)
        except asyncio.CancelledError:
            if call.runs:
                self._leave_behind(op)
            raise

    def _leave_behind(self, op: TaskOperation) -> None:
        """A thread goes on with what nobody waits for any more: a Python function cannot be stopped from outside."""
        if op.name not in self._told:
            self._told.add(op.name)
            logger.warning(
                "task %r of run %r goes on in its thread although nobody waits for it any more: give what it calls a "
                "time limit of its own (told once for each task)",
                op.name, op.act.run_id,
            )  # fmt: skip

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
        op.act.arrive(op, status, data, MISSING, took=elapsed_ms(began, now), due_at=due_at or 0)


def _refused_its_arguments(error: BaseException) -> bool:
    """Did the call itself fail, before a line of the function ran? It will every time."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return isinstance(error, TypeError) and trace is not None and trace.tb_frame.f_code in _CALLING


class _PlainCall:
    """Calls a plain function in a thread, and says whether it does so now."""

    __slots__ = ("_context", "_op", "runs")

    def __init__(self, op: TaskOperation) -> None:
        self._op = op
        self._context = contextvars.copy_context()
        self.runs = False

    def __call__(self) -> Any:
        self.runs = True
        try:
            return self._context.run(_call_plain, self._op)
        finally:
            self.runs = False


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
