"""The importer and its demo: killed by the demo, by hand, together with the demo; and a broken promise is found."""

import os
import re
import select
import signal
from collections import Counter

from tests.examples.support import Launcher, Program

DEMO = "importer/demo.py"
AT_ONCE = 4  # files in work at the same time
FILES = "300"  # enough for the importer to be still at work when it is to be killed, on a busy machine too


def parses(start: Launcher, folder: str = "kept") -> Counter[str]:
    fields = (line.split(" ", 3) for line in start.lines_of(f"{folder}/ledger.txt"))
    return Counter(name for word, _, _, name in fields if word == "parse")


def importer_of(demo: Program) -> int:
    line = demo.wait_for("the importer is process")
    return int(re.findall(r"process (\d+)", line)[0])


def wait_for_end(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with open(descriptor, "rb", buffering=0):
        assert select.select([descriptor], [], [], 30)[0], f"process {pid} is still there"


def test_the_demo_kills_the_importer_once_and_proves_its_promise(start):
    temporary = start.folder / "temporary"
    temporary.mkdir()
    start.variables["TMPDIR"] = str(temporary)
    said = start(DEMO, "--files", FILES).output()
    assert sum(line.startswith("kill -9 ") for line in said) == 1
    assert sum(line.startswith("dead. ") for line in said) == 1
    assert any("300 files (" in line for line in said)
    assert any("restart and parsed again after it: 0." in line for line in said)
    assert said[-1] == "Recorded exactly once, executed at least once: the promise was kept."
    assert list(temporary.iterdir()) == []


def test_on_a_terminal_the_demo_draws_a_bar(start):
    start.variables["FORCE_COLOR"] = "1"  # makes rich take the pipe for a terminal
    said = start(DEMO, "--files", "20").output()
    assert any("━" in line and "20/20" in line for line in said)
    assert said[-1].endswith("the promise was kept.")


def test_an_importer_killed_by_hand_again_and_again_goes_on(start):
    """Covers: A4"""
    demo = start(DEMO, "--files", FILES, "--keep", "kept", "--no-kill")
    kills = 3
    for _ in range(kills):
        pid = importer_of(demo)
        demo.wait_for(" of 300 files")
        os.kill(pid, signal.SIGKILL)
    demo.output()
    assert len(parses(start)) == 300
    assert parses(start).total() <= 300 + kills * AT_ONCE


def test_a_demo_that_is_killed_takes_the_importer_with_it_and_goes_on_when_run_again(start):
    first = start(DEMO, "--files", FILES, "--keep", "kept", "--no-kill")
    pid = importer_of(first)
    first.wait_for(" of 300 files")
    first.kill()
    wait_for_end(pid)
    known = parses(start).total()
    assert 0 < known < 300
    said = start(DEMO, "--files", FILES, "--keep", "kept", "--no-kill").output()
    assert any(re.search(r"process \d+; it has [1-9]\d* results to build on", line) for line in said)
    assert parses(start).total() <= 300 + AT_ONCE


def test_an_interrupted_demo_leaves_nothing_behind(start):
    temporary = start.folder / "temporary"
    temporary.mkdir()
    start.variables["TMPDIR"] = str(temporary)
    for ending in (signal.SIGINT, signal.SIGTERM):
        demo = start(DEMO, "--no-kill")
        pid = importer_of(demo)
        demo.process.send_signal(ending)
        assert demo.output(130)[-1] == "interrupted"
        wait_for_end(pid)
        assert list(temporary.iterdir()) == []


def test_a_file_parsed_again_although_recorded_fails_the_proof(start):
    arguments = ("--files", "20", "--keep", "kept")
    start(DEMO, *arguments).output()
    ledger = start.folder / "kept" / "ledger.txt"
    name = next(iter(parses(start)))
    with ledger.open("a") as file:
        file.write(f"recorded 1 0.0 {name}\nparse 1 0.0 {name}\n")
    assert start(DEMO, *arguments).output(1)[-1] == f"THE PROMISE WAS BROKEN. parsed again: {name}"


def test_a_result_without_work_fails_the_proof(start):
    arguments = ("--files", "20", "--keep", "kept")
    start(DEMO, *arguments).output()
    ledger = start.folder / "kept" / "ledger.txt"
    name = next(iter(parses(start)))
    kept = [line for line in ledger.read_text().splitlines(keepends=True) if line.split()[-1] != name]
    ledger.write_text("".join(kept))
    assert start(DEMO, *arguments).output(1)[-1] == f"THE PROMISE WAS BROKEN. never parsed: {name}"


def test_the_demo_says_why_the_importer_failed(start):
    start(DEMO, "--files", "5", "--keep", "kept").output()
    said = start(DEMO, "--files", "6", "--keep", "kept").output(1)
    assert "was started with other arguments" in said[-1]


def test_the_importer_run_by_hand_does_nothing_twice(start):
    first = start("importer/importer.py", "--files", "40").output()
    assert len(start.lines_of("ledger.txt")) == 40
    second = start("importer/importer.py", "--files", "40").output()
    assert len(start.lines_of("ledger.txt")) == 40
    assert first[-2:] == second[-2:] == start.lines_of("report.txt")
    assert first[-2].startswith("40 files (0 of them no valid Python)")
