"""Programs and packages that campaigns need and the project does not: installed when they are missing.

Debian packages come through apt-get, which only root may use; Python packages go into a folder of their own inside the
environment, so that what the suite runs with stays as it is.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

INSTALL_SECONDS_MAX: Final = 600


class ToolMissing(Exception):
    """A campaign needs something that is not there and cannot be installed; says what to do."""


def folder() -> Path:
    """Return where campaigns keep what they build and install: inside the environment, deleted with it."""
    place = Path(sys.prefix) / "torture"
    place.mkdir(exist_ok=True)
    return place


def need_debian(is_there: Callable[[], bool], *packages: str) -> None:
    """Install Debian packages unless what they bring is there.

    Raises:
        ToolMissing: they cannot be installed.
    """
    if is_there():
        return
    with _one_at_a_time():
        if is_there():
            return
        names = " ".join(packages)
        if shutil.which("apt-get") is None:
            raise ToolMissing(f"this campaign needs {names}, as Debian calls it; install it and try again")
        if os.geteuid() != 0:
            raise ToolMissing(f"this campaign needs {names}; run: sudo apt-get install -y {names}")
        say(f"installing {names}")
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
        if _fails(install, environment):
            _fails(["apt-get", "update", "-q"], environment)
            if _fails(install, environment) or not is_there():
                raise ToolMissing(f"apt-get could not install {names}; install it and try again")


def need_command(command: str, *packages: str) -> str:
    """Return the path of a command, installed from Debian if it is missing.

    Raises:
        ToolMissing: it cannot be installed.
    """
    need_debian(lambda: shutil.which(command) is not None, *packages)
    found = shutil.which(command)
    assert found is not None
    return found


def need_python(module: str, requirement: str) -> Path:
    """Return the folder from which a Python package can be imported; put it on `sys.path` where it is needed.

    Raises:
        ToolMissing: there is none for this Python.
    """
    place = folder() / "packages"
    if importlib.util.find_spec(module) is None and not (place / module).exists():
        with _one_at_a_time():
            if not (place / module).exists():
                say(f"installing {requirement} into {place}")
                command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
                if _fails([*command, "--no-deps", "--target", str(place), requirement]):
                    raise ToolMissing(f"pip could not install {requirement} for this Python")
    return place


def _fails(command: list[str], environment: dict[str, str] | None = None) -> bool:
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, timeout=INSTALL_SECONDS_MAX, check=False)
    return done.returncode != 0


def say(text: str) -> None:
    """Tell a person what is going on; stdout is for the campaign's line."""
    print(f"torture: {text}", file=sys.stderr, flush=True)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with (folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
