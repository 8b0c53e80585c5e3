"""From a value to the tree that JSON holds, with tags for what JSON cannot say.

Every type has one rule, found by its exact class; there is no rule for "anything else", so what has none is refused
where it stands. A tag is an object whose first key begins with a dollar sign. A user's dict that has such a key
anywhere is written as a list of pairs, as one with keys that are no text, and so is never taken for a tag.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

import msgspec

from durable.codec import failures
from durable.codec.families import EnumFamily, Family, FlagFamily, PydanticFamily
from durable.codec.leaves import TAGGERS
from durable.codec.limits import Limits
from durable.codec.refusal import Refused, full_name, key_step
from durable.codec.registry import Registry

Json = Any
_ordered: Final = msgspec.json.Encoder(order="deterministic").encode


class Tagger:
    """One walk over a value; counts what it has seen."""

    def __init__(self, registry: Registry, limits: Limits, *, tracebacks: bool = True) -> None:
        self._registry, self._limits, self.tracebacks = registry, limits, tracebacks
        self.left = limits.elements_max
        self._inside: list[Any] = []
        self._recorder: failures.Recorder | None = None

    def tree(self, value: Any) -> Json:
        """Return the tree of a value.

        Raises:
            Refused: Some part of it cannot be stored.
        """
        kind = type(value)
        if value is None or kind is bool:
            return value
        leaf = TAGGERS.get(kind)
        if leaf is not None:
            return leaf(value)
        rule = _CONTAINERS.get(kind) or Tagger._object
        self._enter(value)
        try:
            return rule(self, value)
        except RuntimeError as error:  # a container tells so when another thread changes it
            raise Refused(f"it changed while it was read ({error})", full_name(kind)) from error
        finally:
            self._inside.pop()

    def record(self, error: BaseException, chain_max: int = failures.CHAIN_MAX) -> Json:
        """Return the record of an exception; one recorder for all that it holds and hangs together with.

        Raises:
            Refused: It is part of another one that cannot take it.
        """
        if self._recorder is not None:
            return self._recorder.record_of_part(error)
        self._recorder = failures.Recorder(self)
        try:
            return self._recorder.record(error, chain_max)
        finally:
            self._recorder = None

    def note(self, cls: type) -> str:
        """Return the name of a class, known from now on."""
        return self._registry.note(cls)

    def name_of(self, cls: type) -> str:
        """Return the name of an exception's class.

        It is not known from now on: a class that a new process could not find by its name is a `TaskError` there, and
        so the first time too.
        """
        return self._registry.name_of(cls)

    def _enter(self, value: Any) -> None:
        """Count a container, and refuse one that is too deep or inside itself."""
        if len(self._inside) >= self._limits.depth_max:
            if any(value is outer for outer in self._inside):
                raise Refused("it contains itself", full_name(type(value)))
            why = f"it is nested deeper than the limit of {self._limits.depth_max} levels"
            raise Refused(why, full_name(type(value)), too_large=True)
        self._inside.append(value)

    def _count(self, elements: int, value: Any) -> None:
        self.left -= elements
        if self.left < 0:
            why = f"the whole value has more than {self._limits.elements_max} elements; store a reference instead"
            raise Refused(why, full_name(type(value)), too_large=True)

    def items(self, values: Iterable[Any], step: str = "") -> list[Json]:
        """Return the trees of a row of values."""
        trees = []
        index = 0
        try:
            for part in values:
                trees.append(self.tree(part))
                index += 1
        except Refused as refused:
            raise refused.inside(step or f"[{index}]") from None
        return trees

    def _list(self, value: list[Any]) -> Json:
        self._count(len(value), value)
        return self.items(value)

    def _tuple(self, value: tuple[Any, ...]) -> Json:
        self._count(len(value), value)
        return {"$tuple": self.items(value)}

    def _set(self, value: set[Any]) -> Json:
        self._count(len(value), value)
        # In the order of their bytes: a set has none of its own, and equal sets should be equal bytes.
        return {"$set": sorted(self.items(value, "[*]"), key=_ordered)}

    def _frozenset(self, value: frozenset[Any]) -> Json:
        self._count(len(value), value)
        return {"$frozenset": sorted(self.items(value, "[*]"), key=_ordered)}

    def _deque(self, value: deque[Any]) -> Json:
        self._count(len(value), value)
        return {"$deque": self.items(value), "size": value.maxlen}

    def _dict(self, value: dict[Any, Any]) -> Json:
        self._count(len(value), value)
        if all(type(key) is str and not key.startswith("$") and is_utf8(key) for key in value):
            return self.fields(value)
        return {"$dict": self._pairs(value)}

    def _ordered_dict(self, value: OrderedDict[Any, Any]) -> Json:
        self._count(len(value), value)
        return {"$ordereddict": self._pairs(value)}

    def _pairs(self, value: dict[Any, Any]) -> list[Json]:
        """Return keys and values in turn, in the order of the dict."""
        trees: list[Json] = []
        for key, part in value.items():
            try:
                trees.append(self.tree(key))
            except Refused as refused:
                raise refused.inside(".keys()") from None
            try:
                trees.append(self.tree(part))
            except Refused as refused:
                raise refused.inside(key_step(key)) from None
        return trees

    def fields(self, parts: dict[str, Any]) -> dict[str, Json]:
        """Return the trees of named parts."""
        trees: dict[str, Json] = {}
        name = ""
        try:
            for name, part in parts.items():
                trees[name] = self.tree(part)
        except Refused as refused:
            raise refused.inside(key_step(name)) from None
        return trees

    def _object(self, value: Any) -> Json:
        """Return the tag of a value whose class belongs to a family."""
        cls = type(value)
        if isinstance(value, BaseException):
            return {"$error": self.record(value)}
        family = self._registry.family(cls)
        if family is None:
            raise Refused(why_not(value), full_name(cls))
        if isinstance(family, EnumFamily | FlagFamily):
            return {"$enum": self.note(cls), **self.fields(family.state(value))}
        self._count(1, value)
        return self._parts(value, cls, family)

    def _parts(self, value: Any, cls: type, family: Family) -> Json:
        state = family.state(value)
        self._count(len(state), value)
        name = self.note(cls)
        try:
            return {"$class": name, **self.fields(state)}
        except Refused as refused:
            if not isinstance(family, PydanticFamily) or refused.too_large:
                raise
            given = sorted(value.__pydantic_fields_set__)
            return {"$class": name, "$dump": self._dump(value, family, refused), "$given": given}

    def _dump(self, value: Any, family: PydanticFamily, refused: Refused) -> Json:
        """Return a model's own JSON form after a field of it was refused, or that refusal."""
        try:
            return self.tree(family.dump(value))
        except Refused:
            raise refused from None


