"""The plugin point: what the rest of durable asks of a codec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class LiveArgument:
    """What history shows in place of an argument that cannot be stored, such as a client or a connection."""

    type_name: str

    def __repr__(self) -> str:
        return f"<live {self.type_name}>"


class Codec(Protocol):
    """Turns values into bytes and back; the same value comes back, with the same types, in every process.

    All methods may be called from any thread. `aad` is data that the bytes belong to (run, position); an encrypting
    codec binds them to it, so that a stored value cannot be moved to another place. Others ignore it.
    """

    def encode(self, value: object, *, label: str, aad: bytes = b"") -> bytes:
        """Return the bytes of a value.

        Args:
            value: What to store.
            label: What the value is, for messages: "result of task 'charge'".
            aad: What the bytes belong to.

        Raises:
            EncodeError: The value would not come back as it is; the error names the path inside the value and the type.
            PayloadTooLarge: It is larger or deeper than the limits allow.
        """
        ...

    def decode(self, data: bytes, annotation: object = Any, *, label: str = "value", aad: bytes = b"") -> Any:
        """Return the value that was encoded.

        Args:
            data: What `encode` returned.
            annotation: A resolved type. Its classes become known to the decoder, and plain data that came from outside
                (a dict) is built into the class that the annotation names. `Any` asks for nothing.
            label: What the value is, for messages.
            aad: What the bytes belong to.

        Raises:
            DecodeError: The bytes are damaged, of another codec, or name a class that this process does not know.
            KeyMissing: They are encrypted under a key that is not here.
        """
        ...

    def encode_error(self, error: BaseException, *, aad: bytes = b"") -> bytes:
        """Return the bytes of an exception, shortened where it is too large. Never raises."""
        ...

    def decode_error(self, data: bytes, *, aad: bytes = b"") -> BaseException:
        """Return the exception, or a `TaskError` with its type and message where its class cannot be built here.

        Raises:
            DecodeError: The bytes are no encoded exception.
            KeyMissing: They are encrypted under a key that is not here.
        """
        ...

    def round_trip(self, value: object, annotation: object = Any, *, label: str, aad: bytes = b"") -> tuple[bytes, Any]:
        """Return the bytes and what `decode` will give for them, sharing nothing mutable with the input.

        Raises:
            EncodeError: As in `encode`; also when plain data does not fit the class that the annotation names.
            PayloadTooLarge: As in `encode`.
        """
        ...

    def encode_arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, object], *, label: str, aad: bytes = b"", live: bool = False
    ) -> tuple[bytes, int, str]:
        """Return bytes, digest and preview of the arguments of a call.

        The digest is a signed 64-bit number, the same for equal arguments in every process. The preview is a readable
        text of at most 80 characters, empty when the codec encrypts.

        Args:
            args: Positional arguments.
            kwargs: Named arguments; their order does not matter to the digest.
            label: What they are, for messages.
            aad: What the bytes belong to.
            live: Arguments that cannot be stored do not raise. Each is recorded as a `LiveArgument` and left out of the
                digest.

        Raises:
            EncodeError: As in `encode`, unless `live`.
            PayloadTooLarge: As in `encode`; with `live`, the largest arguments are recorded as live instead.
        """
        ...

    def decode_arguments(
        self,
        data: bytes,
        *,
        label: str,
        aad: bytes = b"",
        annotations: Mapping[str | int, object] | None = None,
    ) -> tuple[tuple[Any, ...], dict[str, object]]:
        """Return the arguments; `annotations` gives types by position and by name. Raises as `decode`."""
        ...
