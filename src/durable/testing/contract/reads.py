"""Facts about reads: single runs, lists with filters and pages, journals."""

from __future__ import annotations

from typing import Any

import pytest

from durable.core.records import Inbox, RunState, signal_id
from durable.store.base import JOURNAL_PAGE_MAX, LIST_PAGE_MAX, RunFilter
from durable.store.operations import Cancel
from durable.testing.contract.kit import (
    APP,
    QUEUE,
    T0,
    ContractPart,
    Lab,
    advance,
    fact,
    received,
    send,
    settle,
    start,
    task,
)

FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["elsewhere", "b%c", "bxc", "aside", "failed", "done", "waits", "a_1", "a1", "a"]),
    ({"app": "app"}, ["b%c", "bxc", "aside", "failed", "done", "waits", "a_1", "a1", "a"]),
    ({"app": "nobody"}, []),
    ({"workflow": "other"}, ["elsewhere", "waits"]),
    ({"group": "g2"}, ["a1"]),
    ({"states": (RunState.SET_ASIDE,)}, ["aside"]),
    ({"states": (RunState.FAILED, RunState.SUCCEEDED)}, ["failed", "done"]),
    ({"states": (RunState.PAUSED,)}, []),
    ({"id_prefix": "a"}, ["aside", "a_1", "a1", "a"]),
    ({"id_prefix": "a_"}, ["a_1"]),
    ({"id_prefix": "b%"}, ["b%c"]),
    ({"id_prefix": "A"}, []),
    ({"id_prefix": "a1x"}, []),
    ({"id_prefix": ""}, ["elsewhere", "b%c", "bxc", "aside", "failed", "done", "waits", "a_1", "a1", "a"]),
    ({"tags": {"colour": "red"}}, ["a1", "a"]),
    ({"tags": {"colour": "red", "size": "1"}}, ["a1"]),
    ({"tags": {"colour": "size"}}, []),
    ({"tags": {"colour": "1"}}, []),
    ({"created_from": T0 + 5}, ["elsewhere", "b%c", "bxc", "aside"]),
    ({"created_before": T0 + 5}, ["failed", "done", "waits", "a_1", "a1", "a"]),
    ({"created_from": T0 + 5, "created_before": T0 + 6}, ["aside"]),
    ({"parent_id": "a"}, ["a_1", "a1"]),
    ({"reason": "code changed"}, ["aside"]),
    ({"reason": ""}, ["elsewhere", "b%c", "bxc", "failed", "done", "waits", "a_1", "a1", "a"]),
    ({"id_prefix": "a", "tags": {"colour": "red"}, "parent_id": "a", "app": "app"}, ["a1"]),
    ({"states": (RunState.QUEUED,), "created_before": T0 + 1}, ["a"]),
]


async def _populate(lab: Lab) -> None:
    """Fill a store with runs of many kinds, a millisecond apart but for some."""
    red, size = ("colour", "red"), ("size", "1")
    await lab.queued("a", tags=(red,))
    lab.clock.pass_ms(1)
    await lab.queued("a1", tags=(red, size), parent_id="a", queue=QUEUE._replace(group="g2"))
    await lab.queued("a_1", tags=(("colour", "blue"),), parent_id="a")
    lab.clock.pass_ms(1)
    await lab.suspended("waits", "p:p", queue=QUEUE._replace(workflow="other"))
    await lab.ended("done")
    await lab.ended("failed", RunState.FAILED)
    lab.clock.pass_ms(3)
    await lab.set_aside("aside")
    lab.clock.pass_ms(1)
    await lab.queued("bxc")
    await lab.queued("b%c")
    await lab.queued("elsewhere", queue=QUEUE._replace(app="elsewhere", workflow="other"))