_CONTAINERS: Final[dict[type, Callable[[Tagger, Any], Json]]] = {
    list: Tagger._list,
    tuple: Tagger._tuple,
    dict: Tagger._dict,
    set: Tagger._set,
    frozenset: Tagger._frozenset,
    deque: Tagger._deque,
    OrderedDict: Tagger._ordered_dict,
}


def is_utf8(text: str) -> bool:
    """Has UTF-8 a form for this text? It has none for half a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_BASES: Final = (
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    tuple,
    list,
    dict,
    set,
    frozenset,
    datetime,
    date,
    time,
    Decimal,
)


def why_not(value: Any) -> str:
    """Return why a value of no known type is refused, and what would be accepted."""
    cls = type(value)
    if hasattr(cls, "__await__"):
        return "it was never awaited; store its result"
    if cls.__module__.partition(".")[0] in ("numpy", "pandas"):
        return "convert it to plain values first (.item(), .tolist(), .to_dict())"
    for base in _BASES:
        if isinstance(value, base):
            return f"it would come back as a plain {base.__name__}; convert it to one, or to a dataclass, first"
    if callable(value):
        return "code is not stored; pass a name and look the function up"
    if hasattr(cls, "__next__") or hasattr(cls, "read"):
        return "it can be used only once and only here; store what it yields"
    return "there is no rule for this type; store plain values, a dataclass, a Struct, or an attrs or pydantic object"
