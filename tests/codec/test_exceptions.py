"""H9: an exception comes back with its type, text and attributes, and recording one never fails."""

import asyncio
import dataclasses
import errno
import json
import pickle
import subprocess
import sys
import traceback
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.codec import JsonCodec
from durable.errors import DecodeError, IdConflict, NonDeterminismError, RunFailed, TaskError, TaskTimedOut
from tests.codec.values import Model, Receipt

codec = JsonCodec()


class Declined(Exception):
    """Its arguments are not those of its `__init__`."""

    made = 0

    def __init__(self, code: int, *, reason: str) -> None:
        type(self).made += 1
        super().__init__(f"declined ({code})")
        self.code, self.reason = code, reason


class HttpError(OSError):
    def __init__(self, status: int) -> None:
        super().__init__(errno.EIO, "input/output error", "/dev/x")
        self.status = status


class Slots(Exception):
    __slots__ = ("where",)

    def __init__(self, where: str) -> None:
        self.where = where

    def __str__(self) -> str:
        return f"at {self.where}"


@dataclasses.dataclass
class Fielded(Exception):
    x: int
    more: list


class Both(KeyError, AttributeError):
    pass


class BadText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class BadExit(Exception):
    def __str__(self) -> str:  # noqa: PLE0307
        sys.exit(3)


class NotText(Exception):
    def __str__(self):
        return 7  # noqa: PLE0307


class OwnGroup(ExceptionGroup):
    def derive(self, excs):
        return OwnGroup(self.message, excs)


def again(error: BaseException, reader: JsonCodec = codec) -> Any:
    return reader.decode_error(codec.encode_error(error))


def raised(call, *args, **kwargs) -> Any:
    try:
        call(*args, **kwargs)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def chained() -> None:
    try:
        try:
            dict[str, int]()["a"]
        except KeyError as error:
            raise ValueError("inner") from error
    except ValueError:
        raise RuntimeError("outer")  # noqa: B904 - the implicit context is the point


