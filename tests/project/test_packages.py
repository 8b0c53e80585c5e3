"""Every folder of the package explains itself, and the commands of the checkout can be run."""

import ast
import os
import subprocess
import sys
import tomllib

import pytest

from tests.project.support import PACKAGE, ROOT, modules


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in modules()}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_has_a_docstring(path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), "say what lives here, who calls it and what it may not know"


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("name", ["dev", ".ci/run"])
def test_commands_are_executable(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)


def test_dev_alone_prints_its_commands() -> None:
    done = subprocess.run([sys.executable, ROOT / "dev"], capture_output=True, text=True, check=True)
    for command in ("setup", "demo", "test", "check", "torture", "bench", "shell"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["tset"], 2, "there is no command 'tset'"),
        (["--python", "3.x", "test"], 2, "wants a version such as 3.12"),
        (["--python", "3.8", "test"], 2, "needs Python 3.11 or newer"),
        (["--python", "3.99", "test"], 3, "no Python 3.99 was found"),
        (["check", "--nonsense"], 2, "check does not know '--nonsense'"),
    ],
)
def test_dev_says_what_is_wrong_with_a_call(arguments: list[str], code: int, text: str) -> None:
    done = subprocess.run([sys.executable, ROOT / "dev", *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr


def test_every_dependency_has_a_version_in_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {requirement.split(">=")[0].split(";")[0].split("[")[0].strip() for requirement in wanted} - {"durable"}
    kept = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names - {name.replace("backports-zstd", "backports.zstd") for name in kept} == set()
