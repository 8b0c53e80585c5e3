"""`durable runs list|show|history`: from the database alone."""

import re
import sqlite3
from datetime import timedelta

import pytest

from tests.cli.support import wait_for


@pytest.fixture
def stocked(durable):
    """Four ended runs, oldest first: order-1, order-2, bad-x, stuck-a."""
    for arguments in (["order", "order_id=1"], ["order", "order_id=2"], ["bad", "text=x"], ["stuck", "name=a"]):
        durable("run", f"shop.py:{arguments[0]}", *arguments[1:])
    return durable


def ids(done) -> list[str]:
    assert done.code == 0, done.err
    return [line["id"] for line in done.objects]


def test_list_shows_the_newest_first(stocked) -> None:
    assert ids(stocked("runs", "list", "--json")) == ["stuck-a", "bad-x", "order-2", "order-1"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--workflow", "order"], ["order-2", "order-1"]),
        (["--state", "failed"], ["bad-x"]),
        (["--state", "set-aside", "--state", "failed"], ["stuck-a", "bad-x"]),
        (["--prefix", "order-"], ["order-2", "order-1"]),
        (["--prefix", "order-", "--limit", "1"], ["order-2"]),
        (["--reason", "deadlock"], ["stuck-a"]),
        (["--since", "1h"], ["stuck-a", "bad-x", "order-2", "order-1"]),
        (["--until", "1h"], []),
        (["--since", "2001-01-01", "--until", "2002-01-01T10:00:00+00:00"], []),
        (["--tag", "customer=42"], []),
        (["--parent", "order-1"], []),
        (["--workflow", "none"], []),
    ],
)
def test_list_filters(stocked, options, found) -> None:
    assert ids(stocked("runs", "list", "--json", *options)) == found


def test_list_filters_by_tag(durable, shop) -> None:
    (shop.folder / "tagged.py").write_text(
        "import asyncio, shop\n"
        "async def main():\n"
        "    await shop.order.start('1', tags={'customer': '42', 'vip': ''})\n"
        "    await shop.order.start('2', tags=['vip'])\n"
        "    await shop.wf.stop()\n"
        "asyncio.run(main())\n"
    )
    import subprocess
    import sys

    subprocess.run([sys.executable, "tagged.py"], cwd=shop.folder, check=True)
    assert ids(durable("runs", "list", "--json", "--tag", "customer=42")) == ["order-1"]
    assert ids(durable("runs", "list", "--json", "--tag", "vip")) == ["order-2", "order-1"]
    assert "tags      customer=42, vip" in durable("runs", "show", "order-1").out


def test_list_pages_through_more_than_one_store_page(durable, shop, monkeypatch) -> None:
    shop.start("order", *range(7))
    monkeypatch.setattr("durable.cli.runs.LIST_PAGE_MAX", 3)
    assert len(ids(durable("runs", "list", "--json", "--limit", "100"))) == 7
    assert len(ids(durable("runs", "list", "--json", "--limit", "5"))) == 5


def test_list_cuts_nothing_for_programs(durable, shop) -> None:
    name = "n" * 300
    assert durable("run", "shop.py:order", f"order_id={name}").code == 0
    out = durable("runs", "list").out.splitlines()
    assert out[0].split() == ["id", "workflow", "state", "created", "took", "remark"]
    assert re.match(rf"order-{name}  order     succeeded  \d\d:\d\d:\d\d  ", out[1])
    assert not any(line != line.rstrip() for line in out)


def test_list_says_why_runs_are_where_they_are(stocked, shop) -> None:
    shop.start("order", "later")
    out = stocked("runs", "list").out
    for text in ("ValueError: x", "deadlock: every branch waits", "waits for a worker, due "):
        assert text in out


def test_list_says_that_there_is_more(stocked) -> None:
    assert "the newest 2 are shown; --limit shows more" in stocked("runs", "list", "--limit", "2").err


def test_a_database_without_runs_is_an_empty_list(durable) -> None:
    durable("run", "shop.py:order")
    assert durable("run", "shop.py:order", "order_id=1").code == 0
    assert durable("prune", "--keep", "0", "--yes").code == 0
    done = durable("runs", "list")
    assert (done.code, done.out, done.err) == (0, "", "no runs\n")
    assert durable("runs", "list", "--json").out == ""


