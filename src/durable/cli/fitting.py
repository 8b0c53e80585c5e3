"""Plain data from the command line, made into what an annotation says, or refused.

A call in Python may pass what it likes: it has its type. Text has none, so that what does not fit is a mistake, and is
told before a run is started with it. msgspec does most of it; here is what it does not know: unions of several classes,
pydantic's models, named tuples as objects.
"""

from __future__ import annotations

import os
import types
import typing
from collections import OrderedDict, abc, deque
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any, Final

import msgspec

from durable.codec.annotations import field_types, has_fields

FIELDS_SHOWN: Final = 6
"""Fields of a class that a message names."""

_LISTS: Final[dict[Any, Callable[[list[Any]], Any]]] = {
    list: list, tuple: tuple, set: set, frozenset: frozenset, deque: deque,
    abc.Sequence: list, abc.Iterable: list, abc.Collection: list,
}  # fmt: skip
_DICTS: Final[dict[Any, Callable[[dict[Any, Any]], Any]]] = {
    dict: dict, OrderedDict: OrderedDict, abc.Mapping: dict, abc.MutableMapping: dict
}  # fmt: skip
_NAMES: Final[dict[type, str]] = {dict: "object", list: "array", NoneType: "null"}
"""What JSON calls it."""


class Misfit(ValueError):
    """A value does not fit its annotation."""

    def __init__(self, why: str, place: str = "") -> None:
        super().__init__(why, place)
        self.why, self.place = why, place

    def __str__(self) -> str:
        return f"{self.why} at {self.place}" if self.place else self.why


def bare(annotation: Any) -> Any:
    """Return an annotation without what only decorates it: `Annotated`, `NewType`, aliases."""
    if typing.get_origin(annotation) is typing.Annotated:
        return bare(typing.get_args(annotation)[0])
    for name in ("__supertype__", "__value__"):
        if not isinstance(annotation, type) and hasattr(annotation, name):
            return bare(getattr(annotation, name))
    return annotation


