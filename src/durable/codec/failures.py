"""Exceptions as records: what is kept of one, and how it is rebuilt.

A record has the class's name, the arguments, attributes, message, notes and traceback text, and the same of its causes,
contexts and group members. Everything is bounded and everything may be missing: an exception is recorded when something
has gone wrong already, so `record_of` takes what it can get from code that may raise at any touch.

Rebuilding runs nothing of the class: no `__init__`, no `__new__` in Python, no `__setattr__`. State that lives in C
(`errno`, the `object` of a decoding error, slots) is read and set through the descriptors of the class. A class that is
not loaded here, or cannot be made this way, becomes a `TaskError` with its name and message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import BuiltinFunctionType, ClassMethodDescriptorType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final, Protocol

import msgspec

from durable.codec.leaves import read_text, tag_text
from durable.codec.refusal import Refused
from durable.codec.tracebacks import TRACEBACK, traceback_text
from durable.errors import TaskError

Json = Any
Record = dict[str, Any]

CHAIN_MAX: Final = 8  # exceptions behind each other
PART_CHAIN_MAX: Final = 2  # the same for an exception among the arguments of another
ERRORS_MAX: Final = 64  # exceptions in one record, group members included
MESSAGE_CHARS: Final = 8_000
SMALL_CHARS: Final = 1_000
NOTE_CHARS: Final = 2_000
NOTES_MAX: Final = 20
TRACEBACK_CHARS: Final = 16_000
ATTRIBUTES_MAX: Final = 50
PART_BYTES: Final = 32_768  # one argument or attribute, encoded

_NOT_STATE: Final = frozenset({"__notes__", TRACEBACK})
# The object whose attribute was missing: it may be anything, and the message names what matters.
_NOT_MEMBERS: Final = frozenset({"obj", "args", "message", "exceptions"})
_size = msgspec.json.Encoder().encode


class Writer(Protocol):
    """What a record needs of the walk that writes it (`tagging.Tagger`)."""

    tracebacks: bool

    def tree(self, value: Any) -> Json: ...

    def name_of(self, cls: type) -> str: ...


class Reader(Protocol):
    """What a record needs of the walk that reads it (`untagging.Untagger`)."""

    def value(self, tree: Json) -> Any: ...

    def find(self, name: str) -> type | None: ...


def small_record_of(error: BaseException, name: str) -> Record:
    """Return a record that cannot fail: the name of the class and a short message."""
    message = tag_text(capped(message_of(error), SMALL_CHARS))
    return {"type": name, "message": message, "args": [message]}


class Recorder:
    """Writes one record; knows which exceptions it has seen, because chains can be circles."""

    def __init__(self, walk: Writer) -> None:
        self._walk = walk
        self._seen: set[int] = set()

    def record_of_part(self, error: BaseException) -> Record:
        """Return the record of an exception that is an argument or attribute of one recorded here.

        Raises:
            Refused: It has been seen, or there are too many.
        """
        if not self._may_follow(error, PART_CHAIN_MAX):
            raise Refused("it contains itself or too many exceptions", "exception")
        return self.record(error, PART_CHAIN_MAX)

    def record(self, error: BaseException, chain_left: int = CHAIN_MAX) -> Record:
        """Return the record of an exception and of those that it hangs together with, `chain_left` in a row."""
        self._seen.add(id(error))
        record: Record = {"type": self._walk.name_of(type(error)), "message": tag_text(message_of(error))}
        if isinstance(error, BaseExceptionGroup):
            record["title"] = tag_text(capped(error.message, MESSAGE_CHARS))
            record["members"] = self._followed(error.exceptions, chain_left)
        else:
            record["args"] = [self._part(arg) for arg in error.args]
        optional = {
            "details": self._details(error),
            "state": dict(self._state(error)),
            "notes": list(notes_of(error)),
            "traceback": tag_text(capped(traceback_text(error), TRACEBACK_CHARS)) if self._walk.tracebacks else "",
            "suppress": error.__suppress_context__,
        }
        record |= {key: part for key, part in optional.items() if part}
        for key, other in (("cause", error.__cause__), ("context", error.__context__)):
            for found in self._followed([other], chain_left):
                record[key] = found
        return record

    def _followed(self, errors: Iterable[BaseException | None], chain_left: int) -> list[Record]:
        """Return the records of those that are new, as far as the bounds allow."""
        return [
            self.record(error, chain_left - 1)
            for error in errors
            if error is not None and self._may_follow(error, chain_left)
        ]

    def _may_follow(self, error: BaseException, chain_left: int) -> bool:
        return chain_left > 0 and id(error) not in self._seen and len(self._seen) < ERRORS_MAX

    def _part(self, value: Any) -> Json:
        """Return an argument, or its text when it cannot be stored or is too long."""
        try:
            return self._tree(value)
        except Refused:
            return tag_text(value_text(value))

    def _tree(self, value: Any) -> Json:
        if isinstance(value, str | bytes) and len(value) > PART_BYTES:
            raise Refused("it is long", "text", too_large=True)
        tree = self._walk.tree(value)
        if len(_size(tree)) > PART_BYTES:
            raise Refused("it is long", "value", too_large=True)
        return tree

    def _state(self, error: BaseException) -> Iterator[tuple[str, Json]]:
        """Yield the attributes that can be stored, those in C and in slots first."""
        found: dict[str, Any] = {}
        for name, member in members_of(type(error)).items():
            with suppress(AttributeError):
                found[name] = member.__get__(error)
        found = {name: value for name, value in found.items() if value is not None} | vars(error)
        for name in [name for name in found if type(name) is str and name not in _NOT_STATE][:ATTRIBUTES_MAX]:
            if not name.startswith("$"):
                with suppress(Refused, UnicodeEncodeError):
                    yield name, self._tree(found[name])

    def _details(self, error: BaseException) -> Json:
        """Return what a pydantic ValidationError is made of, when it can be made of it again."""
        make = maker_from_details(type(error))
        if make is None:
            return None
        try:
            parts = [
                {key: line[key] for key in ("type", "loc", "input", "ctx") if key in line}
                for line in error.errors(include_url=False)  # type: ignore[attr-defined]
            ]
            details = (error.title, parts)  # type: ignore[attr-defined]
            return self._tree(details) if str(make(*details)) == str(error) else None
        except Exception:  # noqa: BLE001 - an input that cannot be stored, an error type of the user's own
            return None


def error_of(record: Json, walk: Reader) -> BaseException:
    """Return the exception of a record, or a `TaskError` in its place.

    Raises:
        ValueError: It is no record.
    """
    if type(record) is not dict or type(record.get("type")) is not str:
        raise ValueError("it is no record of an exception")
    name, message = record["type"], read_text(record.get("message", ""))
    try:
        error = rebuilt(name, record, walk)
    except Exception:  # noqa: BLE001 - whatever is missing or damaged, name and message are there
        error = None
    if error is None:
        error = TaskError(shown_name(name), message)
    with suppress(Exception):
        chain(error, record, walk)
    return error


def rebuilt(name: str, record: Record, walk: Reader) -> BaseException | None:
    """Return the exception of a record, or None when its class is unknown or must not be built."""
    cls = walk.find(name)
    if cls is None or not may_build(cls):
        return None
    if "details" in record:
        make = maker_from_details(cls)
        return make(*walk.value(record["details"])) if make else None
    error: BaseException
    if issubclass(cls, BaseExceptionGroup):
        members = [error_of(member, walk) for member in record["members"]]
        error = blank(cls, read_text(record["title"]), members or [TaskError("ExceptionGroup", "members left out")])
    else:
        error = blank(cls)
        BaseException.__dict__["args"].__set__(error, tuple(walk.value(arg) for arg in record["args"]))
    set_state(error, {key: walk.value(tree) for key, tree in record.get("state", {}).items()})
    return error


def may_build(cls: type) -> bool:
    """Only exceptions that ordinary code handles; of the others, cancellation, which asyncio code handles too."""
    cancelled = getattr(sys.modules.get("asyncio.exceptions"), "CancelledError", None)
    return issubclass(cls, Exception) or cls is cancelled or cls is BaseExceptionGroup


def blank(cls: type, *args: Any) -> Any:
    """Return an exception without its `__init__`, made by the C code of the base that fits."""
    for base in cls.__mro__:
        make = vars(base).get("__new__")
        if isinstance(make, BuiltinFunctionType):
            # A base whose layout is not the class's own is refused, and a further one fits.
            with suppress(TypeError):
                return make(cls, *args)
    raise ValueError(f"{cls.__qualname__} cannot be made without its constructor")


def set_state(error: BaseException, state: Mapping[str, Any]) -> None:
    members = members_of(type(error))
    for name, value in state.items():
        if name in members:
            with suppress(AttributeError, TypeError):
                members[name].__set__(error, value)
        else:
            vars(error)[name] = value


def chain(error: BaseException, record: Record, walk: Reader) -> None:
    """Give an exception its notes, its traceback text and those that it hangs together with."""
    own = vars(error)
    if notes := record.get("notes"):
        own["__notes__"] = [read_text(note) for note in notes]
    if text := record.get("traceback"):
        own[TRACEBACK] = read_text(text)
    # Through the base's descriptors: a class may define what assignment to its instances does.
    for key in ("context", "cause"):
        if key in record:
            BaseException.__dict__[f"__{key}__"].__set__(error, error_of(record[key], walk))
    BaseException.__dict__["__suppress_context__"].__set__(error, bool(record.get("suppress")))


def members_of(cls: type) -> dict[str, Any]:
    """Return the descriptors of state that lives outside `__dict__`, by attribute name."""
    return {
        name: member
        for base in reversed(cls.__mro__)
        if base is not BaseException and base is not object
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType | GetSetDescriptorType)
        and not name.startswith("__")
        and name not in _NOT_MEMBERS
    }


def maker_from_details(cls: type) -> Callable[..., BaseException] | None:
    """Return the constructor in C that pydantic's ValidationError has in place of `__new__`."""
    found = vars(cls).get("from_exception_data")
    made: Callable[..., BaseException] | None = None
    if isinstance(found, ClassMethodDescriptorType):
        made = found.__get__(None, cls)
    return made


