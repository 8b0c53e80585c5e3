"""`durable run`: executes, shows how it goes, tells how it ended, and can be interrupted anywhere."""

import json
import re
import shlex
import signal

import pytest

from tests.cli.support import wait_for


def test_a_run_prints_its_result_as_json(durable) -> None:
    done = durable("run", "shop.py:order", "order_id=42", "cents=990")
    assert (done.code, json.loads(done.out)) == (0, {"order_id": "42", "cents": 990})
    assert "run 'order-42' succeeded in " in done.err


def test_a_dotted_module_is_found_in_the_current_directory(durable) -> None:
    assert durable("run", "shop:order", "order_id=42").code == 0


def test_steps_are_told_on_stderr_as_they_end(shop) -> None:
    done = shop.run("run", "shop.py:retried", "name=a")
    assert done.code == 0
    assert "flaky failed after" in done.err
    assert ", attempt 1, again in " in done.err
    assert "ms: ConnectionError: refused \\x1b[31mred\n" in done.err
    assert "flaky ok after" in done.err
    assert "progress 1/2 half" in done.err
    assert "\x1b" not in done.err + done.out


def test_the_same_command_finds_the_same_run(durable, shop) -> None:
    first, second = (durable("run", "shop.py:order", "order_id=42", "--json").object for _ in range(2))
    assert (first["id"], first["state"], first["result"]) == (second["id"], second["state"], second["result"])
    assert shop.ledger() == ["charge 42"]


def test_a_run_may_be_named(durable) -> None:
    done = durable("run", "shop.py:order", "order_id=42", "--id", "mine", "--json")
    assert done.object == {
        "id": "mine", "state": "succeeded", "seconds": pytest.approx(0, abs=30),
        "result": {"order_id": "42", "cents": 0},
    }  # fmt: skip


def test_a_plain_workflow_runs(durable) -> None:
    assert durable("run", "shop.py:plain", "number=1").out == "2\n"


def test_what_json_cannot_hold_is_text(durable) -> None:
    done = durable("run", "shop.py:odd", "name=a")
    assert json.loads(done.out) == {"nan": "nan", "text": "a\x1b[31m\nb", "pair": [1, 2]}
    assert "\x1b" not in done.out


def test_a_failure_names_the_error_and_its_place(durable) -> None:
    done = durable("run", "shop.py:bad", "text=boom")
    assert done.code == 1
    assert "durable: run 'bad-boom' failed: ValueError: boom (" in done.err
    assert "shop.py" in done.err.splitlines()[-1]
    assert "in broken)" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_a_failure_as_json_has_type_message_and_traceback(durable) -> None:
    done = durable("run", "shop.py:bad", "text=boom", "--json")
    assert (done.code, done.object["state"], done.err) == (1, "failed", "")
    assert (done.object["error"]["type"], done.object["error"]["message"]) == ("ValueError", "boom")
    assert "in broken" in done.object["error"]["traceback"]


def test_a_run_that_is_set_aside_says_what_to_do(durable) -> None:
    done = durable("run", "shop.py:stuck", "name=a")
    assert done.code == 1
    assert "run 'stuck-a'" in done.err
    assert "durable runs retry stuck-a" in done.err


def test_a_cancelled_run_ends_with_1(shop) -> None:
    with shop.popen("run", "shop.py:approval", "order_id=1") as process:
        wait_for(process.stderr, "suspended")
        assert shop.run("runs", "cancel", "approval-1", "--because", "no money").code == 0
        _, err = process.communicate()
    assert process.returncode == 1
    assert "run 'approval-1' was cancelled" in err


def test_a_waiting_run_says_which_command_helps(shop) -> None:
    with shop.popen("run", "shop.py:approval", "order_id=1") as process:
        line = wait_for(process.stderr, "suspended")
        assert "waits for signal approval: durable runs signal approval-1 approval PAYLOAD" in line
        assert shop.run("runs", "signal", "approval-1", "approval", '{"ok": true}').code == 0
        out, _ = process.communicate()
    assert (process.returncode, json.loads(out)) == (0, {"ok": True})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_with_the_same_command(shop, number) -> None:
    command = ("run", "shop.py:items", "count=4")
    with shop.popen(*command) as process:
        wait_for(process.stderr, "item ok")
        process.send_signal(number)
        wait_for(process.stderr, "stopping: attempts in flight may end")
        shop.open_gates(2)
        _, err = process.communicate()
    assert process.returncode == 130
    assert "run 'items-4' keeps what it recorded; the same command goes on with it" in err
    assert shop.run("runs", "list", "--json").object["state"] == "queued"
    shop.open_gates(3)
    done = shop.run(*command)
    assert (done.code, done.out) == (0, "6\n")
    assert "goes on after" in done.err
    assert shop.ledger() == [f"item {number}" for number in range(4)]


