"""The same from plain code: what is awaited elsewhere blocks here.

    from durable import blocking

    app = blocking.of(wf)                        # an application …
    app.runs.list(state="failed")
    app.complete("order-42", "approval", {"ok": True})

    handle = blocking.of(order).start("43")      # … a workflow …
    handle.result(timeout=60)

    with app:                                    # … a worker in the background, until the end of the block
        ...

Everything happens on the background loop of the application; a method here is its namesake there, awaited. A workflow
written as `def` needs none of this to be called: `report(2026)` blocks by itself, and `.sync(...)` does so for one
written as `async def`. In the body of a plain workflow these methods are steps, as their async forms are in the body
of an async one; in an event loop, a call is refused.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Self, TypeVar, cast, overload

from durable.api import handles, runs, workflows
from durable.api.app import Workflow
from durable.api.body import running_loop
from durable.api.durations import Duration
from durable.api.runs import Event, State
from durable.core.failure import RestartPlan
from durable.core.records import RunRecord
from durable.errors import UsageError
from durable.runtime.scope import BodyScope, current

if TYPE_CHECKING:
    from durable.api.workflows import Unique

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["Application", "Launch", "RunHandle", "Runs", "WorkflowFunction", "of"]


@overload
def of(target: Workflow) -> Application: ...
@overload
def of(target: workflows.WorkflowFunction[P, R]) -> WorkflowFunction[P, R]: ...
@overload
def of(target: handles.RunHandle[R]) -> RunHandle[R]: ...
def of(target: Any) -> Any:
    """Return the blocking form of an application, a workflow or a handle.

    Raises:
        UsageError: it is none of these.
    """
    for kind, facade in _FACADES.items():
        if isinstance(target, kind):
            return facade(target)
    raise UsageError(
        f"blocking.of({target!r}): expected a durable.Workflow, one of its workflows, or a handle of a run"
    )


def _as(method: Callable[..., Any]) -> Callable[[F], F]:
    """Give a method the docstring of the async method that it stands for."""

    def copy(facade: F) -> F:
        facade.__doc__ = method.__doc__
        return facade

    return copy


def _wait(app: Workflow, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    scope = current.get()
    if isinstance(scope, BodyScope):
        if scope.thread is None:
            raise UsageError("a method of durable.blocking would block the workflow's loop: await its async form")
        return cast(T, scope.thread.ask(make))
    if running_loop() is not None:
        raise UsageError("a method of durable.blocking would block the event loop here: await its async form")
    return app.portal.call(make)


class Application:
    """An application, from plain code."""

    def __init__(self, app: Workflow) -> None:
        self._app = app
        self.runs = Runs(app.runs)

    def __repr__(self) -> str:
        return f"<blocking {self._app!r}>"

    @_as(Workflow.start)
    def start(self) -> None:
        return _wait(self._app, self._app.start)

    @_as(Workflow.stop)
    def stop(self) -> None:
        return _wait(self._app, self._app.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @_as(Workflow.complete)
    def complete(self, run_id: str, name: str, payload: Any = None) -> bool:
        return _wait(self._app, lambda: self._app.complete(run_id, name, payload))

    @_as(Workflow.send)
    def send(self, run_id: str, name: str, payload: Any = None, *, id: str | None = None) -> None:
        return _wait(self._app, lambda: self._app.send(run_id, name, payload, id=id))

    @_as(Workflow.handle)
    def handle(self, run_id: str) -> RunHandle[Any]:
        return RunHandle(self._app.handle(run_id))


class Runs:
    """The runs of one application, from plain code."""

    def __init__(self, target: runs.Runs) -> None:
        self._target = target

    def _wait(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return _wait(self._target._app, make)

    @_as(runs.Runs.list)
    def list(
        self,
        *,
        workflow: str | None = None,
        state: State | None = None,
        states: tuple[State, ...] = (),
        id_prefix: str | None = None,
        tags: Mapping[str, str] | None = None,
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        parent: str | None = None,
        reason: str | None = None,
        limit: int = 100,
        before: RunRecord | None = None,
    ) -> builtins.list[RunRecord]:
        return self._wait(
            lambda: self._target.list(
                workflow=workflow, state=state, states=states, id_prefix=id_prefix, tags=tags,
                created_from=created_from, created_before=created_before, parent=parent,
                reason=reason, limit=limit, before=before,
            )
        )  # fmt: skip

    @_as(runs.Runs.count)
    def count(self) -> dict[str, int]:
        return self._wait(self._target.count)

    @_as(runs.Runs.get)
    def get(self, run_id: str) -> RunRecord:
        return self._wait(lambda: self._target.get(run_id))

    @_as(runs.Runs.history)
    def history(self, run_id: str) -> builtins.list[Event]:
        return self._wait(lambda: self._target.history(run_id))

    @_as(runs.Runs.cancel)
    def cancel(self, run_id: str, *, reason: str = "") -> bool:
        return self._wait(lambda: self._target.cancel(run_id, reason=reason))

    @_as(runs.Runs.pause)
    def pause(self, run_id: str) -> bool:
        return self._wait(lambda: self._target.pause(run_id))

    @_as(runs.Runs.resume)
    def resume(self, run_id: str) -> bool:
        return self._wait(lambda: self._target.resume(run_id))

    @_as(runs.Runs.plan_retry)
    def plan_retry(self, run_id: str, *, position: int | None = None) -> RestartPlan:
        return self._wait(lambda: self._target.plan_retry(run_id, position=position))

    @_as(runs.Runs.retry)
    def retry(self, run_id: str, *, position: int | None = None) -> RestartPlan:
        return self._wait(lambda: self._target.retry(run_id, position=position))

    @_as(runs.Runs.cancel_all)
    def cancel_all(self, *, reason: str = "", **where: Any) -> int:
        return self._wait(lambda: self._target.cancel_all(reason=reason, **where))

    @_as(runs.Runs.pause_all)
    def pause_all(self, **where: Any) -> int:
        return self._wait(lambda: self._target.pause_all(**where))

    @_as(runs.Runs.resume_all)
    def resume_all(self, **where: Any) -> int:
        return self._wait(lambda: self._target.resume_all(**where))

    @_as(runs.Runs.retry_all)
    def retry_all(self, **where: Any) -> int:
        return self._wait(lambda: self._target.retry_all(**where))

    @_as(runs.Runs.prune)
    def prune(self, *, finished_before: datetime, states: tuple[State, ...] = (), workflow: str | None = None) -> int:
        return self._wait(lambda: self._target.prune(finished_before=finished_before, states=states, workflow=workflow))


class RunHandle(Generic[R]):
    """A reference to one run, from plain code."""

    def __init__(self, target: handles.RunHandle[R]) -> None:
        self._target = target
        self.id = target.id
        """The run's id."""

    def __repr__(self) -> str:
        return f"<blocking {self._target!r}>"

    def _wait(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return _wait(self._target._app, make)

    @_as(handles.RunHandle.result)
    def result(self, timeout: Duration | None = None) -> R:
        return self._wait(lambda: self._target.result(timeout))

    @_as(handles.RunHandle.record)
    def record(self) -> RunRecord:
        return self._wait(self._target.record)

    @_as(handles.RunHandle.status)
    def status(self) -> str:
        return self._wait(self._target.status)

    @_as(handles.RunHandle.cancel)
    def cancel(self, reason: str = "") -> bool:
        return self._wait(lambda: self._target.cancel(reason))

    @_as(handles.RunHandle.pause)
    def pause(self) -> bool:
        return self._wait(self._target.pause)

    @_as(handles.RunHandle.resume)
    def resume(self) -> bool:
        return self._wait(self._target.resume)

    @_as(handles.RunHandle.signal)
    def signal(self, name: str, payload: Any = None) -> bool:
        return self._wait(lambda: self._target.signal(name, payload))

    @_as(handles.RunHandle.send)
    def send(self, name: str, payload: Any = None, *, id: str | None = None) -> None:
        return self._wait(lambda: self._target.send(name, payload, id=id))


class WorkflowFunction(Generic[P, R]):
    """A workflow, from plain code: call it, or start it."""

    def __init__(self, target: workflows.WorkflowFunction[P, R]) -> None:
        self._target = target

    def __repr__(self) -> str:
        return f"<blocking {self._target!r}>"

    @_as(workflows.AsyncWorkflow.__call__)
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return _wait(self._target._app, lambda: self._target.aio(*args, **kwargs))

    @_as(workflows.AsyncWorkflow.run)
    def run(self, run_id: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.options(id=run_id)(*args, **kwargs)

    @overload
    def start(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]: ...
    @overload
    def start(
        self,
        *args: Any,
        id: str | Unique | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        tags: Mapping[str, str] | Iterable[str] | None = None,
        deadline: Duration | None = None,
        on_conflict: Literal["error", "attach"] = "error",
        **kwargs: Any,
    ) -> RunHandle[R]: ...
    @_as(workflows.WorkflowFunction.start)
    def start(self, *args: Any, **kwargs: Any) -> RunHandle[R]:
        return RunHandle(_wait(self._target._app, lambda: self._target.start(*args, **kwargs)))

    @_as(workflows.WorkflowFunction.options)
    def options(
        self,
        *,
        id: str | Unique | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        tags: Mapping[str, str] | Iterable[str] | None = None,
        deadline: Duration | None = None,
        on_conflict: Literal["error", "attach"] = "error",
    ) -> Launch[P, R]:
        return Launch(
            self._target,
            self._target.options(id=id, delay=delay, at=at, tags=tags, deadline=deadline, on_conflict=on_conflict),
        )


class Launch(Generic[P, R]):
    """A workflow with options for one start, from plain code."""

    def __init__(self, workflow: workflows.WorkflowFunction[P, R], target: workflows.Launch[P, R]) -> None:
        self._workflow, self._target = workflow, target

    @_as(workflows.Launch.start)
    def start(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]:
        return RunHandle(_wait(self._workflow._app, lambda: self._target.start(*args, **kwargs)))

    @_as(workflows.Launch.__call__)
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return _wait(self._workflow._app, lambda: self._target(*args, **kwargs))


_FACADES: dict[type, Callable[[Any], Any]] = {
    Workflow: Application,
    workflows.WorkflowFunction: WorkflowFunction,
    handles.RunHandle: RunHandle,
}
