"""The checklist of python-durable: P-1 to P-17, on SQLite files. P-18 is in `test_python_durable_core.py`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pydantic
import pytest

import durable
from durable import EncodeError, InMemoryStore, Store, Workflow, backoff
from durable.backoff import constant, exponential, linear
from tests.runs.kit import Child, Died, dies, flow, live, notes


def test_p_1_a_name_is_enough_and_the_file_appears_on_first_use(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DURABLE_DB", raising=False)
    wf = Workflow("app")

    @wf.workflow
    async def nothing() -> str:
        return "done"

    assert list(tmp_path.iterdir()) == []
    assert live(wf, nothing) == "done"
    assert (tmp_path / "durable.db").read_bytes().startswith(b"SQLite format 3")


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


class DictStore(Store):
    """python-durable's seven methods over dicts."""

    def __init__(self) -> None:
        self.steps: dict[tuple[str, str], Any] = {}
        self.signals: dict[tuple[str, str], Any] = {}
        self.ends: dict[str, str] = {}
        self.setups = 0

    async def setup(self) -> None:
        self.setups += 1

    async def get_step(self, run_id: str, step_id: str) -> tuple[bool, Any]:
        return (run_id, step_id) in self.steps, self.steps.get((run_id, step_id))

    async def set_step(self, run_id: str, step_id: str, result: Any, attempt: int = 1) -> None:
        self.steps[run_id, step_id] = result

    async def mark_run_done(self, run_id: str) -> None:
        self.ends[run_id] = "done"

    async def mark_run_failed(self, run_id: str, error: str) -> None:
        self.ends[run_id] = error

    async def get_signal(self, run_id: str, name: str) -> tuple[bool, Any]:
        return (run_id, name) in self.signals, self.signals.get((run_id, name))

    async def set_signal(self, run_id: str, name: str, payload: Any) -> bool:
        return self.signals.setdefault((run_id, name), payload) is payload


def test_p_11_a_subclass_of_store_takes_the_place_of_sqlite():
    store = DictStore()
    ran: list[str] = []

    def program(fails: bool) -> Workflow:
        wf = Workflow("app", db=store)

        @wf.task
        async def step(name: str) -> str:
            ran.append(name)
            return name.upper()

        @wf.workflow(id="run-{x}")
        async def steps(x: int) -> list[str]:
            done = [await step("a"), await step("b"), await step("c", step_id="third")]
            if fails:
                raise ValueError("between")
            return done

        return wf

    first = program(fails=True)
    with pytest.raises(ValueError, match="between"):
        live(first, lambda: flow(first, "steps")(x=1))
    assert store.steps == {("run-1", "step"): "A", ("run-1", "step#1"): "B", ("run-1", "third"): "C"}
    assert "between" in store.ends["run-1"]
    second = program(fails=False)
    assert live(second, lambda: flow(second, "steps")(x=1)) == ["A", "B", "C"]
    assert ran == ["a", "b", "c"]
    assert store.ends == {"run-1": "done"}
    assert store.setups >= 1


def test_p_11_signals_of_a_subclass_of_store_are_kept_in_it():
    store = DictStore()
    wf = Workflow("app", db=store)

    @wf.workflow(id="asks")
    async def asks() -> Any:
        return await wf.signal("answer")

    async def main() -> Any:
        assert await wf.complete("asks", "answer", {"n": 42})
        assert not await wf.complete("asks", "answer", {"n": 43})
        return await asks()

    assert live(wf, main) == {"n": 42}
    assert store.signals == {("asks", "answer"): {"n": 42}}


VALUES = [{"a": [1, {"b": None}]}, [1, "zwei", 3.5], "text", "", 7, 0, 2.5, True, False, None, [], {}]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_p_12_results_come_back_as_they_were_and_none_is_one(file, value):
    ran: list[int] = []

    def program(deadly: bool) -> Workflow:
        wf = Workflow("app", db=file)

        @wf.task
        async def gives() -> Any:
            ran.append(1)
            return value

        @wf.task
        async def maybe_dies() -> None:
            if deadly:
                raise Died

        @wf.workflow(id="values")
        async def values() -> list[Any]:
            got = await gives()
            await maybe_dies()
            return [got]

        return wf

    first, second = program(deadly=True), program(deadly=False)
    dies(first, flow(first, "values"))
    result = live(second, flow(second, "values"))
    assert result == [value]
    assert type(result[0]) is type(value)
    assert ran == [1]


def test_p_13_a_result_that_cannot_be_stored_is_one_clear_error_and_not_executed_again(file):
    wf = Workflow("app", db=file)
    ran: list[int] = []

    @wf.task(retries=2, backoff=constant(0))
    async def opens() -> object:
        ran.append(1)
        return {"inner": [object()]}

    @wf.workflow
    async def stores() -> None:
        await opens()

    with pytest.raises(EncodeError, match=r"result of task 'opens' at .*inner.*0.* is a object"):
        live(wf, stores)
    assert ran == [1]


def test_p_14_models_may_be_dumped_and_validated_by_hand(file):
    wf = Workflow("app", db=file)

    @wf.task
    async def dumps() -> dict[str, Any]:
        return Record(id=1, source="users").model_dump()

    @wf.workflow
    async def validates() -> str:
        return Record.model_validate(await dumps()).source

    assert live(wf, validates) == "users"
    assert live(wf, validates) == "users"


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


def test_p_16_other_values_in_the_template_give_other_runs(file):
    wf = Workflow("app", db=file)
    ran: list[tuple[str, int]] = []

    @wf.task
    async def notes_it(source: str, page: int) -> str:
        ran.append((source, page))
        return f"{source} {page}"

    @wf.workflow(id="{source}-{page}")
    async def reads(source: str, page: int = 1) -> str:
        return await notes_it(source, page)

    async def main() -> list[str]:
        return [await reads("a"), await reads("a", 2), await reads("b"), await reads("a", page=1)]

    assert live(wf, main) == ["a 1", "a 2", "b 1", "a 1"]
    assert ran == [("a", 1), ("a", 2), ("b", 1)]


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


def test_p_1_the_database_may_be_named_by_path_or_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for db, name in (("x.db", "x.db"), ("sqlite:///y.db", "y.db"), (f"sqlite:///{tmp_path}/z.db", "z.db")):
        wf = Workflow("app", db=db)

        @wf.workflow
        async def nothing() -> None:
            return None

        live(wf, nothing)
        assert Path(tmp_path, name).exists()