def test_an_interruption_is_told_in_json(shop) -> None:
    with shop.popen("run", "shop.py:fresh", "--json") as process:
        shop_id = _wait_for_run(shop)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, json.loads(out)) == (130, {"id": shop_id, "state": "interrupted"})
    assert f"the same command and --id '{shop_id}' goes on" in err


def _wait_for_run(shop) -> str:
    while True:
        found = shop.run("runs", "list", "--json", "--state", "suspended")
        if found.code == 0 and found.out:
            return found.object["id"]


def test_a_second_interruption_ends_at_once(shop) -> None:
    with shop.popen("run", "shop.py:items", "count=4") as process:
        wait_for(process.stderr, "item ok")
        process.send_signal(signal.SIGINT)
        wait_for(process.stderr, "once more stops at once")
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    shop.open_gates(2, 3)
    assert shop.run("run", "shop.py:items", "count=4").out == "6\n"


def test_a_killed_run_goes_on_with_the_same_command(shop) -> None:
    with shop.popen("run", "shop.py:items", "count=4") as process:
        wait_for(process.stderr, "item ok")
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    shop.open_gates(2, 3)
    done = shop.run("run", "shop.py:items", "count=4")
    assert (done.code, done.out) == (0, "6\n")
    assert shop.ledger() == [f"item {number}" for number in range(4)]


def test_another_database_is_used_when_named(durable, shop) -> None:
    assert durable("run", "shop.py:order", "order_id=1", "--db", "sqlite:///other.db").code == 0
    assert not (shop.folder / "durable.db").exists()
    assert durable("runs", "list", "--db", "other.db", "--json").object["id"] == "order-1"


def test_the_variable_names_the_database(shop) -> None:
    assert shop.run("run", "shop.py:order", "order_id=1", env={"DURABLE_DB": "other.db"}).code == 0
    assert shop.run("runs", "list", "--json", env={"DURABLE_DB": "other.db"}).object["id"] == "order-1"


# What is wrong with a call -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["shop.py:order", "order_id"], "argument 'order_id' has no '=': expected key=value, such as order_id=42"),
        (["shop.py:order", "order id=1"], "'order id' is no name of a parameter"),
        (["shop.py:order", "order_id=1", "order_id=2"], "argument 'order_id' is given twice"),
        (["shop.py:order", "order_id=1", "cents=much"], "argument 'cents' is 'much': expected int"),
        (["shop.py:order", "order_id=1", "colour=red"], "got an unexpected keyword argument 'colour'"),
        (["shop.py:order"], "missing a required argument: 'order_id'"),
        (["shop.py:order", "order_id=1", "--id", ""], "--id '' has 0 bytes: expected 1 to 512"),
        (["shop.py:order", "order_id=1", "--id", "a\nb"], "holds a control character"),
        (["nowhere:order"], "there is no module 'nowhere'"),
        (["shop.nowhere:order"], "there is no module 'shop.nowhere'"),
        (["nowhere.py:order"], "file 'nowhere.py' does not exist: expected a Python file"),
        ([".:order"], "'.' is no module: expected a dotted name (shop.flows) or a file (flows.py)"),
        (["./:order"], "is a directory: expected a Python file"),
        ([":order"], "':order' names no module: expected MODULE:NAME"),
        (["shop.py:ordre"], "module 'shop.py' has no 'ordre'; it has order, bad"),
        (["shop.py:charge"], "'shop.py:charge' is the task 'charge': expected a workflow"),
        (["shop.py:wf"], "'shop.py:wf' is the application 'shop': expected a workflow"),
        (["shop.py:helper"], "'shop.py:helper' is a plain function: expected a workflow"),
        (["shop.py:os"], "'shop.py:os' is a module: expected a workflow"),
        (["shop.py"], "'shop.py' names no workflow and it has several: order, bad"),
        (["shop.py:order", "order_id=1", "--db", "mysql://x/y"], "is no SQLite database"),
        (["shop.py:order", "order_id=1", "--db", ":memory:"], "would forget everything"),
    ],
)
def test_a_call_that_cannot_work_is_refused(durable, shop, arguments, text) -> None:
    done = durable("run", *arguments)
    assert (done.code, done.out) == (2, "")
    assert text in done.err
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("durable: ")
    assert not (shop.folder / "durable.db").exists()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("x = (", "SyntaxError: '(' was never closed"),
        ("import durable\nraise KeyError('x')", "KeyError: 'x' ("),
        ("import nonsense_module", "ModuleNotFoundError: No module named 'nonsense_module'"),
        ("import sys\nsys.exit(3)", "SystemExit: 3; put what the program does under 'if __name__ == \"__main__\":'"),
        ("from durable import Workflow\nwf = Workflow('')", "UsageError: application name"),
    ],
)
def test_a_module_that_cannot_be_imported_says_why_and_where(durable, shop, code, text) -> None:
    (shop.folder / "faulty.py").write_text(code)
    done = durable("run", "faulty.py:flow")
    assert done.code == 2
    assert done.err.startswith(f"durable: module 'faulty.py' cannot be imported: {text}")
    assert "faulty.py" in done.err.partition("imported")[2]
    assert len(done.err.splitlines()) == 1


