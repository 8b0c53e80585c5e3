"""`durable doctor`: 0 when all is well, 1 when somebody should act."""

import re
import signal
import sqlite3

import pytest

from tests.cli.support import until, wait_for


def test_a_healthy_database_needs_no_attention(durable, shop) -> None:
    assert durable("run", "shop.py:order", "order_id=1").code == 0
    done = durable("doctor")
    assert done.code == 0, done.out
    assert f"database   {shop.folder / 'durable.db'} (sqlite, schema " in done.out
    for text in ("durability full", "SQLite ", "runs       1 succeeded", "workers    none is alive"):
        assert text in done.out
    assert done.out.endswith("nothing needs attention\n")


def test_doctor_tells_programs_in_json(durable) -> None:
    assert durable("run", "shop.py:order", "order_id=1").code == 0
    report = durable("doctor", "--json", "--db", "sqlite:///durable.db?durability=relaxed").object
    assert (report["ok"], report["durability"], report["counts"]) == (True, "relaxed", {"succeeded": 1})
    assert (report["findings"], report["workers"], report["set_aside"], report["without_worker"]) == ([], [], [], [])
    assert "durability is relaxed: a power failure may lose the newest commits" in report["notes"]


def test_a_run_set_aside_needs_attention(durable) -> None:
    assert durable("run", "shop.py:stuck", "name=a").code == 1
    done = durable("doctor")
    assert done.code == 1
    assert "set aside  stuck-a (stuck), deadlock: every branch waits" in done.out
    assert "nothing needs attention" not in done.out
    assert durable("doctor", "--json").object["set_aside"][0]["reason"] == "deadlock"


def test_due_runs_without_a_worker_need_attention(durable, shop) -> None:
    """Covers: G9"""
    shop.start("order", "1", "2")
    done = durable("doctor")
    assert done.code == 1
    assert "no worker  runs of workflow 'order' of application 'shop' in group 'default' are due (2 queued)" in done.out
    (found,) = durable("doctor", "--json").object["without_worker"]
    assert (found["workflow"], found["queued"]) == ("order", 2)


def test_sleepers_need_a_worker_only_when_they_are_due(shop) -> None:
    with shop.popen("run", "shop.py:naps", "name=a") as process:
        wait_for(process.stderr, "suspended")
    assert shop.run("doctor").code == 0
    with shop.popen("run", "shop.py:naps", "name=b", env={"SHOP_DAYS_AGO": "2"}) as process:
        wait_for(process.stderr, "suspended")
    done = shop.run("doctor")
    assert done.code == 1
    assert (
        "no worker  runs of workflow 'naps' of application 'shop' in group 'default' are due (2 suspended)" in done.out
    )


def test_a_living_worker_is_shown_and_takes_runs(shop) -> None:
    with shop.popen("worker", "shop.py") as process:
        wait_for(process.stdout, "serving workflow typed")
        done = shop.run("doctor")
        assert done.code == 0
        assert f"worker     process {process.pid} on " in done.out
        process.send_signal(signal.SIGTERM)
        process.communicate()


def test_a_worker_that_died_is_noticed_and_its_runs_taken_back(shop) -> None:
    shop.start("items", 4)
    with shop.popen("worker", "shop.py") as process:
        until(lambda: "item 1" in shop.ledger())
        process.kill()
        process.communicate()
    done = shop.run("doctor")
    assert done.code == 1
    assert "1 worker had died; 1 run taken back" in done.out
    assert "no worker  runs of workflow 'items'" in done.out


def test_damage_needs_attention(durable, shop) -> None:
    """Covers: B11"""
    assert durable("run", "shop.py:order", "order_id=1").code == 0
    with sqlite3.connect(shop.folder / "durable.db") as database:
        assert (
            database.execute("UPDATE journal SET data = CAST(data || x'00' AS BLOB) WHERE name = 'charge'").rowcount
            == 1
        )
    database.close()
    done = durable("doctor")
    assert done.code == 1
    assert "damage     " in done.out


@pytest.fixture
def filled(durable, shop):
    """A file of some hundred pages; nobody has it open."""
    shop.start("order", *(f"{number} {'x' * 400}" for number in range(200)))
    assert durable("runs", "list", "--limit", "1").code == 0
    path = shop.folder / "durable.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


