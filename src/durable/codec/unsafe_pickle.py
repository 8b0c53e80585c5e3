"""A codec that stores pickles. READING A PICKLE RUNS CODE: whoever can write the database can run programs on every
worker.

Nothing in durable uses it unless an application names it: `Workflow(..., codec=PickleCodec())`. It is for applications
that must pass objects for which there is no other form, in a database that only they can write. A pickle also ties
stored values to the versions of the classes in it. Values that JSON holds are still written, and all JSON frames still
read, as the default codec does.
"""

from __future__ import annotations

import pickle
from typing import Any, Final

from durable.codec.json_codec import JsonCodec
from durable.codec.refusal import full_name
from durable.errors import DecodeError, EncodeError, PayloadTooLarge

TAG: Final = b"P"


class PickleCodec(JsonCodec):
    """The default codec, with pickles for results that it refuses. See the warning of this module.

    Arguments and exceptions stay JSON: the digest of arguments must be the same in every process, and that of a pickle
    is not.
    """

    def encode(self, value: object, *, label: str, aad: bytes = b"") -> bytes:
        """Return the JSON frame of a value, or its pickle."""
        try:
            return super().encode(value, label=label, aad=aad)
        except PayloadTooLarge:
            raise
        except EncodeError:
            return self._pickled(value, label)

    def round_trip(self, value: object, annotation: object = Any, *, label: str, aad: bytes = b"") -> tuple[bytes, Any]:
        """Return the frame and the value as a later decode gives it."""
        data = self.encode(value, label=label, aad=aad)
        return data, self.decode(data, annotation, label=label, aad=aad)

    def decode(self, data: bytes, annotation: object = Any, *, label: str = "value", aad: bytes = b"") -> Any:
        """Return the value of a frame; runs the code that a pickle names."""
        if data[:1] != TAG:
            return super().decode(data, annotation, label=label, aad=aad)
        if len(data) > self.limits.bytes_max + 1:
            raise DecodeError(label, f"it has {len(data)} bytes, more than the limit of {self.limits.bytes_max}")
        try:
            return pickle.loads(data[1:])  # noqa: S301 - asked for by name
        except Exception as error:
            raise DecodeError(label, f"its pickle cannot be read ({error})") from error

    def _pickled(self, value: object, label: str) -> bytes:
        kind = full_name(type(value))
        try:
            body = pickle.dumps(value, protocol=5)
        except Exception as error:
            raise EncodeError(label, "", kind, f"it cannot be pickled either ({error})") from error
        if len(body) > self.limits.bytes_max:
            raise PayloadTooLarge(
                label, "", kind, f"it takes {len(body):,} bytes, over the limit of {self.limits.bytes_max:,}"
            )
        return TAG + body
