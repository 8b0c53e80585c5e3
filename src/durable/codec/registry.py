"""Which classes a decode may build, and under which names.

A stored value names its class ("orders:Receipt"). The name is a key, never an instruction: it is looked up among
classes that this process knows, which are those that it has encoded, met in an annotation, or been given by `register`;
then among the modules that are loaded already. Nothing is imported, no attribute hook of a module runs, and a class
counts only when it belongs to one of the families that `families` can build.

A script is called `__main__` by its own process and by its file's name by those that import it. Stored names say the
latter, so that `python orders.py` and a worker that imports `orders` read each other's values.
"""

from __future__ import annotations

import sys
from pathlib import PurePath
from types import ModuleType
from typing import Any, Final

from durable.codec.annotations import classes_in
from durable.codec.families import Family, family_of
from durable.codec.refusal import full_name
from durable.errors import UsageError

_MAIN: Final = ("__main__", "__mp_main__")


class Registry:
    """The classes that a codec knows; may be shared by several codecs and used from any thread."""

    def __init__(self) -> None:
        # Plain dicts, one store at a time: the interpreter makes each assignment whole.
        self._names: dict[type, str] = {}
        self._families: dict[type, Family | None] = {}
        self._classes: dict[str, type] = {}
        self._learned: set[object] = set()

    def register(self, cls: type, *, name: str | None = None) -> type:
        """Make a class known; usable as a decorator.

        Args:
            cls: A dataclass, msgspec.Struct, attrs or pydantic class, enum, named tuple or exception.
            name: An older name ("module:qualname") under which stored values mention it, after it was moved or renamed.

        Raises:
            UsageError: The class is of no family that the codec can rebuild.
        """
        if self.family(cls) is None and not issubclass(cls, BaseException):
            raise UsageError(
                f"{full_name(cls)} cannot be registered: it is no dataclass, Struct, attrs or pydantic class, "
                "enum, named tuple or exception"
            )
        self._classes[name or self.name_of(cls)] = cls
        return cls

    def family(self, cls: type) -> Family | None:
        """Return how to take apart and build values of a class, or None when there is no rule for it."""
        try:
            return self._families[cls]
        except KeyError:
            return self._families.setdefault(cls, family_of(cls))

    def name_of(self, cls: type) -> str:
        """Return the name that stands for a class in stored values."""
        name = self._names.get(cls)
        if name is None:
            module = script_name() if cls.__module__ in _MAIN else cls.__module__
            name = self._names.setdefault(cls, f"{module}:{cls.__qualname__}")
        return name

    def note(self, cls: type) -> str:
        """Return the name of a class that is being encoded, and know it from now on."""
        name = self.name_of(cls)
        if self._classes.get(name) is not cls:
            self._classes[name] = cls
        return name

    def learn(self, annotation: object) -> None:
        """Know the classes that an annotation mentions, those inside their fields too."""
        try:
            if annotation in self._learned:
                return
            self._learned.add(annotation)
        except TypeError:  # some annotations cannot be hashed; they are walked each time
            pass
        for cls in classes_in(annotation):
            if self.family(cls) is not None or issubclass(cls, BaseException):
                self.note(cls)

    def find(self, name: str) -> type | None:
        """Return the class of a name, or None when this process does not know it."""
        return self._classes.get(name) or loaded_class(name)


def script_name() -> str:
    """Return the name under which other processes import the program that runs here."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    stem = PurePath(getattr(main, "__file__", None) or "").stem
    return stem if stem.isidentifier() else "__main__"


def loaded_class(name: str) -> type | None:
    """Return the class that stands under a name in a loaded module; runs no code of the module."""
    module, _, qualname = name.partition(":")
    candidates = [*_MAIN, module] if module == script_name() else [module]
    for candidate in candidates:
        found: Any = sys.modules.get(candidate)
        # A lazy module would load itself, and one with `__getattr__` run it, at an ordinary attribute access.
        if not isinstance(found, ModuleType):
            continue
        space = object.__getattribute__(found, "__dict__")
        for part in qualname.split("."):
            found = space.get(part)
            if not isinstance(found, type):
                break
            space = type.__dict__["__dict__"].__get__(found)
        else:
            return found if isinstance(found, type) else None
    return None
