"""The application: its tasks, its workflow functions and its store, wired together."""

from __future__ import annotations

import asyncio
import inspect
import os
import secrets
import sys
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, overload

from durable.api.body import perform
from durable.api.context import GeneratorContext
from durable.api.durations import Duration, optional_ms
from durable.api.handles import RunHandle
from durable.api.options import (
    TASK_OPTIONS,
    Defaults,
    check_clock,
    check_codec,
    check_names,
    engine_options,
    task_options,
)
from durable.api.overrides import Override, override
from durable.api.portal import Portal
from durable.api.runs import Runs
from durable.api.signatures import Signature
from durable.api.stores import store_maker
from durable.api.tasks import AsyncTask, PlainTask, Task, make_task
from durable.api.workflows import AsyncWorkflow, PlainWorkflow, Unique, WorkflowFunction, body_kind
from durable.backoff import BackoffStrategy
from durable.codec.base import Codec
from durable.codec.json_codec import JsonCodec
from durable.core import ids
from durable.core.places import message_place, promise_place
from durable.core.records import Kind, Queue, signal_id
from durable.errors import RunNotFound, RunNotOpen, UsageError
from durable.runtime.clock import Clock, SystemClock
from durable.runtime.engine import Engine
from durable.runtime.scope import BodyScope, current
from durable.runtime.specs import Body, WorkflowSpec
from durable.runtime.waits import CallOperation, MessageOperation, WaitOperation
from durable.store.operations import Answer, Existing, NotFound, NotOpen, Send, Settle, Start

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_DB = "durable.db"

WORKFLOW_OPTIONS = ("id", "name", "version", "group", "timeout", "deadline")


