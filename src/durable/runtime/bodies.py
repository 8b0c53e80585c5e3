"""The three ways of writing a workflow: async, generator, and plain functions in a thread of their own."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from durable.core.places import arguments_place
from durable.errors import DecodeError, UsageError
from durable.runtime import strict
from durable.runtime.loop import UNWIND_MAX
from durable.runtime.scope import BodyScope, Evicted, current, handles_cancellation
from durable.runtime.specs import Body
from durable.runtime.steps import Operation

if TYPE_CHECKING:
    from durable.runtime.activation import Activation
    from durable.runtime.host import Host


UNWIND_SECONDS: Final = 0.2
"""Longest wait for the `finally` of a plain body that is unwound; after it, that goes on by itself."""


class Bodies:
    """Starts and unwinds bodies."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._threads: dict[Activation, ThreadBody] = {}

    async def body_of(self, act: Activation) -> Any:
        """Run the workflow function with the recorded arguments, and return its result."""
        spec = act.spec
        start = act.journal.start
        try:
            args, kwargs = self._host.codec.decode_arguments(
                start.data,
                label=f"arguments of {spec.name!r}",
                aad=arguments_place(self._host.app, act.run_id) if self._host.binds_values else b"",
                annotations=spec.argument_types,
            )
        except DecodeError as error:
            raise act.halted(error) from error
        if spec.takes_context:
            args = (self._host.make_context(act), *args)
        match spec.body:
            case Body.ASYNC:
                return await spec.fn(*args, **kwargs)
            case Body.GENERATOR:
                return await _drive(spec.fn(*args, **kwargs))
            case Body.PLAIN:
                thread = self._threads[act] = ThreadBody(act, lambda: spec.fn(*args, **kwargs))
                try:
                    return await thread.drive()
                finally:
                    self.unwind(act)

    def resume(self, act: Activation) -> None:
        """Let the thread of a plain body go on; the pump has ended."""
        self._threads[act].resume()

    def unwind(self, act: Activation) -> None:
        """End the thread of a plain body, if it has one: its next operation raises `Evicted`."""
        thread = self._threads.pop(act, None)
        if thread is not None:
            thread.unwind()

    def keeps_state(self, act: Activation) -> bool:
        """Can the body wait in memory while the run is suspended? A thread cannot: it is unwound."""
        return act.spec.body is not Body.PLAIN


async def _drive(generator: Generator[Any, Any, Any]) -> Any:
    """Run a generator body: await what it yields, send back what comes out."""
    if not inspect.isgenerator(generator):
        raise UsageError(f"a generator workflow returned a {type(generator).__name__} instead of a generator")
    value: Any = None
    failure: BaseException | None = None
    while True:
        try:
            wish = generator.send(value) if failure is None else generator.throw(failure)
        except StopIteration as stop:
            return stop.value
        try:
            if not hasattr(wish, "__await__"):
                raise UsageError(
                    f"a generator workflow yielded {wish!r}: "
                    "yield what ctx.run, ctx.sleep, ctx.start or ctx.signal return"
                )
            value, failure = await wish, None
        except (GeneratorExit, Evicted):
            _unwind(generator)
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, the generator is to see it
            failure = error


def _unwind(generator: Generator[Any, Any, Any]) -> None:
    """End a generator body; what it wishes for on its way is not begun."""
    for _ in range(UNWIND_MAX):
        try:
            wish = generator.throw(Evicted())
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - it has ended, whatever its plain code raised on the way
            return
        if hasattr(wish, "close"):
            wish.close()


class ThreadBody:
    """A plain function as a body.

    The thread and the activation take turns: while the function computes, `activation.computing` holds everything else
    back; when it asks for an operation it blocks until the outcome has been applied. So one of the two touches the
    activation at any time, and what the function sees is a function of the journal.
    """

    def __init__(self, act: Activation, call: Callable[[], Any]) -> None:
        self._act = act
        self._call = call
        self._outer = act.host.loop
        self._go = threading.Semaphore(0)
        self._asked: asyncio.Future[tuple[str, Any]] | None = None
        self._answer: tuple[Any, BaseException | None] = (None, None)
        self._thread: threading.Thread | None = None

    async def drive(self) -> Any:
        """Carry out what the function asks for, until it returns; runs on the body's loop."""
        while True:
            self._asked = asyncio.Future(loop=self._act.loop)
            self._act.computing = True
            kind, content = await self._asked
            if kind == "returned":
                return content
            if kind == "raised":
                raise content
            try:
                self._answer = (await content(), None)
            except (GeneratorExit, Evicted):
                raise
            except BaseException as error:  # noqa: BLE001 - it goes on in the function's thread
                self._answer = (None, error)

    def resume(self) -> None:
        """Let the function compute."""
        if self._thread is None:
            context = contextvars.Context()
            context.run(current.set, BodyScope(self._act, self))
            name = f"durable-{self._act.run_id}"
            self._thread = threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True)
            self._thread.start()
        else:
            self._go.release()

    def unwind(self) -> None:
        """Raise `Evicted` where the function waits, or where it asks next."""
        if self._thread is not None and self._thread.is_alive():
            self._answer = (None, Evicted())
            self._go.release()
            if not self._act.computing:
                # It stood still, so only its plain `finally` is left to run, as an async body's would here.
                self._thread.join(UNWIND_SECONDS)

    def _run(self) -> None:
        try:
            outcome = ("returned", self._compute())
        except BaseException as error:  # noqa: BLE001 - it goes on in the body's loop
            outcome = ("raised", error)
        if not self._act.is_gone:
            with suppress(Evicted):
                self._post(outcome)

    def _compute(self) -> Any:
        if not self._act.host.options.strict:
            return self._call()
        with strict.Watch(self._act.run_id, self._act.forbid):
            return self._call()

    def ask(self, make: Callable[[], Awaitable[Any]]) -> Any:
        """Return what awaiting `make()` on the body's loop gives; called by the function, in its thread."""
        act = self._act
        if act.is_gone:
            raise Evicted
        act.interruptions.compensates = handles_cancellation(sys.exception())
        if act.frontier.takes_next():
            awaitable = make()
            operation = getattr(awaitable, "operation", awaitable)
            if isinstance(operation, Operation):
                act.frontier.issue(operation)
                entry = act.frontier.take_inline(operation)
                if entry is not None:
                    return operation.result_of(entry)
            return self._exchange(lambda: awaitable)
        return self._exchange(make)

    def _exchange(self, make: Callable[[], Awaitable[Any]]) -> Any:
        self._post(("asked", make))
        self._go.acquire()
        value, error = self._answer
        self._answer = (None, None)
        if error is not None:
            raise error
        return value

    def _post(self, message: tuple[str, Any]) -> None:
        try:
            self._outer.call_soon_threadsafe(self._receive, message)
        except RuntimeError:
            raise Evicted from None  # the loop is gone, and the activation with it

    def _receive(self, message: tuple[str, Any]) -> None:
        act = self._act
        if act.is_gone or self._asked is None or self._asked.done():
            return
        act.computing = False
        self._asked.set_result(message)
        act.host.turn_soon(act)
