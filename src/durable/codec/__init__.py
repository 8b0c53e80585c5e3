"""Values to bytes and back.

What lives here: the `Codec` protocol, its default implementation `JsonCodec`, the transforms that a `CodecChain` puts
around it (`Compression`, `Encryption`), the `Registry` of classes that a decode may build, and the checksum of an
entry. `unsafe_pickle` is a second codec that nothing imports; an application that wants it names it.

Who calls it: the runtime encodes arguments, results and errors; stores, server and dashboard only carry the bytes.

What it may not know: runs, stores, clocks, loops. It does no input or output, imports nothing by a name it has read,
and knows pydantic and attrs only by the shape of their classes. `DESIGN.md` says how the frames look and why they are
exact.
"""

from durable.codec.base import Codec, LiveArgument
from durable.codec.chain import CodecChain, Transform
from durable.codec.checksum import crc
from durable.codec.compression import Compression
from durable.codec.encryption import Encryption, KeyRing
from durable.codec.json_codec import JsonCodec
from durable.codec.limits import Limits
from durable.codec.registry import Registry

__all__ = [
    "Codec",
    "CodecChain",
    "Compression",
    "Encryption",
    "JsonCodec",
    "KeyRing",
    "Limits",
    "LiveArgument",
    "Registry",
    "Transform",
    "crc",
]
