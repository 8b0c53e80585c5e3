"""What runs and steps were called with: as JSON for programs, and for people as one writes a call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from durable.api.app import Workflow
from durable.cli.formatting import as_json, json_line, safe_repr
from durable.codec.json_codec import PLAIN, TAGGED
from durable.core.places import arguments_place
from durable.core.records import Entry, RunRecord
from durable.errors import DecodeError


@dataclass(frozen=True, slots=True)
class Called:
    """The arguments of a call."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    is_stored_form: bool = False
    """Are the values as the codec stores them, classes as objects with a tag (`{"$class": "shop:Address", …}`)?"""

    def as_json(self) -> Any:
        """Return them by name; a list if none has one, and the number of those that have none if only some do."""
        if self.args and not self.kwargs:
            return as_json(list(self.args))
        return as_json({str(index): value for index, value in enumerate(self.args)} | dict(self.kwargs))

    def __str__(self) -> str:
        show = json_line if self.is_stored_form else safe_repr
        return ", ".join([*map(show, self.args), *(f"{name}={show(value)}" for name, value in self.kwargs.items())])


def called_with(app: Workflow, record: RunRecord, start: Entry) -> Called | None:
    """Return the arguments of a run, from the first entry of its journal; None if they cannot be read here."""
    spec = app._specs.get((record.queue.workflow, record.queue.version))
    place = arguments_place(app.name, record.run_id) if app.codec_binds_values else b""
    try:
        args, kwargs = app.codec.decode_arguments(
            start.data, label="arguments", aad=place, annotations=spec.argument_types if spec is not None else None
        )
    except DecodeError:
        return _as_stored(start.data)
    return Called(args, kwargs)


def _as_stored(data: bytes) -> Called | None:
    """Return arguments with a class that is not loaded here, if no transform hides them."""
    if data[:1] not in (PLAIN, TAGGED):
        return None
    try:
        args, kwargs = msgspec.json.decode(data[1:])
    except ValueError:
        return None
    return Called(args, kwargs, is_stored_form=True)


def noted(note: str) -> Called | None:
    """Return the arguments of which a note is the text, without the brackets around them; None if it was cut."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    read = json.JSONDecoder().raw_decode
    at = 0
    try:
        while at < len(note):
            value, at = read(note, at)
            if note[at : at + 1] == ":":
                kwargs[value], at = read(note, at + 1)
            else:
                args.append(value)
            if at < len(note) and note[at] != ",":
                return None
            at += 1
    except (ValueError, TypeError, RecursionError):
        return None
    return Called(args, kwargs, is_stored_form=True)
