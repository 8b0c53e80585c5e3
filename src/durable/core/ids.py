"""Run ids: templates, derived ids, and what an id may be."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping

from durable.core.records import ID_BYTES_MAX
from durable.errors import UsageError

TEXT_MAX = 4_096
"""Longest text for people that a client may give, in characters."""


def check_id(text: object, what: str = "run id") -> str:
    """Return `text` if it can serve as an id.

    Raises:
        UsageError: not a string, empty, longer than 512 bytes, with control characters or lone surrogates.
    """
    if not isinstance(text, str):
        raise UsageError(f"{what} {text!r} is a {type(text).__name__}: expected a string")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise UsageError(f"{what} {text!r} holds a lone surrogate, which no database can store") from None
    if not text or size > ID_BYTES_MAX:
        raise UsageError(f"{what} {text[:40]!r} has {size} bytes: expected 1 to {ID_BYTES_MAX}")
    if not text.isprintable() and any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise UsageError(f"{what} {text!r} holds a control character; leave it out")
    return text


def check_text(text: object, what: str) -> str:
    """Return a text for people, such as the reason of a cancellation, as the stores take it.

    Raises:
        UsageError: not a string, over 4,096 characters, or with lone surrogates or NUL.
    """
    if not isinstance(text, str) or len(text) > TEXT_MAX:
        raise UsageError(f"{what} is a {type(text).__name__}: expected a string of at most {TEXT_MAX:,} characters")
    if "\0" in text or (not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)):
        raise UsageError(f"{what} {text[:40]!r} holds NUL or a lone surrogate, which no database can store")
    return text


def template_fields(template: str) -> list[str]:
    """Return the argument names that an id template uses: `order-{user.id}` uses `user`.

    Raises:
        UsageError: the template is malformed or has a positional field.
    """
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise UsageError(f"id template {template!r}: {error}") from None
    names = [field.split(".")[0].split("[")[0] for field in fields]
    if any(not name or name.isdigit() for name in names):
        raise UsageError(
            f"id template {template!r} has a field without a name; name an argument, as in 'order-{{order_id}}'"
        )
    return names


def check_template(template: str, parameters: list[str], workflow: str) -> None:
    """Refuse a template that names an argument which the function does not take.

    Raises:
        UsageError: names the template, the unknown argument and the ones there are.
    """
    for name in template_fields(template):
        if name not in parameters:
            have = ", ".join(parameters) or "none"
            raise UsageError(
                f"workflow {workflow!r}: id template {template!r} names argument {name!r}; it takes: {have}"
            )


def fill_template(template: str, arguments: Mapping[str, object], workflow: str) -> str:
    """Return the run id for bound arguments.

    Raises:
        UsageError: a field cannot be formatted, or the id is none.
    """
    try:
        text = template.format_map(arguments)
    except (KeyError, AttributeError, IndexError, ValueError, TypeError) as error:
        raise UsageError(f"workflow {workflow!r}: id template {template!r} cannot be filled: {error!r}") from error
    return check_id(text, f"id of workflow {workflow!r} made from {template!r}:")


def derived_id(workflow: str, digest: int) -> str:
    """Return the id of a run that was given none: from its workflow and its arguments' digest."""
    return f"{short_name(workflow)}-{digest & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def short_name(workflow: str) -> str:
    """Return a workflow's name, or a digest of it where it would make ids too long."""
    encoded = workflow.encode()
    return workflow if len(encoded) <= ID_BYTES_MAX // 2 else hashlib.blake2b(encoded, digest_size=16).hexdigest()


def child_id(parent_id: str, key: int | str, continuation: int = 0) -> str:
    """Return the id of a child that was given none: `{parent}/{sequence}` (or its step id).

    Sequence numbers begin again when a run continues as new: then its `continuation` is part of the id as well.
    """
    key = f"{continuation}+{key}" if continuation else key
    text = f"{parent_id}/{key}"
    if len(text.encode()) <= ID_BYTES_MAX:
        return text
    return f"{hashlib.blake2b(parent_id.encode(), digest_size=16).hexdigest()}/{key}"


class CallIds:
    """Gives the calls of tasks their ids in a store that knows steps by name: `name`, then `name#1`, `name#2`, …"""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}

    def next(self, name: str) -> str:
        """Return the id of the next call of a task."""
        number = self._calls.get(name, 0)
        self._calls[name] = number + 1
        return f"{name}#{number}" if number else name


def idempotency_key(app: str, run_id: str, continuation: int, key: int | str, name: str) -> str:
    """Return a key that is the same for every attempt of one step and differs between steps (design §3, Ids)."""
    text = "\n".join((app, run_id, str(continuation), str(key), name))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
