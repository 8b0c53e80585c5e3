"""Who decides what a random history consists of: hypothesis, which shrinks what fails, or a seed, which is fast."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Choices(Protocol):
    """Makes choices."""

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of these; the first ones are the simplest."""

    def several(self, choices: Sequence[T], most: int) -> tuple[T, ...]:
        """Return some of these, each once, in any order: none of them, or up to `most`."""


class Drawn:
    """Choices that hypothesis makes.

    Args:
        draw: Draws from a strategy.
    """

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def pick(self, choices: Sequence[T]) -> T:
        choice: T = self._draw(st.sampled_from(choices))
        return choice

    def several(self, choices: Sequence[T], most: int) -> tuple[T, ...]:
        return tuple(self._draw(st.lists(st.sampled_from(choices), max_size=most, unique=True)))


class Seeded:
    """Choices that a seed makes.

    Args:
        seed: The same one makes the same choices again.
    """

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)

    def pick(self, choices: Sequence[T]) -> T:
        return self._source.choice(choices)

    def several(self, choices: Sequence[T], most: int) -> tuple[T, ...]:
        return tuple(self._source.sample(choices, self._source.randint(0, min(most, len(choices)))))