def test_show_tells_everything_about_a_run(stocked) -> None:
    out = stocked("runs", "show", "order-1", "--code", "shop.py").out
    for text in ("run       order-1  succeeded", "workflow  order of shop", "arguments order_id='1'", "1 charge"):
        assert text in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_show_tells_errors_and_what_to_do(stocked) -> None:
    out = stocked("runs", "show", "bad-x").out
    assert "ValueError: x" in out
    assert "to go on from what failed: durable runs retry bad-x" in out
    out = stocked("runs", "show", "stuck-a").out
    assert "set aside: deadlock: every branch waits for another one" in out
    assert "when that is mended: durable runs retry stuck-a" in out


def test_show_tells_failed_attempts(durable) -> None:
    assert durable("run", "shop.py:retried", "name=a").code == 0
    out = durable("runs", "show", "retried-a").out
    assert "attempt 1: ConnectionError: refused \\x1b[31mred" in out
    assert "attempt 2: ok" in out
    assert "progress  1/2 half" in out
    assert "result    'ok'" in out


def test_show_as_json_has_the_steps(durable) -> None:
    assert durable("run", "shop.py:retried", "name=a").code == 0
    shown = durable("runs", "show", "retried-a", "--json").object
    (step,) = shown["steps"]
    assert (step["title"], step["outcome"], step["attempts"], step["positions"]) == ("flaky", "ok", 2, [1, 2])
    assert (shown["state"], shown["result"], shown["progress"]["message"]) == ("succeeded", "ok", "half")
    assert step["errors"] == ["ConnectionError: refused \\x1b[31mred"]


def test_a_failed_run_as_json_has_its_error(stocked) -> None:
    shown = stocked("runs", "show", "bad-x", "--json").object
    assert (shown["error"]["type"], shown["error"]["message"]) == ("ValueError", "x")


def test_a_queued_run_says_that_it_waits_for_a_worker(shop) -> None:
    shop.start("order", "1")
    assert "queued: waits for a worker, due " in shop.run("runs", "show", "order-1").out


def test_show_prints_arguments_as_one_writes_a_call(durable, shop) -> None:
    (shop.folder / "called.py").write_text(
        "import datetime\nfrom dataclasses import dataclass\nfrom durable import Workflow\nwf = Workflow('called')\n"
        "@dataclass\nclass Address:\n    city: str\n"
        "@wf.workflow(id='c')\nasync def flow(text: str, when: datetime.date, many: list[int], to: Address): pass\n"
    )
    arguments = ["text=" + "long " * 30, "when=2026-11-21", "many=[1, 2]", 'to={"city": "Graz"}']
    assert durable("run", "called.py:flow", *arguments).code == 0
    stored = """when={"$date": "2026-11-21"}, many=[1, 2], to={"$class": "called:Address", "city": "Graz"}"""
    assert f'arguments text="{"long " * 30}", {stored}\n' in durable("runs", "show", "c").out
    out = durable("runs", "show", "c", "--code", "called.py").out
    assert f"arguments text='{'long ' * 30}', when=datetime.date(2026, 11, 21), many=[1, 2], to=Address(city='G" in out
    assert "start   -        text='long" in durable("runs", "history", "c", "--code", "called.py").out


def test_arguments_are_json_for_programs_and_whole(durable, shop) -> None:
    name = "long " * 30
    assert durable("run", "shop.py:order", f"order_id={name}", "cents=5").code == 0
    wanted = {"order_id": name, "cents": 5}
    run_id = f"order-{name}"
    for command in (["list"], ["show", run_id]):
        line = durable("runs", *command, "--json").object
        assert (line["arguments"], line["note"][:20]) == (wanted, '"order_id":"long lon')
    start, task, *_ = durable("runs", "history", run_id, "--json").objects
    assert start["arguments"] == wanted
    assert task["arguments"] is None  # of a step only a short text is kept, and here it was cut
    assert task["note"].startswith('"long long')


def test_arguments_of_steps_are_json_if_the_text_that_is_kept_of_them_is_whole(durable) -> None:
    assert durable("run", "shop.py:order", "order_id=1", "cents=5").code == 0
    assert durable("runs", "history", "order-1", "--json").objects[1]["arguments"] == ["1", 5]
    assert durable("runs", "show", "order-1", "--json").object["steps"][0]["arguments"] == ["1", 5]


@pytest.mark.parametrize(
    ("note", "arguments"),
    [
        ("", {}),
        ('"42",990', ["42", 990]),
        ('"cents":990', {"cents": 990}),
        ('"42","cents":990,"to":{"city":"Graz"}', {"0": "42", "cents": 990, "to": {"city": "Graz"}}),
        ('"4…', None),
        ('"42" 5', None),
        ("nonsense", None),
    ],
)
def test_the_text_of_arguments_is_read_again(note, arguments) -> None:
    from durable.cli.calls import noted

    called = noted(note)
    assert (None if called is None else called.as_json()) == arguments


