"""Statements that change many runs at once amount to what `durable.core.decisions` says of each."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from durable.core.decisions import advances, arrivals, retention, standing, starts, takeovers
from durable.core.decisions.standing import Standing
from durable.core.operations import Finish, SetAside, Suspend
from durable.core.records import Entry, Kind, Reason, Requests, RunState, Status, Wait
from durable.core.states import CLAIMABLE
from durable.store.base import RunFilter
from durable.store.drivers import run_blocking
from durable.store.sqlite import queries as q
from durable.store.sqlite import upkeep
from durable.store.sqlite.connection import runner
from durable.store.sqlite.names import Names
from durable.store.sqlite.rows import entry_row, found_of, standing_row
from durable.store.sqlite.transaction import Transaction, keys_text
from tests.store.sqlite_kit import T0, opened

NOW = T0 + 100
WORKER = 10
KEY = 7

ANY: Standing = Standing(
    RunState.RUNNING, 3, False, False, None, T0, T0 + 1, 5, T0, 9, "note", active_ms=40, progress="[1]"
)  # fmt: skip


def standings() -> Iterator[Standing]:
    """Yield runs in every state, with everything that a decision may look at, as far as it can be so."""
    for state, notice, requests, due_at, deaths in itertools.product(
        RunState, (False, True), map(Requests, range(4)), (None, NOW - 5, NOW, NOW + 5), (0, 2)
    ):
        is_owned = state is RunState.RUNNING
        may_be_due = state in CLAIMABLE or state is RunState.PAUSED
        if (notice and not is_owned) or (due_at is not None and not may_be_due):
            continue
        run = ANY._replace(
            state=state, notice=notice, requests=requests, due_at=due_at, deaths=deaths, was_left=not is_owned,
            cancel_reason="because" if Requests.CANCEL in requests else "",
        )  # fmt: skip
        yield run._replace(reason="why", detail="what") if state in (RunState.SET_ASIDE, RunState.FAILED) else run


@contextmanager
def table(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to a store that holds one run, the key of which is `KEY`."""

    async def make() -> None:
        async with opened(path):  # which leaves its worker behind
            pass

    asyncio.run(make())
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("INSERT INTO apps(app, name) VALUES (1, 'app')")
    assert connection.execute("SELECT worker FROM workers").fetchall() == [(WORKER,)]
    _add_run(connection, KEY, "run")
    connection.executemany(q.ADD_FULL_ENTRY, [entry_row(KEY, 3, _entry(position)) for position in range(5)])
    try:
        yield connection
    finally:
        connection.close()


def _add_run(connection: sqlite3.Connection, key: int, run_id: str, parent_id: str | None = None) -> None:
    connection.execute(q.ADD_RUN, (key, 1, 1, run_id, 1, 0, 0, T0, T0, None, T0, 9, "note", parent_id, None, ""))


def _entry(position: int) -> Entry:
    return Entry(position, T0, Kind.TASK, Status.OK, seq=position)


def put(connection: sqlite3.Connection, run: Standing, key: int = KEY) -> None:
    connection.execute(q.PUT, (*standing_row(run, WORKER), key))


def read(connection: sqlite3.Connection) -> Standing:
    return found_of(connection.execute(q.FOUND_BY_KEY, (KEY,)).fetchone()).run


class Case(NamedTuple):
    """A statement, the runs that it is meant for, and what the core says of them."""

    execute: Callable[[sqlite3.Connection], object]
    is_meant: Callable[[Standing], bool]
    decide: Callable[[Standing], Standing]


def _suspends(run: Standing) -> bool:
    return run.state is RunState.RUNNING and not run.requests and not run.notice


def _is_running(run: Standing) -> bool:
    return run.state is RunState.RUNNING


def _wake(connection: sqlite3.Connection) -> None:
    before, transaction = read(connection), Transaction(connection, Names(connection), NOW)
    transaction.wake([KEY])
    assert (KEY in transaction.due) == standing.became_due(before, read(connection), NOW)


