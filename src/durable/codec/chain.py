"""A codec with transforms around its frames: compression, encryption, or what an application adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from durable.codec.base import Codec
from durable.errors import DecodeError, UsageError


class Transform(Protocol):
    """Turns frames into other frames and back."""

    @property
    def tags(self) -> bytes:
        """The first bytes of the frames that it makes."""
        ...

    @property
    def hides(self) -> bool:
        """Are its frames unreadable without a secret? Then nothing of a value is shown as text."""
        ...

    def seal(self, data: bytes, aad: bytes) -> bytes:
        """Return the transformed frame, or the frame as it is."""
        ...

    def open(self, data: bytes, aad: bytes, label: str) -> bytes:
        """Return the frame inside one that begins with one of `tags`; raises `DecodeError`."""
        ...


class CodecChain:
    """A codec whose frames pass through transforms, in the order given; implements `Codec`.

    What a frame went through is read from its first bytes, so transforms may be added while old frames stay readable.

    Args:
        inner: The codec of the values.
        transforms: For example `Compression(), Encryption(keys)`; compression is of no use after encryption.

    Raises:
        UsageError: Two transforms make frames with the same first byte.
    """

    def __init__(self, inner: Codec, *transforms: Transform) -> None:
        self._inner, self._transforms = inner, transforms
        self._by_tag = {tag: transform for transform in transforms for tag in transform.tags}
        if len(self._by_tag) != sum(len(transform.tags) for transform in transforms):
            raise UsageError("two transforms of a codec chain make frames with the same first byte")
        self._hides = any(transform.hides for transform in transforms)

    @property
    def binds_values(self) -> bool:
        """Does it matter which `aad` a value is encoded and decoded with? It does where something encrypts."""
        return self._hides

    def encode(self, value: object, *, label: str, aad: bytes = b"") -> bytes:
        """Return the transformed frame of a value; see `Codec.encode`."""
        return self._seal(self._inner.encode(value, label=label, aad=aad), aad)

    def decode(self, data: bytes, annotation: object = Any, *, label: str = "value", aad: bytes = b"") -> Any:
        """Return the value; see `Codec.decode`."""
        return self._inner.decode(self._open(data, aad, label), annotation, label=label, aad=aad)

    def encode_error(self, error: BaseException, *, aad: bytes = b"") -> bytes:
        """Return the transformed frame of an exception; see `Codec.encode_error`."""
        return self._seal(self._inner.encode_error(error, aad=aad), aad)

    def decode_error(self, data: bytes, *, aad: bytes = b"") -> BaseException:
        """Return the exception; see `Codec.decode_error`."""
        return self._inner.decode_error(self._open(data, aad, "error"), aad=aad)

    def round_trip(self, value: object, annotation: object = Any, *, label: str, aad: bytes = b"") -> tuple[bytes, Any]:
        """Return the transformed frame and the value; see `Codec.round_trip`."""
        data, again = self._inner.round_trip(value, annotation, label=label, aad=aad)
        return self._seal(data, aad), again

    def encode_arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, object], *, label: str, aad: bytes = b"", live: bool = False
    ) -> tuple[bytes, int, str]:
        """Return the transformed frame, digest and preview of arguments; see `Codec.encode_arguments`."""
        data, digest, preview = self._inner.encode_arguments(args, kwargs, label=label, aad=aad, live=live)
        return self._seal(data, aad), digest, "" if self._hides else preview

    def decode_arguments(
        self,
        data: bytes,
        *,
        label: str,
        aad: bytes = b"",
        annotations: Mapping[str | int, object] | None = None,
    ) -> tuple[tuple[Any, ...], dict[str, object]]:
        """Return the arguments; see `Codec.decode_arguments`."""
        return self._inner.decode_arguments(self._open(data, aad, label), label=label, aad=aad, annotations=annotations)

    def _seal(self, data: bytes, aad: bytes) -> bytes:
        for transform in self._transforms:
            data = transform.seal(data, aad)
        return data

    def _open(self, data: bytes, aad: bytes, label: str) -> bytes:
        """Undo the transforms that the frame shows, each once: a frame inside itself would have no end."""
        required = [each for each in self._transforms if each.hides and not getattr(each, "accept_plain", True)]
        undone: list[Transform] = []
        while data and (transform := self._by_tag.get(data[0])) is not None and transform not in undone:
            data = transform.open(data, aad, label)
            undone.append(transform)
        if any(each not in undone for each in required):
            raise DecodeError(label, "it is not encrypted, and this codec accepts only what is")
        return data