def message_of(error: BaseException) -> str:
    try:
        return capped(str(error), MESSAGE_CHARS)
    except BaseException as raised:  # noqa: BLE001 - `__str__` is the user's code; an exit asked for there is none
        return f"<{type(error).__qualname__} whose text raised {type(raised).__qualname__}>"


def value_text(value: object) -> str:
    try:
        return capped(value if isinstance(value, str) else repr(value), MESSAGE_CHARS)
    except BaseException:  # noqa: BLE001 - as above
        return f"<{type(value).__qualname__}>"


def capped(text: str, chars: int) -> str:
    """Return text of exact type `str`, shortened in the middle."""
    if len(text) <= chars:
        return str.__getitem__(text, slice(None))
    half = chars // 2
    head, tail = str.__getitem__(text, slice(half)), str.__getitem__(text, slice(-half, None))
    return f"{head}… ({len(text):,} characters) …{tail}"


def notes_of(error: BaseException) -> Iterator[Json]:
    notes = vars(error).get("__notes__", ())
    for note in notes[:NOTES_MAX] if isinstance(notes, list | tuple) else ():
        if isinstance(note, str):
            yield tag_text(capped(note, NOTE_CHARS))


def shown_name(name: str) -> str:
    """Return a stored class name as Python prints it: `KeyError`, `orders.Declined`."""
    return name.removeprefix("builtins:").replace(":", ".")
