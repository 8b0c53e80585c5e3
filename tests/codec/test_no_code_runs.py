"""I1, I2: nothing in stored bytes imports a module, calls a function or runs a constructor.

Covers: I1
"""

import ast
import dataclasses
import importlib
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import durable.codec
from durable.codec import JsonCodec
from durable.codec.registry import loaded_class, script_name
from durable.codec.unsafe_pickle import PickleCodec
from durable.errors import DecodeError, EncodeError, KeyMissing, TaskError
from tests.codec.values import Receipt

codec = JsonCodec()
RAN: list[str] = []


class Canary:
    """Writes down every way in which a decoder could run it."""

    def __init__(self, *args, **kwargs) -> None:
        RAN.append("init")

    def __new__(cls, *args, **kwargs):
        RAN.append("new")
        return object.__new__(cls)

    def __reduce__(self):
        return (RAN.append, ("reduce",))

    def __setstate__(self, state) -> None:
        RAN.append("setstate")


@dataclasses.dataclass
class FieldCanary:
    x: int

    def __new__(cls, *args, **kwargs):
        RAN.append("new")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        RAN.append("post_init")

    def __setattr__(self, name, value) -> None:
        RAN.append("setattr")
        object.__setattr__(self, name, value)

    def __setstate__(self, state) -> None:
        RAN.append("setstate")


class ErrorCanary(Exception):
    def __new__(cls, *args):
        RAN.append("new")
        return Exception.__new__(cls)

    def __init__(self, *args) -> None:
        RAN.append("init")

    def __setattr__(self, name, value) -> None:
        RAN.append("setattr")

    def __str__(self) -> str:
        RAN.append("str")
        return "x"

    @property
    def code(self) -> int:
        return 1

    @code.setter
    def code(self, value) -> None:
        RAN.append("property")


@pytest.fixture(autouse=True)
def nothing_ran():
    RAN.clear()
    yield
    assert RAN == []


@pytest.mark.parametrize(
    "body",
    [
        '{"$class":"os:system","command":"true"}',
        '{"$class":"subprocess:Popen","args":["true"]}',
        '{"$class":"builtins:eval","x":"1"}',
        '{"$class":"builtins:object"}',
        '{"$class":"builtins:dict"}',
        '{"$class":"builtins:type"}',
        '{"$class":"types:FunctionType"}',
        '{"$class":"collections:OrderedDict"}',
        '{"$class":"pathlib:Path"}',
        f'{{"$class":"{__name__}:Canary","x":1}}',
        f'{{"$class":"{__name__}:ErrorCanary","x":1}}',
        f'{{"$enum":"{__name__}:FieldCanary","x":1}}',
        f'{{"$class":"{__name__}:FieldCanary","$dump":{{"x":1}},"$given":[]}}',
        '{"$class":"tests.codec.values:Colour","name":"RED"}',
        '{"$class":"antigravity:x"}',
        '{"$class":"this:s"}',
        '{"$class":""}',
        '{"$class":":"}',
        '{"$class":"tests.codec.values:Receipt.__init__.__globals__"}',
        '{"$class":"tests.codec.values:Receipt.__class__"}',
        '{"$class":["os","system"]}',
        '{"$enum":"signal:Signals"}',
    ],
)
def test_i1_a_name_that_is_no_class_of_a_permitted_family_is_refused(body) -> None:
    before = set(sys.modules)
    with pytest.raises(DecodeError):
        codec.decode(b"T" + body.encode())
    assert set(sys.modules) - before <= {"zoneinfo"}


def test_i1_a_dataclass_is_rebuilt_without_running_any_of_its_methods() -> None:
    found = codec.decode(f'T{{"$class":"{__name__}:FieldCanary","x":1}}'.encode())
    assert type(found) is FieldCanary
    assert found.x == 1


def test_i1_an_error_is_rebuilt_without_running_any_of_its_methods() -> None:
    rest = '"message":"m","args":[1],"state":{"code":5,"y":2},"notes":["n"],"suppress":true}'
    found = codec.decode_error(f'X{{"type":"{__name__}:ErrorCanary",{rest}'.encode())
    assert type(found) is ErrorCanary
    assert (found.args, vars(found)["y"], found.__suppress_context__) == ((1,), 2, True)


