"""`key=value` on the command line: values typed by the annotations of the function."""

from __future__ import annotations

import enum
import inspect
import json
import types
import typing
import uuid
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from durable.api.workflows import WorkflowFunction
from durable.cli.exits import CommandError
from durable.cli.formatting import parse_duration
from durable.errors import DecodeError, EncodeError


def parse_pairs(texts: Iterable[str]) -> dict[str, str]:
    """Return the values of `key=value` texts, by key.

    Raises:
        CommandError: a text is no pair, or two have the same key.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"argument {text!r} has no '=': expected key=value, such as order_id=42")
        if not key.isidentifier():
            raise CommandError(f"argument {text!r}: {key!r} is no name of a parameter")
        if key in pairs:
            raise CommandError(f"argument {key!r} is given twice")
        pairs[key] = value
    return pairs


def parse_value(text: str) -> Any:
    """Return the value of a text: JSON if it is that, else the text itself."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(name: str) -> Any:
    # NaN and Infinity are no JSON; a word that is typed is more likely meant as text.
    raise ValueError(name)


def arguments_of(workflow: WorkflowFunction[Any, Any], texts: Iterable[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call of `workflow`, positional-only ones first.

    Raises:
        CommandError: a text is no pair, or its value does not fit the parameter's annotation.
    """
    types_of = workflow.spec.argument_types
    values = {name: _typed(workflow, name, text, types_of.get(name, Any)) for name, text in parse_pairs(texts).items()}
    parameters = inspect.signature(workflow.spec.fn).parameters.values()
    first = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.name in values]
    return [values.pop(name) for name in first], values


def _typed(workflow: WorkflowFunction[Any, Any], name: str, text: str, annotation: Any) -> Any:
    try:
        found, value = _simple(text, annotation)
        if found:
            return value
        codec = workflow._app.codec
        label = f"argument {name!r}"
        # As for any payload from outside: the codec builds the class that the annotation names.
        return codec.decode(codec.encode(value, label=label), annotation, label=label)
    except DecodeError as error:
        raise CommandError(f"argument {name!r} is {text!r}: {error.why}") from None
    except EncodeError as error:
        raise CommandError(str(error)) from None
    except (ValueError, ArithmeticError) as error:
        why = str(error) or type(error).__name__
        raise CommandError(f"argument {name!r} is {text!r}: expected {_name(annotation)} ({why})") from None


def _simple(text: str, annotation: Any) -> tuple[bool, Any]:
    """Return whether the annotation alone says what the text means, and the value: else what JSON makes of it."""
    annotation = _bare(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return _one_of(text, typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Literal:
        return True, _literal(text, typing.get_args(annotation))
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return True, _enum(text, annotation)
        if annotation in _READERS:
            return True, _READERS[annotation](text)
    return False, parse_value(text)


def _bare(annotation: Any) -> Any:
    if typing.get_origin(annotation) is typing.Annotated:
        return _bare(typing.get_args(annotation)[0])
    if isinstance(annotation, typing.NewType):
        return _bare(annotation.__supertype__)
    return annotation


def _one_of(text: str, members: tuple[Any, ...]) -> tuple[bool, Any]:
    if type(None) in members and text in ("null", "None"):
        return True, None
    others = [member for member in members if member is not type(None)]
    if len(others) == 1:
        return _simple(text, others[0])
    value = parse_value(text)
    if str in others and not any(isinstance(value, kind) for kind in others if isinstance(kind, type)):
        return True, text
    return False, value


def _literal(text: str, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if text == choice or (not isinstance(choice, str) and parse_value(text) == choice):
            return choice
    raise ValueError(f"one of {', '.join(map(repr, choices))}")


def _enum(text: str, cls: type[enum.Enum]) -> Any:
    if text in cls.__members__:
        return cls.__members__[text]
    for value in (text, parse_value(text)):
        for member in cls:
            if member.value == value:
                return member
    raise ValueError(f"one of {', '.join(cls.__members__)}")


def _boolean(text: str) -> bool:
    match text.lower():
        case "true":
            return True
        case "false":
            return False
    raise ValueError("true or false")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _timedelta(text: str) -> timedelta:
    try:
        return timedelta(seconds=float(text))
    except ValueError:
        return parse_duration(text)


_READERS: Final[dict[type, Callable[[str], Any]]] = {
    str: str, int: int, float: float, bool: _boolean, bytes: _bytes, Path: Path, Decimal: Decimal, uuid.UUID: uuid.UUID,
    datetime: datetime.fromisoformat, date: date.fromisoformat, time: time.fromisoformat, timedelta: _timedelta,
}  # fmt: skip


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
