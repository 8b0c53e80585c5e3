"""Every scenario of `bench/run.py` works at a small size and prints what it promises. No figure is judged here."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from bench.scenarios import SCENARIOS
from tests.project.support import ROOT

KEYS = ["scenario", "figure", "value", "unit", "store", "n", "durability", "versions"]

FIGURES = {
    "raw": {"raw": {"raw_commits_per_s", "raw_rows_per_s"}},
    "sequential": {
        "sequential": {"steps_per_s", "raw_commits_per_s", "share_of_raw", "cpu_us_per_step", "bytes_per_step"},
    },
    "throughput": {
        "throughput": {
            "steps_per_s",
            "raw_rows_per_s",
            "share_of_raw",
            "cpu_us_per_step",
            "bytes_per_step",
            "rss_mb",
        },
    },
    "replay": {"replay": {"entries_per_s"}, "replay-many": {"seconds"}},
    "latency": {
        name: {"p50_ms", "p99_ms", "raw_commits_per_s", "p50_in_raw_commits"} for name in ("latency", "latency-queued")
    },
    "signal": {
        name: {"p50_ms", "p99_ms", "raw_commits_per_s", "p50_in_raw_commits"}
        for name in ("signal", "signal-other-process")
    },
    "sleepers": {"sleepers": {"starts_per_s", "seconds", "rss_mb", "bytes_per_run", "p50_ms", "p99_ms"}},
    "import": {"import": {"p50_ms", "min_ms", "cpu_ms", "above_bare_ms", "optional_modules"}},
    "idle": {"idle": {"share_of_core", "rss_mb"}},
}


def bench(*arguments, **variables):
    command = [sys.executable, "bench/run.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


def lines_of(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def figures_of(lines):
    found: dict[str, set[str]] = {}
    for line in lines:
        found.setdefault(line["scenario"], set()).add(line["figure"])
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_each_scenario_prints_its_figures_and_leaves_nothing_behind(scenario, tmp_path):
    store = f"sqlite:///{tmp_path}/unused.db"
    lines = lines_of(bench(scenario, "--quick", "--repeat", "1", "--store", store, TMPDIR=str(tmp_path)))
    assert figures_of(lines) == FIGURES[scenario]
    for line in lines:
        assert list(line) == KEYS
        assert line["value"] >= 0
        assert line["n"] >= 1
        assert (line["store"], line["durability"]) == ("sqlite", "full")
        assert set(line["versions"]) == {"python", "sqlite", "durable"}
    assert list(tmp_path.iterdir()) == []


def test_several_scenarios_a_size_and_a_durability_can_be_named(tmp_path):
    store = f"sqlite:///{tmp_path}/x.db?durability=relaxed"
    lines = lines_of(bench("raw", "sequential", "raw", "--n", "8", "--repeat", "2", "--store", store))
    assert [line["scenario"] for line in lines] == ["raw"] * 2 + ["sequential"] * 5
    assert {line["n"] for line in lines if line["figure"] != "raw_rows_per_s"} == {8}
    assert {line["durability"] for line in lines} == {"relaxed"}


def test_slow_flushes_are_reported_beside_the_others_and_cost_their_time():
    done = bench("raw", "import", "--quick", "--repeat", "1", "--slow-flush", "5")
    if shutil.which("gcc") is None:
        assert done.returncode != 0
        assert "needs gcc" in done.stderr
        return
    lines = lines_of(done)
    durabilities = [(line["scenario"], line["durability"]) for line in lines]
    assert durabilities == [("raw", "full")] * 2 + [("raw", "full+5ms")] * 2 + [("import", "full")] * 5
    slow = next(line for line in lines if line["durability"] == "full+5ms" and line["figure"] == "raw_commits_per_s")
    # Each commit flushes once at least, so this is a limit and no measurement.
    assert slow["value"] <= 200


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nothing"], "invalid choice: 'nothing'"),
        ([], "the following arguments are required: SCENARIO"),
        (["raw", "--repeat", "0"], "0 is less than 1"),
        (["raw", "--store", "postgresql://host/db"], "is no SQLite database"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(arguments, text):
    done = bench(*arguments)
    assert done.returncode != 0
    assert text in done.stderr
    assert done.stdout == ""


def test_every_scenario_and_figure_is_explained():
    manual = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z0-9_-]+)`", manual))
    for figures in FIGURES.values():
        for scenario, names in figures.items():
            assert {scenario, *names} <= named
