"""What lies on disk: its size, its checksums, the log; and how batches are written."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sqlite3
from contextlib import closing

import pytest

from durable.core.records import Entry, Kind, Reason, RunRecord, RunState, Status, Wait
from durable.errors import StoreCorrupt
from durable.store.base import RunFilter
from durable.store.drivers import run_async, run_blocking
from durable.store.operations import (
    Advance,
    Answer,
    Claim,
    Done,
    Extras,
    Fenced,
    Finish,
    GoOn,
    Release,
    Rewind,
    Send,
    Settle,
    Suspend,
    Then,
)  # fmt: skip
from durable.store.sqlite import SQLiteRunStore, database, queries, upkeep
from durable.store.sqlite.damage import examine
from durable.store.sqlite.rows import entry_of, entry_row
from tests.store.sqlite_kit import (
    QUEUE,
    T0,
    W1,
    advance,
    child,
    do,
    finish,
    finished,
    new,
    opened,
    said,
    start,
    started,
    task,
    tell,
)


def damage(path, sql: str, *values: object) -> None:
    """Change a closed database behind the store's back."""
    connection = sqlite3.connect(path)
    assert connection.execute(sql, values).rowcount == 1
    connection.commit()
    connection.close()


# Size ----------------------------------------------------------------------------------------------------------------


async def test_a_step_costs_at_most_200_bytes_everything_included(tmp_path) -> None:
    path, steps = tmp_path / "x.db", 5
    async with opened(path) as store:
        waves = [await _wave(store, wave, steps) for wave in range(10)]
        last = await store.run_by_key(waves[-1][0].key)
        assert last is not None
        assert last.state is RunState.SUCCEEDED
    assert os.path.getsize(path) / (10 * 100 * steps) <= 200


async def _wave(store: SQLiteRunStore, wave: int, steps: int) -> list[RunRecord]:
    """Execute 100 runs at once, as the runtime does under load."""
    starts = [start(f"order-{wave * 100 + number:06d}", digest=number << 40, note="'x', 990") for number in range(100)]
    runs = [new(outcome) for outcome in (await store.execute(starts, W1)).outcomes]
    for position in range(1, steps + 1):
        entry = task(position, b'J{"x":12345}', name="charge", digest=position << 40, attempt=1, took=3, note="42, 990")
        committed = await store.execute([advance(run, entry) for run in runs], W1)
        assert set(committed.outcomes) == {Done.DONE}
    await store.execute([finish(run, steps + 1) for run in runs], W1)
    return runs


async def test_the_log_stays_bounded_while_the_store_is_busy(tmp_path) -> None:
    path = tmp_path / "x.db"
    async with opened(path) as store:
        (run,) = await started(store, "r")
        sizes = []
        for position in range(1, 3000):
            await do(store, advance(run, task(position)))
            sizes.append(os.path.getsize(f"{path}-wal"))
        assert max(sizes) < 3 << 20
        assert sizes[1000] == sizes[-1], "it is written over and over again"


