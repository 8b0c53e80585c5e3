"""What a function's signature says: types for the codec, names for id templates, the canonical form of arguments."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from durable.errors import UsageError


class Signature:
    """The signature of a task or workflow function, read once."""

    def __init__(self, fn: Callable[..., Any], *, skip_first: bool = False) -> None:
        self._fn = fn
        self._skips = skip_first
        parameters = list(inspect.signature(fn).parameters.values())
        if skip_first:
            parameters = parameters[1:]
        self._signature = inspect.Signature(parameters)
        self._named = {
            p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY, p.POSITIONAL_ONLY)
        }
        self._plain = all(p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in parameters)
        self._defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        self._hints: dict[str, Any] | None = None

    @property
    def names(self) -> list[str]:
        """The parameters' names, in order."""
        return list(self._signature.parameters)

    def hints(self) -> dict[str, Any]:
        """Return the resolved type hints; those that cannot be resolved are left out."""
        if self._hints is None:
            self._hints = _resolve(self._fn)
        return self._hints

    @property
    def result_type(self) -> Any:
        """The annotated result, `Any` if there is none."""
        return self.hints().get("return", Any)

    def argument_types(self) -> dict[str | int, Any]:
        """Return the types of arguments by name and by position."""
        hints = self.hints()
        types: dict[str | int, Any] = {}
        for index, name in enumerate(self.names):
            if name in hints:
                types[name] = types[index] = hints[name]
        return types

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> inspect.BoundArguments:
        """Bind arguments.

        Raises:
            UsageError: they do not fit; a TypeError would read as if the function had failed.
        """
        try:
            return self._signature.bind(*args, **kwargs)
        except TypeError as error:
            hint = "; the first parameter of a generator is the context, which durable passes" if self._skips else ""
            raise UsageError(f"{what}{self._signature}: {error}{hint}") from None

    def canonical(self, bound: inspect.BoundArguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments in one form for all ways to write a call: by name, without those equal to a default."""
        if not self._plain:
            return bound.args, self._without_defaults(bound.kwargs)
        return (), self._without_defaults(bound.arguments)

    def _without_defaults(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if not self._defaults:
            return dict(arguments)
        return {name: value for name, value in arguments.items() if not self._is_default(name, value)}

    def _is_default(self, name: str, value: Any) -> bool:
        if name not in self._defaults:
            return False
        default = self._defaults[name]
        if value is default:
            return True
        try:
            return type(value) is type(default) and bool(value == default)
        except Exception:  # noqa: BLE001 - a user's __eq__ may raise anything; then the two are not equal
            return False

    def filled(self, bound: inspect.BoundArguments) -> dict[str, Any]:
        """Return all arguments by name, defaults included, as id templates see them."""
        bound.apply_defaults()
        return dict(bound.arguments)


def _resolve(fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except Exception:  # noqa: BLE001 - names in annotations may be anything, also undefined
        return {name: hint for name, hint in getattr(fn, "__annotations__", {}).items() if not isinstance(hint, str)}
