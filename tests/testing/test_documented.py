"""Everything public in the test kit is told in the manual, and costs nothing where it is not used."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import durable.testing
from durable.testing import CrashReport, Effects, Fake, Step, Steps, VirtualClock, crash_matrix, rehome
from tests.docs.support import pages


def told() -> str:
    return pages()["docs/testing.md"]


def public(cls: type) -> list[str]:
    return [name for name in vars(cls) if not name.startswith("_")]


@pytest.mark.parametrize("name", durable.testing.__all__)
def test_every_name_is_told(name):
    assert name in told()
    assert inspect.getdoc(getattr(durable.testing, name))


@pytest.mark.parametrize("function", [crash_matrix, rehome, Fake.__init__, VirtualClock.__init__])
def test_every_option_is_told(function):
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "args", "kwargs")]
    assert [name for name in names if name not in told()] == []


@pytest.mark.parametrize("cls", [Steps, Step, Effects, Fake, CrashReport])
def test_every_method_is_told(cls):
    names = {*public(cls), *getattr(cls, "__dataclass_fields__", {})} - {"hears", "entries", "count"}
    assert [name for name in names if name not in told()] == []


def modules_after(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_product_does_not_load_the_kit_and_the_plugin_loads_only_itself():
    assert not {name for name in modules_after("import durable") if name.startswith("durable.testing")}
    loaded = {name for name in modules_after("import durable.testing.plugin") if name.startswith("durable.testing")}
    assert loaded == {"durable.testing", "durable.testing.plugin"}


def test_other_names_are_none():
    with pytest.raises(AttributeError, match="no attribute 'crash'"):
        _ = durable.testing.crash
