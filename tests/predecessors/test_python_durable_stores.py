"""The checklist of python-durable: the lines about databases, values and ids (P-1, P-11 to P-14, P-16)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from durable import EncodeError, Store, Workflow
from durable.backoff import constant
from tests.runs.kit import Died, dies, flow, live


class Record(pydantic.BaseModel):
    id: int
    source: str


VALUES = [{"a": [1, {"b": None}]}, [1, "zwei", 3.5], "text", "", 7, 0, 2.5, True, False, None, [], {}]


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


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_p_12_results_come_back_as_they_were_and_none_is_one(file, value):
    """Covers: I11, I13"""
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
    """Covers: H8"""
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


def test_p_1_the_database_may_be_named_by_path_or_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for db, name in (("x.db", "x.db"), ("sqlite:///y.db", "y.db"), (f"sqlite:///{tmp_path}/z.db", "z.db")):
        wf = Workflow("app", db=db)

        @wf.workflow
        async def nothing() -> None:
            return None

        live(wf, nothing)
        assert Path(tmp_path, name).exists()
