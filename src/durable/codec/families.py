"""The kinds of classes that a decode may build: how each is taken apart and put together again.

A family gives the state of a value as a dict from names to parts, and builds a value from such a dict. Building sets
the parts and runs no `__init__`, no validator and no property of the user's, because a value is as it was, not made
anew. The exceptions: msgspec makes a Struct only through its constructor (so `__post_init__` runs; its effect on the
fields is overwritten), and defaults of fields that were added since the value was stored come from their factories.

The state holds more than the declared fields where a value has more: attributes that `__post_init__` has set, slots of
bases. Left out are cached properties, which are computed again.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from types import BuiltinFunctionType
from typing import Any, Final, Protocol

import msgspec

from durable.codec.refusal import Refused, full_name

State = dict[str, Any]

# What other code keeps in the instance for itself: `Box[int](1)` notes its type argument.
_NO_STATE: Final = frozenset({"__dict__", "__weakref__", "__orig_class__"})
# attrs keeps a hash there, which differs from process to process; None makes it count anew.
_CACHED_HASH: Final = "_attrs_cached_hash"
_ABSENT: Final = object()


class Family(Protocol):
    """How to take apart and build values of one class."""

    def state(self, value: Any) -> State:
        """Return the parts of a value by name; raises `Refused` when some cannot be had."""
        ...

    def build(self, state: State) -> Any:
        """Return a value with these parts; raises `ValueError` when a field is missing that has no default."""
        ...


def family_of(cls: type) -> Family | None:
    """Return the family of a class, or None when its values cannot be rebuilt exactly."""
    if issubclass(cls, enum.Enum):
        return FlagFamily(cls) if issubclass(cls, enum.Flag) else EnumFamily(cls)
    if issubclass(cls, tuple):
        return NamedTupleFamily(cls) if has(cls, "_fields") and maker(cls) is tuple else None
    if issubclass(cls, msgspec.Struct):
        return StructFamily(cls)
    if maker(cls) is not object:  # state in C that we cannot see: subclasses of dict, str, Exception
        return None
    if has(cls, "__dataclass_fields__"):  # before pydantic, whose own dataclasses are dataclasses
        return ObjectFamily(cls, dict(dataclass_defaults(cls)))
    if has(cls, "__pydantic_fields__"):
        return PydanticFamily(cls)
    if has(cls, "__attrs_attrs__"):
        return ObjectFamily(cls, dict(attrs_defaults(cls)))
    return None


def has(cls: type, name: str) -> bool:
    """Does the class or a base define the name? Asks no metaclass."""
    return any(name in vars(base) for base in cls.__mro__)


def maker(cls: type) -> type:
    """Return the base whose C code allocates the instances; a `__new__` written in Python is not asked."""
    return next(base for base in cls.__mro__ if isinstance(vars(base).get("__new__"), BuiltinFunctionType))


class EnumFamily:
    """Members of an enum, by name."""

    def __init__(self, cls: type[enum.Enum]) -> None:
        self._cls = cls

    def state(self, value: enum.Enum) -> State:
        if self._cls.__members__.get(value.name) is not value:
            raise Refused("the member is not among those that its enum declares", full_name(self._cls))
        return {"name": value.name}

    def build(self, state: State) -> Any:
        member = self._cls.__members__.get(state["name"])
        if member is None:
            raise ValueError(f"{full_name(self._cls)} has no member {state['name']!r}")
        return member


class FlagFamily:
    """Combinations of flags, by value; they need no name of their own."""

    def __init__(self, cls: type[enum.Flag]) -> None:
        self._cls = cls

    def state(self, value: enum.Flag) -> State:
        return {"value": value.value}

    def build(self, state: State) -> Any:
        if type(state["value"]) is not int:
            raise ValueError("the value of a flag is not an integer")
        return self._cls(state["value"])


class NamedTupleFamily:
    """Named tuples, by field."""

    def __init__(self, cls: type) -> None:
        self._cls: Any = cls
        self._fields: tuple[str, ...] = tuple(cls._fields)  # type: ignore[attr-defined]
        self._defaults: Mapping[str, Any] = getattr(cls, "_field_defaults", {})

    def state(self, value: Any) -> State:
        if len(value) != len(self._fields):
            raise Refused(f"it has {len(value)} elements for {len(self._fields)} fields", full_name(self._cls))
        return dict(zip(self._fields, value, strict=True)) | dict(extras(value, self._fields))

    def build(self, state: State) -> Any:
        defaults: Defaults = {name: partial(self._defaults.get, name, _ABSENT) for name in self._fields}
        fill(state, defaults, self._cls)
        value = tuple.__new__(self._cls, [state.pop(name) for name in self._fields])
        return assign(value, state)


Defaults = dict[str, Callable[[], Any]]


class ObjectFamily:
    """Dataclasses and attrs classes: instances of `object` whose attributes are set one by one."""

    def __init__(self, cls: type, defaults: Defaults) -> None:
        self._cls, self._defaults = cls, defaults
        self._names = tuple(dict.fromkeys([*defaults, *slots_of(cls)]))

    def state(self, value: Any) -> State:
        found = {name: part for name in self._names if (part := getattr(value, name, _ABSENT)) is not _ABSENT}
        found.update(extras(value, self._names))
        if _CACHED_HASH in found:
            found[_CACHED_HASH] = None
        return found

    def build(self, state: State) -> Any:
        fill(state, self._defaults, self._cls)
        return assign(object.__new__(self._cls), state)


class StructFamily:
    """msgspec Structs, made by their constructor and then set to what was stored."""

    def __init__(self, cls: type) -> None:
        self._cls: Any = cls
        self._fields: tuple[str, ...] = cls.__struct_fields__  # type: ignore[attr-defined]

    def state(self, value: Any) -> State:
        return {name: getattr(value, name) for name in self._fields} | dict(extras(value, self._fields))

    def build(self, state: State) -> Any:
        fields = {name: state.pop(name) for name in self._fields if name in state}
        value = self._cls(**fields)
        for name, part in fields.items():
            msgspec.structs.force_setattr(value, name, part)
        return assign(value, state)


class PydanticFamily:
    """pydantic models, restored as unpickling does it: fields, which of them were given, extra and private values."""

    def __init__(self, cls: type) -> None:
        self._cls: Any = cls

    def state(self, value: Any) -> State:
        found: State = {name: part for name, part in vars(value).items() if not is_cached(self._cls, name)}
        given = value.__pydantic_fields_set__
        if given != set(self._cls.__pydantic_fields__):
            found["$given"] = sorted(given)
        for key, parts in (("$more", value.__pydantic_extra__), ("$private", value.__pydantic_private__)):
            if parts is not None:
                found[key] = dict(parts)
        return found

    def build(self, state: State) -> Any:
        fields = self._cls.__pydantic_fields__
        more, private = named_parts(state, "$more"), named_parts(state, "$private")
        given = names_of(state.pop("$given")) if "$given" in state else None
        added = {name for name in fields if name not in state}
        fill(state, {name: partial(pydantic_default, field) for name, field in fields.items()}, self._cls)
        value = object.__new__(self._cls)
        object.__setattr__(value, "__dict__", {name: part for name, part in state.items() if name in fields})
        object.__setattr__(value, "__pydantic_fields_set__", set(fields) - added if given is None else given)
        object.__setattr__(value, "__pydantic_extra__", {} if more is None and self._is_open() else more)
        object.__setattr__(value, "__pydantic_private__", self._private() if private is None else private)
        return value

    def _is_open(self) -> bool:
        return bool(self._cls.model_config.get("extra") == "allow")

    def _private(self) -> State | None:
        """Return the defaults of private attributes, for values from before the model had any."""
        defaults = {name: attribute.get_default() for name, attribute in self._cls.__private_attributes__.items()}
        return {
            name: found for name, found in defaults.items() if type(found).__name__ != "PydanticUndefinedType"
        } or None

    def dump(self, value: Any) -> Any:
        """Return the model's own JSON form, for models whose fields hold types that this package has no rule for.

        Raises:
            Refused: The JSON form does not give the same value back.
        """
        try:
            found = value.model_dump(mode="json", round_trip=True)
            same = is_same(self.load(found, value.__pydantic_fields_set__), value)
        except Exception as error:
            raise Refused(
                f"its JSON form cannot be read back ({type(error).__name__})", full_name(self._cls)
            ) from error
        if not same:
            raise Refused("its JSON form does not give the same value back", full_name(self._cls))
        return found

    def load(self, dumped: Any, given: Iterable[str]) -> Any:
        """Return the model of its JSON form; validation takes all fields for given, so those are passed."""
        value = self._cls.model_validate(dumped)
        object.__setattr__(value, "__pydantic_fields_set__", names_of(given))
        return value


def named_parts(state: State, key: str) -> State | None:
    """Take what a model keeps beside its fields; anything but a dict would break the model when it is written."""
    found = state.pop(key, None)
    if found is not None and type(found) is not dict:
        raise ValueError(f"{key} is no object")
    return found


def names_of(given: Any) -> set[str]:
    """Return the names of the fields that were given."""
    if not isinstance(given, list | set) or any(type(name) is not str for name in given):
        raise ValueError("$given is no list of names")
    return set(given)


def is_same(left: Any, right: Any) -> bool:
    """Are two models equal, with fields of the same types?"""
    if type(left) is not type(right) or left != right:
        return False
    mine, other = vars(left), vars(right)
    return mine.keys() == other.keys() and all(type(mine[name]) is type(other[name]) for name in mine)


def pydantic_default(field: Any) -> Any:
    return _ABSENT if field.is_required() else field.get_default(call_default_factory=True)


def dataclass_defaults(cls: type) -> Iterator[tuple[str, Callable[[], Any]]]:
    for field in dataclasses.fields(cls):
        yield field.name, partial(dataclass_default, field)


def dataclass_default(field: Any) -> Any:
    if hasattr(field.default, "get_default"):  # what pydantic's `Field(...)` leaves there
        return pydantic_default(field.default)
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    # `__post_init__` sets it, or nothing does; it may be absent in a whole value.
    return _ABSENT if field.init else None


def attrs_defaults(cls: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    for field in cls.__attrs_attrs__:
        yield field.name, partial(attrs_default, field)


def attrs_default(field: Any) -> Any:
    default = field.default
    if type(default).__name__ == "_Nothing":
        return _ABSENT if field.init else None
    factory = getattr(default, "factory", None)
    if factory is None or not hasattr(default, "takes_self"):
        return default
    return _ABSENT if default.takes_self else factory()


def fill(state: State, defaults: Defaults, cls: type) -> None:
    """Give fields that the stored value lacks their default."""
    for name, default in defaults.items():
        if name not in state:
            found = default()
            if found is _ABSENT:
                raise ValueError(
                    f"{full_name(cls)} has a field {name!r} without a default, and the stored value lacks it"
                )
            state[name] = found


def assign(value: Any, state: State) -> Any:
    """Set attributes past the class's own `__setattr__`; those that a class with slots no longer has are dropped."""
    for name, part in state.items():
        if hasattr(value, "__dict__") or has(type(value), name):
            object.__setattr__(value, name, part)
    return value


def extras(value: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the attributes in the instance's dict that are no declared fields."""
    for name, part in getattr(value, "__dict__", {}).items():
        if name in names or name in _NO_STATE or is_cached(type(value), name):
            continue
        if name.startswith("$"):
            raise Refused("the name of one of its attributes begins with a dollar sign", full_name(type(value)))
        yield name, part


def is_cached(cls: type, name: str) -> bool:
    return any(isinstance(vars(base).get(name), cached_property) for base in cls.__mro__)


def slots_of(cls: type) -> Iterator[str]:
    """Yield the names of all slots, as attributes have them."""
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name in _NO_STATE:
                continue
            private = name.startswith("__") and not name.endswith("__")
            yield f"_{base.__name__.lstrip('_')}{name}" if private else name
