"""`key=value` on the command line: values typed by the annotations of the function."""

from __future__ import annotations

import enum
import inspect
import json
import typing
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from durable.api.workflows import WorkflowFunction
from durable.cli.exits import CommandError
from durable.cli.fitting import Misfit, bare, fitted, members_of, shown, sketch
from durable.cli.formatting import cut, parse_duration

SHOWN_CHARS: Final = 80
"""Characters of a value that a message repeats."""


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
    """Return the value of a text: JSON if it is that, else the text itself.

    Raises:
        ValueError: it begins like an object, a list or a string of JSON and is none: most likely a slip, which must
            not become the value.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if text.lstrip()[:1] in ("{", "[", '"') and isinstance(error, json.JSONDecodeError):
            raise ValueError(
                f"it begins like JSON and is none ({error.msg}: character {error.pos + 1}); "
                f"if text is meant, write it as a JSON string: {json.dumps(text, ensure_ascii=False)}"
            ) from None
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
    values = {name: _typed(name, text, types_of.get(name, Any)) for name, text in parse_pairs(texts).items()}
    parameters = inspect.signature(workflow.spec.fn).parameters.values()
    first = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.name in values]
    return [values.pop(name) for name in first], values


def _typed(name: str, text: str, annotation: Any) -> Any:
    try:
        return value_of(text, annotation)
    except ValueError as error:
        raise CommandError(f"argument {name!r} is {cut(text, SHOWN_CHARS)!r}: {error}") from None


def value_of(text: str, annotation: Any, whole: Any = None) -> Any:
    """Return the value that a text means where an annotation stands.

    Args:
        text: What was written.
        annotation: What the value is to be.
        whole: The annotation of which this is a part; it is named when nothing fits.

    Raises:
        ValueError: it means no such value; the text says what was expected.
    """
    plain = bare(annotation)
    if members := members_of(plain):
        return _of_union(text, members, annotation)
    if plain is Any or plain is object:
        return parse_value(text)
    try:
        if typing.get_origin(plain) is typing.Literal:
            return _literal(text, typing.get_args(plain))
        if isinstance(plain, type) and issubclass(plain, enum.Enum):
            return _enum(text, plain)
        if isinstance(plain, type) and plain in _READERS:
            return fitted(_READERS[plain](text), annotation)
    except (ValueError, ArithmeticError) as error:
        why = "" if isinstance(error, ArithmeticError) else f" ({error})"  # decimal's have no text for people
        raise ValueError(f"expected {shown(whole or annotation)}{why}") from None
    try:
        # What is no JSON may be text that a class takes: a path of one's own, a model whose root is text.
        return fitted(_json_or(text, text), annotation)
    except Misfit as error:
        looks = f": {sketch(annotation)}" if sketch(annotation) else ""
        raise ValueError(f"expected {shown(whole or annotation)}, as JSON{looks} ({error})") from None


def _of_union(text: str, members: tuple[Any, ...], annotation: Any) -> Any:
    if type(None) in members and text in ("null", "None"):
        return None
    others = [bare(member) for member in members if member is not type(None)]
    if len(others) == 1:
        return value_of(text, others[0], annotation)
    # What JSON gives is itself before it is made into something else: `3` is a number in `str | float | int`.
    value = _json_or(text, None)
    if type(value) in others:
        return value
    if type(value) in (dict, list):
        with suppress(Misfit):
            return fitted(value, annotation)
    for member in others:
        # Any text is a path, and bytes: where text is wanted as well, it stays text.
        if str not in others or member not in (str, bytes, Path):
            with suppress(ValueError):
                return value_of(text, member)
    if str in others:
        return text
    raise ValueError(f"expected {shown(annotation)}")


def _json_or(text: str, default: Any) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return default


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
    str: str, int: int, float: float, complex: complex, bool: _boolean, bytes: _bytes, Path: Path,
    Decimal: Decimal, uuid.UUID: uuid.UUID,
    datetime: datetime.fromisoformat, date: date.fromisoformat, time: time.fromisoformat, timedelta: _timedelta,
}  # fmt: skip
