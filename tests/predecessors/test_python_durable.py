"""The checklist of python-durable, on SQLite files; stores and P-18 are in the two files beside this one."""

from __future__ import annotations

import asyncio
from typing import Any

import pydantic
import pytest

import durable
from durable import InMemoryStore, Workflow, backoff
from durable.backoff import constant, exponential, linear
from tests.runs.kit import Child, Died, dies, flow, live, notes


def test_p_2_decorators_work_bare_and_with_options(file):
    wf = Workflow("app", db=file)

    @wf.task
    async def bare(x: int) -> int:
        return x + 1

    @wf.task(retries=2, backoff=constant(0))
    async def optioned(x: int) -> int:
        return x + 2

    @wf.workflow
    async def plainly(x: int) -> int:
        return await bare(x)

    @wf.workflow(id="named-{x}")
    async def named(x: int) -> int:
        return await optioned(x)

    assert live(wf, lambda: plainly(1)) == 2
    assert live(wf, lambda: named(1)) == 3
    assert live(wf, lambda: wf.runs.get("named-1")).queue.workflow == "named"


class Record(pydantic.BaseModel):
    id: int
    source: str


class Saved(pydantic.BaseModel):
    record: Record
    ok: bool


class Pipeline:
    """Program (a): the quick start with a loop of step ids and models as results."""

    def __init__(self, file: str, *, dies_at: int | None = None) -> None:
        self.ran: list[str] = []
        self.wf = wf = Workflow("my-app", db=f"sqlite:///{file}")

        @wf.task
        async def fetch_data(source: str) -> list[Record]:
            self.ran.append(f"fetch {source}")
            return [Record(id=i, source=source) for i in range(4)]

        @wf.task(retries=5, backoff=exponential(base=2, max=60))
        async def save_result(record: Record) -> Saved:
            if record.id == dies_at:
                raise Died
            self.ran.append(f"save {record.id}")
            return Saved(record=record, ok=True)

        @wf.workflow(id="pipeline-{source}")
        async def run_pipeline(source: str) -> list[Saved]:
            records = await fetch_data(source)
            saved = []
            for i, record in enumerate(records):
                saved.append(await save_result(record, step_id=f"item-{i}"))
            return saved

        self.run = run_pipeline


RESULT = [Saved(record=Record(id=i, source="users"), ok=True) for i in range(4)]


def test_p_3_the_pipeline_runs_with_its_id_and_a_call_by_keyword(file):
    pipeline = Pipeline(file)
    assert live(pipeline.wf, lambda: pipeline.run(source="users")) == RESULT
    assert live(pipeline.wf, lambda: pipeline.wf.runs.get("pipeline-users")).state.label == "succeeded"


def test_p_4_a_second_call_executes_nothing_and_returns_the_same(file):
    first, second = Pipeline(file), Pipeline(file)
    live(first.wf, lambda: first.run(source="users"))
    assert live(second.wf, lambda: second.run("users")) == RESULT
    assert second.ran == []


def test_p_5_after_a_kill_only_what_was_not_recorded_is_executed(file):
    """Covers: A3, A6, A7"""
    code = """
        wf = Workflow("app", db=DB)

        @wf.task
        async def step(number: int) -> int:
            if number == int(sys.argv[2]):
                say("here")
                await asyncio.sleep(3600)
            note(f"step {number}")
            return number

        @wf.workflow(id="five")
        async def five() -> int:
            return sum([await step(number) for number in range(5)])

        say(f"result {asyncio.run(five())}")
    """
    with Child(code, file, "3") as child:
        child.hears("here")
        child.kill()
    assert notes(file) == ["step 0", "step 1", "step 2"]
    with Child(code, file, "-1") as child:
        child.hears("result 10")
    assert notes(file) == [f"step {number}" for number in range(5)]