async def test_an_idle_store_copies_its_log_and_cuts_a_long_one(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("durable.store.sqlite.writer.REST_AFTER_S", 0.02)
    path = tmp_path / "x.db"
    async with opened(path) as store:
        loop, rested = asyncio.get_running_loop(), asyncio.Event()
        rest = store._database.rest

        def told() -> bool:
            done = rest()
            loop.call_soon_threadsafe(rested.set)
            return done

        monkeypatch.setattr(store._database, "rest", told)
        for kept in (1 << 20, 0):
            monkeypatch.setattr(database, "LOG_BYTES_KEPT", kept)
            for write in (started, inline):
                await write(store, f"{kept}-{write.__name__}")
                await asyncio.wait_for(rested.wait(), 20)
                assert (os.path.getsize(f"{path}-wal") > 0) == (kept > 0)
                await store.collect(W1)  # The thread is at rest again when this is answered.
                rested.clear()


async def inline(store: SQLiteRunStore, run_id: str) -> None:
    if store.execute_now([start(run_id)], W1) is None:
        await started(store, run_id)


# Checksums -----------------------------------------------------------------------------------------------------------


ENTRY = Entry(
    3, T0, Kind.TIMER, Status.RETRY, seq=4, step_id="s", name="n", digest=5, attempt=6, took=7, due_at=8, note="t",
    data=b"d",
)  # fmt: skip


def test_an_entry_comes_back_from_its_row() -> None:
    for entry in (ENTRY, ENTRY._replace(seq=None, step_id=None), Entry(0, 0, Kind.RUN, Status.OK)):
        assert entry_of(entry_row(9, 1, entry)) == entry


EPOCH = 1
"""The one column without a checksum: it is compared with the run's, never believed alone."""


@pytest.mark.parametrize("column", [column for column in range(15) if column != EPOCH])
def test_a_change_in_any_column_of_an_entry_is_noticed(column: int) -> None:
    """Covers: B11"""
    row = list(entry_row(9, 1, ENTRY))
    value = row[column]
    row[column] = value + 1 if isinstance(value, int) else value + (b"x" if isinstance(value, bytearray) else "x")
    with pytest.raises(StoreCorrupt):
        entry_of(tuple(row))


async def test_a_flipped_bit_concerns_its_own_run_only(tmp_path) -> None:
    """Covers: B11"""
    path = tmp_path / "x.db"
    async with opened(path) as store:
        runs = await started(store, "a", "b", "c")
        await store.execute([advance(run, task(1, b"value" + run.run_id.encode())) for run in runs], W1)
    data = bytearray(path.read_bytes())
    assert data.count(b"valueb") == 1
    data[data.index(b"valueb")] ^= 1
    path.write_bytes(data)
    async with opened(path, "boot:2") as store:
        assert await store.check() == [
            f"entry 1 of run {runs[1].key} does not match its checksum: its bytes were changed on disk"
        ]
        with pytest.raises(StoreCorrupt, match=f"entry 1 of run {runs[1].key}"):
            await store.journal(runs[1].key)
        assert [entry.data for entry in await store.journal(runs[2].key)] == [b"input", b"valuec"]
        await store.expire()
        assert len((await do(store, Claim("boot:2", (QUEUE,)))).value) == 3


@pytest.mark.parametrize("what", ["promises", "messages", "journal"])
async def test_damaged_arrivals_set_aside_the_run_that_waits_and_no_other(tmp_path, what: str) -> None:
    """Covers: B11"""
    path = tmp_path / "x.db"
    async with opened(path) as store:
        waiting, other, ended = await started(store, "waiting", "other", "ended")
        waits = Extras(waits=(Wait(1, "p:p"), Wait(2, "r:ended"), Wait(3, "m:mail")))
        await do(store, Advance(waiting.key, W1, 1, (), GoOn(), waits))
        await store.execute([Settle("app", "p", True, b"v", "t"), finish(ended, 1)])
        await store.execute([Send("app", "waiting", "m", "mail", b"v")])
        await store.execute([advance(waiting, then=Release(T0)), advance(other, then=Release(T0))])
    row = {"promises": "1", "messages": "1", "journal": f"place = {(ended.key << 24) + 1}"}[what]
    damage(path, f"UPDATE {what} SET data = x'00' WHERE {row}")
    async with opened(path) as store:
        await store.expire()
        claimed = (await do(store, Claim(W1, (QUEUE,)))).value
        assert [one.record.run_id for one in claimed] == ["other"]
        record = await store.run("app", "waiting")
        assert (record.state, record.reason) == (RunState.SET_ASIDE, Reason.CORRUPT)
        assert "does not match its checksum" in record.detail
        assert len(await store.check()) == 1


async def test_check_finds_what_is_missing_and_what_belongs_to_nobody(tmp_path) -> None:
    """Covers: B11"""
    path = tmp_path / "x.db"
    async with opened(path) as store:
        runs = await started(store, *"abcdef")
        for run in runs:
            await do(store, advance(run, *(task(position) for position in range(1, 6))))
        await do(store, advance(runs[5], task(6), then=Suspend(None)))
        assert await store.check() == []
    first = [run.key << 24 for run in runs]
    damage(path, "DELETE FROM journal WHERE place = ?", first[0] + 2)
    damage(path, "DELETE FROM journal WHERE place = ?", first[1])
    damage(path, "DELETE FROM runs WHERE key = ?", runs[2].key)
    damage(path, "UPDATE runs SET queue = 99 WHERE key = ?", runs[3].key)
    damage(path, "UPDATE runs SET owner = 99 WHERE key = ?", runs[4].key)
    damage(path, "UPDATE runs SET owner = 10 WHERE key = ?", runs[5].key)
    async with opened(path) as store:
        found = await store.check()
    a, b, c, d, e, f = (run.key for run in runs)
    for text in (
        f"entry 2 of run {a} is missing",
        f"run {b} has no start entry",
        f"entry 0 of run {b} is missing",
        f"journal entries belong to run {c}, which does not exist",
        f"run {d} stands in a queue that does not exist",
        f"run {e} belongs to a worker that does not exist, and nobody will go on with it",
        f"run {f} is running without an owner, or owned without running",
    ):
        assert text in found


async def test_gaps_that_a_rewind_left_are_accounted_for(tmp_path) -> None:
    path = tmp_path / "x.db"
    async with opened(path) as store:
        (run,) = await started(store, "r")
        await do(store, advance(run, *(task(position) for position in range(1, 8))))
        await do(store, finish(run, 8)._replace(then=Finish(RunState.FAILED)))
        mark = Entry(9, T0, Kind.RUN, Status.OK, name="rewind", note="3-5 8")
        assert await do(store, Rewind("app", "r", (3, 4, 5, 8), mark)) is Done.DONE
        assert [entry.position for entry in await store.journal(run.key)] == [0, 1, 2, 6, 7, 9]
        assert await store.check() == []
    damage(path, "DELETE FROM journal WHERE place = ?", (run.key << 24) + 6)
    async with opened(path) as store:
        assert await store.check() == [f"entry 6 of run {run.key} is missing"]


# Batches -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
async def test_a_batch_answers_as_its_operations_would_one_by_one(tmp_path, seed: int) -> None:
    """Sets are only a faster way: outcomes, runs and journals are the same for any order and mix."""
    found = []
    for together in (True, False):
        async with opened(tmp_path / f"{seed}-{together}.db") as store:
            runs = await started(store, *(f"r{number}" for number in range(12)))
            batch = _mixed(random.Random(seed), runs)
            await _bring_about(store, runs)
            if together:
                outcomes = (await store.execute(batch, W1)).outcomes
            else:
                outcomes = [await do(store, operation) for operation in batch]
            journals = [await store.journal(run.key) for run in runs]
            found.append((outcomes, await store.runs(RunFilter()), journals))
            assert await store.check() == []
    assert found[0] == found[1]


async def _bring_about(store: SQLiteRunStore, runs) -> None:
    waits = [Advance(run.key, W1, 1, (), GoOn(), Extras(waits=(Wait(1, f"r:r{number - 1}"),)))
             for number, run in enumerate(runs) if number % 3 == 1]  # fmt: skip
    await store.execute(waits)
    await store.execute([Send("app", "r2", "m", "mail", b"x"), Settle("app", "there", True, b"", "t")])


ENDS = Finish(RunState.SUCCEEDED)


WAYS: list[Then] = [GoOn(), Finish(RunState.SUCCEEDED), Suspend(T0 + 9), Suspend(None), Suspend(T0), Release(T0)]


def _mixed(rng: random.Random, runs: list[RunRecord]) -> list[Advance]:
    batch = []
    for run in rng.sample(runs, len(runs)):
        then = rng.choice(WAYS)
        entries = [task(1)] if isinstance(then, Finish) or rng.random() < 0.8 else []
        entries += [Entry(2, T0, Kind.RUN, Status.OK, name="cancel")] if entries and rng.random() < 0.2 else []
        settle = Settle("app", f"p{run.key}", True, b"", "t")
        extras = rng.choice([
            None, None, None, Extras(waits=(Wait(5, "p:there"),)), Extras(waits=(Wait(6, "m:mail"),)),
            Extras(settles=(settle,), progress="[1]"),
        ])  # fmt: skip
        epoch = rng.choice([1, 1, 1, 1, 2])
        batch.append(Advance(run.key, W1, epoch, tuple(entries), then, extras))
    return batch


async def test_one_run_that_cannot_be_stored_is_refused_alone(tmp_path) -> None:
    """Covers: I7, I8"""
    async with opened(tmp_path / "x.db") as store:
        good, surrogate, number, note = await started(store, "good", "surrogate", "number", "note")
        committed = await store.execute([
            advance(good, task(1)),
            advance(surrogate, task(1, name="\ud800")),
            advance(number, task(1, digest=2**63)),
            advance(note, task(1, note="cut \udc80")),
        ])  # fmt: skip
        assert committed.outcomes == [Done.DONE, Fenced(1), Fenced(1), Done.DONE]
        for run in (surrogate, number):
            record = await store.run_by_key(run.key)
            assert (record.state, record.reason) == (RunState.SET_ASIDE, Reason.UNREADABLE)
            assert "cannot be stored" in record.detail
            assert len(await store.journal(run.key)) == 1
        assert (await store.last_entry(note.key)).note == "cut \\udc80"


async def test_other_values_that_cannot_be_stored_refuse_their_batch(tmp_path) -> None:
    async with opened(tmp_path / "x.db") as store:
        (run,) = await started(store, "r")
        for bad in (start("x", digest=2**63), start("x", queue=QUEUE._replace(version="\ud800")), start("")):
            with pytest.raises(ValueError):
                await store.execute([advance(run, task(1)), bad])
        assert [entry.position for entry in await store.journal(run.key)] == [0]
        assert await do(store, advance(run, task(1))) is Done.DONE


async def test_committing_inline_answers_as_the_writer_does(tmp_path) -> None:
    path = tmp_path / "x.db"
    async with opened(path) as store, opened(path, "boot:2") as peer:
        inline = store.execute_now([start("a"), Claim(W1, (QUEUE,))], W1)
        assert inline.outcomes[0].record == await store.run("app", "a")
        assert inline.outcomes[1] == Answer(())
        assert peer.changed()
        store.changed()
        await started(store, "own")
        assert not store.changed()
        waiting = store.execute([start("b")], W1)
        assert store.execute_now([start("c")], W1) is None, "never past what waits"
        await waiting
        with pytest.raises(ValueError, match="at least one operation"):
            store.execute_now([], W1)


async def test_other_processes_changes_are_noticed(tmp_path) -> None:
    path = tmp_path / "x.db"
    async with opened(path) as store:
        assert not store.changed()
        code = """
            async def main():
                async with opened(sys.argv[1], None) as store:
                    await store.execute([start("theirs", worker=None)])
            asyncio.run(main())
        """
        finished(child(code, path))
        assert store.changed()
        assert not store.changed()
        await started(store, "ours")
        assert not store.changed()


async def test_the_numbers_of_pruned_runs_are_not_given_again(tmp_path) -> None:
    """Covers: A17"""
    async with opened(tmp_path / "x.db") as store:
        runs = await started(store, "a", "b")
        await store.execute([finish(run, 1) for run in runs], W1)
        assert await store.prune(RunFilter(), finished_before=T0 + 1, limit=10) == 2
        (again,) = await started(store, "b")
        assert again.key == runs[-1].key + 1


def test_pruning_interrupted_at_any_statement_leaves_no_half_of_a_run(tmp_path) -> None:
    """Covers: A17"""
    from tests.store.sqlite_kit import Crash, crash_before

    for nth in range(100):
        path = tmp_path / f"{nth}.db"

        async def attempt(path=path, nth=nth) -> bool:
            async with opened(path) as store:
                runs = await started(store, "a", "b")
                await store.execute([Send("app", "a", "m", "n", b""), Settle("app", "a\nsignal", True, b"", "t")])
                await store.execute([finish(run, 1) for run in runs], W1)
                op = upkeep.prune(RunFilter(), T0 + 1, 10)

                def work(transaction) -> int:
                    from durable.store.sqlite.connection import runner

                    return crash_before(nth, op, runner(transaction.connection))

                try:
                    await store._write(work)
                except Crash:
                    assert [len(await store.journal(run.key)) for run in runs] == [2, 2]
                    assert await store.promise("app", "a\nsignal") is not None
                    assert await store.check() == []
                    return False
                assert await store.runs(RunFilter()) == []
                assert await store.promise("app", "a\nsignal") is None
                return True

        if asyncio.run(attempt()):
            assert nth > 10
            return
    raise AssertionError("it never ended")


async def test_an_operation_runs_the_same_on_either_driver(tmp_path) -> None:
    from durable.store.sqlite.connection import runner

    async with opened(tmp_path / "x.db") as store:
        (run,) = await started(store, "r")
    damage(tmp_path / "x.db", "DELETE FROM journal WHERE place = ?", run.key << 24)
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    execute = runner(connection)

    async def slowly(statement):
        await asyncio.sleep(0)
        return execute(statement)

    assert run_blocking(upkeep.check(), execute) == await run_async(upkeep.check(), slowly) != []
    connection.close()


MAY_SCAN = {
    "ALL_APPS",
    "ALL_QUEUES",
    "ALL_WORKERS",
    "WORKERS",
    "MISSED",
    "SELECT_RUN",
    "RUN_COLUMNS",
    "STANDING_COLUMNS",
}


async def test_no_frequent_statement_reads_a_whole_table(tmp_path) -> None:
    tables = "runs|journal|waits|promises|messages|tags"
    async with opened(tmp_path / "x.db") as store:
        connection = store._database.writing
        statements = {name: text for name, text in vars(queries).items() if name.isupper() and name not in MAY_SCAN}
        assert len(statements) > 40
        for name, text in statements.items():
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", (0,) * text.count("?"))]
            scans = [step for step in plan if re.match(rf"SCAN ({tables}|[a-z])\b", step) and "wanted" not in step]
            assert scans == [], (name, plan)


# Several writers -----------------------------------------------------------------------------------------------------


def test_processes_and_stores_share_the_file_fairly(tmp_path) -> None:
    """Each of five writers does its share; nobody meets `database is locked`.

    Covers: B12
    """
    path = tmp_path / "x.db"
    code = """
        async def main():
            me = sys.argv[2]
            async with opened(sys.argv[1], me) as store:
                run = (await store.execute([start(me, worker=me)], me)).outcomes[0].record
                print("ready", flush=True)
                sys.stdin.readline()
                position = 0
                while not os.path.exists(sys.argv[1] + ".stop"):
                    position += 1
                    await store.execute([advance(run, task(position))], me)
                print(position)
        asyncio.run(main())
    """
    children = [child(code, path, f"boot:{number}") for number in range(3)]
    assert [said(process) for process in children] == ["ready"] * 3

    async def both() -> list[int]:
        async with opened(path, "boot:a") as a, opened(path, "boot:b") as b:
            runs = [
                (await do(a, start("a", worker="boot:a"))).record,
                (await do(b, start("b", worker="boot:b"))).record,
            ]
            for process in children:
                tell(process)
            counts = [0, 0]

            async def write(place: int, store: SQLiteRunStore) -> None:
                while sum(counts) < 600:
                    counts[place] += 1
                    outcome = await do(store, advance(runs[place], task(counts[place])))
                    assert outcome is Done.DONE

            await asyncio.gather(write(0, a), write(1, b))
            return counts

    counts = asyncio.run(both())
    (tmp_path / "x.db.stop").touch()
    counts += [int(finished(process)) for process in children]
    assert min(counts) > 30, counts
    assert min(counts[:2]) > 100, counts


async def test_what_examines_a_damaged_file_knows_all_its_tables(tmp_path) -> None:
    async with opened(tmp_path / "durable.db"):
        tables = examine(str(tmp_path / "durable.db")).tables
    with closing(sqlite3.connect(tmp_path / "durable.db")) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables.keys() == {name for name in names if not name.startswith("sqlite_")}
