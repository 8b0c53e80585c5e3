"""Errors keep their type, arguments, cause and traceback text over a restart."""

from __future__ import annotations

import asyncio
import re

import pytest

import durable
from durable import RunNotFound, TaskError
from tests.runs.kit import Apps, Child, Died, abandon, dies, flow, live


class OrderError(Exception):
    """An error with an initialiser of its own, which rebuilding must not run."""

    made = 0

    def __init__(self, order: str, *, hint: str = "") -> None:
        super().__init__(order)
        OrderError.made += 1
        self.order, self.hint = order, hint

    def __str__(self) -> str:
        return f"order {self.order} ({self.hint})"


def program(make_app: Apps, fail, *, deadly: bool):
    app = make_app()
    caught: list[BaseException] = []

    @app.task(retries=0)
    async def fails() -> None:
        fail()

    @app.task
    async def then() -> None:
        if deadly:
            raise Died

    @app.workflow(id="run")
    async def run() -> str:
        try:
            await fails()
        except Exception as error:
            caught.append(error)
        await then()
        return type(caught[-1]).__name__

    return app, caught


def twice(make_app: Apps, fail) -> tuple[BaseException, BaseException]:
    """Return a task's error as the body sees it at first, and after a restart."""
    first, caught = program(make_app, fail, deadly=True)
    dies(first, flow(first, "run"))
    second, again = program(make_app, lambda: pytest.fail("executed again"), deadly=False)
    live(second, flow(second, "run"))
    abandon(second)
    assert len(caught) == len(again) == 1
    return caught[0], again[0]


def recorded_lines(error: BaseException) -> str:
    """Return the traceback text that was recorded with an error."""
    return str(vars(error)["__durable_traceback__"])


def test_type_and_arguments_stay(make_app: Apps):
    def fail() -> None:
        raise KeyError("missing", 42, ("a", None))

    for error in twice(make_app, fail):
        assert type(error) is KeyError
        assert error.args == ("missing", 42, ("a", None))


def test_an_error_of_the_users_own_stays_without_its_initialiser_being_run(make_app: Apps):
    def fail() -> None:
        raise OrderError("42", hint="ask Ada")

    OrderError.made = 0
    for error in twice(make_app, fail):
        assert type(error) is OrderError
        assert error.args == ("42",)
    assert OrderError.made == 1


def test_cause_and_context_stay(make_app: Apps):
    def fail() -> None:
        try:
            try:
                raise FileNotFoundError(2, "no such file")
            except OSError as error:
                raise ValueError("cannot read") from error
        except ValueError:
            raise KeyError("outer")  # noqa: B904 - the context is what is tested

    for error in twice(make_app, fail):
        assert type(error) is KeyError
        context = error.__context__
        assert type(context) is ValueError
        assert type(context.__cause__) is FileNotFoundError
        assert context.__cause__.args == (2, "no such file")


def test_the_traceback_text_stays(make_app: Apps):
    def a_function_with_a_telling_name() -> None:
        raise ValueError("deep down")

    for error in twice(make_app, a_function_with_a_telling_name):
        assert "a_function_with_a_telling_name" in recorded_lines(error)
        assert "test_errors.py" in recorded_lines(error)


def test_the_traceback_text_of_a_failed_run_goes_from_its_body_to_where_it_was_raised(make_app: Apps):
    app = make_app()

    def deep_down() -> None:
        raise ValueError("no post")

    @app.task(retries=0)
    def label() -> None:
        deep_down()

    @app.workflow(id="run")
    async def run() -> None:
        await asyncio.gather(durable.sleep(0.001), label.aio())

    async def program() -> str:
        with pytest.raises(ValueError, match="no post") as failed:
            await run()
        return recorded_lines(failed.value)

    lines = live(app, program)
    assert re.findall(r"in (\w+)$", lines, re.MULTILINE) == ["run", "label", "deep_down"]


