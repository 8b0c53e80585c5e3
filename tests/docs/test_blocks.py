"""The code blocks of the manual do what the manual says."""

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import durable
from tests.docs.support import Block, after, blocks, marked

SCRIPTS = Path(sys.executable).parent


def execute(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DURABLE", "PYTEST"))}
    environment |= {"PATH": f"{SCRIPTS}{os.pathsep}{environment['PATH']}", "NO_COLOR": "1", "COLUMNS": "80"}
    return subprocess.run(
        command, cwd=folder, env=environment | variables, capture_output=True, text=True, timeout=60, check=False
    )


def test_marks_are_those_that_are_known():
    known = re.compile(r"(run|output|shared|first|right|wrong: .+|file=[\w.]+|run exit=\d+|)$")
    assert [str(block) for block in blocks() if not known.match(block.mark)] == []


@pytest.mark.parametrize("block", [block for block in blocks() if block.language == "python"], ids=str)
def test_python_blocks_are_python(block):
    compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


@pytest.mark.parametrize("block", [block for block in blocks() if block.language == "python"], ids=str)
def test_python_blocks_use_only_public_names(block):
    used = {
        node.attr
        for node in ast.walk(ast.parse(block.text))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "durable"
    }
    assert used - {*durable.__all__, "backoff", "blocking", "codec", "store", "testing"} == set()


@pytest.mark.parametrize("block", marked("python", "run"), ids=str)
def test_programs_run_and_print_what_the_manual_shows(block, tmp_path):
    (tmp_path / "program.py").write_text(block.text)
    done = execute([sys.executable, "-W", "error", "program.py"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    check_output(block, done.stdout)


def check_output(block: Block, found: str) -> None:
    """Compare with the output block that follows; a `…` in it stands for anything."""
    shown = after(block)
    if shown is None or shown.mark != "output":
        return
    pattern = ".*".join(map(re.escape, shown.text.strip().split("…")))
    assert re.fullmatch(pattern, found.strip(), re.DOTALL), f"{shown} shows\n{shown.text}\nand it prints\n{found}"


SESSIONS: dict[str, list[Block]] = defaultdict(list)
for _block in blocks():
    if _block.mark.startswith(("file=",)) or (_block.language == "sh" and _block.mark.startswith("run")):
        SESSIONS[_block.page].append(_block)


@pytest.mark.parametrize("page", [page for page, found in SESSIONS.items() if any(b.language == "sh" for b in found)])
def test_the_commands_of_a_page_work_one_after_the_other(page, tmp_path):
    for block in SESSIONS[page]:
        if block.mark.startswith("file="):
            (tmp_path / block.mark.removeprefix("file=")).write_text(block.text)
            continue
        wanted = int(block.mark.partition("exit=")[2] or 0)
        done = execute(["sh", "-ec", block.text], tmp_path)
        # A shell may become its last command, which then dies by a signal itself.
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        assert code == wanted, f"{block}: exit code {code}\n{done.stdout}{done.stderr}"
        check_output(block, done.stdout)
