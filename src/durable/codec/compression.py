"""Compression of large frames, bounded when it is undone.

zlib is everywhere and therefore the default for writing; zstd is written only when it is asked for, since every worker
of a group must then have it. Both are read. A frame says how long it was, and is refused before a byte is produced when
that is over the limits, and after when it is not true.
"""

from __future__ import annotations

import zlib
from importlib import import_module
from typing import Any, Final, Literal

from durable.codec.limits import Limits
from durable.errors import DecodeError, UsageError

ZLIB: Final = b"Z"
ZSTD: Final = b"S"
BYTES_MIN: Final = 4 * 1024

_LENGTH_BYTES: Final = 4
_LENGTH_MAX: Final = 2 ** (8 * _LENGTH_BYTES) - 1
_ZLIB_LEVEL: Final = 1
_ZSTD_LEVEL: Final = 3


class Compression:
    """A transform for frames of 4 KiB and more, when they become smaller by it.

    Args:
        algorithm: What to write; "zstd" needs Python 3.14 or the extra `durable[zstd]`.
        limits: Bounds of what a frame may become again; those of the codec it stands around.

    Raises:
        UsageError: zstd is asked for and not installed.
    """

    tags = ZLIB + ZSTD
    hides = False

    def __init__(self, algorithm: Literal["zlib", "zstd"] = "zlib", limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._zstd = algorithm == "zstd"
        if algorithm not in ("zlib", "zstd"):
            raise UsageError(f"compression algorithm {algorithm!r} is unknown; use 'zlib' or 'zstd'")
        if self._zstd and zstd_module() is None:
            raise UsageError(
                "compression with zstd needs Python 3.14 or the package of the extra: pip install 'durable[zstd]'"
            )

    def seal(self, data: bytes, aad: bytes) -> bytes:
        """Return the compressed frame, or the frame as it is when that is no gain or would not be read back."""
        if not BYTES_MIN <= len(data) <= _LENGTH_MAX:
            return data
        body = zstd_module().compress(data, level=_ZSTD_LEVEL) if self._zstd else zlib.compress(data, _ZLIB_LEVEL)
        worth = len(body) + _LENGTH_BYTES + 1 < len(data) <= len(body) * self._limits.ratio_max
        if not worth:
            return data
        return (ZSTD if self._zstd else ZLIB) + len(data).to_bytes(_LENGTH_BYTES) + body

    def open(self, data: bytes, aad: bytes, label: str) -> bytes:
        """Return the frame that was compressed.

        Raises:
            DecodeError: It is damaged, would become larger than the limits allow, or zstd is not installed.
        """
        length, body = int.from_bytes(data[1 : 1 + _LENGTH_BYTES]), data[1 + _LENGTH_BYTES :]
        # An exception may be larger than a value; see JsonCodec.
        bytes_max = max(self._limits.bytes_max, 256 * 1024) + 1
        if length > bytes_max or length > len(body) * self._limits.ratio_max:
            raise DecodeError(label, f"it says that it has {length:,} bytes uncompressed, more than the limits allow")
        found = self._unzstd(body, length, label) if data[:1] == ZSTD else unzlib(body, length)
        if found is None:
            raise DecodeError(label, "its compressed bytes are damaged or not as long as they say")
        return found

    def _unzstd(self, body: bytes, length: int, label: str) -> bytes | None:
        module = zstd_module()
        if module is None:
            raise DecodeError(label, "it is compressed with zstd; install the extra: pip install 'durable[zstd]'")
        reader = module.ZstdDecompressor()
        try:
            found: bytes = reader.decompress(body, max_length=length + 1)
        except module.ZstdError:
            return None
        return found if len(found) == length and reader.eof and not reader.unused_data else None


def unzlib(body: bytes, length: int) -> bytes | None:
    """Return exactly `length` bytes, or None when the stream has more, fewer or none."""
    reader = zlib.decompressobj()
    try:
        found = reader.decompress(body, length + 1)
    except zlib.error:
        return None
    return found if len(found) == length and reader.eof and not reader.unused_data else None


def zstd_module() -> Any:
    """Return the zstd module of this Python or its backport, or None."""
    try:
        return import_module("compression.zstd")
    except ImportError:
        pass
    try:
        return import_module("backports.zstd")
    except ImportError:
        return None
