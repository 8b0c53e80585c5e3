"""What a forked child must do about the stores it inherits: nothing but keep away from them.

It closes its copies of the lock files (unlocking would unlock the parent's, keeping them open would keep the parent's
lock after the parent's death) and never touches the connections, not even to close them, because SQLite would then
believe that it is alone and tidy up the log of the living parent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakSet


class Inherited:
    """Something that a forked child must let go of. Subclasses say how; they are told after each fork."""

    def __init__(self) -> None:
        _living.add(self)

    def after_fork_in_child(self) -> None:
        """Close what keeps the parent's locks, and refuse to serve from now on."""
        raise NotImplementedError


# The one list that fork handlers need: they cannot be taken back, so there is one for all stores of the process.
_living: WeakSet[Inherited] = WeakSet()

_leaked: list[object] = []


def leak(things: object) -> None:
    """Keep things from ever being finalized in this process."""
    _leaked.append(things)
    try:
        import ctypes  # noqa: PLC0415 - only in a child that inherited an open store

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(things))
    except (ImportError, AttributeError):
        return


def _tell_all() -> None:
    for inherited in list(_living):
        inherited.after_fork_in_child()


_register: Callable[..., None] | None = getattr(os, "register_at_fork", None)
if _register is not None:
    _register(after_in_child=_tell_all)
