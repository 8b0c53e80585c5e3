"""Run ids: templates, derived ids, fresh ones, and what an id may be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

import durable
from durable import IdConflict, InputMismatch, UsageError, Workflow
from tests.runs.kit import Apps


@dataclass
class User:
    name: str


def counting(app: Workflow, **options: object) -> tuple[Any, list[int]]:
    ran: list[int] = []

    @app.task
    async def count() -> int:
        ran.append(1)
        return len(ran)

    @app.workflow(**options)  # type: ignore[call-overload]
    async def counted(x: int = 0, y: str = "") -> int:
        return await count()

    return counted, ran


async def test_a_template_is_filled_from_arguments_and_defaults(app):
    @app.workflow(id="{user.name}-{pages[0]}-{size}")
    async def reads(user: User, pages: list[int], size: int = 3) -> str:
        return durable.run_id()

    assert await reads(User("ada"), [7, 8]) == "ada-7-3"
    assert await reads(user=User("ada"), size=4, pages=[7]) == "ada-7-4"


async def test_a_derived_id_is_the_same_for_every_way_to_write_the_call(app):
    @app.workflow
    async def reads(source: str, page: int = 1) -> str:
        return durable.run_id()

    same = {await reads("a"), await reads(source="a"), await reads("a", 1), await reads("a", page=1)}
    assert len(same) == 1
    assert same.pop() == reads.id_for("a")
    assert await reads("a", 2) != reads.id_for("a")
    assert reads.id_for("1") != reads.id_for("2")


async def test_a_derived_id_tells_workflows_apart(app):
    @app.workflow
    async def one(x: int) -> str:
        return durable.run_id()

    @app.workflow
    async def two(x: int) -> str:
        return durable.run_id()

    assert await one(1) != await two(1)


async def test_unique_asks_for_a_fresh_id_each_time(app):
    counted, _ = counting(app, id=durable.unique)
    assert [await counted(), await counted()] == [1, 2]
    first, second = await counted.start(), await counted.start()
    assert first.id != second.id


async def test_unique_may_be_asked_for_one_start(app):
    counted, _ = counting(app, id="fixed")
    assert await counted() == 1
    assert await counted.options(id=durable.unique)() == 2
    assert await counted.options(id="other")() == 3
    assert await counted() == 1


@pytest.mark.parametrize(
    ("run_id", "why"),
    [
        ("", "0 bytes"),
        ("x" * 513, "513 bytes"),
        ("é" * 257, "514 bytes"),
        ("two\nlines", "control character"),
        ("nul\0", "control character"),
        ("del\x7f", "control character"),
        ("half \ud800", "lone surrogate"),
        (42, "is a int"),
    ],
)
async def test_an_id_that_cannot_be_one_is_refused_with_the_reason(app, run_id, why):
    counted, ran = counting(app)
    with pytest.raises(UsageError, match=why):
        await counted.run(run_id)
    with pytest.raises(UsageError, match=why):
        await counted.start(id=run_id)
    assert ran == []


@pytest.mark.parametrize("run_id", ["x" * 512, "é" * 256, "a/b", "../x", "with space", "日本", "'; DROP TABLE runs --"])
async def test_an_unusual_id_is_an_id(app, run_id):
    counted, _ = counting(app)
    assert await counted.run(run_id) == 1
    assert await counted.run(run_id) == 1
    assert (await app.runs.get(run_id)).run_id == run_id


async def test_a_template_that_gives_no_id_is_refused_when_it_is_filled(app):
    counted, ran = counting(app, id="{y}")
    for y, why in (("", "0 bytes"), ("x" * 600, "600 bytes"), ("a\tb", "control character")):
        with pytest.raises(UsageError, match=why):
            await counted(y=y)
    with pytest.raises(UsageError, match="cannot be filled"):
        await counting(app.__class__("other", db=app.db), id="{x.missing}")[0](1)
    assert ran == []


def test_a_template_that_names_an_unknown_argument_is_refused_when_it_is_declared(app):
    with pytest.raises(UsageError, match=r"'order-\{ordr\}' names argument 'ordr'; it takes: order, page"):

        @app.workflow(id="order-{ordr}")
        async def reads(order: str, page: int) -> None: ...

    for template, why in (("{}", "without a name"), ("{0}", "without a name"), ("{open", "expected '}'")):
        with pytest.raises(UsageError, match=why):
            app.workflow(id=template)(lambda order: None)


async def test_other_arguments_under_one_id_are_a_mismatch(app):
    """Covers: F2"""
    counted, ran = counting(app, id="order-{x}")
    assert await counted(1, "a") == 1
    with pytest.raises(InputMismatch, match=r"'order-1' was started with other arguments .*on_conflict='attach'"):
        await counted(1, "b")
    with pytest.raises(InputMismatch):
        await counted.start(1, "b")
    assert await counted(1, "a") == 1
    assert ran == [1]


async def test_a_mismatch_may_be_attached_to(app):
    counted, ran = counting(app, id="order-{x}")
    assert await counted(1, "a") == 1
    assert await counted.options(on_conflict="attach")(1, "b") == 1
    handle = await counted.start(1, "c", on_conflict="attach")
    assert await handle.result() == 1
    assert ran == [1]


async def test_an_id_of_another_workflow_is_a_conflict_also_to_attach(app):
    """Covers: F2"""

    @app.workflow(id="same")
    async def one() -> int:
        return 1

    @app.workflow(id="same")
    async def two() -> int:
        return 2

    assert await one() == 1
    for call in (two(), two.options(on_conflict="attach")(), two.start(), two.start(on_conflict="attach")):
        with pytest.raises(IdConflict, match="'same' is a run of workflow 'one', not of 'two'") as caught:
            await call
        assert not isinstance(caught.value, InputMismatch)


async def test_ids_are_unique_within_an_application_not_across(make_app: Apps):
    results = []
    for name in ("first", "second"):
        app = make_app(name)

        @app.workflow(id="same")
        async def who() -> str:
            return name  # noqa: B023

        results.append(await who())
    assert results == ["first", "second"]


async def test_calls_of_one_id_at_once_are_one_run(app):
    """Covers: F1"""
    counted, ran = counting(app, id="one")
    assert await asyncio.gather(*(counted() for _ in range(20))) == [1] * 20
    assert ran == [1]


async def test_arguments_that_do_not_fit_are_refused_before_anything_is_stored(app):
    counted, _ = counting(app)
    for args, kwargs in (((1, "a", 2), {}), ((), {"z": 1}), ((1,), {"x": 2})):
        with pytest.raises(UsageError, match="counted"):
            await counted(*args, **kwargs)
    assert await app.runs.list() == []


async def test_a_step_id_twice_in_a_run_is_refused(app):
    """Covers: F18"""

    @app.task
    async def one() -> int:
        return 1

    @app.workflow
    async def twice() -> int:
        return await one(step_id="same") + await one(step_id="same")

    with pytest.raises(UsageError, match="step id 'same' is used twice"):
        await twice()


async def test_a_new_optional_argument_by_name_changes_no_id(make_app):
    """Parents diverged at children whose workflow had got one."""

    def ids_of(app):
        return app.workflows["order"].id_for(1)

    before, after = make_app(), make_app()

    @before.workflow(name="order")
    async def order_of_old(number: int) -> None: ...

    @after.workflow(name="order")
    async def order_of_new(number: int, *, express: bool = False) -> None: ...

    assert ids_of(before) == ids_of(after)
