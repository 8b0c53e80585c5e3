"""Plays the right and wrong workflows of the manual, in a process of its own: `player.py begin|go on FOLDER`.

Programs come as JSON on standard input, by name; how each one ended goes to standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from pathlib import Path
from types import ModuleType

from durable import DurableError, Workflow

RUN_ID = "play"


def load(number: int, name: str, text: str, folder: Path) -> ModuleType:
    # The same name in both processes: stored values mention their classes by it.
    module = ModuleType(f"play_{number}")
    sys.modules[module.__name__] = module
    exec(compile(text, name, "exec"), module.__dict__)
    module.wf.use_db(folder / f"{number}.db")
    return module


def entry_point(module: ModuleType):
    return list(module.wf.workflows.values())[-1]


async def begin(wf: Workflow, workflow) -> str:
    """Start the run, let it come to where it waits, and leave it there."""
    async with wf:
        handle = await workflow.options(id=RUN_ID).start()
        async with asyncio.timeout(30):
            # Nothing tells of a suspension but the store.
            while (state := await handle.status()) in ("queued", "running"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return state


async def go_on(wf: Workflow, workflow) -> str:
    """Give the signal, and say how the run ends: why it was set aside, the error it failed with, or its state."""
    await wf.complete(RUN_ID, "go")
    async with wf:
        with contextlib.suppress(DurableError):  # how it ends is in its record
            await wf.handle(RUN_ID).result(timeout=30)
        record = await wf.runs.get(RUN_ID)
    return record.reason or record.state.label


async def main(phase: str, folder: Path) -> dict[str, str]:
    play = begin if phase == "begin" else go_on
    modules = {
        name: load(number, name, text, folder) for number, (name, text) in enumerate(json.load(sys.stdin).items())
    }
    endings = await asyncio.gather(*(play(module.wf, entry_point(module)) for module in modules.values()))
    return dict(zip(modules, endings, strict=True))


if __name__ == "__main__":
    logging.disable()
    print(json.dumps(asyncio.run(main(sys.argv[1], Path(sys.argv[2])))))
