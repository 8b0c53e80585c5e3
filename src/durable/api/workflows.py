"""Decorated workflow functions: call them, start them, run them under a given id."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, cast, overload

from durable.api.body import blocks, body_scope, called, running_loop
from durable.api.durations import Duration, from_now_ms, moment_ms, to_ms
from durable.api.handles import RunHandle, value_of
from durable.api.signatures import Signature
from durable.core import ids
from durable.core.places import arguments_place
from durable.core.records import Kind
from durable.errors import UsageError
from durable.runtime.activation import Activation
from durable.runtime.scope import BodyScope, TaskScope, current
from durable.runtime.specs import Body, WorkflowSpec
from durable.runtime.waits import CallOperation, ChildOperation
from durable.store.operations import Start

if TYPE_CHECKING:
    from durable.api.app import Workflow

P = ParamSpec("P")
R = TypeVar("R")

OnConflict = Literal["error", "attach"]

_START_OPTIONS = ("id", "delay", "at", "tags", "deadline", "on_conflict")


class Unique:
    """`id=durable.unique`: a fresh id for each start."""

    def __repr__(self) -> str:
        return "durable.unique"


unique = Unique()


class WorkflowFunction(Generic[P, R]):
    """What `@wf.workflow` makes of a function."""

    def __init__(
        self, app: Workflow, fn: Callable[..., Any], spec: WorkflowSpec, signature: Signature,
        template: str | Unique | None, deadline_ms: int | None,
    ) -> None:  # fmt: skip
        self.spec = spec
        self._app = app
        self._fn = fn
        self._signature = signature
        self._template = template
        self._deadline_ms = deadline_ms
        functools.update_wrapper(cast(Any, self), fn, updated=())

    @property
    def name(self) -> str:
        """The name under which the store knows it."""
        return self.spec.name

    def __repr__(self) -> str:
        return f"<workflow {self.spec.name!r} of {self._app.name!r}>"

    # Making a start -------------------------------------------------------------------------------------------------

    def _start(self, run_id: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Start:
        bound = self._signature.bind(args, kwargs, self.spec.name)
        plain_args, plain_kwargs = self._signature.canonical(bound)
        label = f"arguments of workflow {self.spec.name!r}"
        codec = self._app.codec
        data, digest, note = codec.encode_arguments(plain_args, plain_kwargs, label=label)
        if run_id is None:
            run_id = self._id_for(bound, digest)
        now = self._app.clock.now_ms()
        deadline_at = None if self._deadline_ms is None else from_now_ms(now, self._deadline_ms)
        start = Start(self.spec.queue, run_id, data, digest, note, deadline_at=deadline_at)
        return self._seal(start) if run_id else start

    def id_for(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the id of the run that these arguments start or find; a fresh one for `id=durable.unique`."""
        return self._start(None, args, kwargs).run_id

    def _seal(self, start: Start) -> Start:
        """Bind the arguments to the run id, if the codec binds values."""
        app = self._app
        if not app.codec_binds_values:
            return start
        label = f"arguments of workflow {self.spec.name!r}"
        args, kwargs = app.codec.decode_arguments(start.input, label=label)
        place = arguments_place(app.name, start.run_id)
        return start._replace(input=app.codec.encode_arguments(args, kwargs, label=label, aad=place)[0])

    def _id_for(self, bound: inspect.BoundArguments, digest: int) -> str:
        if isinstance(self._template, Unique):
            return self._app.fresh_id(self.spec.name)
        if self._template is None:
            return ids.derived_id(self.spec.name, digest)
        return ids.fill_template(self._template, self._signature.filled(bound), self.spec.name)

    def _child_start(self, run_id: str | None, args: tuple[Any, ...], kwargs: dict[str, Any], parent: str) -> Start:
        # Without a template of its own a child is named after its parent and place, once it has one.
        named = run_id is not None or isinstance(self._template, str)
        start = self._start(run_id if named else "", args, kwargs)
        return start._replace(parent_id=parent)

    # Calling --------------------------------------------------------------------------------------------------------

    async def _direct(self, run_id: str | None, args: Any, kwargs: Any, *, attach: bool = False) -> R:
        start = self._start(run_id, args, kwargs)
        engine = await self._app._engine()
        return value_of(await engine.callers.call(start, attach=attach))  # type: ignore[no-any-return]

    async def in_body(self, *args: Any, step_id: str | None = None, **kwargs: Any) -> Any:
        """Run as a child of the body that runs on this loop, and wait for its result."""
        scope = current.get()
        if not isinstance(scope, BodyScope):
            return await self._direct(None, args, kwargs)
        return await self._child(scope.activation, None, args, kwargs, step_id)

    def _child(
        self, act: Activation, run_id: str | None, args: Any, kwargs: Any, step_id: str | None = None
    ) -> ChildOperation:
        self._refuse_in_other_app(act)
        return self._child_of(act, self._child_start(run_id, args, kwargs, act.run_id), step_id)

    def _refuse_in_other_app(self, act: Activation) -> None:
        if act.host.app != self._app.name:
            raise UsageError(
                f"workflow {self.name!r} belongs to application {self._app.name!r}, run {act.run_id!r} to "
                f"{act.host.app!r}: start it in a task with {self.name}.start(...)"
            )

    def _child_of(self, act: Activation, start: Start, step_id: str | None) -> ChildOperation:
        return ChildOperation(
            act, self.spec, start.run_id, start, digest=start.digest, note=start.note, step_id=step_id, seal=self._seal
        )

    def _refuse_in_task(self) -> None:
        scope = current.get()
        if isinstance(scope, TaskScope):
            raise UsageError(
                f"workflow {self.name!r} was called in task {scope.task!r}: call it in the workflow, or start it there "
                f"with {self.name}.start(...)"
            )

    def _call_async(
        self, run_id: str | None, args: Any, kwargs: Any, *, attach: bool = False
    ) -> Coroutine[None, None, R]:
        scope = current.get()
        if isinstance(scope, BodyScope):
            if scope.thread is not None:
                raise blocks(f"workflow {self.name!r}", f"{self.name}.sync(...)")
            return called(scope, self._in_body_as(run_id, args, kwargs), self.name)
        self._refuse_in_task()
        return self._direct(run_id, args, kwargs, attach=attach)

    async def _in_body_as(self, run_id: str | None, args: Any, kwargs: Any) -> Any:
        scope = current.get()
        assert isinstance(scope, BodyScope)
        return await self._child(scope.activation, run_id, args, kwargs)

    def _call_plain(self, run_id: str | None, args: Any, kwargs: Any, *, attach: bool = False) -> R:
        scope = current.get()
        if isinstance(scope, BodyScope):
            if scope.thread is None:
                raise self._would_block()
            return scope.thread.ask(  # type: ignore[no-any-return]
                lambda: self._child(scope.activation, run_id, args, kwargs)
            )
        self._refuse_in_task()
        if running_loop() is not None:
            raise self._would_block()
        return self._app.portal.call(lambda: self._direct(run_id, args, kwargs, attach=attach))

    def _would_block(self) -> UsageError:
        awaitable = f"{self.name}.aio(...)" if self.spec.body is Body.PLAIN else f"{self.name}(...)"
        return UsageError(f"workflow {self.name!r} would block the event loop here: await {awaitable}")

    def sync(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the workflow from plain code, or as a child of a plain workflow, and block until it has ended."""
        return self._call_plain(None, args, kwargs)

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R]:
        """Run the workflow from async code, or as a child of an async workflow."""
        return self._call_async(None, args, kwargs)

    # Starting -------------------------------------------------------------------------------------------------------

    @overload
    def start(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, RunHandle[R]]: ...
    @overload
    def start(
        self,
        *args: Any,
        id: str | Unique | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        tags: Mapping[str, str] | Iterable[str] | None = None,
        deadline: Duration | None = None,
        on_conflict: OnConflict = "error",
        **kwargs: Any,
    ) -> Coroutine[None, None, RunHandle[R]]: ...
    def start(self, *args: Any, **kwargs: Any) -> Coroutine[None, None, RunHandle[R]]:
        """Queue a run for any worker and return its handle at once. A second start with the same id attaches.

        The options of `workflow.options` may be given among the arguments: `order.start("42", delay=60)`. A name
        that is also a parameter of the function is the function's.

        Raises:
            InputMismatch: the id is that of a run with other arguments.
            IdConflict: the id is that of a run of another workflow.
        """
        mine = {
            name: kwargs.pop(name) for name in _START_OPTIONS if name in kwargs and name not in self._signature.names
        }
        return self.options(**mine).start(*args, **kwargs)

    def options(
        self,
        *,
        id: str | Unique | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        tags: Mapping[str, str] | Iterable[str] | None = None,
        deadline: Duration | None = None,
        on_conflict: OnConflict = "error",
    ) -> Launch[P, R]:
        """Return this workflow with options for one start or call.

        Args:
            id: The run's id; `durable.unique` for a fresh one. Default: from the template or the arguments.
            delay: Start this long from now, in seconds or as timedelta.
            at: Start at this moment, a datetime with a time zone. Not together with `delay`.
            tags: Names and values (or only names) by which runs can be listed.
            deadline: Longest time from now to the end of the run.
            on_conflict: `"attach"` takes the run that has the id even if its arguments are others.
        """
        return Launch(self, id, delay, at, tags, deadline, on_conflict)


class AsyncWorkflow(WorkflowFunction[P, R]):
    """A workflow written as `async def`, or as a generator."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R]: ...
    @overload
    def __call__(self, *args: Any, step_id: str, **kwargs: Any) -> Coroutine[None, None, R]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[None, None, R]:
        """Run the workflow here and return its result; run again after a crash, it goes on where it was.

        In a workflow, this is a child run.

        Raises:
            InputMismatch: the run id is that of a run with other arguments.
            RunFailed: the run failed earlier, and going on would repeat effects that succeeded.
            RunCancelled: it was cancelled.
            Exception: what the workflow raised.
        """
        step_id = None if "step_id" in self._signature.names else kwargs.pop("step_id", None)
        if step_id is not None and isinstance(current.get(), BodyScope):
            return self.in_body(*args, step_id=step_id, **kwargs)
        return self._call_async(None, args, kwargs)

    def run(self, run_id: str, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R]:
        """Run the workflow under an id of your own; otherwise as calling it."""
        return self._call_async(ids.check_id(run_id), args, kwargs)


class PlainWorkflow(WorkflowFunction[P, R]):
    """A workflow written as `def`; its body runs in a thread."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the workflow here, block until it has ended, and return its result; see `AsyncWorkflow.__call__`."""
        return self._call_plain(None, args, kwargs)

    def run(self, run_id: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the workflow under an id of your own; otherwise as calling it."""
        return self._call_plain(ids.check_id(run_id), args, kwargs)


class Launch(Generic[P, R]):
    """A workflow with options for one start; made by `workflow.options(...)`."""

    def __init__(
        self, workflow: WorkflowFunction[P, R], run_id: str | Unique | None, delay: Duration | None,
        at: datetime | None, tags: Mapping[str, str] | Iterable[str] | None, deadline: Duration | None,
        on_conflict: OnConflict,
    ) -> None:  # fmt: skip
        if delay is not None and at is not None:
            raise UsageError("start(delay=…, at=…): give one of the two")
        if on_conflict not in ("error", "attach"):
            raise UsageError(f"on_conflict={on_conflict!r}: expected 'error' or 'attach'")
        self._workflow = workflow
        self._id = run_id if run_id is None or isinstance(run_id, Unique) else ids.check_id(run_id)
        self._delay_ms = None if delay is None else to_ms(delay, "delay")
        self._at_ms = None if at is None else moment_ms(at)
        self._tags = check_tags(tags)
        self._deadline_ms = None if deadline is None else to_ms(deadline, "deadline")
        self._attach = on_conflict == "attach"

    def _start(self, args: Any, kwargs: Any, *, parent: str | None = None) -> Start:
        workflow = self._workflow
        app = workflow._app
        run_id = app.fresh_id(workflow.name) if isinstance(self._id, Unique) else self._id
        if parent is None:
            start = workflow._start(run_id, args, kwargs)
        else:
            start = workflow._child_start(run_id, args, kwargs, parent)
        now = app.clock.now_ms()
        due_at = self._at_ms if self._delay_ms is None else from_now_ms(now, self._delay_ms)
        deadline_at = start.deadline_at if self._deadline_ms is None else from_now_ms(now, self._deadline_ms)
        return start._replace(due_at=due_at, tags=self._tags, deadline_at=deadline_at)

    async def start(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]:
        """Queue a run for any worker and return its handle at once; see `WorkflowFunction.start`."""
        workflow = self._workflow
        scope = current.get()
        if isinstance(scope, BodyScope):
            act = scope.activation
            workflow._refuse_in_other_app(act)
            start = self._start(args, kwargs, parent=act.run_id)
            run_id = await CallOperation(
                act, Kind.START, workflow.name, start, digest=start.digest, note=start.note, seal=workflow._seal
            )
            return RunHandle(workflow._app, run_id, workflow.spec)
        start = self._start(args, kwargs)
        await workflow._app._queue_run(start, attach=self._attach)
        return RunHandle(workflow._app, start.run_id, workflow.spec)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R]:
        """Run the workflow here under these options, and return its result."""
        if self._delay_ms is not None or self._at_ms is not None:
            raise UsageError("a delayed run cannot be called: start it and await its handle")
        scope = current.get()
        if isinstance(scope, BodyScope):
            if scope.thread is not None:
                raise blocks(f"workflow {self._workflow.name!r}", f"{self._workflow.name}.sync(...)")
            return called(scope, self._in_body(args, kwargs), self._workflow.name)
        return self._direct(args, kwargs)

    async def _direct(self, args: Any, kwargs: Any) -> R:
        self._workflow._refuse_in_task()
        engine = await self._workflow._app._engine()
        return value_of(await engine.callers.call(self._start(args, kwargs), attach=self._attach))  # type: ignore[no-any-return]

    async def _in_body(self, args: Any, kwargs: Any) -> Any:
        act = body_scope(f"workflow {self._workflow.name!r}").activation
        self._workflow._refuse_in_other_app(act)
        return await self._workflow._child_of(act, self._start(args, kwargs, parent=act.run_id), None)


def check_tags(tags: Mapping[str, str] | Iterable[str] | None) -> tuple[tuple[str, str], ...]:
    """Return tags as sorted pairs.

    Raises:
        UsageError: a name or value is no short string.
    """
    if tags is None:
        return ()
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise UsageError(f"tags={tags!r}: expected names with values ({{'customer': '42'}}), or a list of names")
    pairs = list(tags.items()) if isinstance(tags, Mapping) else [(tag, "") for tag in tags]
    for name, value in pairs:
        ids.check_id(name, "tag")
        if value != "":
            ids.check_id(value, f"value of tag {name!r}")
    return tuple(sorted(pairs))


def body_kind(fn: Callable[..., Any]) -> Body:
    """Return how a workflow function is written.

    Raises:
        UsageError: it cannot be a workflow.
    """
    if inspect.isasyncgenfunction(fn):
        raise UsageError(f"workflow {fn.__qualname__!r} is an async generator: a workflow returns one result")
    if inspect.iscoroutinefunction(fn):
        return Body.ASYNC
    if inspect.isgeneratorfunction(fn):
        if not inspect.signature(fn).parameters:
            raise UsageError(
                f"generator workflow {fn.__qualname__!r} takes nothing: its first parameter is the context, as in "
                "def flow(ctx, order): x = yield ctx.run(charge, order)"
            )
        return Body.GENERATOR
    if not inspect.isfunction(fn) and not inspect.ismethod(fn):
        raise UsageError(
            f"@workflow was given {fn!r}: expected a function; options go by name, as in @wf.workflow(id=…)"
        )
    return Body.PLAIN
