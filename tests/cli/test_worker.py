"""`durable worker`: says what it serves, executes what is due, stops well."""

import json
import signal

import pytest

from tests.cli.support import until, wait_for


def test_a_worker_says_what_it_serves_and_executes_it(shop) -> None:
    shop.start("order", "1", "2")
    with shop.popen("worker", "shop.py:wf") as process:
        head = wait_for(process.stdout, "application shop on ")
        assert str(shop.folder / "durable.db") in head
        assert f"durability full), process {process.pid}" in head
        assert wait_for(process.stdout, "serving workflow approval")
        wait_for(process.stdout, "serving workflow typed")
        until(lambda: shop.run("runs", "list", "--json", "--state", "succeeded").out.count("\n") == 2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert (process.returncode, out) == (0, "stopped\n")
    assert "stopping: attempts in flight may end" in err
    assert sorted(shop.ledger()) == ["charge 1", "charge 2"]


def test_a_worker_tells_programs_in_json(shop) -> None:
    with shop.popen("worker", "shop", "--json", "--db", "sqlite:///other.db?durability=relaxed") as process:
        serving = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
    assert (serving["event"], serving["app"], serving["pid"]) == ("serving", "shop", process.pid)
    assert (serving["database"], serving["durability"]) == (str(shop.folder / "other.db"), "relaxed")
    assert {"name": "order", "version": "", "group": "default"} in serving["workflows"]
    assert (process.returncode, json.loads(out)) == (0, {"event": "stopped", "app": "shop"})


def test_a_stopping_worker_hands_its_runs_back(shop) -> None:
    """Covers: A20"""
    shop.start("approval", "1")
    with shop.popen("worker", "shop.py") as process:
        until(lambda: shop.run("runs", "list", "--json", "--state", "suspended").out)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 0
    assert shop.run("runs", "signal", "approval-1", "approval", "yes").code == 0
    assert shop.run("run", "shop.py:approval", "order_id=1").out == '"yes"\n'


def test_a_second_worker_takes_over_from_a_killed_one(shop) -> None:
    shop.start("items", 4)
    with shop.popen("worker", "shop.py") as first:
        until(lambda: "item 1" in shop.ledger())
        first.kill()
        first.communicate()
    shop.open_gates(2, 3)
    with shop.popen("worker", "shop.py") as second:
        until(lambda: shop.run("runs", "list", "--json", "--state", "succeeded").out)
        second.send_signal(signal.SIGTERM)
        second.communicate()
    assert shop.ledger() == [f"item {number}" for number in range(4)]


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("shop.py:order", "is the workflow 'order': expected an application, a durable.Workflow; its"),
        ("shop.py:charge", "'shop.py:charge' is the task 'charge': expected an application"),
        ("shop.py:nothing", "module 'shop.py' has no 'nothing'"),
        ("nowhere.py:wf", "file 'nowhere.py' does not exist"),
        ("two.py", "'two.py' names no application and it has several: a, b; write two.py:APP"),
        ("none.py", "'none.py' names no application and it has no application; write none.py:APP"),
        ("two.py:a", "application 'a' has no workflows: a worker would have nothing to execute"),
    ],
)  # fmt: skip
def test_what_is_no_application_is_refused(durable, shop, target, text) -> None:
    (shop.folder / "two.py").write_text("from durable import Workflow\na, b = Workflow('a'), Workflow('b')\n")
    (shop.folder / "none.py").write_text("x = 1\n")
    done = durable("worker", target)
    assert (done.code, done.out) == (2, "")
    assert text in done.err
    assert len(done.err.splitlines()) == 1


def test_a_worker_without_a_usable_database_ends_with_3(durable, shop) -> None:
    (shop.folder / "folder").mkdir()
    done = durable("worker", "shop.py", "--db", "folder")
    assert done.code == 3
    assert "is a directory: name a file in it" in done.err


def test_a_worker_whose_database_was_deleted_ends_with_3(shop) -> None:
    """Covers: B8"""
    shop.start("items", 4)
    with shop.popen("worker", "shop.py") as process:
        until(lambda: "item 1" in shop.ledger())
        for path in shop.folder.glob("durable.db*"):
            if path.is_file():
                path.unlink()
        shop.open_gates(2, 3)
        _, err = process.communicate()
    assert process.returncode == 3
    assert "was deleted while it was open; stop, put the file back, and start again" in err.splitlines()[-1]
    assert "Traceback" not in err
