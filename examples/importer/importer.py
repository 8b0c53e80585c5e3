"""Read every module of this Python's standard library and count what is in it. Kill it anywhere, run it again.

    python examples/importer/importer.py

Each file is one task, and each result one checkpoint in ./durable.db: a file that was counted is not read again, over
any number of crashes. `durable runs show library` draws what happened; demo.py, beside this file, kills the importer
on purpose and proves it.
"""

import argparse
import ast
import asyncio
import logging
import os
import sysconfig
import warnings
from dataclasses import dataclass
from pathlib import Path

from ledger import Ledger

import durable
from durable import Workflow

RUN_ID = "library"
AT_ONCE = 4  # files in work at the same time: what a crash may repeat

wf = Workflow("importer")  # ./durable.db, or what DURABLE_DB says
ledger = Ledger(Path("ledger.txt"))


@dataclass(frozen=True)
class Counts:
    """What one file, or the whole library, holds."""

    files: int = 0
    lines: int = 0
    functions: int = 0
    classes: int = 0
    documented: int = 0  # functions and classes with a docstring
    broken: int = 0  # files that are no valid Python

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, field) + getattr(other, field) for field in self.__dataclass_fields__))


@wf.task
def list_modules(root: str, most: int | None) -> list[str]:
    # The file system may look different tomorrow, and a workflow has to take the same way each time it is replayed.
    # So looking is a task: what it saw the first time is recorded, and stands.
    paths = (path.relative_to(root) for path in Path(root).rglob("*.py"))
    return sorted(path.as_posix() for path in paths if "site-packages" not in path.parts)[:most]


@wf.task
def count(root: str, name: str) -> Counts:
    # For the demo only: a line in a file that durable knows nothing of, written before the work begins.
    ledger.append("parse", name)
    source = Path(root, name).read_bytes()
    lines = source.count(b"\n")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        # Python's own tests hold such files. Trying again would not help, so this is a result and not an error.
        return Counts(files=1, lines=lines, broken=1)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    documented = sum(ast.get_docstring(node, clean=False) is not None for node in [*functions, *classes])
    return Counts(1, lines, len(functions), len(classes), documented)


@wf.task
def write_report(total: Counts) -> None:
    # A task may run twice, when the crash falls between its effect and the record of it. Writing beside and renaming
    # gives the same report then, and never half of one.
    draft = Path("report.txt.new")
    draft.write_text(describe(total))
    draft.replace("report.txt")


@wf.workflow(id=RUN_ID)
async def import_library(root: str, most: int | None = None) -> Counts:
    names = await list_modules.aio(root, most)
    done = 0

    async def checkpoint(name: str) -> Counts:
        nonlocal done
        # The step is named after its file, so that the history reads well.
        counts = await count.aio(root, name, step_id=name)
        done += 1
        durable.progress(done, len(names), name)
        return counts

    total = sum(await durable.map(checkpoint, names, limit=AT_ONCE), Counts())
    await write_report.aio(total)
    durable.logger.info("the report is written")  # silent when replayed
    return total


def describe(total: Counts) -> str:
    definitions = total.functions + total.classes
    share = 100 * total.documented / definitions if definitions else 0
    return (
        f"{total.files:,} files ({total.broken} of them no valid Python), {total.lines:,} lines\n"
        f"{total.functions:,} functions, {total.classes:,} classes, {share:.0f} % with a docstring\n"
    )


def run(most: int | None) -> Counts:
    # Old modules hold old habits, such as "\d" in a plain string; each would be a warning on the terminal.
    warnings.simplefilter("ignore")
    return asyncio.run(import_library(sysconfig.get_path("stdlib"), most))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Count what the standard library holds.")
    parser.add_argument("--files", type=int, metavar="N", help="only the first N")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(f"process {os.getpid()}; kill -9 it and run it again")
    print(describe(run(arguments.files)), end="")
