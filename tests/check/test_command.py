"""`durable check MODULE:APP`: what it says, its exit code, and that it changes nothing."""

import shutil
import sqlite3
from typing import Any

import pytest

from tests.check.project import SHIP, Project

INSERTED = SHIP.replace("    await save", "    await other('check')\n    await save", 1)

NAP = """
@wf.workflow(id="nap-{number}", version="1")
async def nap(number: int) -> None:
    await durable.sleep(100_000)
"""


def test_unchanged_code_passes(project: Project) -> None:
    project.write(SHIP, NAP)
    project.begin("ship", 1, 2, 3)
    project.queue("nap", 4)
    done = project.check()
    assert (done.code, done.err) == (0, "")
    assert done.out == "4 runs replayed, 4 would go on as before\n"


def test_a_change_is_told_with_the_run_the_position_what_was_recorded_and_what_is_asked(project: Project) -> None:
    project.write(SHIP)
    project.begin("ship", 1, 2)
    project.write(INSERTED)
    done = project.check()
    line = (project.folder / "flows.py").read_text().splitlines().index("    await other('check')") + 1
    assert done.code == 1
    for number in (1, 2):
        assert f"run 'ship-{number}' (ship, suspended) would diverge, position 1\n" in done.out
    assert "the journal recorded task 'save' \"charge\" (operation 1)\n" in done.out
    assert f"the code now asks for task 'other' \"check\" (operation 1)  {project.folder}/flows.py:{line}\n" in done.out
    assert "diverges: 2 runs; put the code back, or guard the change with durable.patched(...)" in done.out
    assert done.out.endswith("2 runs replayed, 0 would go on as before\n")


def test_json_is_an_object_for_each_finding_and_one_for_all(project: Project) -> None:
    project.write(SHIP, NAP)
    project.begin("ship", 1, 2)
    project.queue("nap", 3)
    project.write(INSERTED)
    found, other, summary = project.check("--json").objects
    assert {found["run"], other["run"]} == {"ship-1", "ship-2"}
    assert (found["problem"], found["position"], found["state"]) == ("diverges", 1, "suspended")
    assert ("'save'" in found["recorded"], "'other'" in found["asked"]) == (True, True)
    assert found["line"].startswith(str(project.folder))
    assert summary == {
        "ok": False, "checked": 2, "unsound": 2, "problems": {"diverges": 2}, "partly_compared": 0,
        "without_code": [{"workflow": "nap", "version": "1", "runs": 1}],
    }  # fmt: skip


def test_runs_of_which_the_code_is_not_here_are_listed_apart(project: Project) -> None:
    project.write(SHIP, NAP)
    project.begin("ship", 1)
    project.queue("nap", 1, 2)
    project.write(SHIP, NAP.replace('"1"', '"2"'))
    done = project.check()
    assert done.code == 0
    assert "not in this code: workflow 'nap' version '1', 2 runs" in done.out
    assert project.check("--complete").code == 1


def test_only_the_runs_that_are_meant_are_checked(project: Project) -> None:
    project.write(SHIP, NAP)
    project.begin("ship", 1, 2)
    project.queue("nap", 3)
    project.write(INSERTED, NAP)
    assert project.check("--run", "nap-3").out == "1 run replayed, 1 would go on as before\n"
    assert project.check("--run", "ship-1", "--run", "ship-2", "--run", "ship-1").out.endswith(
        "2 runs replayed, 0 would go on as before\n"
    )
    assert project.check("--workflow", "nap").code == 0
    assert project.check("--state", "queued").code == 0
    assert project.check("--state", "suspended").code == 1
    missing = project.check("--run", "nobody")
    assert (missing.code, "'nobody' does not exist" in missing.err) == (4, True)


def test_set_aside_failed_and_ended_runs_are_checked_when_they_are_asked_for(project: Project) -> None:
    failing = SHIP.replace('await wf.signal("go")', "raise ValueError('as always')")
    project.write(failing)
    project.begin("ship", 1, state="failed")
    assert project.check().out == "0 runs replayed, 0 would go on as before\n"
    assert project.check("--state", "failed").code == 0
    project.write(INSERTED)
    assert project.check("--state", "failed").code == 1
    assert project.check().code == 0


def test_a_run_that_was_set_aside_is_checked_as_it_stands(project: Project) -> None:
    project.write(SHIP)
    project.begin("ship", 1)
    project.write(INSERTED)
    project.durable("runs", "signal", "ship-1", "go", "1")
    project.begin("ship", state="set aside")

    async def wake(wf, module) -> None:
        async with wf:
            with pytest.raises(module.durable.RunSetAside):
                await wf.handle("ship-1").result(timeout=10)

    project.work(wake)
    assert project.check().out == "0 runs replayed, 0 would go on as before\n"
    assert project.check("--state", "set-aside").code == 1
    project.write(SHIP)
    assert project.check("--state", "set-aside").code == 0


