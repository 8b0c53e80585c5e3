"""The classes that an annotation mentions, however deep: inside unions, generics, aliases and the fields of classes."""

from __future__ import annotations

import enum
import sys
import typing
from collections.abc import Iterator
from typing import Any, Final

# An annotation is the user's own code, but a module full of models that refer to each other can be large.
_VISITS_MAX: Final = 2_000


def classes_in(annotation: object) -> Iterator[type]:
    """Yield each class that the annotation mentions, once."""
    waiting: list[Any] = [annotation]
    seen: dict[int, Any] = {}  # holds what it has seen: a number of a dead object would come again
    while waiting and len(seen) < _VISITS_MAX:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen[id(found)] = found
        if isinstance(found, type) and typing.get_origin(found) is None:
            yield found
            if has_fields(found):
                waiting.extend(field_types(found).values())
        else:
            waiting.extend(parts_of(found))


def parts_of(annotation: Any) -> tuple[Any, ...]:
    """Return what a typing construct is made of; nothing for what is no construct."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return tuple(type(value) for value in annotation.__args__ if isinstance(value, enum.Enum))
    if origin is not None:
        return (origin, *flattened(typing.get_args(annotation)))
    if isinstance(annotation, typing.TypeVar):
        return (annotation.__bound__, *annotation.__constraints__)
    for name in ("__supertype__", "__value__"):  # NewType; an alias by the `type` statement
        if hasattr(annotation, name):
            return (getattr(annotation, name),)
    return ()


def flattened(args: tuple[Any, ...]) -> Iterator[Any]:
    """Yield type arguments; those of `Callable` come as a list."""
    for arg in args:
        if isinstance(arg, list):
            yield from arg
        else:
            yield arg


def has_fields(cls: type) -> bool:
    """Is this a class of somebody's own, whose annotations are fields?"""
    return cls.__module__ not in ("builtins", "typing", "datetime", "decimal") and any(
        "__annotations__" in vars(base) or "__annotate_func__" in vars(base)
        for base in cls.__mro__
        if base is not object
    )


def field_types(cls: type) -> dict[str, Any]:
    """Return the resolved annotations of a class; those that cannot be resolved are left out."""
    try:
        return typing.get_type_hints(cls)
    except Exception:  # noqa: BLE001 - a name known only under TYPE_CHECKING, or whatever an annotation may raise
        return {name: hint for name, hint in plain_annotations(cls).items() if not isinstance(hint, str)}


def plain_annotations(cls: type) -> dict[str, Any]:
    """Return the annotations of a class, strings evaluated one by one where that is possible."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        space = vars(sys.modules.get(base.__module__, typing))
        for name, hint in vars(base).get("__annotations__", {}).items():
            found[name] = resolved(hint, space)
    return found


def resolved(hint: Any, space: dict[str, Any]) -> Any:
    """Return what a string annotation names if it is a bare name of its module, else the annotation as it is."""
    return space.get(hint, hint) if isinstance(hint, str) else hint
