"""What the workflows of the corpus stand on: an application, and an outside world in which work takes time."""

from __future__ import annotations

import sys
from types import ModuleType

from durable import Workflow
from durable.store.memory import MemoryStore
from tests.support.clock import VirtualClock
from tests.support.replaying import Stage, World

_stages: list[Stage] = []


def application() -> Workflow:
    """Return the application of the stage on which the calling module is being loaded."""
    return _stages[-1].wf


async def job(ms: int) -> int:
    """Do work for the calling task; return the number of its attempt, from 1."""
    return await _stages[-1].world.job(ms)


def load(source: str, name: str, stage: Stage) -> ModuleType:
    """Execute a module of the corpus, or what became of one, on a stage; `job` means this stage from now on."""
    _stages[:] = [stage]
    module = ModuleType(f"corpus_{name}")
    # Stored values name their classes by the module; older and newer versions of it are the same one.
    sys.modules[module.__name__] = module
    exec(compile(source, file_name(name), "exec", dont_inherit=True), module.__dict__)
    return module


def file_name(name: str) -> str:
    """Return the file that frames of a loaded module show."""
    return f"<corpus {name}>"


def empty_stage() -> Stage:
    """Return a stage on which nothing is played."""
    clock = VirtualClock()
    return Stage(Workflow("app", db=MemoryStore(), clock=clock), World(clock))