def test_history_tells_the_time_before_the_first_execution_as_such(durable, shop, monkeypatch) -> None:
    monkeypatch.setenv("SHOP_DAYS_AGO", "2")
    shop.start("order", "1")
    monkeypatch.delenv("SHOP_DAYS_AGO")
    assert durable("run", "shop.py:order", "order_id=1").code == 0
    lines = durable("runs", "history", "order-1").out.splitlines()
    assert re.match(r"0 +2 d 00 h before +run +ok +- +start ", lines[1])
    assert re.match(r"1 +\d+ ms +task +ok +1 +charge ", lines[2])


def test_history_calls_things_as_the_manual_does(durable, shop) -> None:
    shop.start("approval", "1")
    assert durable("runs", "signal", "approval-1", "approval", "yes").code == 0
    assert durable("run", "shop.py:approval", "order_id=1").code == 0
    assert [line["kind"] for line in durable("runs", "history", "approval-1", "--json").objects] == [
        "run", "signal", "run",
    ]  # fmt: skip
    assert durable("run", "shop.py:bad", "text=x").code == 1
    assert durable("runs", "retry", "bad-x").code == 0
    names = [(line["kind"], line["name"]) for line in durable("runs", "history", "bad-x", "--json").objects]
    assert ("run", "retry") in names
    assert "retry" in durable("runs", "history", "bad-x").out
    assert "rewind" not in durable("runs", "history", "bad-x").out


def test_commands_that_are_shown_find_the_same_database_and_application(durable) -> None:
    for arguments in (["bad", "text=x"], ["stuck", "name=a"]):
        durable("run", f"shop.py:{arguments[0]}", arguments[1], "--db", "my runs.db")
    show = ("runs", "show", "bad-x", "--db", "my runs.db", "--app", "shop")
    assert "failed: durable runs retry bad-x --db 'my runs.db' --app shop\n" in durable(*show).out
    out = durable("runs", "show", "stuck-a", "--db", "my runs.db", "--code", "shop.py:wf").out
    assert "mended: durable runs retry stuck-a --db 'my runs.db' --code shop.py:wf\n" in out
    assert durable("runs", "retry", "bad-x", "--db", "my runs.db").code == 0


def test_a_run_of_a_process_that_is_gone_is_not_shown_as_running(shop) -> None:
    for command in (["list"], ["show", "items-4"]):
        with shop.popen("run", "shop.py:items", "count=4") as process:
            wait_for(process.stderr, "item ok")
            process.kill()
            process.wait()
            found = shop.run("runs", *command, "--json").object
            assert (found["state"], found["worker"]) == ("queued", None)
        shop.open_gates(2, 3)
        assert shop.run("run", "shop.py:items", "count=4").code == 0
        assert shop.run("prune", "--keep", "0", "--yes").code == 0
        for number in (2, 3):
            (shop.folder / f"gate-{number}").unlink()


@pytest.fixture
def waiting(shop):
    """Runs that wait for a signal, a message and a time; nobody executes them any more."""
    for workflow, argument in (("approval", "order_id=1"), ("inbox", "name=a"), ("naps", "name=a")):
        with shop.popen("run", f"shop.py:{workflow}", argument) as process:
            wait_for(process.stderr, "suspended")
    return shop


def test_show_tells_what_a_suspended_run_waits_for_and_how_to_help(waiting) -> None:
    out = waiting.run("runs", "show", "approval-1").out
    assert "   1 signal approval " in out
    assert "suspended: waits for signal approval\n" in out
    assert "durable runs signal approval-1 approval PAYLOAD" in out
    out = waiting.run("runs", "show", "inbox-a").out
    assert "suspended: waits for message mail\n" in out
    assert "durable runs send inbox-a mail PAYLOAD" in out
    out = waiting.run("runs", "show", "naps-a").out
    assert re.search(r"[1-] sleep +\d+ ms +.*\+", out)
    assert "suspended: wakes in 23 h 59 m" in out or "suspended: wakes in 1 d 00 h" in out


def test_list_tells_what_suspended_runs_wait_for(waiting) -> None:
    out = waiting.run("runs", "list").out
    assert "waits for signal approval" in out
    assert "waits for message mail" in out
    lines = waiting.run("runs", "list", "--json").objects
    assert [line["waits"] for line in lines] == [[], ["message mail"], ["signal approval"]]


