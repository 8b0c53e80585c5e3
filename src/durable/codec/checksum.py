"""The checksum that a store keeps beside each entry, in a column of its own."""

from __future__ import annotations

from struct import Struct
from zlib import crc32

pack_place = Struct(">QQQ").pack
"""Packs run key, position and kind, each from 0 to 2**64 - 1, as `crc` takes them before the bytes."""

_MASK = 0xFFFF_FFFF_FFFF_FFFF


def crc(run_key: int, position: int, kind: int, data: bytes) -> int:
    """Return the crc32 over a place in a journal and the bytes that stand there.

    The place is part of it, so that bytes which a fault moved to another run or position do not pass.
    """
    return crc32(data, crc32(pack_place(run_key & _MASK, position & _MASK, kind & _MASK)))
