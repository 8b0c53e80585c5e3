"""The project's files fit any machine: they name no folder of one, and no host that packages come from."""

import re

import pytest

from tests.project.support import ROOT, project_files

# Put together from pieces, so that this file does not match itself.
MACHINE_FOLDERS = ["/" + name + "/" for name in ("work", "root", "opt", "Users")] + ["/home" + "/"]
PACKAGE_HOSTS = [".".join(labels) for labels in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))]
PACKAGE_HOSTS += [".".join(labels) for labels in (("deb", "debian", "org"), ("npmjs", "com"))]
PACKAGE_OPTIONS = ["--" + option for option in ("index-url", "extra-index-url", "find-links", "trusted-host")]

# A folder of the machine starts a path: it follows nothing that could be the rest of a longer path or of an address.
FOLDER = re.compile(r"(?<![\w.~\-/}>*)])(?:" + "|".join(map(re.escape, MACHINE_FOLDERS)) + ")")
PLACE = re.compile("|".join(map(re.escape, PACKAGE_HOSTS + PACKAGE_OPTIONS)))


def found_in(text: str) -> list[str]:
    return [match.group() for pattern in (FOLDER, PLACE) for match in pattern.finditer(text)]


def test_no_file_names_a_machine_or_a_package_host() -> None:
    findings = {}
    for path in project_files():
        text = path.read_bytes().decode(errors="replace")
        if names := found_in(text):
            findings[str(path.relative_to(ROOT))] = names
    assert findings == {}


@pytest.mark.parametrize("name", MACHINE_FOLDERS + PACKAGE_HOSTS + PACKAGE_OPTIONS)
def test_each_pattern_finds_what_it_is_for(name: str) -> None:
    assert found_in(f"cd {name}x") == [name]


@pytest.mark.parametrize("text", ["src/work/x.py", "~/work/x", "https://example.org/work/", "tmp_path/root/"])
def test_other_paths_are_left_alone(text: str) -> None:
    assert found_in(text) == []
