"""T31: nothing that is shipped can be made to run code, a shell or SQL by a value that somebody else wrote."""

import pytest

from tests.project.forbidden import violations
from tests.project.support import PACKAGE, modules

# What may do what it does, and why. A folder ends with a slash.
EXEMPT = {
    "codec/unsafe_pickle.py": "the codec that a user must ask for by this name",
}
MAY_IMPORT_BY_NAME = {
    "cli/": "MODULE:NAME on the command line comes from the person who runs it",
}


def is_listed(name: str, listed: dict[str, str]) -> bool:
    return any(name == entry or (entry.endswith("/") and name.startswith(entry)) for entry in listed)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_t31_no_module_uses_a_forbidden_api(path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    if is_listed(name, EXEMPT):
        return
    found = [f"line {line}: {reason}" for line, reason in violations(path.read_text())]
    if is_listed(name, MAY_IMPORT_BY_NAME):
        found = [text for text in found if "with a name that is not written there" not in text]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, marshal",
        "from pickle import loads",
        "from cloudpickle.cloudpickle import dumps",
        "eval(text)",
        "builtins.exec(text)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=wanted)",
        "os.system(text)",
        "from os import popen",
        "yaml.load(text)",
        "from yaml import unsafe_load",
        "importlib.import_module(stored)",
        "import_module(f'{stored}.x')",
        "__import__(stored)",
        "pkgutil.resolve_name(stored)",
        "db.execute(f'{verb} FROM runs')",
        "db.execute('SELECT * FROM ' + table)",
        "db.executemany('DELETE FROM x WHERE id IN (%s)' % marks, ids)",
        "db.executescript('CREATE {} y'.format(kind))",
        "query = f'select * from {table}'",
        "query = 'INSERT OR IGNORE INTO ' + table + ' VALUES (1)'",
        "query = 'UPDATE {} SET x = 1'.format(table)",
        "query = f'WITH due AS (SELECT {columns})'",
    ],
)
def test_t31_finds(source: str) -> None:
    assert list(violations(source))


@pytest.mark.parametrize(
    "source",
    [
        "from .pickle import name",
        "import json",
        "re.compile(text)",
        "subprocess.run(['ls'], shell=False)",
        "yaml.safe_load(text)",
        "importlib.import_module('durable.cli')",
        "db.execute('SELECT * FROM runs WHERE id = ?', (run_id,))",
        "db.execute('SELECT 1 ' 'FROM runs')",
        "db.execute(QUERIES.claim, values)",
        "db.execute(f'PRAGMA user_version = {SCHEMA_VERSION}')",
        "message = f'update of {name} was refused'",
        "message = 'select a run: ' + name",
        "pool.execute(task + 1)",
    ],
)
def test_t31_leaves_alone(source: str) -> None:
    assert list(violations(source)) == []