PLAIN = [
    ValueError("no"),
    ValueError(),
    ValueError(1, (2, {3}), None),
    KeyError("a"),
    KeyError(("a", 1)),
    StopIteration(7),
    IndexError("x"),
    ZeroDivisionError("division by zero"),
    OSError(2, "No such file or directory", "a", None, "b"),
    FileNotFoundError(errno.ENOENT, "No such file", "/tmp/x"),
    ConnectionResetError(104, "reset"),
    BlockingIOError(11, "blocked", 5),
    OSError("text only"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    UnicodeEncodeError("ascii", "\ud800", 0, 1, "ordinal not in range"),
    SyntaxError("bad", ("f.py", 3, 2, "x y", 3, 4)),
    ImportError("m", name="n", path="p"),
    NameError("n", name="x"),
    subprocess.CalledProcessError(3, ["ls", "-l"], b"out", b"err"),
    subprocess.CalledProcessError(returncode=-9, cmd="x"),
    subprocess.TimeoutExpired("cmd", 2.5, output=b"o"),
    json.JSONDecodeError("bad", "doc", 2),
    asyncio.CancelledError("why"),
    TimeoutError(),
    msgspec.ValidationError("wrong"),
    Declined(5, reason="funds"),
    HttpError(502),
    Slots("here"),
    Fielded(1, [(2,)]),
    Both("k"),
    TaskError("x.Y", "gone"),
    IdConflict("r", "flow", "other"),
    RunFailed("r", "e", ("a", "b")),
    TaskTimedOut("t", "timeout", 3.0),
    NonDeterminismError("r", 3, "a", "b"),
    pickle.PicklingError("x"),
]


@pytest.mark.parametrize("error", PLAIN, ids=lambda error: type(error).__name__)
def test_h9_type_text_arguments_and_attributes_survive(error) -> None:
    for found in (again(error), again(error, JsonCodec())):
        assert type(found) is type(error)
        assert str(found) == str(error)
        assert repr(found) == repr(error)
        assert found.args == error.args
        own = {name: value for name, value in vars(found).items() if name != "__durable_traceback__"}
        assert own == vars(error)


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (OSError(2, "No such file", "a", None, "b"), "errno strerror filename filename2"),
        (HttpError(502), "errno strerror filename status"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "encoding object start end reason"),
        (SyntaxError("bad", ("f.py", 3, 2, "x y", 3, 4)), "msg filename lineno offset text end_lineno end_offset"),
        (ImportError("m", name="n", path="p"), "msg name path"),
        (StopIteration(7), "value"),
        (BlockingIOError(11, "blocked", 5), "characters_written"),
        (subprocess.CalledProcessError(3, "ls", b"out", b"err"), "returncode cmd output stderr"),
        (json.JSONDecodeError("bad", "doc", 2), "msg doc pos lineno colno"),
        (Slots("here"), "where"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_h9_state_that_lives_in_c_survives(error, names) -> None:
    found = again(error)
    for name in names.split():
        assert getattr(found, name) == getattr(error, name)


def test_h9_no_init_runs_when_an_error_is_rebuilt() -> None:
    error = Declined(5, reason="funds")
    before = Declined.made
    assert again(error).reason == "funds"
    assert Declined.made == before


def test_h9_a_pydantic_validation_error_is_rebuilt() -> None:
    for error in (
        raised(Model, a="x", b=1),
        raised(Model),
        raised(pydantic.TypeAdapter(list[int]).validate_python, ["a", 1, "b"]),
    ):
        found = again(error)
        assert type(found) is pydantic.ValidationError
        assert str(found) == str(error)
        assert found.errors() == error.errors()


def test_h9_a_validation_error_that_cannot_be_rebuilt_keeps_its_text() -> None:
    error = raised(pydantic.TypeAdapter(int).validate_python, object())
    found = again(error)
    assert isinstance(found, TaskError)
    assert found.message == str(error)
    assert found.type_name == "pydantic_core._pydantic_core.ValidationError"


def test_h9_causes_and_contexts_survive() -> None:
    found = again(raised(chained))
    assert (type(found), str(found), found.__cause__, found.__suppress_context__) == (
        RuntimeError,
        "outer",
        None,
        False,
    )
    middle = found.__context__
    assert (type(middle), str(middle), middle.__suppress_context__) == (ValueError, "inner", True)
    assert type(middle.__cause__) is KeyError
    text = "".join(traceback.format_exception(found))
    assert "direct cause" in text
    assert "During handling" in text


def test_h9_the_traceback_is_kept_as_text_and_grows_with_the_way_it_goes() -> None:
    first = again(raised(chained))
    assert "in chained" in first.__durable_traceback__
    assert 'raise RuntimeError("outer")' in first.__durable_traceback__

    def raise_again() -> None:
        raise first

    second = again(raised(raise_again))
    assert "in chained" in second.__durable_traceback__
    assert "in raise_again" in second.__durable_traceback__


def test_h9_tracebacks_can_be_left_out() -> None:
    data = JsonCodec(tracebacks=False).encode_error(raised(chained))
    assert b"test_exceptions.py" not in data
    assert not hasattr(codec.decode_error(data), "__durable_traceback__")


def test_h9_notes_survive() -> None:
    error: Any = ValueError("x")
    error.add_note("first")
    error.add_note("half \ud800")
    assert again(error).__notes__ == ["first", "half \ud800"]
    error.__notes__ = 7
    assert not hasattr(again(error), "__notes__")


def test_h9_groups_survive_with_their_members() -> None:
    inner = ExceptionGroup("inner", [KeyError("k"), raised(chained)])
    found = again(ExceptionGroup("outer", [ValueError(1), inner]))
    assert type(found) is ExceptionGroup
    assert str(found) == "outer (2 sub-exceptions)"
    assert [type(member) for member in found.exceptions] == [ValueError, ExceptionGroup]
    assert type(found.exceptions[1].exceptions[1].__context__) is ValueError
    matched, rest = found.split(KeyError)
    assert matched is not None
    assert rest is not None
    assert type(again(OwnGroup("own", [ValueError()]))) is OwnGroup
    mixed: list[BaseException] = [asyncio.CancelledError(), ValueError()]
    cancelled = again(BaseExceptionGroup("c", mixed))
    assert [type(member) for member in cancelled.exceptions] == [asyncio.CancelledError, ValueError]


def test_h9_circles_are_cut() -> None:
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__context__ = two, one
    found = again(one)
    assert type(found.__cause__) is KeyError
    assert found.__cause__.__context__ is None
    own: Any = ValueError()
    own.args = (own,)
    own.me = own
    assert type(again(own)) is ValueError


def test_h9_long_chains_and_wide_groups_are_cut() -> None:
    error: BaseException = ValueError(0)
    for n in range(1, 5000):
        new = ValueError(n)
        new.__cause__ = error
        error = new
    found: Any = again(error)
    length = 0
    while found is not None:
        found, length = found.__cause__, length + 1
    assert 5 < length < 20
    wide = again(ExceptionGroup("wide", [ValueError(n) for n in range(10_000)]))
    assert 10 < len(wide.exceptions) < 100
    deep: Exception = ValueError()
    for _ in range(500):
        deep = ExceptionGroup("g", [deep])
    assert type(again(deep)) is ExceptionGroup


def test_h9_a_message_of_ten_megabytes_is_shortened() -> None:
    error: Any = ValueError("x" * 10_000_000)
    error.add_note("n" * 10_000_000)
    error.more = "y" * 10_000_000
    data = codec.encode_error(error)
    assert len(data) < 50_000
    found = codec.decode_error(data)
    assert "10,000,000 characters" in str(found)
    assert type(found) is ValueError


@pytest.mark.parametrize("error", [BadText(), BadExit(), NotText()], ids=lambda error: type(error).__name__)
def test_h9_a_text_that_raises_is_recorded_as_such(error) -> None:
    data = codec.encode_error(error)
    assert b"whose text raised" in data
    assert type(codec.decode_error(data)) is type(error)


def test_h9_half_surrogates_and_nul_in_the_text_are_kept() -> None:
    error = ValueError("\ud800 \0")
    assert again(error).args == ("\ud800 \0",)


def test_h9_what_cannot_be_stored_becomes_text_or_is_left_out() -> None:
    error: Any = ValueError("bad", object(), Receipt("o", 1))
    error.client, error.code = object(), 7
    found = again(error)
    assert found.args[0] == "bad"
    assert found.args[1].startswith("<object object at")
    assert found.args[2] == Receipt("o", 1)
    assert (found.code, hasattr(found, "client")) == (7, False)


@given(
    st.recursive(
        st.text() | st.binary() | st.floats() | st.builds(object), lambda part: st.lists(part) | st.tuples(part)
    )
)
def test_h9_recording_never_fails(arg) -> None:
    error: Any = ValueError(arg, {"a": arg})
    error.part = arg
    assert type(again(error)) is ValueError


class BadDict(Exception):
    @property
    def __dict__(self):  # type: ignore[override]
        raise RuntimeError("no dict")


class BadGetattr(Exception):
    def __getattribute__(self, name):
        raise SystemError(name)


@pytest.mark.parametrize("cls", [BadDict, BadGetattr])
def test_h9_an_error_that_fights_back_is_recorded_by_name(cls) -> None:
    assert type(again(cls("x"))) in (cls, TaskError)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_signals_of_the_interpreter_come_back_as_task_errors(error) -> None:
    found = again(error)
    assert isinstance(found, TaskError)
    assert found.type_name == type(error).__name__
    assert found.message == str(error)


def test_an_unknown_class_becomes_a_task_error_with_all_that_hangs_on_it() -> None:
    class Gone(Exception):
        pass

    error = Gone("was here")
    error.__cause__ = KeyError("k")
    error.add_note("note")
    found = again(error, JsonCodec())
    assert isinstance(found, TaskError)
    assert found.type_name.endswith("Gone")
    assert found.message == "was here"
    assert type(found.__cause__) is KeyError
    assert found.__notes__ == ["note"]


@pytest.mark.parametrize(
    "record",
    [
        {"type": "builtins:ValueError", "message": "m"},
        {"type": "builtins:ValueError", "message": "m", "args": 7},
        {"type": "builtins:ValueError", "message": "m", "args": [{"$new": 1}]},
        {"type": "builtins:ValueError", "message": "m", "args": [], "state": 7},
        {"type": "builtins:ExceptionGroup", "message": "m", "title": "t", "members": 7},
        {"type": "builtins:int", "message": "m", "args": []},
        {"type": "builtins:print", "message": "m", "args": []},
        {"type": "no.such:Thing", "message": "m", "args": []},
        {"type": "", "message": "m", "args": []},
        {"type": "durable.errors:RunFailed", "message": "m", "args": [], "details": ["x"]},
    ],
)
def test_h9_damage_inside_a_valid_frame_falls_back_to_type_and_message(record) -> None:
    found = codec.decode_error(b"X" + msgspec.json.encode(record))
    assert isinstance(found, TaskError)
    assert found.message == "m"


@pytest.mark.parametrize("data", [b"", b"X", b"X[]", b"X{}", b'X{"type":1}', b"J1", b"T{}", b"Xnull", b"\x80"])
def test_what_is_no_record_is_refused(data) -> None:
    with pytest.raises(DecodeError):
        codec.decode_error(data)


def test_damage_in_what_hangs_on_an_error_does_not_lose_the_error() -> None:
    record = {"type": "builtins:ValueError", "message": "m", "args": ["m"], "notes": 7, "cause": {"type": 1}}
    found = codec.decode_error(b"X" + msgspec.json.encode(record))
    assert (type(found), found.args) == (ValueError, ("m",))