def test_a_file_whose_name_is_taken_is_refused(durable, shop) -> None:
    (shop.folder / "json.py").write_text("")
    done = durable("run", "json.py:flow")
    assert done.code == 2
    assert "a module named 'json' is loaded already; rename the file" in done.err


def test_the_only_workflow_need_not_be_named(durable, shop) -> None:
    (shop.folder / "single.py").write_text(
        "from durable import Workflow\napp = Workflow('single')\n"
        "@app.workflow\nasync def flow(n: int) -> int:\n    return n\n"
    )
    assert durable("run", "single.py", "n=3").out == "3\n"


def test_a_file_in_another_directory_finds_its_neighbours(durable, shop) -> None:
    folder = shop.folder / "apps"
    folder.mkdir()
    (folder / "near.py").write_text("VALUE = 7\n")
    (folder / "far.py").write_text(
        "import near\nfrom durable import Workflow\napp = Workflow('far')\n"
        "@app.workflow\nasync def flow():\n    return near.VALUE\n"
    )
    assert durable("run", "apps/far.py:flow").out == "7\n"


def test_an_id_with_other_arguments_is_refused(durable) -> None:
    assert durable("run", "shop.py:order", "order_id=1", "--id", "x").code == 0
    done = durable("run", "shop.py:order", "order_id=2", "--id", "x")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "durable: run 'x' was started with other arguments (order_id='1') than these (order_id='2'); "
        "name another id with --id, or add --attach to take the run that is there\n"
    )


def test_of_other_arguments_the_part_that_differs_is_shown(durable) -> None:
    name = "n" * 100
    assert durable("run", "shop.py:order", f"order_id={name}x", "cents=5", "--id", "x").code == 0
    done = durable("run", "shop.py:order", f"order_id={name}y", "cents=6", "--id", "x")
    same = f"order_id=…{name[:58]}"
    assert f"({same}x', cents=5) than these ({same}y', cents=6)" in done.err


def test_a_run_with_other_arguments_is_taken_when_that_is_meant(durable, shop) -> None:
    assert durable("run", "shop.py:order", "order_id=1", "--id", "x").code == 0
    done = durable("run", "shop.py:order", "order_id=2", "--id", "x", "--attach", "--json")
    assert (done.code, done.object["result"]) == (0, {"order_id": "1", "cents": 0})
    assert shop.ledger() == ["charge 1"]


def test_other_arguments_are_told_without_the_state_of_the_run(shop) -> None:
    shop.start("order", "1")
    done = shop.run("run", "shop.py:order", "order_id=2", "--id", "order-1")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1


def test_a_run_that_had_ended_is_told_as_such(shop) -> None:
    assert shop.run("run", "shop.py:items", "count=2").code == 0
    done = shop.run("run", "shop.py:items", "count=2")
    assert (done.code, done.out) == (0, "1\n")
    assert re.fullmatch(r"run 'items-2' succeeded \d+(\.\d)? m?s ago, in \d+(\.\d)? m?s\n", done.err)


def test_a_failed_run_that_goes_on_says_so(shop) -> None:
    assert shop.run("run", "shop.py:bad", "text=x").code == 1
    (shop.folder / "mended").touch()
    done = shop.run("run", "shop.py:bad", "text=x")
    assert done.code == 0
    assert re.match(r"run 'bad-x' goes on after \d steps? recorded before\n", done.err)