def members_of(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union; none for anything else."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else ()


def fitted(value: Any, annotation: Any) -> Any:
    """Return data as JSON has it as what an annotation says.

    Raises:
        Misfit: it does not fit.
    """
    plain = bare(annotation)
    if members := members_of(plain):
        return _of_union(value, members)
    cls = typing.get_origin(plain) or plain
    if cls in _LISTS or cls in _DICTS:
        return _of_parts(value, cls, typing.get_args(plain))
    if type(value) is dict and _is_made_by_name(cls):
        return _of_fields(value, cls)
    try:
        return msgspec.convert(value, annotation, dec_hook=_foreign, str_keys=True)
    except msgspec.ValidationError as error:
        raise _misfit(str(error)) from None
    except (TypeError, NameError):  # a field with an annotation that msgspec does not know
        if fields_of(cls):
            return _of_fields(_checked(value, dict), cls)
        return value  # a name that is known only to type checkers, and the like: nothing can be said


def _misfit(text: str) -> Misfit:
    """Take what msgspec says apart: "Expected `int`, got `str` - at `$.cents`"."""
    why, _, place = text.replace("`", "").partition(" - at ")
    return Misfit(f"{why[:1].lower()}{why[1:]}", place.removeprefix("$"))


def _of_union(value: Any, members: tuple[Any, ...]) -> Any:
    if value is None and NoneType in members:
        return None
    others = [bare(member) for member in members if member is not NoneType]
    # A number is itself before it is made into another one; an object is of the class that has a place for all of it.
    others.sort(key=lambda member: type(value) is not member and not _has_place(member, value))
    why = ""
    for member in others:
        try:
            return fitted(value, member)
        except Misfit as error:
            why = str(error)
    raise Misfit(why if len(others) == 1 else f"it fits none of {', '.join(map(shown, others))}")


def _has_place(member: Any, value: Any) -> bool:
    return type(value) is dict and value.keys() <= fields_of(member).keys()


def _of_parts(value: Any, cls: Any, args: tuple[Any, ...]) -> Any:
    if cls in _LISTS:
        items = _items(_checked(value, list), cls, args or (Any, ...))
        try:
            return _LISTS[cls](items)
        except TypeError as error:  # a set of what cannot be in one
            raise Misfit(str(error)) from None
    key, kind = args or (Any, Any)
    parts = _checked(value, dict).items()
    return _DICTS[cls]({_key(name, key): _part(part, kind, f".{name}") for name, part in parts})


def _checked(value: Any, wanted: type) -> Any:
    if type(value) is not wanted:
        raise Misfit(f"expected {_NAMES[wanted]}, got {_kind(value)}")
    return value


def _items(value: list[Any], cls: Any, args: tuple[Any, ...]) -> list[Any]:
    kinds = args if cls is tuple and args[-1] is not ... else (args[0],) * len(value)
    if len(kinds) != len(value):
        raise Misfit(f"expected array of length {len(kinds)}, got {len(value)}")
    return [_part(part, kind, f"[{index}]") for index, (part, kind) in enumerate(zip(value, kinds, strict=True))]


def _key(text: str, annotation: Any) -> Any:
    try:
        return msgspec.convert(text, annotation, strict=False)  # a key of JSON is text, also where a number is meant
    except msgspec.ValidationError as error:
        raise _misfit(str(error)) from None


def _of_fields(value: dict[str, Any], cls: Any) -> Any:
    fields = fields_of(cls)
    made = {name: _part(part, fields[name], f".{name}") for name, part in value.items() if name in fields}
    try:
        return cls(**made)
    except Exception as error:  # noqa: BLE001 - the user's class, and its validators
        raise Misfit(_of_validators(error)) from None


def _part(value: Any, annotation: Any, place: str) -> Any:
    try:
        return fitted(value, annotation)
    except Misfit as error:
        raise Misfit(error.why, place + error.place) from None


def _foreign(annotation: Any, value: Any) -> Any:
    """Make what msgspec does not know; what it raises is told with its place."""
    cls = typing.get_origin(annotation) or annotation
    try:
        if isinstance(value, cls):
            return value
    except TypeError:
        return value  # a protocol, which says nothing about its instances
    try:
        if _is_model(cls):
            return annotation.model_validate(value)
        if hasattr(cls, "__fspath__") and type(value) is str:
            return Path(value) if cls is os.PathLike else cls(value)
    except Exception as error:  # noqa: BLE001 - the user's class, and its validators
        raise ValueError(_of_validators(error)) from None
    raise ValueError(f"no {shown(annotation)} can be made of {_kind(value)}")


def _of_validators(error: Exception) -> str:
    """Return what a validator of the user's class says, pydantic's in one line."""
    lines = getattr(error, "errors", None)
    if not callable(lines):
        return str(error) or type(error).__name__
    parts = [(".".join(map(str, line["loc"])), line["msg"]) for line in lines()]
    return "; ".join(f"{place}: {text}" if place else str(text) for place, text in parts)


# Names ----------------------------------------------------------------------------------------------------------------


def shown(annotation: Any) -> str:
    """Return an annotation as one writes it: `list[int] | None`."""
    if isinstance(annotation, list):  # the arguments of a callable
        return f"[{', '.join(map(shown, annotation))}]"
    annotation = bare(annotation)
    if annotation in (None, NoneType):
        return "None"
    if members := members_of(annotation):
        return " | ".join(map(shown, members))
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(map(repr, args))
    if origin is not None and args:
        return f"{shown(origin)}[{', '.join('...' if arg is ... else shown(arg) for arg in args)}]"
    return str(getattr(annotation, "__name__", None) or annotation).removeprefix("typing.")


def sketch(annotation: Any) -> str:
    """Return what the JSON of a class looks like, `{"street": str, "city": str}`; empty if none is annotated."""
    annotation = bare(annotation)
    for member in members_of(annotation) or (annotation,):
        if fields := fields_of(bare(member)):
            parts = [f'"{name}": {shown(kind)}' for name, kind in list(fields.items())[:FIELDS_SHOWN]]
            return f"{{{', '.join(parts)}{', …' if len(fields) > FIELDS_SHOWN else ''}}}"
    return ""


def fields_of(cls: Any) -> dict[str, Any]:
    """Return the fields of a class with their annotations; none if it has no such thing."""
    if not isinstance(cls, type):
        return {}
    if _is_model(cls):
        return {name: field.annotation for name, field in cls.model_fields.items()}  # type: ignore[attr-defined]
    if not has_fields(cls) or not any(hasattr(cls, name) for name in _FIELDED):
        return {}
    found = field_types(cls)
    return {name: kind for name, kind in found.items() if typing.get_origin(kind) is not typing.ClassVar}


_FIELDED: Final = ("__dataclass_fields__", "__attrs_attrs__", "__struct_fields__", "_fields", "__required_keys__")
"""What a class has whose annotations are fields: dataclass, attrs, Struct, named tuple, typed dict."""


def _is_named_tuple(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def _is_made_by_name(cls: Any) -> bool:
    """Is it a class that msgspec makes from arrays only, or without the validation that it brings?"""
    return _is_named_tuple(cls) or (hasattr(cls, "__pydantic_fields__") and not _is_model(cls))


def _is_model(cls: Any) -> bool:
    return isinstance(cls, type) and hasattr(cls, "model_validate")


def _kind(value: Any) -> str:
    return _NAMES.get(type(value), type(value).__name__)
