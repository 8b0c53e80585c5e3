"""Histories as files, and `assert_replays`: a run of yesterday as a test of today's code."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import durable
from durable import InMemoryStore, UsageError, Workflow
from durable.core.records import Entry, Inbox, Kind, Message, PromiseRecord, Queue, RunState, Status, Wait
from durable.runtime.histories import Child, History, from_json, to_json
from durable.testing.replays import ReplayDiverged, assert_replays, history_of, load_history, save_history
from tests.check.plays import code_for, names, played
from tests.check.project import SHIP, Project


def shop(first: str = "charge") -> Any:
    wf = Workflow("shop", db=InMemoryStore(), default_retries=0)

    @wf.task
    async def save(text: str) -> str:
        if text == "fail":
            raise ValueError(text)
        return text

    @wf.workflow
    async def order(number: int, then: str = "signal") -> str:
        await save(first)
        if then == "signal":
            await wf.signal("go")
        if then == "fail":
            await save("fail")
        return await save(f"pack {number}")

    return wf, order, save


async def history_in(wf: Workflow, run_id: str, state: str) -> History:
    async with asyncio.timeout(10):
        while (await wf.runs.get(run_id)).state.label != state:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.005)
    return await history_of(wf, run_id)


def history(state: str = "suspended", then: str = "signal") -> History:
    async def main() -> History:
        wf, order, _ = shop()
        async with wf:
            await order.options(id="order").start(1, then)
            if state == "cancelled":
                await history_in(wf, "order", "suspended")
                await wf.runs.cancel("order", reason="enough")
            return await history_in(wf, "order", state)

    return asyncio.run(main())


def test_code_that_did_not_change_replays_a_history_in_each_form(tmp_path: Path) -> None:
    found = history()
    _, order, _ = shop()
    save_history(found, tmp_path / "order.json")
    assert load_history(tmp_path / "order.json") == found
    for form in (found, tmp_path / "order.json", str(tmp_path / "order.json"), found.entries, list(found.entries)):
        assert_replays(form, order)


def test_a_change_is_an_assertion_error_that_says_where() -> None:
    found = history()
    _, order, _ = shop("check")
    with pytest.raises(ReplayDiverged) as raised:
        assert_replays(found, order)
    assert isinstance(raised.value, AssertionError)
    assert raised.value.findings[0].position == 1
    text = str(raised.value)
    assert text.startswith("run 'order' would not go on as before under workflow 'order':\n  position 1: ")
    assert ('"charge"' in text, '"check"' in text, f"{__file__}:" in text) == (True, True, True)


async def test_a_test_on_an_event_loop_may_ask() -> None:
    wf, order, save = shop()
    await order.options(id="order").start(5)
    async with wf:
        found = await history_in(wf, "order", "suspended")
    assert_replays(found, order)
    with pytest.raises(UsageError, match="of workflow 'order'"):
        assert_replays(found, other_workflow(wf))
    assert await save("after") == "after"


def other_workflow(wf: Workflow) -> Any:
    @wf.workflow
    async def another(number: int) -> None:
        await wf.signal("go")

    return another


@pytest.mark.parametrize(("state", "then"), [("succeeded", "nothing"), ("cancelled", "signal"), ("failed", "fail")])
def test_a_run_that_has_ended_replays_to_its_end(state: str, then: str) -> None:
    found = history(state, then)
    assert found.state.label == state
    assert_replays(found, shop()[1])
    with pytest.raises(ReplayDiverged):
        assert_replays(found, shop("check")[1])


def test_a_run_that_has_succeeded_must_succeed() -> None:
    found = history("succeeded", "nothing")
    wf, _, save = other_shop()

    @wf.workflow
    async def order(number: int, then: str = "signal") -> str:
        await save("charge")
        await save(f"pack {number}")
        raise LookupError("only now")

    with pytest.raises(ReplayDiverged, match=r"the end of the workflow \(succeeded\).*LookupError: only now"):
        assert_replays(found, order)


def other_shop() -> Any:
    wf = Workflow("shop", db=InMemoryStore(), default_retries=0)

    @wf.task
    async def save(text: str) -> str:
        return text

    return wf, None, save


def test_a_failed_run_is_replayed_as_a_retry_would_be() -> None:
    wf, _, save = other_shop()

    @wf.workflow
    async def order(number: int, then: str = "signal") -> str:
        await save("charge")
        return await save("mended")  # in place of what had failed

    assert_replays(history("failed", "fail"), order)


@pytest.mark.parametrize("name", names())
def test_every_kind_of_history_survives_its_file(name: str) -> None:
    code = code_for(played(name).source, name)
    assert code.app == "app"
    for found in played(name).histories:
        assert from_json(to_json(found), "a file") == found
        lines = to_json(found).splitlines()
        assert sum('"position"' in line for line in lines) == len(found.entries), "an entry is a line"


bytes_of = st.one_of(st.binary(max_size=20), st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")))
texts = st.text(st.characters(codec="utf-8"), max_size=20)
times = st.integers(0, 253_402_300_799_000)
numbers = st.integers(-(2**63), 2**63 - 1)
entries = st.builds(
    Entry, st.integers(1, 2**24), times, st.sampled_from(Kind), st.sampled_from(Status),
    st.one_of(st.none(), st.integers(1, 10**6)), st.one_of(st.none(), texts.filter(bool)), texts, numbers,
    st.integers(0, 100), st.integers(0, 10**6), times, texts, bytes_of,
)  # fmt: skip
histories = st.builds(
    History, texts, st.builds(Queue, texts, texts, texts, texts), st.sampled_from(RunState), times,
    st.lists(entries, max_size=4).map(lambda some: (Entry(0, 5, Kind.RUN, Status.OK, name="start"), *some)),
    st.integers(0, 9), st.integers(0, 9),
    st.lists(st.builds(Wait, st.integers(-9, 9), texts), max_size=2).map(tuple),
    st.builds(
        Inbox,
        st.lists(st.builds(PromiseRecord, texts, times, st.booleans(), bytes_of), max_size=2).map(tuple),
        st.lists(st.builds(Message, st.integers(0, 99), texts, bytes_of), max_size=2).map(tuple),
    ),
    st.lists(st.builds(Child, texts, st.booleans(), bytes_of), max_size=2).map(tuple),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(histories)
def test_any_history_comes_back_from_its_text(found: History) -> None:
    text = to_json(found)
    assert from_json(text, "a file") == found
    assert not any(ord(c) < 32 and c != "\n" for c in text), "nothing in it drives a terminal"
    assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is no history"), ("[]", "is no history"), ("{}", "is no history"), ("nonsense", "is no history"),
        ('{"durable_history": 2}', "of format 2"), ('{"durable_history": 1}', "is a damaged history"),
    ],
)  # fmt: skip
def test_what_is_no_history_is_refused(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(UsageError, match=what):
        assert_replays(tmp_path / "file.json", shop()[1])


@pytest.mark.parametrize("key", ["entries", "waits", "state", "began_at", "run"])
def test_a_history_with_a_hole_is_refused(key: str) -> None:
    made = json.loads(to_json(history()))
    del made[key]
    with pytest.raises(UsageError, match="is a damaged history"):
        from_json(json.dumps(made), "a file")


def test_a_history_without_entries_is_refused() -> None:
    made = json.loads(to_json(history())) | {"entries": []}
    with pytest.raises(UsageError, match="its first entry is not that of a start"):
        from_json(json.dumps(made), "a file")


def test_no_entries_are_no_history() -> None:
    with pytest.raises(UsageError, match="no entries"):
        assert_replays([], shop()[1])


def test_a_run_is_exported_on_the_command_line(project: Project) -> None:
    project.write(SHIP)
    project.begin("ship", 1)
    before = project.files()
    printed = project.durable("runs", "export", "ship-1")
    assert printed.code == 0
    assert project.files() == before
    said = project.durable("runs", "export", "ship-1", "-o", "ship.json", "--code", "flows.py")
    assert said.out == "the history of run 'ship-1' is in 'ship.json': 2 entries\n"
    assert (project.folder / "ship.json").read_text() == printed.out
    found = load_history(project.folder / "ship.json")
    assert (found.run_id, found.state.label, [wait.target for wait in found.waits]) == (
        "ship-1", "suspended", ["p:ship-1\ngo"],
    )  # fmt: skip
    (made,) = project.durable("runs", "export", "ship-1", "-o", "ship.json", "--json", "--app", "shop").objects
    assert made == {"id": "ship-1", "file": "ship.json", "entries": 2}


def test_what_cannot_be_exported_is_one_line_and_a_code(project: Project) -> None:
    project.write(SHIP)
    project.queue("ship", 1)
    for arguments, code in ((("nobody",), 4), (("ship-1", "--db", "no.db"), 3), (("ship-1", "-o", "no/where"), 2)):
        done = project.durable("runs", "export", *arguments)
        assert (done.code, done.err.count("\n")) == (code, 1)


def test_the_names_are_public() -> None:
    from durable import testing

    assert testing.assert_replays is assert_replays
    assert {"assert_replays", "history_of", "load_history", "save_history", "ReplayDiverged"} <= set(testing.__all__)
    assert durable.__all__
