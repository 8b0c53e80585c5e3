"""The private signal of the walk over a value: this part cannot be stored.

It gathers the path while it rises, so that the walk itself keeps none; whoever started the walk turns it into an
`EncodeError` with the label of the value.
"""

from __future__ import annotations

from typing import Final

from durable.errors import EncodeError, PayloadTooLarge

_PATH_CHARS: Final = 300


class Refused(Exception):
    """A part of a value cannot be stored.

    Args:
        why: The reason, and what to do about it.
        type_name: What the part is; the name of its type.
        too_large: The value is over a limit.
    """

    def __init__(self, why: str, type_name: str, *, too_large: bool = False) -> None:
        super().__init__(why, type_name)
        self.why, self.type_name, self.too_large = why, type_name, too_large
        self._steps: list[str] = []

    def inside(self, step: str) -> Refused:
        """Add the step of the container that the part lies in: `.name` or `[3]`."""
        self._steps.append(step)
        return self

    def error(self, label: str) -> EncodeError:
        path = "".join(reversed(self._steps))
        if len(path) > _PATH_CHARS:
            path = f"{path[: _PATH_CHARS // 2]}…{path[-_PATH_CHARS // 2 :]}"
        return (PayloadTooLarge if self.too_large else EncodeError)(label, path, self.type_name, self.why)


def key_step(key: object) -> str:
    """Return the path step of a dict key: `.name` where it reads as one, else `['any text']`."""
    if type(key) is str and key.isidentifier():
        return f".{key}"
    shown = ascii(key) if type(key) in (str, int, float, bool, bytes, type(None)) else f"<{type(key).__qualname__}>"
    return f"[{shown if len(shown) <= 60 else shown[:60] + '…'}]"


def full_name(cls: type) -> str:
    """Return the name of a class as people write it: `dict`, `orders.Receipt`."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
