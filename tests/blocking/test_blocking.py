"""`durable.blocking`: the same names, signatures and docstrings, without `await`."""

import asyncio
import inspect
import re
import threading
import typing
from datetime import UTC, datetime

import pytest

import durable
from durable import InMemoryStore, RunNotFound, UsageError, Workflow, blocking
from durable.api import handles, runs, workflows

PAIRS = [
    (blocking.Application, Workflow),
    (blocking.Runs, runs.Runs),
    (blocking.RunHandle, handles.RunHandle),
    (blocking.WorkflowFunction, workflows.AsyncWorkflow),
    (blocking.Launch, workflows.Launch),
]


def methods(cls: type) -> dict:
    found = {name: value for name, value in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")}
    return found | ({"__call__": cls.__call__} if "__call__" in dir(cls) and inspect.isfunction(cls.__call__) else {})


def shape(method) -> list[tuple]:
    """Return names, kinds, defaults and annotations of the parameters; an alias counts as what it stands for."""
    aliases = {"OnConflict": "Literal['error', 'attach']", '"': "'"}
    found = []
    for parameter in inspect.signature(method).parameters.values():
        annotation = str(parameter.annotation)
        for alias, meaning in aliases.items():
            annotation = annotation.replace(alias, meaning)
        found.append((parameter.name, parameter.kind, parameter.default, annotation))
    return found


CASES = [(facade, target, name) for facade, target in PAIRS for name in methods(facade)]


@pytest.mark.parametrize(("facade", "target", "name"), CASES, ids=lambda item: getattr(item, "__qualname__", item))
def test_a_method_has_the_signature_and_docstring_of_its_namesake(facade, target, name) -> None:
    mine, theirs = methods(facade)[name], methods(target)[name]
    # Where there are overloads, the annotations are theirs.
    parts = 3 if typing.get_overloads(theirs) else 4
    assert [part[:parts] for part in shape(mine)] == [part[:parts] for part in shape(theirs)]
    assert (mine.__doc__, bool(mine.__doc__)) == (theirs.__doc__, True)
    assert not inspect.iscoroutinefunction(mine)


@pytest.mark.parametrize(("facade", "target"), PAIRS, ids=lambda item: item.__qualname__)
def test_nothing_that_is_awaited_is_missing(facade, target) -> None:
    awaited = {name for name, method in methods(target).items() if inspect.iscoroutinefunction(method)}
    awaited |= {
        name
        for name, method in methods(target).items()
        if "Coroutine" in str(inspect.signature(method).return_annotation)
    }
    # `aio` is the async form itself; `in_body` is for bodies.
    assert awaited - {"aio", "in_body"} <= set(methods(facade))


def test_return_types_are_those_that_are_awaited() -> None:
    for facade, target, name in CASES:
        mine = str(inspect.signature(methods(facade)[name]).return_annotation)
        theirs = str(inspect.signature(methods(target)[name]).return_annotation)
        awaited = re.fullmatch(r"Coroutine\[\w+, \w+, (.*)\]", theirs)
        assert mine.replace("builtins.", "") == (awaited[1] if awaited else theirs).replace("builtins.", ""), name


# It works ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shop():
    wf = Workflow("shop", db=InMemoryStore(), default_retries=0)

    @wf.task
    async def double(number: int) -> int:
        if number < 0:
            raise ValueError("negative")
        return 2 * number

    @wf.workflow(id="order-{number}")
    async def order(number: int) -> int:
        return await double(number)

    @wf.workflow(id="approval-{name}")
    async def approval(name: str) -> object:
        return [await wf.signal("approval"), await wf.receive("mail")]

    @wf.workflow
    def plain(number: int) -> int:
        return number + 1

    yield wf
    wf.portal.stop()


def test_a_workflow_is_started_and_awaited_from_plain_code(shop) -> None:
    order = blocking.of(shop.workflows["order"])
    with blocking.of(shop):
        handle = order.start(3)
        assert handle.result(timeout=30) == 6
        assert (handle.id, handle.status(), handle.record().state.label) == ("order-3", "succeeded", "succeeded")
        assert order.options(id="mine", tags=["vip"]).start(4).result(30) == 8
    assert [run.run_id for run in blocking.of(shop).runs.list(tags={"vip": ""})] == ["mine"]


def test_a_workflow_is_called_from_plain_code(shop) -> None:
    assert blocking.of(shop.workflows["order"])(5) == 10
    assert blocking.of(shop.workflows["order"]).run("named", 6) == 12
    assert blocking.of(shop.workflows["order"]).options(id="again")(7) == 14
    assert blocking.of(shop.workflows["plain"])(1) == 2


def test_signals_and_messages_are_delivered(shop) -> None:
    app = blocking.of(shop)
    app.start()
    handle = blocking.of(shop.workflows["approval"]).start("a")
    assert app.complete("approval-a", "approval", "yes") is True
    assert handle.signal("approval", "no") is False
    app.send("approval-a", "mail", 1, id="m1")
    assert handle.result(30) == ["yes", 1]
    app.stop()
    app.stop()


def test_runs_are_listed_and_changed(shop) -> None:
    app, order = blocking.of(shop), blocking.of(shop.workflows["order"])
    for number in range(4):
        order.start(number)
    assert app.runs.count() == {"queued": 4}
    assert app.runs.pause("order-0") is True
    assert app.runs.resume("order-0") is True
    assert app.handle("order-1").pause() is True
    assert app.handle("order-1").resume() is True
    assert app.runs.cancel("order-3", reason="no") is True
    assert (app.runs.pause_all(), app.runs.resume_all(), app.runs.cancel_all(workflow="order")) == (3, 3, 3)
    assert app.runs.get("order-3").state.label == "cancelled"
    assert app.runs.prune(finished_before=datetime.now(UTC).replace(year=2100)) == 4
    assert app.runs.list() == []


def test_a_failed_run_is_retried(shop) -> None:
    app, order = blocking.of(shop), blocking.of(shop.workflows["order"])
    with pytest.raises(ValueError, match="negative"):
        order(-1)
    assert [event.status for event in app.runs.history("order--1")] == ["ok", "error", "error"]
    assert app.runs.plan_retry("order--1").repeats == ()
    assert app.runs.retry("order--1").drop == (1, 2)
    assert app.runs.retry_all() == 0


def test_errors_are_those_of_the_async_form(shop) -> None:
    with pytest.raises(RunNotFound):
        blocking.of(shop).runs.get("nothing")
    with pytest.raises(RunNotFound):
        blocking.of(shop).handle("nothing").result()
    handle = blocking.of(shop.workflows["approval"]).start("a")
    with pytest.raises(TimeoutError):
        handle.result(timeout=0.01)


def test_the_background_thread_ends_with_the_portal(shop) -> None:
    blocking.of(shop).runs.count()
    assert "durable-shop" in {thread.name for thread in threading.enumerate()}
    shop.portal.stop()
    assert "durable-shop" not in {thread.name for thread in threading.enumerate()}


async def test_a_call_in_an_event_loop_is_refused(shop) -> None:
    for call in (blocking.of(shop).runs.count, blocking.of(shop.workflows["order"]).start, blocking.of(shop).start):
        with pytest.raises(UsageError, match="would block the event loop here"):
            call()


def test_a_call_in_a_workflow_that_is_no_step_is_refused(shop) -> None:
    @shop.workflow(id="nosy")
    def nosy() -> str:
        try:
            blocking.of(shop).runs.count()
        except UsageError as error:
            return str(error)
        return "allowed"

    assert "asked the store something that is not recorded" in nosy()


def test_a_plain_task_may_start_runs(shop) -> None:
    @shop.task
    def starts(number: int) -> str:
        return blocking.of(shop.workflows["order"]).start(number).id

    @shop.workflow(id="starter")
    async def starter() -> str:
        return await starts.aio(9)

    assert blocking.of(starter)() == "order-9"
    assert blocking.of(shop).runs.get("order-9").state.label == "queued"


@pytest.mark.parametrize("target", [None, 3, "shop", asyncio, durable.sleep])
def test_nothing_else_has_a_blocking_form(target) -> None:
    with pytest.raises(UsageError, match="one of its workflows, or a handle of a run"):
        blocking.of(target)


def test_what_is_blocking_says_so(shop) -> None:
    for target in (shop, shop.workflows["order"], shop.handle("x")):
        assert repr(blocking.of(target)).startswith("<blocking <")
