"""`import durable` in a fresh interpreter: how long, and does it bring optional dependencies along?"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from statistics import median
from time import perf_counter

from bench.figures import Figure
from bench.settings import Settings

_TIMED = """
import sys
from time import perf_counter, process_time
began, cpu_began = perf_counter(), process_time()
import durable
seconds, cpu = perf_counter() - began, process_time() - cpu_began
import json
print(json.dumps([seconds, cpu, sorted(sys.modules)]))
"""

BARE = "import sys, json, time"

ONLY_COMMANDS = ("click", "rich")
"""Required, but for commands only."""


def measure(settings: Settings) -> list[Figure]:
    """Return how long the import takes; n: interpreters."""
    # As after a first import anywhere, whatever the environment says about keeping bytecode.
    variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": settings.folder}
    _run(_TIMED, variables)
    seconds, cpu, bare, whole = [], [], [], []
    modules: set[str] = set()
    for _ in range(settings.n):
        bare.append(_run(BARE, variables)[0])
        took, answer = _run(_TIMED, variables)
        whole.append(took)
        imported_s, cpu_s, loaded = json.loads(answer)
        seconds.append(imported_s)
        cpu.append(cpu_s)
        modules |= {name.partition(".")[0] for name in loaded}
    unwanted = sorted(modules & optional_modules())
    if unwanted:
        print(f"bench: import durable brings optional modules along: {', '.join(unwanted)}", file=sys.stderr)
    n = settings.n
    return [
        Figure("import", "p50_ms", median(seconds) * 1000, "ms", n),
        Figure("import", "min_ms", min(seconds) * 1000, "ms", n),
        Figure("import", "cpu_ms", median(cpu) * 1000, "ms", n),
        Figure("import", "above_bare_ms", (median(whole) - median(bare)) * 1000, "ms", n),
        Figure("import", "optional_modules", len(unwanted), "modules", n),
    ]


def _run(program: str, variables: dict[str, str]) -> tuple[float, str]:
    began = perf_counter()
    done = subprocess.run([sys.executable, "-c", program], env=variables, stdout=subprocess.PIPE, text=True, check=True)
    return perf_counter() - began, done.stdout


def optional_modules() -> set[str]:
    """Return the importable names of what durable only needs with an extra or for a command."""
    found = requires("durable") or []
    optional = {_name(text) for text in found if "extra ==" in text} | set(ONLY_COMMANDS)
    distributions = packages_distributions()
    return {module for module, names in distributions.items() if any(_name(name) in optional for name in names)} - {
        "durable"
    }


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=;~! (]", requirement)[0]).lower()
