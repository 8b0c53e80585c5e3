"""`import durable` costs a library only what it uses: no optional dependency, nothing that only commands need."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.project.support import ROOT

ONLY_COMMANDS = {"click", "rich"}
BEHIND_EXTRAS = {"starlette", "httpcore2", "anyio"}


def optional_distributions() -> set[str]:
    """Return the distributions of all extras, by normalised name."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {re.split(r"[\[<>=;~! ]", requirement)[0] for group in extras.values() for requirement in group}
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names | ONLY_COMMANDS | BEHIND_EXTRAS} - {"durable"}


def optional_modules() -> set[str]:
    unwanted = optional_distributions()
    return {
        module
        for module, distributions in packages_distributions().items()
        if any(re.sub(r"[-_.]+", "-", name).lower() in unwanted for name in distributions)
    }


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after the statement."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_import_durable_loads_no_optional_dependency() -> None:
    loaded = modules_after("import durable") - modules_after("pass")
    assert loaded & optional_modules() == set()


@pytest.mark.parametrize("module", ["click", "rich", "fastapi", "pydantic", "cryptography", "hypothesis"])
def test_the_list_of_optional_modules_knows(module: str) -> None:
    assert module in optional_modules()


def test_what_is_loaded_is_seen() -> None:
    assert "click" in modules_after("import click")