def test_groups_stay(make_app: Apps):
    def fail() -> None:
        raise ExceptionGroup("several", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])])

    for error in twice(make_app, fail):
        assert isinstance(error, ExceptionGroup)
        assert [type(e) for e in error.exceptions] == [ValueError, ExceptionGroup]
        assert error.exceptions[1].exceptions[0].args == ("b",)


def test_an_error_whose_type_cannot_be_found_by_name_is_the_same_at_first_and_later(make_app: Apps):
    class Local(Exception): ...

    def fail() -> None:
        raise Local("from inside")

    first, second = twice(make_app, fail)
    assert type(first) is type(second) is TaskError
    for error in (first, second):
        assert error.type_name.endswith("Local")
        assert "from inside" in str(error)


def test_an_error_of_a_type_that_is_not_there_becomes_a_task_error(file):
    code = """
        class Own(Exception): ...

        wf = Workflow("app", db=DB)

        @wf.workflow(id="run")
        async def run() -> None:
            raise Own("from the child")

        try:
            asyncio.run(run())
        except Own:
            say("raised")
    """
    with Child(code, file) as child:
        child.hears("raised")
    app = durable.Workflow("app", db=file)
    with pytest.raises(TaskError, match="Own: from the child"):
        live(app, lambda: app.handle("run").result())


def test_odd_errors_do_no_harm(make_app: Apps):
    """Covers: H9, H12"""

    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def circular() -> None:
        error = ValueError("round")
        error.__cause__ = KeyError("and round")
        error.__cause__.__cause__ = error
        raise error

    def odd() -> None:
        raise Odd(object())

    def long() -> None:
        raise ValueError("x" * 10_000_000)

    def strange() -> None:
        raise ValueError("nul \0 and half \ud800")

    def stops() -> None:
        raise StopIteration(3)

    def deep() -> None:
        deep()

    for number, fail in enumerate((circular, odd, long, strange, stops, deep)):

        def named(name: str = "", **options: object):
            return make_app(f"app {number}", **options)  # noqa: B023

        first, second = twice(named, fail)  # type: ignore[arg-type]
        assert isinstance(first, Exception)
        assert type(first) is type(second)


def test_the_error_of_a_run_stays_for_handles_and_other_processes(file):
    code = """
        wf = Workflow("app", db=DB)

        @wf.task(retries=0)
        async def fails() -> None:
            try:
                int("x")
            except ValueError as error:
                raise KeyError("key", 1) from error

        @wf.workflow(id="run")
        async def run() -> None:
            await fails()

        try:
            asyncio.run(run())
        except KeyError as error:
            say(f"raised {error.args}")
    """
    with Child(code, file) as child:
        child.hears("raised ('key', 1)")
        assert child.ended() == 0
    app = durable.Workflow("app", db=file)

    async def look() -> BaseException:
        try:
            await app.handle("run").result()
        except Exception as error:
            return error
        raise AssertionError

    error = live(app, look)
    assert type(error) is KeyError
    assert error.args == ("key", 1)
    assert type(error.__cause__) is ValueError
    assert "in fails" in recorded_lines(error)
    assert "in fails" in recorded_lines(error.__cause__)


async def test_an_error_of_ours_crosses_the_journal(app):
    @app.task(retries=0)
    async def fails() -> None:
        raise RunNotFound("some", "other")

    @app.workflow
    async def run() -> None:
        await fails()

    with pytest.raises(RunNotFound, match="run 'some' does not exist in application 'other'") as caught:
        await run()
    assert (caught.value.run_id, caught.value.app) == ("some", "other")


async def test_an_error_that_leaves_the_body_is_recorded_with_its_own_type(app):
    @app.workflow(id="run")
    async def run() -> None:
        await asyncio.sleep(0)
        raise OrderError("7")

    with pytest.raises(OrderError):
        await run()
    record = await app.runs.get("run")
    assert (record.state.label, record.reason, record.detail) == ("failed", "OrderError", "order 7 ()")