@pytest.mark.parametrize(
    ("failures", "attempts", "succeeds"), [(0, 1, True), (2, 3, True), (3, 4, True), (9, 4, False)]
)
def test_p_6_a_failing_task_is_retried_as_often_as_it_says(file, failures, attempts, succeeds):
    wf = Workflow("app", db=file)
    tried = 0

    @wf.task(retries=3, backoff=constant(0))
    async def flaky() -> str:
        nonlocal tried
        tried += 1
        if tried <= failures:
            raise OSError(f"attempt {tried}")
        return f"attempt {tried}"

    @wf.workflow
    async def once() -> str:
        return await flaky()

    if succeeds:
        assert live(wf, once) == f"attempt {attempts}"
        assert live(wf, once) == f"attempt {attempts}"
    else:
        with pytest.raises(OSError, match="attempt 4"):
            live(wf, once)
    assert tried == attempts


def test_p_7_the_documented_waits():
    assert [exponential(base=2, max=60)(k) for k in range(7)] == [2, 4, 8, 16, 32, 60, 60]
    assert [linear(start=2, step=3)(k) for k in range(3)] == [2, 5, 8]
    assert [constant(5)(k) for k in range(3)] == [5, 5, 5]
    assert {"exponential", "linear", "constant"} <= set(backoff.__all__) & set(durable.__all__)


def test_p_8_each_turn_of_a_loop_with_step_ids_is_recorded(file):
    first, second = Pipeline(file, dies_at=2), Pipeline(file)
    dies(first.wf, lambda: first.run(source="users"))
    assert first.ran == ["fetch users", "save 0", "save 1"]
    assert live(second.wf, lambda: second.run(source="users")) == RESULT
    assert second.ran == ["save 2", "save 3"]


def test_p_9_one_task_called_twice_makes_two_steps(file):
    wf = Workflow("app", db=file)
    ran: list[int] = []

    @wf.task
    async def number() -> int:
        ran.append(len(ran))
        return ran[-1]

    @wf.workflow
    async def twice() -> list[int]:
        return [await number(), await number()]

    assert live(wf, twice) == [0, 1]
    assert live(wf, twice) == [0, 1]
    assert ran == [0, 1]


def test_p_10_without_a_workflow_a_task_is_the_plain_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DURABLE_DB", raising=False)
    wf = Workflow("app")
    tried = 0

    @wf.task(retries=3)
    async def fails() -> None:
        nonlocal tried
        tried += 1
        raise ValueError("no")

    @wf.task
    async def doubles(x: int) -> int:
        return 2 * x

    assert asyncio.run(doubles(21)) == 42
    assert asyncio.run(doubles(21, step_id="ignored")) == 42
    with pytest.raises(ValueError, match="no"):
        asyncio.run(fails())
    assert tried == 1
    assert list(tmp_path.iterdir()) == []


def test_p_15_two_workflows_in_one_loop_do_not_mix_their_steps(file):
    wf = Workflow("app", db=file)

    @wf.task
    async def who(name: str, turn: int) -> tuple[str, str, int]:
        await asyncio.sleep(0)
        return durable.run_id(), name, turn

    @wf.workflow(id="run-{name}")
    async def turns(name: str) -> list[tuple[str, str, int]]:
        return [await who(name, turn) for turn in range(5)]

    async def main() -> list[Any]:
        return await asyncio.gather(*(turns(name) for name in "abc"))

    assert live(wf, main) == [[(f"run-{name}", name, turn) for turn in range(5)] for name in "abc"]


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
def test_p_17_one_id_called_twice_at_once_has_each_effect_once(tmp_path, kind):
    db = str(tmp_path / "durable.db") if kind == "sqlite" else InMemoryStore()
    first, second = Workflow("app", db=db), Workflow("app", db=db)
    ran: list[str] = []
    for wf in (first, second):

        @wf.task
        async def effect(name: str) -> str:
            await asyncio.sleep(0.01)
            ran.append(name)
            return f"{name} {len(ran)}"

        @wf.workflow(id="same")
        async def both() -> list[str]:
            return [await effect("a"), await effect("b")]

    async def main() -> list[list[str]]:
        calls = [flow(wf, "both")() for wf in (first, first, second, second)]
        results = await asyncio.gather(*calls)
        await first.stop()
        await second.stop()
        return results

    assert asyncio.run(main()) == [["a 1", "b 2"]] * 4
    assert ran == ["a", "b"]
