"""Suspended activations that stay in memory for a while: woken on this worker, they go on without replay."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from durable.core.records import RunKey

if TYPE_CHECKING:
    from durable.runtime.activation import Activation


class Cache:
    """The activations that suspended last, at most `size` of them and none longer than `keep_ms`."""

    def __init__(self, size: int, keep_ms: int) -> None:
        self._size = size
        self._keep_ms = keep_ms
        self._items: OrderedDict[RunKey, tuple[Activation, int]] = OrderedDict()

    def put(self, act: Activation, now: int) -> list[Activation]:
        """Keep an activation; return those that have to go, which the caller evicts."""
        self._items[act.run.key] = (act, now + self._keep_ms)
        return self.drop_old(now)

    def drop_old(self, now: int) -> list[Activation]:
        """Return, and forget, what is too old or too much."""
        gone = []
        while self._items:
            key, (act, until) = next(iter(self._items.items()))
            if until > now and len(self._items) <= self._size:
                break
            del self._items[key]
            gone.append(act)
        return gone

    def peek(self, key: RunKey) -> Activation | None:
        """Return an activation that is kept, and keep it."""
        item = self._items.get(key)
        return item[0] if item else None

    def take(self, key: RunKey) -> Activation | None:
        """Return an activation that is kept, and forget it."""
        item = self._items.pop(key, None)
        return item[0] if item else None

    def evict(self, key: RunKey) -> None:
        """End an activation that is kept, if one is: its journal is about to change."""
        act = self.take(key)
        if act is not None:
            act.evict()

    def drop_all(self) -> list[Activation]:
        """Return, and forget, everything."""
        acts = [act for act, _ in self._items.values()]
        self._items.clear()
        return acts
