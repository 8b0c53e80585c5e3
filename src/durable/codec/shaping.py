"""Plain data that came from outside, built into the class that an annotation names.

A value that Python code stored carries its types in its tags and needs no annotation. A payload from the command line
or over HTTP is a dict; where the annotation says `Approval`, the workflow should get an `Approval`. So a dict (or, for
an enum, its plain value) is built into the class at its place, with the validation that the class itself brings:
pydantic's for its models, msgspec's for dataclasses, Structs, attrs classes and named tuples. Anything else stays as it
is.
"""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import NoneType, UnionType
from typing import Any, Final

import msgspec

from durable.codec.annotations import field_types
from durable.codec.families import EnumFamily, FlagFamily, NamedTupleFamily, PydanticFamily, has
from durable.codec.registry import Registry

Shaper = Callable[[Any], Any]

_LISTS: Final = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_DICTS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_PLAIN: Final = (str, int, float, bool, NoneType)


class Misfit(Exception):
    """Plain data does not fit the class that the annotation names."""

    def __init__(self, wanted: str, why: str) -> None:
        super().__init__(wanted, why)
        self.wanted, self.why = wanted, why

    def __str__(self) -> str:
        return f"it does not fit the annotation {self.wanted}: {self.why}"


class Shapers:
    """The shaper of each annotation, made once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[object, Shaper | None] = {Any: None, None: None}

    def get(self, annotation: object) -> Shaper | None:
        """Return what builds classes out of plain data for an annotation, or None when it names none."""
        try:
            return self._made[annotation]
        except KeyError:
            made = self._made[annotation] = self._make_known(annotation)
            return made
        except TypeError:  # some annotations cannot be hashed
            return self._make_known(annotation)

    def _make_known(self, annotation: object) -> Shaper | None:
        self._registry.learn(annotation)
        return self._make(annotation)

    def _make(self, annotation: Any) -> Shaper | None:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            return self._make(typing.get_args(annotation)[0])
        if origin is typing.Union or origin is UnionType:
            return self._union(typing.get_args(annotation))
        if isinstance(origin or annotation, type):
            return self._class(annotation, origin or annotation)
        for name in ("__supertype__", "__value__"):
            if hasattr(annotation, name):
                return self._make(getattr(annotation, name))
        return None

    def _class(self, annotation: Any, cls: type) -> Shaper | None:
        args = typing.get_args(annotation)
        if cls in _LISTS and len(args) == 1:
            return _each_item(self._make(args[0]))
        if cls in _DICTS and len(args) == 2:
            return _each_value(self._make(args[1]))
        if cls in (tuple, set, frozenset):
            return None
        family = self._registry.family(cls)
        if family is None:
            return None
        if isinstance(family, EnumFamily | FlagFamily):
            return _enum_shaper(cls)
        if isinstance(family, PydanticFamily):
            return _shaper(annotation, (dict,), cls.model_validate)  # type: ignore[attr-defined]
        if has(cls, "__pydantic_fields__"):  # a dataclass of pydantic's, which validates when it is made
            return _shaper(annotation, (dict,), lambda value: cls(**value))
        accepts = (dict, list) if isinstance(family, NamedTupleFamily) else (dict,)
        return _shaper(annotation, accepts, partial(self._build, annotation, cls))

    def _build(self, annotation: Any, cls: type, value: Any) -> Any:
        """Return an object of a class, validated by msgspec as a whole or field by field.

        msgspec refuses a whole class for one field of a type that it does not know, such as a union of two classes
        or an enum of mixed values; and it takes named tuples only from lists.
        """
        if type(value) is list or not issubclass(cls, tuple):
            with suppress(TypeError):  # what does not fit raises a ValidationError, a ValueError
                return msgspec.convert(value, annotation, dec_hook=_inner)
        hints = field_types(cls)
        if type(value) is list:
            value = dict(zip(hints, value, strict=False))
        return cls(**{name: self._field(hint, value[name]) for name, hint in hints.items() if name in value})

    def _field(self, annotation: Any, value: Any) -> Any:
        shape = self.get(annotation)
        if shape is not None:
            return shape(value)
        try:
            return msgspec.convert(value, annotation, dec_hook=_inner)
        except TypeError:
            return value

    def _union(self, members: tuple[Any, ...]) -> Shaper | None:
        """Return the shaper of the one class of a union; where plain data fits several members, it stays plain."""
        others = [member for member in members if member is not NoneType]
        if len(others) != 1 and any(is_open(member) for member in others):
            return None
        made = [shaper for member in others if (shaper := self._make(member)) is not None]
        return made[0] if len(made) == 1 else None


def is_open(member: Any) -> bool:
    """Is a dict a value of this union member as it is?"""
    cls = typing.get_origin(member) or member
    return cls in (*_DICTS, Any, object) or typing.is_typeddict(cls)


def _each_item(shape: Shaper | None) -> Shaper | None:
    if shape is None:
        return None
    return lambda value: [shape(part) for part in value] if type(value) is list else value


def _each_value(shape: Shaper | None) -> Shaper | None:
    if shape is None:
        return None
    return lambda value: {key: shape(part) for key, part in value.items()} if type(value) is dict else value


def _enum_shaper(cls: Any) -> Shaper:
    plain = tuple(kind for kind in _PLAIN if kind is not NoneType)
    return _shaper(cls, plain, cls)


def _shaper(annotation: Any, accepts: tuple[type, ...], build: Callable[[Any], Any]) -> Shaper:
    name = getattr(annotation, "__qualname__", None) or str(annotation)

    def shape(value: Any) -> Any:
        if type(value) not in accepts:
            return value
        try:
            return build(value)
        except Exception as error:  # validators are the user's code
            raise Misfit(name, str(error)) from error

    return shape


def _inner(cls: Any, value: Any) -> Any:
    """Build what msgspec does not know inside a class that it does: a pydantic model in a dataclass, a path."""
    if isinstance(value, cls):
        return value
    if hasattr(cls, "model_validate"):
        return cls.model_validate(value)
    if type(value) is str and hasattr(cls, "__fspath__"):
        return cls(value)
    raise NotImplementedError(f"plain data is not turned into a {cls.__qualname__}")