CASES = {
    "suspend": Case(
        lambda c: c.execute(q.SUSPEND_PLAIN, (NOW + 9, NOW, 6, KEY)),
        _suspends,
        lambda run: advances.leave(run, Suspend(NOW + 9), 6, NOW, is_there=False).change.run,
    ),
    "suspend without a time": Case(
        lambda c: c.execute(q.SUSPEND_PLAIN, (None, NOW, 0, KEY)),
        _suspends,
        lambda run: advances.leave(run, Suspend(None), 0, NOW, is_there=False).change.run,
    ),
    "succeed": Case(
        lambda c: c.execute(q.FINISH, (int(RunState.SUCCEEDED), NOW, 6, "", "", KEY)),
        _is_running,
        lambda run: advances.leave(run, Finish(RunState.SUCCEEDED), 6, NOW, is_there=False).change.run,
    ),
    "fail": Case(
        lambda c: c.execute(q.FINISH, (int(RunState.FAILED), NOW, 6, "Error", "text", KEY)),
        _is_running,
        lambda run: advances.leave(run, Finish(RunState.FAILED, "Error", "text"), 6, NOW, is_there=True).change.run,
    ),
    "claim": Case(
        lambda c: c.execute(q.TAKE, (WORKER, NOW, NOW, KEY)),
        lambda run: standing.is_due(run, NOW),
        lambda run: starts.taken(run, NOW),
    ),
    "wake": Case(_wake, lambda run: True, lambda run: standing.woken(run, NOW)),
    "hand back": Case(
        lambda c: c.execute(q.HAND_BACK, (NOW, NOW, WORKER)), _is_running, lambda run: takeovers.handed_back(run, NOW)
    ),
    "damage": Case(
        lambda c: c.execute(q.SET_ASIDE, (NOW, str(Reason.CORRUPT), "text", KEY)),
        # Its owner is fenced by this, and the request waits until somebody has mended the run.
        lambda run: _is_running(run) and not (run.notice and Requests.CANCEL in run.requests),
        lambda run: advances.leave(run, SetAside(Reason.CORRUPT, "text"), 0, NOW, is_there=False).change.run,
    ),
    "obeyed cancel": Case(
        lambda c: c.execute(q.CLEAR_CANCEL, (KEY,)),
        _is_running,
        lambda run: run._replace(requests=run.requests & ~Requests.CANCEL, cancel_reason=""),
    ),
    "told": Case(lambda c: c.execute(q.FORGET_NOTICES, (WORKER,)), _is_running, standing.told),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_statement_does_what_the_core_decides(tmp_path: Path, name: str) -> None:
    case, count = CASES[name], 0
    with table(tmp_path / "x.db") as connection:
        for run in filter(case.is_meant, standings()):
            put(connection, run)
            case.execute(connection)
            assert read(connection) == case.decide(run), run
            count += 1
    assert count > 1


def test_where_a_run_stands_comes_back_from_its_row(tmp_path: Path) -> None:
    with table(tmp_path / "x.db") as connection:
        for run in standings():
            put(connection, run)
            found = found_of(connection.execute(q.FOUND_BY_ID, (1, "run")).fetchone())
            assert found.run == run
            knows_worker = run.state is RunState.RUNNING or run.was_left
            assert (found.key, found.parent_id, found.worker) == (KEY, None, WORKER if knows_worker else 0)


def test_the_due_index_holds_what_may_be_claimed(tmp_path: Path) -> None:
    with table(tmp_path / "x.db") as connection:
        for run in standings():
            put(connection, run)
            in_queue = connection.execute(q.DUE_IN_QUEUE, (1, NOW, 10)).fetchall()
            among = connection.execute(q.DUE_AMONG, (keys_text([KEY]), NOW)).fetchall()
            assert in_queue == among == ([(run.due_at, KEY)] if standing.is_due(run, NOW) else []), run


def test_the_runs_of_a_dead_worker_are_taken_back_one_by_one(tmp_path: Path) -> None:
    with table(tmp_path / "x.db") as connection:
        for run in filter(_is_running, standings()):
            put(connection, run)
            connection.execute("BEGIN")
            assert run_blocking(upkeep.bury(WORKER, NOW), runner(connection)) == [KEY]
            found = read(connection)
            connection.execute("ROLLBACK")
            spreads = {takeovers.taken_back(run, NOW, spread=spread / 4096) for spread in range(4096)}
            assert found in spreads, run


@pytest.mark.parametrize("is_there", [True, False])
def test_a_missed_wake_up_is_found_as_the_core_says(tmp_path: Path, is_there: bool) -> None:
    with table(tmp_path / "x.db") as connection:
        connection.execute(q.ADD_WAIT, (1, "p:p", KEY, 1))
        if is_there:
            connection.execute(q.ADD_PROMISE, (1, 1, "p", 1, T0, "t", b"", 0))
        for run in standings():
            put(connection, run)
            found = [key for (key,) in connection.execute(q.MISSED)]
            assert found == ([KEY] if arrivals.was_missed(run, is_there=is_there) else []), run


@pytest.mark.parametrize("target", RunState)
def test_what_another_run_gives_to_a_wait_is_what_the_core_says(tmp_path: Path, target: RunState) -> None:
    with table(tmp_path / "x.db") as connection:
        put(connection, ANY._replace(state=target, was_left=True))
        _add_run(connection, 8, "waiting")
        connection.execute(q.ADD_WAIT, (1, "r:run", 8, 1))
        expected = arrivals.of_run(Wait(1, "r:run"), target, ANY.moved_at, b"")
        there = connection.execute(q.ANYTHING_THERE, (8,)).fetchone() is not None
        listed = connection.execute(q.ARRIVED_RUNS, (8,)).fetchall()
        assert there == bool(listed) == (expected is not None)
        assert connection.execute(q.IS_THERE, (1, "r:run", 8, 1)).fetchall() == [(1,)] * there


def test_ended_runs_are_pruned_as_the_core_says(tmp_path: Path) -> None:
    with table(tmp_path / "x.db") as connection:
        _add_run(connection, 8, "child", parent_id="parent")
        _add_run(connection, 9, "other")
        for state, parent, awaited, ended_at in itertools.product(
            RunState, (None, *RunState), (True, False), (NOW - 1, NOW, NOW + 1)
        ):
            connection.execute("BEGIN")
            run = ANY._replace(state=state, moved_at=ended_at)
            put(connection, run, 8)
            if parent is not None:
                connection.execute("UPDATE runs SET id = 'parent', state = ? WHERE key = ?", (int(parent), KEY))
                connection.execute("UPDATE runs SET moved_at = ? WHERE key = ?", (NOW + 9, KEY))
            if awaited:
                connection.execute(q.ADD_WAIT, (1, "r:child", 9, 1))
            gone = run_blocking(upkeep.prune(RunFilter(id_prefix="child"), NOW, 10), runner(connection))
            connection.execute("ROLLBACK")
            may_go = retention.may_go(run.finished_at, NOW, is_awaited=awaited, parent=parent)
            assert gone == int(may_go), (state, parent, awaited, ended_at)
