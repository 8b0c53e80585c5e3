"""The fast test: may this value go to JSON as it is?

A value is plain when JSON has a form for each of its parts and msgspec gives back exactly that part. Exact types are
what makes it sound: with `type(x) is …` no subclass, no bool taken for a number and no tuple taken for a list gets
through. Three kinds of parts have plain types and are not plain: not-a-number and infinity, which JSON would make null,
and integers beyond 64 bits, which few readers take, are found here; for half a surrogate pair msgspec raises when it
encodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

# What every JSON reader takes exactly.
INT_LOWEST: Final = -(2**63)
INT_HIGHEST: Final = 2**64 - 1


def is_plain_atom(value: Any) -> bool:
    """Is this plain, and no container?"""
    kind = type(value)
    if kind is int:
        return bool(INT_LOWEST <= value <= INT_HIGHEST)
    if kind is float:
        return bool(value - value == 0.0)
    return kind is str or value is None or kind is bool


def are_plain(containers: list[Any], elements_max: int) -> bool:
    """Are these dicts and rows plain, with at most `elements_max` elements? The list is used up.

    It visits each container as often as the value refers to it, as JSON will write it; so the bound also ends the walk
    over a value that contains itself, or that is small in memory and endless on paper.
    """
    seen = 0
    for container in containers:
        seen += len(container)
        if seen > elements_max:
            return False
        parts: Iterable[Any] = container
        if type(container) is dict:
            for key in container:
                if type(key) is not str:
                    return False
            parts = container.values()
        # Most frequent first; this loop is what encoding a plain value costs.
        for part in parts:
            kind = type(part)
            if kind is str:
                continue
            if kind is int:
                if not INT_LOWEST <= part <= INT_HIGHEST:
                    return False
            elif kind is dict or kind is list:
                containers.append(part)
            elif not (part is None or kind is bool or (kind is float and part - part == 0.0)):
                return False
    return True
