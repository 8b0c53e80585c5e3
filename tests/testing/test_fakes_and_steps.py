"""Fakes in the place of tasks, the ledger of effects, and assertions on the steps of a run."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import AsyncMock, Mock

import pytest

import durable
from durable import InMemoryStore, UsageError, Workflow, blocking
from durable.backoff import constant
from durable.testing import Effects, Fake, effect, steps_of


@pytest.fixture
def wf(durable_app) -> Workflow:
    return durable_app("shop")


@pytest.fixture
def charge(wf):
    @wf.task(retries=2, backoff=constant(5))
    async def charge(order: str, cents: int = 1) -> str:
        return f"real {order} {cents}"

    return charge


@pytest.fixture
def weigh(wf):
    @wf.task
    def weigh(order: str) -> int:
        return len(order)

    return weigh


@pytest.fixture
def order(wf, charge, weigh):
    @wf.workflow(id="order-{number}")
    async def order(number: str) -> str:
        return f"{await charge(number, cents=5)} {await weigh.aio(number)}"

    return order


# Fakes ----------------------------------------------------------------------------------------------------------------


async def fake_coroutine(order: str, cents: int = 1) -> str:
    return f"fake {order} {cents}"


def fake_function(order: str, cents: int = 1) -> str:
    return f"fake {order} {cents}"


FAKES = [
    fake_coroutine,
    fake_function,
    Mock(return_value="fake 42 5"),
    AsyncMock(return_value="fake 42 5"),
    Fake("fake 42 5"),
]


@pytest.mark.parametrize("fake", FAKES)
async def test_a_fake_of_any_colour_stands_for_a_task(wf, charge, order, fake):
    with wf.override(charge, fake):
        assert await order("42") == "fake 42 5 2"
        assert await charge("42", 5) == "fake 42 5"  # outside a run, too
    assert await order("43") == "real 43 5 2"
    assert await charge("42") == "real 42 1"


async def test_a_plain_task_takes_coroutines_too(wf, weigh, order):
    async def heavy(order: str) -> int:
        return 1000

    with wf.override(weigh, heavy):
        assert await order("42") == "real 42 5 1000"
    with wf.override("weigh", lambda order: 7):
        assert await order("43") == "real 43 5 7"


async def test_the_innermost_fake_counts_and_copies_of_a_task_share_it(wf, charge, order):
    quick = charge.with_options(retries=0)
    outer, inner = wf.override(charge, Fake("outer")), wf.override(charge, Fake("inner"))
    with outer:
        with inner:
            assert (await quick("1"), await charge("1")) == ("inner", "inner")
        assert await quick("1") == "outer"
    with outer:  # may be entered again
        assert await charge("1") == "outer"
    assert await quick("1") == "real 1 1"


async def test_an_override_decorates(wf, charge):
    @wf.override(charge, Fake("fake"))
    async def calls() -> str:
        return await charge("1")

    @wf.override(charge, Fake("fake"))
    def reads() -> object:
        return charge.spec.fn

    assert await calls() == "fake"
    assert reads() is not charge.spec.fn
    assert await charge("1") == "real 1 1"
    with pytest.raises(UsageError, match=r"which yields: write `with wf.override"):

        @wf.override(charge, Fake("fake"))
        def fixture():
            yield


def test_wrong_fakes_are_refused_with_what_is_there(wf, charge, weigh):
    other = Workflow("other", db=InMemoryStore())

    @other.task(name="charge")
    async def foreign(order: str) -> str:
        return order

    with pytest.raises(UsageError, match=r"has no task 'chrge'; it has 'charge', 'weigh'"):
        wf.override("chrge", Fake())
    with pytest.raises(UsageError, match=r"has no task 'charge' \(.*another application's"):
        wf.override(foreign, Fake())
    with pytest.raises(UsageError, match=r"the task is charge\(order: .*, the fake .*lambda.*\(order\) \(.*\)"):
        wf.override(charge, lambda order: "")
    with pytest.raises(UsageError, match="must take what the task takes"):
        wf.override(charge, lambda number, amount: "")  # other names
    with pytest.raises(UsageError, match="cannot be called"):
        wf.override(charge, "receipt")
    wf.override(charge, lambda order, cents=0, *more: "")


async def test_a_fake_fails_counts_and_tells_of_its_effect(wf, charge, order, durable_effects, durable_clock):
    fake = Fake(lambda order, cents: f"{order}: {cents}", fails=[TimeoutError, None, OSError("late")])
    began = durable_clock.now
    with wf.override(charge, fake):
        assert await order("42") == "42: 5 2"
        with pytest.raises(OSError, match="late"):
            await charge("43")
    assert fake.count == 3
    assert fake.calls[0] == fake.calls[1] == (("42",), {"cents": 5})
    assert durable_effects == ["charge '42' 5"]
    assert durable_clock.now - began == timedelta(seconds=5)
    fake.reset()
    assert fake.count == 0
    with pytest.raises(UsageError, match="cannot be raised"):
        Fake(fails=["late"])  # type: ignore[list-item]


# Effects --------------------------------------------------------------------------------------------------------------


async def test_the_innermost_ledger_hears_who_did_what_where(wf):
    @wf.task
    async def mail(to: str) -> None:
        effect("mailed", to)

    @wf.workflow(id="run")
    async def run() -> None:
        effect("began")
        await mail("ada")

    effect("nobody hears")
    with Effects() as outer, Effects() as ledger:
        effect("called")
        await run()
    assert len(outer) == 0
    assert ledger == ["called", "began", "mailed 'ada'"]
    assert [item.by for item in ledger] == ["other", "body", "task"]
    mailed = ledger.entries[-1]
    assert (mailed.run_id, mailed.task, mailed.attempt) == ("run", "mail", 1)
    assert mailed.place is not None
    assert mailed.place.text == 'effect("mailed", to)'
    assert ("mailed" in ledger, "mailed 'bob'" in ledger) == (True, False)
    assert (ledger.count("mailed"), ledger.count("mailed", "bob")) == (1, 0)
    assert repr(ledger) == "<effects: called, began, mailed 'ada'>"
    ledger.clear()
    assert ledger == outer
    assert ledger != 1


# Steps ----------------------------------------------------------------------------------------------------------------


async def test_the_steps_of_a_run_are_told_by_name(wf, charge, order):
    with wf.override(charge, Fake("receipt", fails=[TimeoutError("first"), TimeoutError("second")])):
        await order("42")
    steps = await steps_of(wf.handle("order-42"))
    assert steps.state == "succeeded"
    assert steps.names == ["charge", "weigh"]
    assert steps["charge"].attempts == 3
    assert steps["charge"].results == ["receipt"]
    assert [str(error) for error in steps["charge"].errors] == ["first", "second"]
    charged = steps["charge"].only
    assert (charged.kind, charged.state, charged.number, charged.error) == ("task", "ok", "1", None)
    assert charged.arguments == '"42","cents":5'
    assert charged.ended_at is not None
    assert (charged.ended_at - charged.began_at) == timedelta(seconds=10)
    assert "refund" not in steps
    assert charged in steps
    assert steps[0:1] == steps["charge"]
    assert repr(steps) == "<steps: charge (ok, 3 attempts), weigh (ok); the run is succeeded>"
    with pytest.raises(LookupError, match="has no step 'refund'; it has charge, weigh"):
        steps["refund"]
    with pytest.raises(LookupError, match="expected one step, there are 2"):
        _ = steps.only


async def test_open_steps_and_failures_are_told_as_well(wf, charge, durable_clock):
    @wf.workflow(id="run")
    async def run() -> None:
        try:
            await charge("1", step_id="mine")
        except TimeoutError:
            await durable.sleep(1)
            await wf.signal("never")

    with wf.override(charge, Fake(fails=[TimeoutError("no")] * 3)):
        async with wf:
            handle = await run.start()
            await durable_clock.advance(60)
            steps = await steps_of(handle)
    assert steps.state == "suspended"
    assert (steps["charge"].only.number, steps["charge"].only.state, steps["charge"].attempts) == ("mine", "error", 3)
    assert str(steps["charge"].only.error) == "no"
    assert steps["sleep"].only.state == "ok"
    with pytest.raises(UsageError, match="expected a handle of a run"):
        await steps_of("run")  # type: ignore[arg-type]


def test_plain_code_looks_at_steps_too(wf, charge, order):
    with wf.override(charge, Fake("receipt")):
        assert order.sync("42") == "receipt 2"
    assert steps_of.sync(blocking.of(wf).handle("order-42")).names == ["charge", "weigh"]
    assert steps_of.sync(wf.handle("order-42")).names == ["charge", "weigh"]
    with pytest.raises(UsageError, match="expected a handle of a run"):
        steps_of.sync("order-42")  # type: ignore[arg-type]