def test_history_has_every_entry(stocked) -> None:
    lines = stocked("runs", "history", "bad-x", "--json").objects
    assert [(line["position"], line["kind"], line["status"], line["name"]) for line in lines] == [
        (0, "run", "ok", "start"), (1, "task", "ok", "charge"),
        (2, "task", "error", "broken"), (3, "run", "error", "finish"),
    ]  # fmt: skip
    assert lines[2]["error"]["message"] == "x"
    assert "in broken" in lines[2]["error"]["traceback"]
    assert [line["position"] for line in stocked("runs", "history", "bad-x", "--json", "--from", "2").objects] == [2, 3]


def test_history_prints_tracebacks_when_asked(stocked) -> None:
    assert "in broken" not in stocked("runs", "history", "bad-x").out
    out = stocked("runs", "history", "bad-x", "--traceback").out
    assert "position 2:" in out
    assert "in broken" in out


def test_values_of_unknown_classes_are_shown_as_undecodable(shop) -> None:
    assert shop.run("run", "shop.py:order", "order_id=1", "cents=5").code == 0
    done = shop.run("runs", "history", "order-1")
    assert (done.code, "Traceback" in done.err) == (0, False)
    assert "<undecodable: it holds a 'shop:Receipt', a class that is not loaded here; --code MODULE:APP" in done.out
    line = shop.run("runs", "history", "order-1", "--json").objects[1]
    assert line["bytes"] > 0
    assert "shop:Receipt" in line["undecodable"]
    assert "shop:Receipt" in shop.run("runs", "show", "order-1", "--json").object["undecodable"]


def test_values_are_decoded_with_the_code(shop) -> None:
    assert shop.run("run", "shop.py:order", "order_id=1", "cents=5").code == 0
    done = shop.run("runs", "history", "order-1", "--code", "shop.py:wf", "--json")
    assert done.objects[1]["value"] == {"order_id": "1", "cents": 5}
    assert "result    Receipt(order_id='1', cents=5)" in shop.run("runs", "show", "order-1", "--code", "shop.py").out


# What is wrong with a call -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "history", "cancel", "pause", "resume", "retry"])
def test_a_run_that_does_not_exist_is_4(stocked, command) -> None:
    done = stocked("runs", command, "nothing")
    assert (done.code, done.out) == (4, "")
    assert "run 'nothing' does not exist in application 'shop'" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["runs", "list", "--state", "lost"], "'lost' is not one of"),
        (["runs", "list", "--limit", "0"], "'0' is no whole number of at least 1"),
        (["runs", "list", "--limit", "many"], "'many' is no whole number of at least 1"),
        (["runs", "list", "--since", "soon"], "'soon' is no moment: expected 2026-11-21"),
        (["runs", "list", "--tag", "=x"], "--tag wants a name"),
        (["runs", "list", "--colour"], "no such option"),
        (["runs", "show"], "missing argument 'ID'"),
        (["runs", "sohw"], "there is no command 'sohw'; did you mean 'show'?"),
        (["runs", "xyz"], "there is no command 'xyz'; expected one of list, show"),
        (["runz"], "there is no command 'runz'; did you mean 'run' or 'runs'?"),
        (["completion"], "choose from: bash, zsh, fish"),
        (["runs", "history", "order-1", "--from", "999"], "position 999: its journal has positions 0 to 2"),
        (["wroker"], "there is no command 'wroker'; did you mean 'worker'?"),
        (["xyz"], "there is no command 'xyz'; expected one of run, worker"),
        (["runs", "history", "order-1", "--from", "-1"], "'-1' is no whole number of at least 0"),
        (["prune"], "no policy is given: say --older-than AGE, --keep N, or both"),
        (["prune", "--older-than", "30"], "'30' is no duration: expected a number with a unit"),
        (["prune", "--keep", "-1"], "'-1' is no whole number of at least 0"),
        (["prune", "--keep", "1", "--state", "running"], "'running' is not one of"),
        (["doctor", "extra"], "unexpected extra argument"),
        (["completion", "cmd"], "'cmd' is not one of"),
    ],
)
def test_usage_errors_are_2_and_one_line(stocked, arguments, text) -> None:
    done = stocked(*arguments)
    assert (done.code, done.out) == (2, "")
    assert text.lower() in done.err.lower()
    assert done.err.startswith("durable: ")
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("command", [["runs", "list"], ["runs", "show", "x"], ["doctor"], ["prune", "--keep", "1"]])
def test_a_database_that_is_not_there_is_3_and_is_not_made(durable, shop, command) -> None:
    done = durable(*command, "--db", "nothing.db")
    assert (done.code, done.out) == (3, "")
    assert "database 'nothing.db' does not exist: name one with --db or DURABLE_DB" in done.err
    assert sorted(path.name for path in shop.folder.iterdir()) == ["shop.py"]


