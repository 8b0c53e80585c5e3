"""`./dev torture`: what a campaign's line says, and what becomes of violations and missing tools."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

from tests.torture import __main__ as command
from tests.torture import _figures
from tests.torture._all import Ended, summary
from tests.torture._outcome import Outcome
from tests.torture._tools import ToolMissing, need_debian


@pytest.fixture
def campaign(monkeypatch):
    """Make a campaign of this name."""

    def make(found: Outcome | int | Exception) -> None:
        module = ModuleType("tests.torture.kill")

        def play(n: int, seed: int) -> Outcome | int:
            if isinstance(found, Exception):
                raise found
            return found

        vars(module).update(campaign=play, N_DEFAULT=10)
        monkeypatch.setitem(sys.modules, "tests.torture.kill", module)

    return make


def line(capsys) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    del found["seconds"]
    return found


def test_a_campaign_without_violations(campaign, capsys):
    campaign(0)
    assert command.main(["kill", "-n", "5", "--seed", "3"]) == 0
    assert line(capsys) == {"name": "kill", "n": 5, "violations": 0, "seeds": [3, 7]}


def test_a_campaign_with_violations_and_figures(campaign, capsys):
    campaign(Outcome(["one", "two"], {"kept": 1}, n=4))
    assert command.main(["kill"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "kill, seed 0: one\nkill, seed 0: two\n"
    found = json.loads(captured.out)
    assert (found["n"], found["violations"], found["kept"]) == (4, 2, 1)


def test_a_line_that_is_kept_uses_new_seeds(campaign, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(_figures, "FIGURES", tmp_path / "figures.jsonl")
    campaign(0)
    for first in (0, 1_000_000):
        assert command.main(["kill", "--keep"]) == 0
        assert line(capsys)["seeds"] == [first, first + 9]
    kept = _figures.lines()
    assert [(one["name"], one["n"], one["violations"]) for one in kept] == [("kill", 10, 0)] * 2
    assert all(one["date"] and one["commit"] for one in kept)


def test_a_missing_tool_is_told(campaign, capsys):
    campaign(ToolMissing("this campaign needs gcc; install it"))
    assert command.main(["kill"]) == 2
    assert "this campaign needs gcc" in capsys.readouterr().err


def test_a_user_who_cannot_install_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr("tests.torture._tools.os.geteuid", lambda: 1000)
    monkeypatch.setattr("tests.torture._tools.shutil.which", lambda name: "/usr/bin/apt-get")
    with pytest.raises(ToolMissing, match="run: sudo apt-get install -y gcc libc6-dev"):
        need_debian(lambda: False, "gcc", "libc6-dev")


def test_the_summary_names_the_campaigns_that_failed():
    ended = [Ended("a", 0, {"violations": 0}, ""), Ended("b", 1, {"violations": 3}, ""), Ended("c", 1, {}, "hangs")]
    found = summary(ended, 61.04)
    assert found == {"name": "all", "n": 3, "violations": 3, "failed": ["b", "c"], "seconds": 61.0}
