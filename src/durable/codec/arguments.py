"""Arguments of a call: their canonical form for the digest, and the text that history shows."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec

from durable.codec.leaves import tag_text
from durable.codec.refusal import Refused, full_name, key_step
from durable.codec.tagging import Tagger, is_utf8

PREVIEW_CHARS: Final = 80
# UTF-8 takes at most four bytes for a character.
_PREVIEW_BYTES: Final = 4 * PREVIEW_CHARS

ordered: Final = msgspec.json.Encoder(order="deterministic").encode


def digest_of(tag: bytes, canonical: bytes) -> int:
    """Return a signed 64-bit number; the tag keeps plain data apart from tags that look like it."""
    return int.from_bytes(blake2b(tag + canonical, digest_size=8).digest(), "big", signed=True)


def canonical(tree: Any) -> Any:
    """Return a tree of tags with pairs in order of their keys, and live arguments without what they are."""
    kind = type(tree)
    if kind is list:
        return [canonical(part) for part in tree]
    if kind is not dict:
        return tree
    if "$live" in tree:
        return {"$live": ""}
    if "$dict" in tree:
        parts = [canonical(part) for part in tree["$dict"]]
        return {"$dict": sorted(zip(parts[::2], parts[1::2], strict=True), key=lambda pair: ordered(pair[0]))}
    return {key: canonical(part) for key, part in tree.items()}


def preview(args: bytes, kwargs: bytes) -> str:
    """Return the start of encoded arguments as text, without the brackets around them."""
    joint = b"," if len(args) > len(b"[]") and len(kwargs) > len(b"{}") else b""
    shown = args[1 : _PREVIEW_BYTES + 1]
    if len(args) - 1 <= _PREVIEW_BYTES:
        shown = shown[:-1] + joint + kwargs[1:-1][:_PREVIEW_BYTES]
    text = shown.decode("utf-8", "ignore")
    return text if len(text) <= PREVIEW_CHARS else f"{text[: PREVIEW_CHARS - 1]}…"


class ArgumentTrees:
    """The trees of arguments while they are made; with `live`, a placeholder for each that cannot be stored."""

    def __init__(self, tagger: Tagger, *, live: bool) -> None:
        self._tagger, self._live = tagger, live
        self._args: list[Any] = []
        self._kwargs: dict[str, Any] = {}
        self._kinds: dict[int | str, type] = {}

    @property
    def both(self) -> list[Any]:
        """Positional and named arguments, as they are written."""
        if all(not name.startswith("$") and is_utf8(name) for name in self._kwargs):
            return [self._args, self._kwargs]
        return [self._args, {"$dict": [part for name, tree in self._kwargs.items() for part in (tag_text(name), tree)]}]

    def add(self, args: tuple[Any, ...], kwargs: Mapping[str, object]) -> None:
        """Make the tree of each argument.

        Raises:
            Refused: One cannot be stored, and arguments are not live.
        """
        for index, value in enumerate(args):
            self._args.append(self._tree(index, value, f"[{index}]"))
        for name, value in kwargs.items():
            self._kwargs[name] = self._tree(name, value, key_step(name))

    def _tree(self, place: int | str, value: object, step: str) -> Any:
        self._kinds[place] = type(value)
        left = self._tagger.left
        try:
            return self._tagger.tree(value)
        except Refused as refused:
            if not self._live:
                raise refused.inside(step) from refused.__cause__
            self._tagger.left = left
            return placeholder(type(value))

    def shorten(self, bytes_max: int) -> None:
        """Put placeholders for the largest arguments until the rest fits."""
        sizes: dict[int | str, int] = {index: len(ordered(tree)) + 1 for index, tree in enumerate(self._args)}
        sizes |= {name: len(ordered(tree)) + len(name) * 6 + 4 for name, tree in self._kwargs.items()}
        total = sum(sizes.values()) + len(b"[[],{}]")
        for place in sorted(sizes, key=sizes.__getitem__, reverse=True):
            if total <= bytes_max:
                return
            tree = placeholder(self._kinds[place])
            total += len(ordered(tree)) - sizes[place]
            if isinstance(place, int):
                self._args[place] = tree
            else:
                self._kwargs[place] = tree


def placeholder(cls: type) -> dict[str, str]:
    """Return what stands for a live argument."""
    return {"$live": full_name(cls)}