def test_what_a_run_waits_for_must_be_what_the_code_waits_for(project: Project) -> None:
    project.write(SHIP)
    project.begin("ship", 1)
    project.write(SHIP.replace('"go"', '"went"'))
    done = project.check()
    assert done.code == 1
    assert "position 2\n    the run waits for signal 'go' (operation 2)\n" in done.out
    assert "the code now asks for signal 'went' (operation 2)" in done.out


def test_nothing_is_written_executed_or_printed(project: Project) -> None:
    loud = SHIP.replace("    await save", "    print('body')\n    durable.logger.warning('body')\n    await save", 1)
    effect = "\n@wf.task\nasync def effect() -> None:\n    open('effect', 'w').close()\n"
    project.write(effect, loud.replace('await wf.signal("go")', 'await wf.signal("go")\n    await effect()'))
    project.begin("ship", 1)
    project.queue("ship", 2)
    project.durable("runs", "signal", "ship-1", "go", "1")
    before = project.files()
    done = project.check()
    assert (done.code, done.err) == (0, "")
    assert done.out == "2 runs replayed, 2 would go on as before\n"
    assert project.files() == before
    assert "effect" not in before


def test_a_copy_of_the_file_will_do(project: Project) -> None:
    project.write(SHIP)
    project.begin("ship", 1)
    copy = project.folder / "elsewhere" / "copy.db"
    copy.parent.mkdir()
    shutil.copy(project.db, copy)
    project.db.unlink()
    project.write(INSERTED)
    assert project.check("--db", str(copy)).code == 1
    assert {path.name for path in copy.parent.iterdir()} <= {"copy.db", "copy.db-shm", "copy.db-wal"}


def test_a_copy_with_its_log_shows_what_is_only_in_the_log(project: Project) -> None:
    project.write(SHIP)

    async def act(wf, module) -> None:
        await module.ship.start(7)
        copies = project.folder / "copies"
        copies.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{project.db}{suffix}", copies / f"copy.db{suffix}")

    project.work(act)
    done = project.check("--db", "copies/copy.db", "--json")
    assert done.objects[-1]["checked"] == 1


def test_a_file_in_a_directory_that_cannot_be_written_is_read(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(SHIP)
    project.begin("ship", 1)
    connect, modes = sqlite3.connect, list[str]()

    def as_in_such_a_directory(name: str, **options: Any) -> sqlite3.Connection:
        modes.append(name.partition("?")[2])
        if modes[-1] == "mode=ro":
            raise sqlite3.OperationalError("attempt to write a readonly database")
        return connect(name, **options)

    monkeypatch.setattr("durable.store.sqlite.reading.sqlite3.connect", as_in_such_a_directory)
    assert project.check().code == 3
    monkeypatch.setattr("durable.store.sqlite.reading.os.access", lambda *_: False)
    assert project.check().out == "1 run replayed, 1 would go on as before\n"
    assert modes == ["mode=ro", "mode=ro", "immutable=1"]


@pytest.mark.parametrize(("version", "text"), [(99, "newer version"), (0, "no tables")])
def test_a_file_of_another_version_is_not_touched(project: Project, version: int, text: str) -> None:
    project.write(SHIP)
    project.queue("ship", 1)
    with sqlite3.connect(project.db) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = project.files()
    done = project.check()
    assert (done.code, text in done.err) == (3, True)
    assert project.files() == before


def test_what_cannot_be_checked_is_one_line_and_a_code(project: Project) -> None:
    project.write(SHIP)
    for arguments, code, text in (
        (("--db", "nothing.db"), 3, "does not exist"),
        (("--state", "lost"), 2, "lost"),
        (("--db", "flows.py"), 3, "is not a SQLite database"),
    ):
        done = project.check(*arguments)
        assert (done.code, done.err.count("\n"), text in done.err) == (code, 1, True)
    project.queue("ship", 1)
    project.write(SHIP.replace("@wf", 'wf = Workflow("renamed", default_retries=0)\n\n@wf'))
    done = project.check()
    assert (done.code, "no runs of application 'renamed'; it has 'shop'" in done.err) == (4, True)
    assert project.durable("check", "nowhere.py").code == 2


def test_a_damaged_entry_is_told(project: Project) -> None:
    project.write(SHIP)
    project.begin("ship", 1, 2)
    with sqlite3.connect(project.db) as connection:
        connection.execute(
            "UPDATE journal SET data = x'4a2278' WHERE position = 1 AND run = (SELECT min(key) FROM runs)"
        )
    connection.close()
    found, summary = project.check("--json").objects
    assert (found["problem"], "checksum" in found["recorded"]) == ("damaged", True)
    assert (summary["checked"], summary["unsound"]) == (2, 1)


def test_runs_are_read_page_by_page(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(SHIP)
    project.queue("ship", *range(25))
    monkeypatch.setattr("durable.runtime.checking.LIST_PAGE_MAX", 10)
    assert project.check().out == "25 runs replayed, 25 would go on as before\n"