def test_of_a_damaged_file_doctor_says_what_sqlite_finds_and_what_can_be_read(durable, filled) -> None:
    with filled.open("r+b") as file:
        file.seek(filled.stat().st_size // 2)
        file.write(b"\xa5" * 9_000)
    done = durable("doctor")
    assert (done.code, done.err) == (1, "")
    assert re.search(r"^damage     (Page|Tree|On tree|Freelist|row|wrong|SQLite)", done.out, re.MULTILINE), done.out
    assert re.search(r"^table      journal: \d+ rows? can be read before the damage$", done.out, re.MULTILINE)
    assert "table      apps: 1 row can be read\n" in done.out
    assert "what to do stop its workers, keep a copy of the file with its -wal, and restore a backup\n" in done.out
    report = durable("doctor", "--json")
    assert (report.code, report.object["ok"], report.object["rows"]["apps"]) == (1, False, 1)
    assert report.object["findings"]
    assert "journal" in report.object["damaged_tables"]


def test_of_a_file_whose_end_is_missing_doctor_says_so(durable, filled) -> None:
    whole = filled.stat().st_size
    with filled.open("r+b") as file:
        file.truncate(20_480)
    done = durable("doctor")
    assert done.code == 1
    assert f"damage     the file has 20,480 bytes, and {whole:,} by its header: its end is missing" in done.out
    (finding, *_) = durable("doctor", "--json").object["findings"]
    assert finding.startswith("the file has 20,480 bytes")


def test_a_file_whose_log_was_removed_serves_again_when_the_loss_is_accepted(shop) -> None:
    with shop.popen("run", "shop.py:items", "count=4") as process:
        wait_for(process.stderr, "item ok")
        process.kill()
        process.wait()
    (shop.folder / "durable.db-wal").unlink()
    for command in (["doctor"], ["runs", "list"]):
        done = shop.run(*command)
        assert (done.code, done.out) == (3, "")
        assert "lacks commits that it once had" in done.err
        assert "durable doctor --accept-loss --db" in done.err
    done = shop.run("doctor", "--accept-loss")
    assert (done.code, "nothing needs attention" in done.out) == (0, True), done
    assert shop.run("doctor").code == 0
    shop.open_gates(2, 3)
    assert shop.run("run", "shop.py:items", "count=4").out == "6\n"


def test_of_a_damaged_log_doctor_says_so_and_cuts_it_when_the_loss_is_accepted(shop) -> None:
    """Covers: B11"""
    with shop.popen("run", "shop.py:items", "count=4") as process:
        wait_for(process.stderr, "item ok")
        process.kill()
        process.wait()
    log = shop.folder / "durable.db-wal"
    content = bytearray(log.read_bytes())
    content[1_000] ^= 1
    log.write_bytes(content)
    done = shop.run("runs", "list")
    assert (done.code, done.out, "durable.db-wal' is damaged at byte 32, and commits" in done.err) == (3, "", True)
    done = shop.run("doctor")
    assert done.code == 1
    assert "damage     " in done.out
    assert "go on without what lies behind the damage: durable doctor --accept-loss --db durable.db\n" in done.out
    assert log.read_bytes() == content
    done = shop.run("doctor", "--accept-loss")
    assert (done.code, "what it was is kept as " in done.out) == (0, True), done
    assert (shop.folder / "durable.db-wal.damaged-1").read_bytes() == content
    assert shop.run("doctor").code == 0
    shop.open_gates(2, 3)
    assert shop.run("run", "shop.py:items", "count=4").out == "6\n"


def test_a_loss_is_accepted_only_of_a_file_that_is_there(durable, shop) -> None:
    done = durable("doctor", "--accept-loss", "--db", "nothing.db")
    assert (done.code, "does not exist" in done.err) == (3, True)
    assert sorted(path.name for path in shop.folder.iterdir()) == ["shop.py"]


def test_commands_that_doctor_shows_find_the_same_database(durable, shop) -> None:
    shop.start("order", "1")
    (shop.folder / "durable.db").rename(shop.folder / "moved.db")
    assert "start one: durable worker MODULE:APP --db moved.db\n" in durable("doctor", "--db", "moved.db").out


def test_a_database_that_cannot_be_written_needs_attention(durable, monkeypatch) -> None:
    from durable.errors import StoreUnavailable
    from durable.store.sqlite.store import SQLiteRunStore

    assert durable("run", "shop.py:order", "order_id=1").code == 0

    async def expire(_: object) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(SQLiteRunStore, "expire", expire)
    done = durable("doctor")
    assert done.code == 1
    assert "damage     the database cannot be written: the disk is full" in done.out


def test_one_application_is_examined_alone(durable, shop) -> None:
    (shop.folder / "second.py").write_text(
        "import asyncio\nfrom durable import Workflow\nwf = Workflow('second')\n"
        "@wf.workflow(id='s')\nasync def flow(): await asyncio.Event().wait()\n"
    )
    assert durable("run", "shop.py:order", "order_id=1").code == 0
    assert durable("run", "second.py:flow").code == 1
    assert durable("doctor").code == 1
    assert durable("doctor", "--app", "second").code == 1
    assert durable("doctor", "--app", "shop").code == 0
    assert durable("doctor", "--app", "third").code == 4


def test_an_empty_database_needs_no_attention(durable) -> None:
    assert durable("run", "shop.py:order", "order_id=1").code == 0
    assert durable("prune", "--keep", "0", "--yes").code == 0
    done = durable("doctor")
    assert (done.code, "runs       none" in done.out) == (0, True)