@pytest.mark.parametrize(
    "name", [f"{__name__}:Canary", "subprocess:Popen", "builtins:SystemExit", "os:system", "builtins:BaseException"]
)
def test_i1_an_error_record_builds_only_exceptions(name) -> None:
    found = codec.decode_error(f'X{{"type":"{name}","message":"m","args":["true"]}}'.encode())
    assert type(found) is TaskError


def test_i1_pickles_are_opaque_bytes() -> None:
    data = pickle.dumps(Canary.__new__(Canary))
    RAN.clear()
    for tag in (b"", b"P", b"J", b"T", b"X", b"Z", b"E"):
        with pytest.raises(DecodeError):
            codec.decode(tag + data)


def test_no_module_is_imported_for_a_name() -> None:
    sys.modules.pop("colorsys", None)
    with pytest.raises(DecodeError, match="import 'colorsys' before running workflows"):
        codec.decode(b'T{"$class":"colorsys:Thing"}')
    assert "colorsys" not in sys.modules


def test_no_hook_of_a_module_runs(monkeypatch) -> None:
    lazy: Any = types.ModuleType("lazy_module_of_test")
    lazy.__getattr__ = RAN.append
    monkeypatch.setitem(sys.modules, "lazy_module_of_test", lazy)
    assert loaded_class("lazy_module_of_test:Thing") is None

    class Loader(types.ModuleType):
        def __getattribute__(self, name):
            RAN.append(name)
            return super().__getattribute__(name)

    monkeypatch.setitem(sys.modules, "lazy_module_of_test", Loader("lazy_module_of_test"))
    RAN.clear()
    assert loaded_class("lazy_module_of_test:Thing") is None


def test_a_class_of_a_script_is_found_under_the_name_of_its_file(monkeypatch) -> None:
    main: Any = types.ModuleType("__main__")
    main.__file__ = "/somewhere/orders.py"
    main.__spec__ = None
    local = dataclasses.make_dataclass("Local", ["x"])
    local.__module__ = "__main__"
    main.Local = local
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert script_name() == "orders"
    data = codec.encode(local(1), label="v")
    assert data == b'T{"$class":"orders:Local","x":1}'
    assert JsonCodec().decode(data) == local(1)
    # In a worker that imports the same file as a module.
    orders: Any = types.ModuleType("orders")
    orders.Local = dataclasses.make_dataclass("Local", ["x"])
    main.__file__ = "/somewhere/worker.py"
    monkeypatch.setitem(sys.modules, "orders", orders)
    assert type(JsonCodec().decode(data)) is orders.Local


def test_only_the_pickle_codec_imports_pickle() -> None:
    for path in Path(durable.codec.__file__).parent.glob("*.py"):
        names = {
            alias.name.partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not names & {"marshal", "shelve", "pydantic", "attrs", "attr"}
        assert ("pickle" in names) == (path.name == "unsafe_pickle.py")


def test_the_pickle_codec_is_asked_for_by_name() -> None:
    assert not hasattr(durable.codec, "PickleCodec")
    pickling = PickleCodec()
    value = {1, 2, Path}
    data, found = pickling.round_trip(value, label="v")
    assert data[:1] == b"P"
    assert found == value == pickling.decode(data)
    with pytest.raises(DecodeError, match="a pickle"):
        codec.decode(data)
    assert pickling.encode({"a": 1}, label="v") == b'J{"a":1}'
    with pytest.raises(EncodeError, match="cannot be pickled either"):
        pickling.encode(lambda: 1, label="v")
    with pytest.raises(DecodeError, match="pickle cannot be read"):
        pickling.decode(b"Pxx")


def test_the_codec_loads_no_optional_package() -> None:
    importlib.import_module("durable.codec")
    assert issubclass(KeyMissing, DecodeError)
    assert type(codec.decode(codec.encode(Receipt("o", 1), label="v"))) is Receipt