class ReadFacts(ContractPart):
    """Reads show what was committed, in pages that neither repeat nor skip."""

    @fact
    async def test_a_run_is_found_by_id_and_by_key(self, lab: Lab) -> None:
        run = await lab.queued("r")
        assert await lab.store.run(APP, "r") == run
        assert await lab.store.run_by_key(run.key) == run
        assert await lab.store.run(APP, "R") is None
        assert await lab.store.run("other", "r") is None
        assert await lab.store.run_by_key(run.key + 1) is None

    @pytest.mark.parametrize(("where", "expected"), FILTERS, ids=repr)
    @fact
    async def test_a_list_holds_the_runs_that_fulfil_every_condition(
        self, lab: Lab, where: dict[str, Any], expected: list[str]
    ) -> None:
        await _populate(lab)
        runs = await lab.store.runs(RunFilter(**where))
        assert [run.run_id for run in runs] == expected
        for run in runs:
            assert await lab.store.run_by_key(run.key) == run

    @pytest.mark.parametrize(("where", "expected"), FILTERS, ids=repr)
    @fact
    async def test_a_count_agrees_with_the_list(self, lab: Lab, where: dict[str, Any], expected: list[str]) -> None:
        await _populate(lab)
        counts = await lab.store.count(RunFilter(**where))
        states = [run.state for run in await lab.store.runs(RunFilter(**where))]
        assert counts == {state: states.count(state) for state in states}
        assert sum(counts.values()) == len(expected)

    @fact
    async def test_pages_neither_repeat_nor_skip(self, lab: Lab) -> None:
        await lab.batch(*(start(f"r{number}", tags=(("odd", str(number % 2)),)) for number in range(50)))
        where, found = RunFilter(tags={"odd": "1"}), list[str]()
        page = await lab.store.runs(where, limit=7)
        while page:
            found += [run.run_id for run in page]
            await lab.queued(f"later{len(found)}", tags=(("odd", "1"),))
            page = await lab.store.runs(where, limit=7, before=page[-1].key)
        assert found == [f"r{number}" for number in range(49, 0, -2)]

    @fact
    async def test_a_page_has_a_limit(self, lab: Lab) -> None:
        await lab.batch(*(start(f"r{number}") for number in range(LIST_PAGE_MAX + 5)))
        assert len(await lab.store.runs(RunFilter())) == 100
        assert len(await lab.store.runs(RunFilter(), limit=10**9)) == LIST_PAGE_MAX
        assert await lab.store.runs(RunFilter(), limit=0) == []

    @fact
    async def test_a_new_state_is_counted_at_once(self, lab: Lab) -> None:
        await lab.queued("r")
        assert await lab.store.count(RunFilter()) == {RunState.QUEUED: 1}
        await lab.do(Cancel(APP, "r"))
        assert await lab.store.count(RunFilter()) == {RunState.CANCELLED: 1}

    @fact
    async def test_an_empty_store_shows_nothing(self, lab: Lab) -> None:
        assert await lab.store.runs(RunFilter()) == []
        assert await lab.store.count(RunFilter()) == {}
        assert await lab.store.journal(987_654) == []
        assert await lab.store.last_entry(987_654) is None
        assert await lab.store.promise(APP, "p") is None
        assert await lab.store.run_by_key(987_654) is None
        assert await lab.store.inbox(987_654) == Inbox()

    @fact
    async def test_a_journal_is_read_in_pages(self, lab: Lab) -> None:
        run = await lab.running("r")
        entries = [task(position, b"%d" % position) for position in range(1, 250)]
        await lab.done(advance(run, *entries))
        assert await lab.store.journal(run.key, 1) == entries
        assert await lab.store.journal(run.key, 100, 20) == entries[99:119]
        assert await lab.store.journal(run.key, 249, 20) == entries[248:]
        assert await lab.store.journal(run.key, 250, 20) == []
        assert await lab.store.journal(run.key, 0, 0) == []
        assert await lab.store.last_entry(run.key) == entries[-1]

    @fact
    async def test_a_page_of_a_journal_has_a_limit(self, lab: Lab) -> None:
        run = await lab.running("r")
        await lab.done(advance(run, *(task(position) for position in range(1, JOURNAL_PAGE_MAX + 5))))
        assert len(await lab.store.journal(run.key)) == JOURNAL_PAGE_MAX
        assert len(await lab.store.journal(run.key, 0, 10**9)) == JOURNAL_PAGE_MAX
        assert len(await lab.store.journal(run.key, JOURNAL_PAGE_MAX)) == 5

    @fact
    async def test_an_inbox_holds_the_signals_and_the_unread_messages_of_a_run(self, lab: Lab) -> None:
        run = await lab.queued("r")
        other = await lab.queued("r1")
        for name in ("b", "a"):
            await lab.do(settle(signal_id("r", name), name.encode(), ok=name == "a"))
        await lab.do(settle(signal_id("r1", "c")))
        await lab.do(settle("r"))
        await lab.do(settle("r\x0b"))
        for number in range(3):
            await lab.done(send("r", f"m{number}", data=b"%d" % number))
        await lab.done(send("r1", "m"))
        signals, messages = await lab.store.inbox(run.key)
        assert [(s.promise_id, s.settled_at, s.ok, s.data) for s in signals] == [
            ("r\na", T0, True, b"a"), ("r\nb", T0, False, b"b"),
        ]  # fmt: skip
        assert [(m.name, m.data) for m in messages] == [("mail", b"0"), ("mail", b"1"), ("mail", b"2")]
        owned = await lab.taken("r")
        await lab.done(advance(owned, received(1), consumed=(messages[0].number,)))
        assert await lab.store.inbox(run.key) == (signals, messages[1:])
        assert len((await lab.store.inbox(other.key)).messages) == 1

    @fact
    async def test_to_look_into_an_inbox_takes_nothing_out(self, lab: Lab) -> None:
        run = await lab.suspended("r", "p:" + signal_id("r", "go"), "m:mail")
        await lab.do(settle(signal_id("r", "go")))
        await lab.done(send("r", "m"))
        before = await lab.record("r")
        assert await lab.store.inbox(run.key) == await lab.store.inbox(run.key)
        assert await lab.record("r") == before
        pending = (await lab.claim_run("r")).pending
        assert (len(pending.settled), len(pending.messages)) == (1, 1)

    @fact
    async def test_the_status_says_what_is_promised(self, lab: Lab) -> None:
        status = await lab.store.status()
        assert status.durability in ("full", "relaxed", "memory")
        assert (status.durability == "memory") is not lab.store.remembers
        assert status.location

    @fact
    async def test_a_sound_store_passes_its_check(self, lab: Lab) -> None:
        await _populate(lab)
        assert await lab.store.check() == []
