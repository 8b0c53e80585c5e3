"""Breaks a function of the product, for a while: its source with a piece replaced, compiled in its place."""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple


class Edit(NamedTuple):
    """A replacement in the source of one function."""

    where: str
    """`module:function` or `module:Class.method`, the module below `durable`."""
    old: str
    """A piece of its source that is there once, without the function's own indentation."""
    new: str


@dataclass(frozen=True)
class Mutant:
    """A bug that somebody might make."""

    name: str
    breaks: str
    """What goes wrong, in a line."""
    edits: tuple[Edit, ...] = ()
    caught_by: str = "simulation"
    """The campaign that catches it soonest; one of `campaigns.CAMPAIGNS`."""
    patch: Callable[[], AbstractContextManager[object]] = nullcontext
    """What no replacement of text can express."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the product have this bug.

        Raises:
            LookupError: the product has changed, and the mutant must change with it.
        """
        with ExitStack() as stack:
            for where in dict.fromkeys(edit.where for edit in self.edits):
                stack.enter_context(_replaced(where, [edit for edit in self.edits if edit.where == where]))
            stack.enter_context(self.patch())
            yield


@contextmanager
def _replaced(where: str, edits: list[Edit]) -> Iterator[None]:
    owner, name = _owner_of(where)
    before = inspect.getattr_static(owner, name)
    made = _edited(before, edits, owner)
    # Whoever has imported the function by its name has it in a place of its own.
    places = [owner] if inspect.isclass(owner) else [m for m in _modules() if vars(m).get(name) is before]
    for place in places:
        setattr(place, name, made)
    try:
        yield
    finally:
        for place in places:
            setattr(place, name, before)


def _owner_of(where: str) -> tuple[Any, str]:
    module_name, _, path = where.partition(":")
    owner: Any = importlib.import_module(f"durable.{module_name}")
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    return owner, name


def _modules() -> list[Any]:
    return [module for name, module in list(sys.modules.items()) if name.startswith(("durable.", "tests."))]


def _edited(function: Any, edits: list[Edit], owner: Any) -> Any:
    module = owner if inspect.ismodule(owner) else sys.modules[owner.__module__]
    inner: Any = function.fget if isinstance(function, property) else function
    source = textwrap.dedent(inspect.getsource(inner))
    for edit in edits:
        if source.count(edit.old) != 1:
            raise LookupError(f"{edit.where} has {edit.old!r} {source.count(edit.old)} times, expected once:\n{source}")
        source = source.replace(edit.old, edit.new)
    made: dict[str, Any] = {}
    # As if it stood in its module and class: annotations are not evaluated, `super()` finds the class.
    text = f"from __future__ import annotations\ndef _make(__class__):\n{textwrap.indent(source, '    ')}\n"
    code = compile(f"{text}    return {inner.__name__}", f"<mutant of {edits[0].where}>", "exec")
    exec(code, vars(module), made)
    return made["_make"](owner)