def test_a_failed_run_that_does_not_go_on_is_told_in_one_line(shop) -> None:
    assert shop.run("run", "shop.py:repaid", "text=x").code == 1
    done = shop.run("run", "shop.py:repaid", "text=x")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "going on would repeat refund (2)" in done.err


def test_commands_that_are_shown_name_the_database_and_the_application(shop) -> None:
    shop.start("order", "1")
    (shop.folder / "second.py").write_text(
        "from durable import Workflow\nwf = Workflow('second', db='my runs.db')\n"
        "@wf.workflow(id='waits')\nasync def waits(): return await wf.signal('go')\n"
        "third = Workflow('third', db='my runs.db')\n@third.workflow(id='t')\nasync def other(): pass\n"
    )
    with shop.popen("run", "second.py:waits") as process:
        line = wait_for(process.stderr, "suspended")
    assert line.endswith(": durable runs signal waits go PAYLOAD --db 'my runs.db'\n")
    assert shop.run("run", "second.py:other").code == 0
    with shop.popen("run", "second.py:waits") as process:
        line = wait_for(process.stderr, "suspended")
        assert line.endswith(": durable runs signal waits go PAYLOAD --db 'my runs.db' --app second\n")
        command = shlex.split(line.rpartition(": durable ")[2].replace("PAYLOAD", "3"))
        assert shop.run(*command).code == 0
        assert process.communicate()[0] == "3\n"


def test_the_code_comes_before_the_variable_and_the_option_before_the_code(shop) -> None:
    (shop.folder / "own.py").write_text(
        "from durable import Workflow\nwf = Workflow('own', db='own.db')\n@wf.workflow\nasync def flow(): pass\n"
    )
    env = {"DURABLE_DB": "env.db"}
    assert shop.run("run", "own.py:flow", env=env).code == 0
    assert shop.run("run", "own.py:flow", "--db", "option.db", env=env).code == 0
    assert shop.run("run", "shop.py:plain", "number=1", env=env).code == 0
    found = {path.name for path in shop.folder.glob("*.db")}
    assert found == {"own.db", "option.db", "env.db"}
    for name in found:
        assert len(shop.run("runs", "list", "--db", name, "--json").objects) == 1


def test_a_value_that_does_not_fit_its_annotation_starts_nothing(durable, shop) -> None:
    (shop.folder / "typed.py").write_text(
        "from dataclasses import dataclass\nfrom durable import Workflow\nwf = Workflow('typed')\n"
        "@dataclass\nclass Address:\n    street: str\n    city: str\n"
        "@wf.workflow\nasync def flow(to: Address, others: list[int] | None = None): pass\n"
    )
    done = durable("run", "typed.py:flow", "to=Graz")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "durable: argument 'to' is 'Graz': "
        'expected Address, as JSON: {"street": str, "city": str} (expected object, got str)\n'
    )
    done = durable("run", "typed.py:flow", 'to={"street": "Elm", "city": "Graz"}', "others=1")
    assert (done.code, "argument 'others' is '1': expected list[int] | None, as JSON" in done.err) == (2, True)
    assert not (shop.folder / "durable.db").exists()
    assert durable("run", "typed.py:flow", 'to={"street": "Elm", "city": "Graz"}', "others=[1]").code == 0


def test_an_id_of_another_workflow_is_refused(durable) -> None:
    assert durable("run", "shop.py:order", "order_id=1", "--id", "x").code == 0
    done = durable("run", "shop.py:plain", "number=2", "--id", "x")
    assert done.code == 2
    assert "is a run of workflow 'order', not of 'plain'" in done.err


def test_a_failure_that_would_repeat_effects_is_told_again(durable, shop) -> None:
    (shop.folder / "twice.py").write_text(
        "import asyncio\nfrom durable import Workflow\nwf = Workflow('twice', default_retries=0)\n"
        "@wf.task\nasync def one(): return 1\n@wf.task\nasync def two(): raise ValueError('no')\n"
        "@wf.workflow(id='t')\nasync def flow():\n    try:\n        await two()\n    finally:\n        await one()\n"
    )
    first, second = (durable("run", "twice.py:flow") for _ in range(2))
    assert (first.code, second.code) == (1, 1)
    assert "going on would repeat one (2) (in brackets: the position in its journal)" in second.err
    assert "to do so all the same: durable runs retry t\n" in second.err