@pytest.mark.parametrize("command", [["runs", "list"], ["runs", "show", "x"], ["doctor"], ["prune", "--keep", "1"]])
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: path.mkdir(), "is a directory: name a file in it"),
        (lambda path: path.write_bytes(b"no database" * 1000), "is not a SQLite database"),
        (lambda path: sqlite3.connect(path).execute("CREATE TABLE other (x)").connection.close(), ""),
    ],
)
def test_what_is_no_database_of_ours_is_3(durable, shop, command, make, text) -> None:
    make(shop.folder / "wrong.db")
    done = durable(*command, "--db", "wrong.db")
    assert (done.code, done.out) == (3, "")
    assert text in done.err
    assert len(done.err.splitlines()) == 1


def test_a_url_with_a_mistake_is_2(durable) -> None:
    done = durable("runs", "list", "--db", "sqlite://x.db")
    assert done.code == 2
    assert "three slashes come before the file name; write 'sqlite:///x.db'" in done.err


@pytest.fixture
def shared(durable, shop):
    """One database with runs of two applications."""
    (shop.folder / "second.py").write_text(
        "from durable import Workflow\nwf = Workflow('second')\n@wf.workflow(id='s')\nasync def flow(): return 1\n"
    )
    assert durable("run", "shop.py:order", "order_id=1").code == 0
    assert durable("run", "second.py:flow").code == 0
    return durable


def test_list_shows_the_runs_of_all_applications(shared) -> None:
    assert ids(shared("runs", "list", "--json")) == ["s", "order-1"]
    assert ids(shared("runs", "list", "--json", "--workflow", "order")) == ["order-1"]
    assert ids(shared("runs", "list", "--json", "--limit", "1")) == ["s"]
    assert ids(shared("runs", "list", "--app", "second", "--json")) == ["s"]
    lines = [line.split()[:3] for line in shared("runs", "list").out.splitlines()]
    assert lines == [["id", "app", "workflow"], ["s", "second", "flow"], ["order-1", "shop", "order"]]
    assert " app " not in shared("runs", "list", "--app", "second").out


@pytest.mark.parametrize("command", [["show"], ["history"], ["cancel"], ["signal"]])
def test_of_several_applications_the_one_that_has_the_run_is_meant(shared, command) -> None:
    done = shared("runs", *command, "s", *(["go"] if command == ["signal"] else []))
    assert done.code == (0 if command[0] in ("show", "history") else 5)
    assert "several applications" not in done.err


def test_of_several_applications_one_must_be_named_if_no_run_or_none_of_theirs_is(shared) -> None:
    for command in (["cancel", "--all", "--yes"], ["show", "nothing"], ["cancel", "s", "order-1"]):
        done = shared("runs", *command)
        assert done.code == 4
        assert "has runs of several applications ('second', 'shop'): name one with --app" in done.err


def test_an_application_without_runs_is_4(shared) -> None:
    done = shared("runs", "show", "s", "--app", "third")
    assert done.code == 4
    assert "has no runs of application 'third'; it has 'second', 'shop'" in done.err


def test_app_and_code_must_agree(shared) -> None:
    done = shared("runs", "list", "--app", "second", "--code", "shop.py:wf")
    assert done.code == 2
    assert "--app 'second' and --code 'shop.py:wf' disagree: the code's application is 'shop'" in done.err


def test_a_run_in_a_database_without_runs_is_4(durable) -> None:
    assert durable("run", "shop.py:order", "order_id=1").code == 0
    assert durable("prune", "--keep", "0", "--yes").code == 0
    done = durable("runs", "show", "order-1")
    assert (done.code, "has no runs; start one" in done.err) == (4, True)


def test_a_duration_ago_reaches_back(durable) -> None:
    from datetime import datetime

    from durable.cli.formatting import parse_moment

    now = datetime.now().astimezone()
    assert now - parse_moment("1h30m", now) == timedelta(minutes=90)


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "show", "x\udcff"],
        ["runs", "list", "--prefix", "\udcff"],
        ["runs", "list", "--tag", "a=\udcff"],
        ["runs", "cancel", "--app", "\udcff", "x"],
        ["runs", "pause", "x\udcff"],
        ["check", "shop.py:wf", "--run", "\udcff"],
        ["doctor", "--app", "\udcff"],
        ["prune", "--workflow", "\udcff", "--older-than", "1d"],
    ],
)
def test_bytes_that_are_no_text_are_refused(durable, words) -> None:
    """Fuzzing found it: the database cannot be asked for them, and the command ended in a traceback."""
    done = durable(*words)
    assert done.code == 2
    assert "is no text: it holds bytes that are no UTF-8" in done.err
    assert len(done.err.splitlines()) == 1
