"""How large a value may be, and the check of encoded JSON before it is parsed.

`check_wire` looks at bytes that anyone may have written, so it builds nothing: it drops the strings and counts brackets
and commas. Its bounds are a little wider than those for values, because a tag
adds levels and elements: what `encode` accepted, `decode` accepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from durable.errors import DecodeError, UsageError

# The walks over a value recurse, about three frames to a level; this stays far from the interpreter's limit.
DEPTH_HIGHEST: Final = 100

_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_STEP: Final = {ord("["): 1, ord("]"): -1}
_LEVELS_TAKEN: Final = 6


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one encoded value.

    Attributes:
        depth_max: Containers inside each other; at most 100.
        elements_max: Elements of all containers together.
        bytes_max: Bytes of the encoded value before compression and encryption.
        bytes_warn: Bytes from which on a warning is logged.
        ratio_max: How many times larger than its compressed form a value may be.
    """

    depth_max: int = 64
    elements_max: int = 200_000
    bytes_max: int = 2 * 1024 * 1024
    bytes_warn: int = 256 * 1024
    ratio_max: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.depth_max <= DEPTH_HIGHEST:
            raise UsageError(f"depth_max is {self.depth_max}; it must be between 1 and {DEPTH_HIGHEST}")
        for name in ("elements_max", "bytes_max", "bytes_warn", "ratio_max"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def wire_depth_max(self, tagged: bool) -> int:
        """Brackets inside each other in the JSON form: a tag doubles a level, an error adds its chain."""
        return 2 * self.depth_max + 64 if tagged else self.depth_max + 2

    def wire_elements_max(self, tagged: bool) -> int:
        """Elements in the JSON form: the largest tag, a complex number, stands for six."""
        return (6 if tagged else 1) * self.elements_max + 1024


def check_wire(body: bytes, limits: Limits, label: str, *, tagged: bool) -> None:
    """Refuse JSON that is too long, too deep or has too many elements, without parsing it.

    Args:
        body: JSON as this package writes it, without spaces, or anything else.
        limits: The bounds.
        label: What the body is, for messages.
        tagged: The body may hold tags.

    Raises:
        DecodeError: The body is over a limit.
    """
    size = len(body)
    depth_max = limits.wire_depth_max(tagged)
    if size <= depth_max:
        return
    if size > limits.bytes_max:
        raise DecodeError(label, f"it has {size} bytes, more than the limit of {limits.bytes_max}")
    # No more levels than brackets, no more elements than every second byte.
    may_be_deep = body.count(b"[") + body.count(b"{") > depth_max
    may_be_many = size > limits.elements_max
    if not (may_be_deep or may_be_many):
        return
    bare = without_strings(body)
    if may_be_many and elements_of(bare) > limits.wire_elements_max(tagged):
        raise DecodeError(label, f"it has more elements than the limit of {limits.elements_max}")
    if may_be_deep and is_deeper(bare, depth_max):
        raise DecodeError(label, f"it is nested deeper than the limit of {limits.depth_max}")


def elements_of(bare: bytes) -> int:
    """Return how many elements the containers have together: one more than commas, but for the empty ones."""
    opened = bare.count(b"[") + bare.count(b"{")
    return bare.count(b",") + opened - bare.count(b"[]") - bare.count(b"{}")


def without_strings(body: bytes) -> bytes:
    """Return JSON without its strings; what follows an error in malformed JSON may be anything."""
    if b"\\" in body:
        # Pairs first: then a backslash that is left belongs to the character behind it.
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    return b"".join(body.split(b'"')[::2])


def is_deeper(bare: bytes, depth_max: int) -> bool:
    """Are there more than `depth_max` brackets inside each other?"""
    brackets = bare.translate(_ONE_KIND, _NOT_BRACKETS)
    # Most values are flat: a few levels, taken away in C, leave nothing. The rest is counted bracket by bracket.
    levels = min(_LEVELS_TAKEN, depth_max)
    for _ in range(levels):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > depth_max - levels
