"""From the tree that JSON held back to the value.

The tree may have been written by anyone. A tag selects a reader from a fixed table; a name in it selects a class that
the registry knows. Whatever a reader raises means that the bytes do not say what a tag must say: they are kept, and the
caller gets a `DecodeError`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final

from durable.codec import failures
from durable.codec.base import LiveArgument
from durable.codec.families import EnumFamily, FlagFamily, PydanticFamily
from durable.codec.leaves import READERS, Tag
from durable.codec.registry import Registry
from durable.errors import DecodeError

Json = Any


class Untagger:
    """One walk over a tree."""

    def __init__(self, registry: Registry, label: str) -> None:
        self.registry, self.label = registry, label

    def value(self, tree: Json) -> Any:
        """Return the value of a tree.

        Raises:
            DecodeError: A tag is unknown or malformed, or names a class that this process does not know.
        """
        kind = type(tree)
        if kind is list:
            return [self.value(part) for part in tree]
        if kind is not dict:
            return tree
        first = next(iter(tree), "")
        if not first.startswith("$"):
            return {key: self.value(part) for key, part in tree.items()}
        return self._tagged(first, tree)

    def _tagged(self, tag: str, tree: Tag) -> Any:
        reader = READERS.get(tag)
        rule = _RULES.get(tag)
        if reader is None and rule is None:
            raise DecodeError(self.label, f"it has the unknown tag {tag!r}; a newer version may have written it")
        try:
            return reader(tree) if reader is not None else rule(self, tree)  # type: ignore[misc]
        except DecodeError:
            raise
        except Exception as error:  # malformed bytes make any reader raise anything
            raise DecodeError(
                self.label, f"its tag {tag!r} is malformed: {str(error) or type(error).__name__}"
            ) from error

    def items(self, trees: Json) -> list[Any]:
        if type(trees) is not list:
            raise ValueError("a list is missing")
        return [self.value(part) for part in trees]

    def _pairs(self, trees: Json) -> list[tuple[Any, Any]]:
        parts = self.items(trees)
        return list(zip(parts[::2], parts[1::2], strict=True))

    def _deque(self, tree: Tag) -> deque[Any]:
        return deque(self.items(tree["$deque"]), tree["size"])

    def _live(self, tree: Tag) -> LiveArgument:
        return LiveArgument(str(tree["$live"]))

    def _error(self, tree: Tag) -> BaseException:
        return failures.error_of(tree["$error"], self)

    def _enum(self, tree: Tag) -> Any:
        cls = self.cls(tree.pop("$enum"))
        family = self.registry.family(cls)
        if not isinstance(family, EnumFamily | FlagFamily):
            raise ValueError(f"{cls.__qualname__} is no enum here")
        return family.build({key: self.value(part) for key, part in tree.items()})

    def _class(self, tree: Tag) -> Any:
        cls = self.cls(tree.pop("$class"))
        family = self.registry.family(cls)
        if family is None or isinstance(family, EnumFamily | FlagFamily):
            raise ValueError(f"{cls.__qualname__} is of no kind that is built from fields here")
        if "$dump" in tree:
            if not isinstance(family, PydanticFamily):
                raise ValueError(f"{cls.__qualname__} is no pydantic model here")
            return family.load(self.value(tree["$dump"]), tree["$given"])
        return family.build({key: self.value(part) for key, part in tree.items()})

    def find(self, name: str) -> type | None:
        """Return the class of a name, or None when this process does not know it."""
        return self.registry.find(name)

    def cls(self, name: Json) -> type:
        """Return the class of a name.

        Raises:
            DecodeError: This process does not know it.
        """
        found = self.find(name) if type(name) is str else None
        if found is None:
            module = str(name).partition(":")[0]
            raise DecodeError(
                self.label,
                f"it holds a {name!r}, a class that is not loaded here; import {module!r} before running workflows, "
                "or register the class with the codec's registry under this name",
            )
        return found


_RULES: Final[dict[str, Callable[[Untagger, Tag], Any]]] = {
    "$tuple": lambda walk, tree: tuple(walk.items(tree["$tuple"])),
    "$set": lambda walk, tree: set(walk.items(tree["$set"])),
    "$frozenset": lambda walk, tree: frozenset(walk.items(tree["$frozenset"])),
    "$deque": Untagger._deque,
    "$dict": lambda walk, tree: dict(walk._pairs(tree["$dict"])),
    "$ordereddict": lambda walk, tree: OrderedDict(walk._pairs(tree["$ordereddict"])),
    "$class": Untagger._class,
    "$enum": Untagger._enum,
    "$error": Untagger._error,
    "$live": Untagger._live,
}
