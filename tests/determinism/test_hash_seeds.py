"""Nothing depends on the hash seed of the process, unless the body itself iterates over a set.

Covers: G6
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, pickle, sys
from pathlib import Path
import durable
from tests.support.comparing import describe
from tests.support.replaying import Script, cuts, play

careless = sys.argv[1] == "careless"
path = Path(sys.argv[2])
names = {"ada", "grace", "barbara", "frances", "katherine", "radia", "margaret", "shafi"}


class Boom(Exception):
    pass


def build(stage):
    @stage.wf.task(retries=0)
    async def work(name, ms=10):
        await stage.world.job(ms + len(name))
        return name

    @stage.wf.workflow
    async def main():
        order = list(names) if careless else sorted(names)
        results = [await work(name) for name in order[:3]]
        tasks = {asyncio.create_task(work(name, 7 * place), name=name) for place, name in enumerate(order)}
        seen = [task.get_name() for task in tasks]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        seen += [task.get_name() for task in done] + [task.get_name() for task in pending]
        for future in asyncio.as_completed(pending):
            results.append(await future)
        return [results, seen, {name: len(name) for name in order}]


script = Script(build, direct=True)
if path.exists():
    log, jobs = pickle.loads(path.read_bytes())
    whole = play(script)
    whole.store.log[:] = log
    whole.world.jobs.clear()
    whole.world.jobs.update(jobs)
    cut = list(cuts(log))[-3]
    played = play(script, at=cut, of=whole)
else:
    played = play(script)
    path.write_bytes(pickle.dumps((played.log, played.world.jobs)))
for entry in played.journal:
    print(describe(played, entry))
print(repr(played.result) if not isinstance(played.result, Exception) else type(played.result).__name__)
"""


def run(kind: str, path: Path, seed: int) -> str:
    """Run the program in a process of its own, with that hash seed; return what it printed."""
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    command = [sys.executable, "-c", PROGRAM, kind, str(path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_journals_and_results_are_the_same_under_every_hash_seed(tmp_path: Path) -> None:
    printed = {run("careful", tmp_path / str(seed), seed) for seed in (0, 1, 2, 12345)}
    assert len(printed) == 1


def test_a_run_goes_on_in_a_process_with_another_hash_seed(tmp_path: Path) -> None:
    first = run("careful", tmp_path / "log", 1)
    assert [run("careful", tmp_path / "log", seed) for seed in (2, 3)] == [first, first]


def test_a_loop_over_a_set_of_strings_is_noticed_in_another_process(tmp_path: Path) -> None:
    run("careless", tmp_path / "log", 1)
    results = [run("careless", tmp_path / "log", seed).splitlines()[-1] for seed in (2, 3)]
    assert results == ["NonDeterminismError", "NonDeterminismError"]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_process_is_always_consistent_with_itself(tmp_path: Path, seed: int) -> None:
    first = run("careless", tmp_path / "log", seed)
    assert run("careless", tmp_path / "log", seed) == first
