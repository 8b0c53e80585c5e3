"""The default codec: JSON that a person can read in the database, exact for every type that it accepts.

The first byte of a frame says what follows: `J` is JSON that means itself, `T` is JSON with tags, `X` is the record of
an exception. There is no other way in: a frame with another first byte is refused, never tried.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from durable.codec.arguments import PREVIEW_CHARS, ArgumentTrees, canonical, digest_of, ordered, preview
from durable.codec.failures import CHAIN_MAX, error_of, small_record_of
from durable.codec.limits import Limits, check_wire, is_deeper, without_strings
from durable.codec.plain import are_plain, is_plain_atom
from durable.codec.refusal import Refused, full_name
from durable.codec.registry import Registry
from durable.codec.shaping import Misfit, Shapers
from durable.codec.tagging import Tagger
from durable.codec.untagging import Untagger
from durable.errors import DecodeError, EncodeError, KeyMissing, PayloadTooLarge

PLAIN: Final = b"J"
TAGGED: Final = b"T"
FAILURE: Final = b"X"

_to_json: Final = msgspec.json.Encoder().encode
_from_json: Final = msgspec.json.Decoder().decode
_log: Final = logging.getLogger(__name__)

# What msgspec raises for values of plain types that it has no form for: half a surrogate pair, nesting beyond the
# interpreter's stack, containers that another thread changes. The walk with tags says which and where.
_NOT_PLAIN: Final = (UnicodeEncodeError, TypeError, ValueError, RecursionError, RuntimeError)
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError)

# An exception is recorded whatever the limits for values are.
_FAILURE_BYTES: Final = 256 * 1024
_FAILURE_ELEMENTS: Final = 20_000


class JsonCodec:
    """Values as tagged JSON; implements `Codec`.

    Args:
        limits: How large a value may be.
        registry: The classes that a decode may build; one of its own unless several codecs share it.
        tracebacks: Record the traceback text of exceptions; it shows source lines and paths.
    """

    def __init__(
        self, limits: Limits | None = None, registry: Registry | None = None, *, tracebacks: bool = True
    ) -> None:
        self.limits = limits or Limits()
        self.registry = registry or Registry()
        self._tracebacks = tracebacks
        self._shapers = Shapers(self.registry)
        self._elements_max, self._depth_max = self.limits.elements_max, self.limits.depth_max
        self._bytes_noted = min(self.limits.bytes_warn, self.limits.bytes_max)
        self._failure_limits = replace(
            self.limits,
            bytes_max=max(self.limits.bytes_max, _FAILURE_BYTES),
            elements_max=min(self.limits.elements_max, _FAILURE_ELEMENTS),
        )

    def encode(self, value: object, *, label: str, aad: bytes = b"") -> bytes:
        """Return the frame of a value; see `Codec.encode`."""
        body = self._plain_body(value)
        if body is None:
            return self._tagged(value, label)
        if len(body) > self._bytes_noted:
            self._check_size(body, value, label)
        return PLAIN + body

    def decode(self, data: bytes, annotation: object = Any, *, label: str = "value", aad: bytes = b"") -> Any:
        """Return the value of a frame; see `Codec.decode`."""
        shape = None if annotation is Any else self._shapers.get(annotation)
        value = self._decoded(data, label)
        if shape is None:
            return value
        try:
            return shape(value)
        except Misfit as misfit:
            raise DecodeError(label, str(misfit)) from misfit.__cause__

    def round_trip(self, value: object, annotation: object = Any, *, label: str, aad: bytes = b"") -> tuple[bytes, Any]:
        """Return the frame and the value as a later decode gives it; see `Codec.round_trip`."""
        shape = None if annotation is Any else self._shapers.get(annotation)
        body = self._plain_body(value)
        if body is None:
            data = self._tagged(value, label)
            again = self._decoded(data, label)
        else:
            if len(body) > self._bytes_noted:
                self._check_size(body, value, label)
            data = PLAIN + body
            again = _from_json(body) if isinstance(value, dict | list) else value
        if shape is None:
            return data, again
        try:
            return data, shape(again)
        except Misfit as misfit:
            raise EncodeError(label, "", full_name(type(value)), str(misfit)) from misfit.__cause__

    def _plain_body(self, value: Any) -> bytes | None:
        """Return the JSON of a plain value, or None for one that needs the walk with tags."""
        kind = type(value)
        if kind is dict or kind is list:
            if not are_plain([value], self._elements_max):
                return None
        elif not is_plain_atom(value):
            return None
        try:
            body = _to_json(value)
        except _NOT_PLAIN:
            return None
        return None if self._is_deep(body, self._depth_max) else body

    @staticmethod
    def _is_deep(body: bytes, depth_max: int) -> bool:
        # No more levels than brackets, no more brackets than bytes.
        if len(body) <= depth_max:
            return False
        return body.count(b"[") + body.count(b"{") > depth_max and is_deeper(without_strings(body), depth_max)

    def _tagged(self, value: object, label: str) -> bytes:
        try:
            tree = self._tagger().tree(value)
        except Refused as refused:
            raise refused.error(label) from refused.__cause__
        return TAGGED + self._tagged_body(tree, value, label)

    def _tagger(self) -> Tagger:
        return Tagger(self.registry, self.limits, tracebacks=self._tracebacks)

    def _tagged_body(self, tree: Any, value: object, label: str) -> bytes:
        body = _to_json(tree)
        self._check_size(body, value, label)
        try:
            check_wire(body, self.limits, label, tagged=True)
        except DecodeError as error:  # many tags inside each other; what cannot be read must not be written
            raise PayloadTooLarge(label, "", full_name(type(value)), error.why) from None
        return body

    def _check_size(self, body: bytes, value: object, label: str) -> None:
        """Refuse a body over the limit, and warn of one that comes near.

        Raises:
            PayloadTooLarge: It is over `bytes_max`.
        """
        size, limits = len(body), self.limits
        if size > limits.bytes_max:
            why = f"it takes {size:,} bytes, over the limit of {limits.bytes_max:,}"
            raise PayloadTooLarge(label, "", full_name(type(value)), f"{why}; store it elsewhere and pass a reference")
        if size > limits.bytes_warn:
            _log.warning("%s takes %d bytes; each replay reads them again", label, size)

    def _decoded(self, data: bytes, label: str) -> Any:
        """Return the value of a frame, without an annotation."""
        body = data[1:]
        tag = data[:1]
        if tag == PLAIN:
            return self._parsed(body, label, self.limits, tagged=False)
        if tag == TAGGED:
            return Untagger(self.registry, label).value(self._parsed(body, label, self.limits, tagged=True))
        raise wrong_frame(label, bytes(tag), "it is the record of an exception, not a value")

    def _parsed(self, body: bytes, label: str, limits: Limits, *, tagged: bool) -> Any:
        if len(body) > limits.depth_max:
            check_wire(bytes(body), limits, label, tagged=tagged)
        try:
            return _from_json(body)
        except _NOT_JSON as error:
            raise DecodeError(label, f"its JSON is damaged ({error})") from error

    def encode_error(self, error: BaseException, *, aad: bytes = b"") -> bytes:
        """Return the frame of an exception; see `Codec.encode_error`."""
        for chain_max in (CHAIN_MAX, 1):
            try:
                walk = Tagger(self.registry, self._failure_limits, tracebacks=self._tracebacks)
                body = _to_json(walk.record(error, chain_max))
                if len(body) <= _FAILURE_BYTES:
                    check_wire(body, self._failure_limits, "error", tagged=True)
                    return FAILURE + body
            except Exception as trouble:  # noqa: BLE001 - the exception's class is user code, and this must not fail
                _log.debug("an error is recorded without its details: %s", type(trouble).__qualname__)
        return FAILURE + _to_json(small_record_of(error, self.registry.name_of(type(error))))

    def decode_error(self, data: bytes, *, aad: bytes = b"") -> BaseException:
        """Return the exception of a frame; see `Codec.decode_error`."""
        label = "error"
        if data[:1] != FAILURE:
            raise wrong_frame(label, bytes(data[:1]), "it is a value, not an exception")
        record = self._parsed(data[1:], label, self._failure_limits, tagged=True)
        try:
            return error_of(record, Untagger(self.registry, label))
        except Exception as error:
            raise DecodeError(label, str(error)) from error

    def encode_arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, object], *, label: str, aad: bytes = b"", live: bool = False
    ) -> tuple[bytes, int, str]:
        """Return frame, digest and preview of arguments; see `Codec.encode_arguments`."""
        if not kwargs and (short := self._short_arguments(args)) is not None:
            return short
        named_args = kwargs if type(kwargs) is dict else dict(kwargs)
        bodies = self._plain_bodies(args, named_args)
        if bodies is None:
            return self._tagged_arguments(args, named_args, label, live)
        first, named = bodies
        body = b"[%b,%b]" % bodies
        if len(body) > self._bytes_noted:
            if live and len(body) > self.limits.bytes_max:
                return self._tagged_arguments(args, named_args, label, live)
            self._check_size(body, named_args or args, label)
        # Equal plain values differ at most in the order of keys, and one dict with one key has none.
        same = body if len(kwargs) <= 1 and body.count(b"{") == 1 else ordered([args, named_args])
        return PLAIN + body, digest_of(PLAIN, same), preview(first, named)

    def _short_arguments(self, args: tuple[Any, ...]) -> tuple[bytes, int, str] | None:
        """Return the answer for few small plain arguments by position, the usual call, at half the cost; else None."""
        if not all(map(is_plain_atom, args)):
            return None
        try:
            first = _to_json(args)
        except _NOT_PLAIN:
            return None
        if len(first) > PREVIEW_CHARS + len(b"[]") or len(args) > self._elements_max:
            return None
        frame = b"".join((PLAIN, b"[", first, b",{}]"))
        return frame, digest_of(b"", frame), first[1:-1].decode()

    def _plain_bodies(self, args: tuple[Any, ...], kwargs: dict[str, object]) -> tuple[bytes, bytes] | None:
        """Return the JSON of positional and of named arguments, or None when they need the walk with tags."""
        if not are_plain([args, kwargs], self._elements_max):
            return None
        try:
            first, named = _to_json(args), _to_json(kwargs)
        except _NOT_PLAIN:
            return None
        # The rows of the arguments themselves are one level.
        depth_max = self._depth_max + 1
        return None if self._is_deep(first, depth_max) or self._is_deep(named, depth_max) else (first, named)

    def _tagged_arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, object], label: str, live: bool
    ) -> tuple[bytes, int, str]:
        trees = ArgumentTrees(self._argument_tagger(), live=live)
        try:
            trees.add(args, kwargs)
        except Refused as refused:
            raise refused.error(label) from refused.__cause__
        if live:
            trees.shorten(self.limits.bytes_max)
        body = self._tagged_body(trees.both, kwargs or args, label)
        return TAGGED + body, digest_of(TAGGED, ordered(canonical(trees.both))), preview(*map(_to_json, trees.both))

    def _argument_tagger(self) -> Tagger:
        # A traceback differs with each line that is added above it; arguments are compared.
        return Tagger(self.registry, self.limits, tracebacks=False)

    def decode_arguments(
        self,
        data: bytes,
        *,
        label: str,
        aad: bytes = b"",
        annotations: Mapping[str | int, object] | None = None,
    ) -> tuple[tuple[Any, ...], dict[str, object]]:
        """Return the arguments of a frame; see `Codec.decode_arguments`."""
        # First, so that the classes of the annotations are known.
        shapers = {key: self._shapers.get(annotation) for key, annotation in annotations.items()} if annotations else {}
        both = self._decoded(data, label)
        if type(both) is not list or [type(part) for part in both] != [list, dict]:
            raise DecodeError(label, "it is a value, not the arguments of a call")
        args, kwargs = both
        for key, shape in shapers.items():
            part: Any = args if isinstance(key, int) else kwargs
            if shape is not None and (key < len(args) if isinstance(key, int) else key in kwargs):
                try:
                    part[key] = shape(part[key])
                except Misfit as misfit:
                    raise DecodeError(label, f"argument {key!r}: {misfit}") from misfit.__cause__
        return tuple(args), kwargs


_OTHER_FRAMES: Final = {
    b"": "there are no bytes; a value that is None has some",
    b"Z": "it is compressed, and the codec of this process has no Compression",
    b"S": "it is compressed, and the codec of this process has no Compression",
    b"P": "it is a pickle, and the codec of this process reads none",
}


def wrong_frame(label: str, tag: bytes, why_ours: str) -> DecodeError:
    """Return why a frame with this first byte cannot be read here; `why_ours` if it is one of this codec."""
    if tag == b"E":
        return KeyMissing(label, "it is encrypted, and the codec of this process has no Encryption with its key")
    if tag in (PLAIN, TAGGED, FAILURE):
        return DecodeError(label, why_ours)
    unknown = f"its first byte is {tag!r}, which names no codec that this version knows"
    return DecodeError(label, _OTHER_FRAMES.get(tag, unknown))
