"""Bodies written inside a test, played and cut everywhere."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from durable import Workflow
from tests.support.comparing import check_every_cut
from tests.support.replaying import Event, Played, Script, Stage

_app: Final = contextvars.ContextVar[Workflow]("_app")

Step = Callable[..., Coroutine[Any, Any, Any]]
BodyOf = Callable[[Step], Awaitable[Any]]


class Broken(Exception):
    """What `step(..., fails=True)` raises."""


def script_for(
    body: BodyOf, *, events: tuple[Event, ...] = (), workflow: dict[str, Any] | None = None, **script: Any
) -> Script:  # fmt: skip
    """Return a script whose workflow is `body(step)`.

    `await step(name, ms)` is a task that takes `ms` of the outside world's time and returns its name.
    """

    def build(stage: Stage) -> None:
        @stage.wf.task(retries=0)
        async def step(name: Any, ms: int = 10, fails: bool = False) -> Any:
            await stage.world.job(ms)
            if fails:
                raise Broken(name)
            return name

        @stage.wf.workflow(name="main", **(workflow or {}))
        async def main() -> Any:
            _app.set(stage.wf)
            return await body(step)

    return Script(build, events=events, **script)


def current_app() -> Workflow:
    """Return the application of the body that calls."""
    return _app.get()


def play_and_cut(script: Script) -> Played:
    """Play a script; go on from every cut of it, and of a play whose entries are committed one by one."""
    whole = check_every_cut(script)
    check_every_cut(replace(script, sliced=True))
    return whole


def result_of(body: BodyOf, *, events: tuple[Event, ...] = ()) -> Any:
    """Return what a body gives, whole and after every cut."""
    return play_and_cut(script_for(body, events=events)).result