class Workflow:
    """An application: tasks and workflows that share a name and a store.

        wf = Workflow("orders")                    # ./durable.db
        wf = Workflow("orders", db="sqlite:///orders.db?durability=relaxed")

    Args:
        name: Name of the application; run ids are unique within it.
        db: Where runs are kept: a path, a URL, or a store. Default: the environment variable `DURABLE_DB`, else
            `durable.db` in the working directory. Nothing is created before the first run.
        default_retries: Attempts after the first, for tasks that do not say.
        default_backoff: Waits between attempts, for tasks that do not say.
        codec: How values become bytes; default: JSON with types.
        clock: The source of time; for tests.
        strict: Refuse files, sockets and processes in workflow bodies. Default: on under pytest.
        slots: Runs that may execute at once in this process.
        task_threads: Plain tasks that may run at once in this process.
        history_max: Entries at which a run is set aside.

    Raises:
        UsageError: an argument cannot be used.
    """

    def __init__(
        self,
        name: str,
        db: str | os.PathLike[str] | object | None = None,
        default_retries: int = 3,
        default_backoff: BackoffStrategy | None = None,
        *,
        codec: Codec | None = None,
        clock: Clock | None = None,
        strict: bool | None = None,
        slots: int = 1_000,
        task_threads: int = 32,
        history_max: int = 50_000,
        cache_runs: int = 1_000,
    ) -> None:
        self.name = ids.check_id(name, "application name")
        self.codec: Codec = JsonCodec() if codec is None else check_codec(codec)
        self.codec_binds_values = bool(getattr(self.codec, "binds_values", False))
        self.clock: Clock = SystemClock() if clock is None else check_clock(clock)
        self.runs = Runs(self)
        self.portal = Portal(name, self.stop)
        self._db = db if db is not None else os.environ.get("DURABLE_DB") or DEFAULT_DB
        self._make_store = store_maker(self._db, self.codec)
        self._defaults = Defaults(default_retries, default_backoff)
        self._options = engine_options(
            slots=slots, task_threads=task_threads, history_max=history_max, cache_runs=cache_runs,
            strict="pytest" in sys.modules if strict is None else strict,
        )  # fmt: skip
        self._tasks: dict[str, Task[Any, Any]] = {}
        self._workflows: dict[str, WorkflowFunction[Any, Any]] = {}
        self._specs: dict[tuple[str, str], WorkflowSpec] = {}
        self._engines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Engine] = weakref.WeakKeyDictionary()
        weakref.finalize(self, _abandon, self._engines)

    def __repr__(self) -> str:
        return f"<application {self.name!r}>"

    # Declaring ------------------------------------------------------------------------------------------------------

    @overload
    def task(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> PlainTask[P, R]: ...
    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        retries: int | None = None,
        backoff: BackoffStrategy | None = None,
        timeout: Duration | None = None,
        deadline: Duration | None = None,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
        give_up_on: type[BaseException] | tuple[type[BaseException], ...] = (),
        at_most_once: bool = False,
        check_args: bool = True,
    ) -> _TaskDecorator: ...
    def task(self, fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Declare a task: a function with effects, recorded once per step. Bare, or with options.

        Args:
            fn: The function, `async def` or `def` (run in a thread).
            name: Its name in journals; default: the function's. Renaming it diverges from recorded journals.
            retries: Attempts after the first; 0 for at-most-once tasks, else the application's default.
            backoff: Wait before each further attempt.
            timeout: Longest time of one attempt, in seconds or as timedelta.
            deadline: Longest time of all attempts and the waits between them.
            retry_on: Types of errors after which it is tried again.
            give_up_on: Types after which it is not, whatever `retry_on` says.
            at_most_once: An interrupted attempt is never repeated: the workflow gets `TaskInterrupted`.
            check_args: Compare the arguments with the recorded ones on replay.

        Raises:
            UsageError: the function or an option cannot be used, or the name is taken.
        """
        if fn is not None:
            return self._add_task(fn, {})
        check_names("task", options, ("name", *TASK_OPTIONS))
        return lambda function: self._add_task(function, options)

    def _add_task(self, fn: Callable[..., Any], options: dict[str, Any]) -> Task[Any, Any]:
        name = options.pop("name", None)
        made = make_task(fn, name, task_options(self._defaults, **options))
        if made.name in self._tasks:
            raise UsageError(
                f"application {self.name!r} has a task {made.name!r} already ({_place(self._tasks[made.name]._fn)}); "
                f"give {_place(fn)} another one: @wf.task(name=…)"
            )
        self._tasks[made.name] = made
        return made

    @overload
    def workflow(  # type: ignore[overload-overlap]
        self, fn: Callable[Concatenate[GeneratorContext, P], Generator[Any, Any, R]], /
    ) -> AsyncWorkflow[P, R]: ...
    @overload
    def workflow(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncWorkflow[P, R]: ...
    @overload
    def workflow(self, fn: Callable[P, R], /) -> PlainWorkflow[P, R]: ...
    @overload
    def workflow(
        self,
        /,
        *,
        id: str | Unique | None = None,
        name: str | None = None,
        version: str = "",
        group: str = "default",
        timeout: Duration | None = None,
        deadline: Duration | None = None,
    ) -> _WorkflowDecorator: ...
    def workflow(self, fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Declare a workflow: a function whose progress survives crashes. Bare, or with options.

        Args:
            fn: The function: `async def`, `def` (run in a thread), or a generator that takes a context first.
            id: Template of run ids, filled from the arguments (`"order-{order_id}"`); `durable.unique` for a fresh id
                each time. Default: derived from the arguments, so that an equal call finds the same run.
            name: Its name in the store; default: the function's.
            version: Recorded with each run at its start; only workers of that version execute it.
            group: The workers that may execute it.
            timeout: Longest active time of a run, in seconds or as timedelta; suspended time does not count.
            deadline: Longest time from start to end.

        Raises:
            UsageError: the function, the template or an option cannot be used, or the name is taken.
        """
        if fn is not None:
            return self._add_workflow(fn)
        check_names("workflow", options, WORKFLOW_OPTIONS)
        return lambda function: self._add_workflow(function, **options)

    def _add_workflow(
        self, fn: Callable[..., Any], *, id: str | Unique | None = None, name: str | None = None, version: str = "",
        group: str = "default", timeout: Duration | None = None, deadline: Duration | None = None,
    ) -> WorkflowFunction[Any, Any]:  # fmt: skip
        body = body_kind(fn)
        workflow_name = ids.check_id(fn.__name__ if name is None else name, "workflow name")
        if version != "":
            ids.check_id(version, "version")
        if id is not None and not isinstance(id, str | Unique):
            raise UsageError(
                f"workflow {workflow_name!r}: id={id!r} is no template: expected a string, or durable.unique"
            )
        takes_context = body is Body.GENERATOR
        signature = Signature(fn, skip_first=takes_context)
        if isinstance(id, str):
            ids.check_template(id, signature.names, workflow_name)
        if (workflow_name, version) in self._specs:
            raise UsageError(
                f"application {self.name!r} has a workflow {workflow_name!r} already; "
                f"give {_place(fn)} another name or version"
            )
        result_type = Any if body is Body.GENERATOR else signature.result_type
        queue = Queue(self.name, workflow_name, version, ids.check_id(group, "group"))
        spec = WorkflowSpec(
            workflow_name, fn, body, queue, result_type,
            signature.argument_types(), takes_context, optional_ms(timeout, "timeout"),
        )  # fmt: skip
        kind = PlainWorkflow if body is Body.PLAIN else AsyncWorkflow
        made: WorkflowFunction[Any, Any] = kind(self, fn, spec, signature, id, optional_ms(deadline, "deadline"))
        self._specs[(workflow_name, version)] = spec
        self._workflows[workflow_name] = made
        return made

    @property
    def workflows(self) -> dict[str, WorkflowFunction[Any, Any]]:
        """The declared workflows, by name; of several versions, the one declared last."""
        return dict(self._workflows)

    @property
    def tasks(self) -> dict[str, Task[Any, Any]]:
        """The declared tasks, by name."""
        return dict(self._tasks)

    @property
    def db(self) -> object:
        """What the application was told to keep its runs in."""
        return self._db

    def use_db(self, db: str | os.PathLike[str] | object) -> None:
        """Use another database than the one given at first; before anything was run.

        Raises:
            UsageError: the application has used its database already, or `db` cannot be one.
        """
        if self._engines:
            raise UsageError(f"application {self.name!r} uses its database already: call use_db() first of all")
        self._make_store = store_maker(db, self.codec)
        self._db = db

    @contextmanager
    def rehomed(self, db: object, *, clock: Clock | None = None, **options: Any) -> Iterator[None]:
        """Keep runs in another database, under another clock, until the end of the block; for tests.

        What the application executes meanwhile has nothing to do with what it executed before, and is let go at the
        end. `durable.testing.rehome` gives it the store and the clock of a test.

        Args:
            db: A path, a URL or a store.
            clock: The source of time; default: the one it has.
            options: Fields of `EngineOptions` that are to differ.

        Raises:
            UsageError: `db` or `clock` is none.
        """
        make_store = store_maker(db, self.codec)
        home = self._db, self._make_store, self.clock, self._options, self._engines, self.portal
        self.clock = self.clock if clock is None else check_clock(clock)
        self._options = replace(self._options, **options)
        self._db, self._make_store = db, make_store
        self._engines = weakref.WeakKeyDictionary()
        self.portal = Portal(self.name, self.stop)
        try:
            yield
        finally:
            self.portal.stop()
            for engine in list(self._engines.values()):
                engine.abandon()
            self._db, self._make_store, self.clock, self._options, self._engines, self.portal = home

    def override(self, task: Task[..., Any] | str, fake: Callable[..., Any]) -> Override:
        """Execute another function in place of a task's, for tests: `with wf.override(charge, fake):`.

        It decorates functions as well. The step stays what it is: its name, retries, time limits and record. Entered
        where the application is executed, the fake also answers calls outside of runs.

        Args:
            task: A task of this application, or its name.
            fake: What to call instead: `async def`, `def`, or a mock. It must take the arguments that the task takes.

        Raises:
            UsageError: there is no such task here, or the fake cannot be called as the task is.
        """
        return override(self._tasks, self.name, task, fake)

    def fresh_id(self, name: str) -> str:
        """Return an id that no run has."""
        return f"{ids.short_name(name)}-{secrets.token_hex(8)}"

    # Steps of a body ------------------------------------------------------------------------------------------------

    def step(self, name: str, fn: Callable[..., Any], /, *args: Any, step_id: str | None = None, **kwargs: Any) -> Any:
        """Call an undecorated function as a step: recorded once, with the application's default retries.

        In an async workflow, `await` it. Outside a run, it is the function.

        Args:
            name: The step's name in the journal.
            fn: An `async def` or `def` function.
            step_id: Identity of the step, instead of its place in the order of calls.
        """
        scope = current.get()
        if not isinstance(scope, BodyScope):
            return fn(*args, **kwargs)
        made = make_task(fn, name, task_options(self._defaults))
        return perform(scope, name, lambda _: made._operation(scope, args, kwargs, step_id))

    def signal(self, name: str, *, poll: float | None = None, result_type: Any = Any) -> Any:
        """Wait for the run's signal `name` and return its payload; in an async workflow, `await` it.

        `complete(run_id, name, payload)` delivers it, once, before or after the wait. Waiting again returns the same.

        Args:
            name: The signal's name.
            poll: Accepted for python-durable's users; nothing is polled.
            result_type: Type to rebuild the payload to.

        Raises:
            UsageError: called outside a workflow body.
        """
        ids.check_id(name, "signal name")
        scope = self._scope(f"wf.signal({name!r})")

        def wait(act: Any) -> WaitOperation:
            target = f"p:{signal_id(act.run_id, name)}"
            return WaitOperation(act, Kind.PROMISE, name, target, result_type=result_type)

        return perform(scope, f"wf.signal({name!r})", wait)

    def receive(self, name: str) -> Any:
        """Wait for the next message of that name in the run's mailbox and return it; in an async workflow, `await` it.

        Messages are received in the order in which they were sent, each exactly once.

        Raises:
            UsageError: called outside a workflow body.
        """
        ids.check_id(name, "message name")
        what = f"wf.receive({name!r})"
        return perform(self._scope(what), what, lambda act: MessageOperation(act, name))

    def _scope(self, what: str) -> BodyScope:
        scope = current.get()
        if not isinstance(scope, BodyScope):
            raise UsageError(f"{what} was called outside a workflow: it belongs in the body of one")
        return scope

    # Requests to runs -----------------------------------------------------------------------------------------------

    async def complete(self, run_id: str, name: str, payload: Any = None) -> bool:
        """Deliver a run's signal; True for the first one, False if it was delivered before.

        The run may wait already, wait later, or not exist yet.

        Raises:
            EncodeError: the payload cannot be stored.
        """
        promise = signal_id(ids.check_id(run_id), ids.check_id(name, "signal name"))
        data = self.codec.encode(payload, label=f"payload of signal {name!r}", aad=promise_place(self.name, promise))
        scope = current.get()
        token = secrets.token_hex(8)
        if isinstance(scope, BodyScope):
            act = scope.activation
            token = f"{act.run_id}/{act.run.continuation}/{act.frontier.seq + 1}"
            settle = Settle(self.name, promise, True, data, token)
            return bool(await CallOperation(act, Kind.CALL, f"complete {name}", settle))
        engine = await self._engine()
        outcome = await engine.submit(Settle(self.name, promise, True, data, token))
        return isinstance(outcome, Answer) and bool(outcome.value)

    async def send(self, run_id: str, name: str, payload: Any = None, *, id: str | None = None) -> None:
        """Append a message to a run's mailbox.

        Args:
            run_id: The run.
            name: The message's name; `receive(name)` takes messages of that name.
            payload: Any value that the codec can store.
            id: The message's id: sent again with the same one, it is one message. Default: a fresh one.

        Raises:
            RunNotFound: there is no such run.
            RunNotOpen: it has ended.
            EncodeError: the payload cannot be stored.
        """
        ids.check_id(run_id)
        ids.check_id(name, "message name")
        if id is not None:
            ids.check_id(id, "message id")
        data = self.codec.encode(payload, label=f"payload of message {name!r}", aad=message_place(self.name, run_id))
        scope = current.get()
        if isinstance(scope, BodyScope):
            act = scope.activation
            message_id = id or f"{act.run_id}/{act.run.continuation}/{act.frontier.seq + 1}"
            await CallOperation(act, Kind.CALL, f"send {name}", Send(self.name, run_id, message_id, name, data))
            return
        engine = await self._engine()
        message_id = id or secrets.token_hex(12)
        outcome = await engine.submit(Send(self.name, run_id, message_id, name, data))
        if isinstance(outcome, NotFound):
            raise RunNotFound(run_id, self.name)
        if isinstance(outcome, NotOpen):
            raise RunNotOpen(run_id, outcome.state.label, "it cannot receive messages any more")

    def handle(self, run_id: str) -> RunHandle[Any]:
        """Return a handle of the run with that id, which need not exist yet."""
        return RunHandle(self, ids.check_id(run_id))

    async def _queue_run(self, start: Start, *, attach: bool) -> None:
        engine = await self._engine()
        outcome = await engine.submit(start)
        if isinstance(outcome, Existing):
            await engine.callers.check_same(outcome.record, start, attach=attach)

    # Life -----------------------------------------------------------------------------------------------------------

    async def _engine(self) -> Engine:
        scope = current.get()
        if isinstance(scope, BodyScope):
            raise UsageError(
                f"run {scope.activation.run_id!r}: its workflow asked the store something that is not recorded, and "
                "that a replay may answer otherwise; do this in a @task"
            )
        loop = asyncio.get_running_loop()
        engine = self._engines.get(loop)
        if engine is None:
            _abandon(self._engines)
            engine = Engine(
                self.name,
                self._make_store(),
                self.codec,
                self.clock,
                self._specs,
                GeneratorContext.of(self),
                self._options,
            )
            self._engines[loop] = engine
        await engine.open()
        return engine

    async def start(self) -> None:
        """Be a worker: execute everything that is due, from now on, until `stop`. Idempotent.

        `async with wf:` does both.
        """
        engine = await self._engine()
        await engine.serve(tuple(spec.queue for spec in self._specs.values()))

    async def stop(self) -> None:
        """Stop executing on this loop: attempts in flight get a grace time, runs are handed back. Idempotent."""
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _abandon(engines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Engine]) -> None:
    """Let go of engines whose loop is gone; also at the end of the interpreter."""
    for loop, engine in list(engines.items()):
        if loop.is_closed():
            del engines[loop]
            engine.abandon()


class _TaskDecorator:
    """Type of `wf.task(...)` with options; never instantiated."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> PlainTask[P, R]: ...
    def __call__(self, fn: Any, /) -> Any: ...


class _WorkflowDecorator:
    """Type of `wf.workflow(...)` with options; never instantiated."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[Concatenate[GeneratorContext, P], Generator[Any, Any, R]], /
    ) -> AsyncWorkflow[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncWorkflow[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> PlainWorkflow[P, R]: ...
    def __call__(self, fn: Any, /) -> Any: ...


def _place(fn: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(fn), "__code__", None)
    name = getattr(fn, "__qualname__", repr(fn))
    return f"{name} at {code.co_filename}:{code.co_firstlineno}" if code else name
