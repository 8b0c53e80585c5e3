"""Random programs: what workflows do is plain data, so that one workflow function executes them all.

A program is a list of operations, each a list: its kind, its number, and what else it needs. `Grower` makes one,
`expected` says what it returns without faults, and `Player` (in `bodies.py`) executes it. Numbers are unique within a
root's program and all its children, and name the effects.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

Op: TypeAlias = list[Any]
Program: TypeAlias = list[Op]

TOOK_MS: Final = (0, 0, 1, 3, 8, 20, 40, 300, 1_300)
"""How long attempts take."""

SLEEP_MS: Final = (2, 30, 300, 900, 1_000, 1_400, 3_000)
"""How long runs sleep: under a second they keep their lease."""

TIMEOUT_MS: Final = (3, 25, 200, 950, 1_500, 4_000)

BACKOFF_MS: Final = (5, 5, 60, 400, 1_200)

DEPTH_MAX: Final = 3

LEAVES: Final = (
    "step", "step", "step", "step", "retried", "retried", "doomed", "once", "once", "named", "sleep", "sleep", "value",
    "signal", "mail", "race", "tell", "post", "patched", "map", "killer", "limited", "generated",
)  # fmt: skip

BRANCHES: Final = ("par", "par", "timeout", "saga", "child", "child", "detach", "attach", "stubborn")

HOWS: Final = ("gather", "group", "wait", "completed")


class Grower:
    """Grows the program of one root.

    Args:
        source: Draws all choices.
        root: Number of the root; a program may have to do with roots of smaller numbers.
        leaves: Operations, about.
    """

    def __init__(self, source: random.Random, root: int, leaves: int) -> None:
        self._source = source
        self._root = root
        self._left = leaves
        self._number = 0

    def grow(self) -> Program:
        """Return the program of a root."""
        program = self._some(0, in_root=True)
        while self._left > 0:
            program += self._some(0, in_root=True)
        if self._source.random() < 0.1:
            # Fails the run until somebody mends the world and lets the run go on.
            program.append(["broken", self._next(), self._source.choice(TOOK_MS)])
            program += self._some(DEPTH_MAX, in_root=True)
        if self._source.random() < 0.12:
            self._left = 2
            program.append(["again", self._next(), self._some(0, in_root=True)])
        return program

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _some(self, depth: int, *, in_root: bool) -> Program:
        return [self._op(depth, in_root=in_root) for _ in range(self._source.choice((1, 1, 1, 2, 3)))]

    def _op(self, depth: int, *, in_root: bool) -> Op:
        draw = self._source
        number = self._next()
        if depth < DEPTH_MAX and self._left > 1 and draw.random() < 0.3:
            return self._branch(draw.choice(BRANCHES), number, depth, in_root=in_root)
        self._left -= 1
        kind = draw.choice(LEAVES)
        if kind in ("signal", "mail", "race") and not in_root:
            kind = "step"  # clients know the names of roots only
        return self._leaf(kind, number)

    def _leaf(self, kind: str, number: int) -> Op:
        draw = self._source
        took = draw.choice(TOOK_MS)
        match kind:
            case "retried":
                return [kind, number, draw.choice((1, 1, 2, 3)), took, draw.choice(BACKOFF_MS)]
            case "killer":
                return [kind, number, draw.choice((1, 1, 2, 5, 6))] if draw.random() < 0.4 else ["step", number, took]
            case "sleep":
                return [kind, number, draw.choice(SLEEP_MS), draw.randrange(3)]
            case "mail":
                return [kind, number, draw.choice((1, 2, 4))]
            case "race":
                return [kind, number, draw.choice(TIMEOUT_MS)]
            case "limited":
                return [kind, number, took, draw.choice((3, 30, 300))]
            case "generated":
                return [kind, number, draw.choice((1, 2, 3)), draw.choice((0, 3, 1_050))]
            case "tell" | "post":
                return [kind, number, draw.randrange(self._root + 1)]
            case "map":
                return [kind, number, draw.choice((2, 3, 5)), draw.choice((1, 2))]
            case _:
                return [kind, number, took]

    def _branch(self, kind: str, number: int, depth: int, *, in_root: bool) -> Op:
        draw = self._source
        match kind:
            case "par":
                programs = [self._some(depth + 1, in_root=in_root) for _ in range(draw.choice((2, 2, 3)))]
                return [kind, number, programs, draw.choice(HOWS)]
            case "timeout":
                return [kind, number, self._some(depth + 1, in_root=in_root), draw.choice(TIMEOUT_MS)]
            case "saga":
                return [kind, number, self._some(depth + 1, in_root=in_root)]
            case "stubborn" if in_root and not depth:
                return [kind, number, self._some(depth + 1, in_root=in_root)]
            case "attach" if self._root:
                self._left -= 1
                return [kind, number, draw.randrange(self._root), draw.choice(TIMEOUT_MS)]
            case "detach":
                return [kind, number, self._some(depth + 1, in_root=False)]
            case _:
                return ["child", number, self._some(depth + 1, in_root=False), draw.choice(("call", "handle", "named"))]


def operations(program: Program, *, children: bool = True) -> Iterator[Op]:
    """Yield all operations of a program, those of its children only if asked for."""
    for op in program:
        yield op
        match op[0]:
            case "par":
                for branch in op[2]:
                    yield from operations(branch, children=children)
            case "timeout" | "saga" | "stubborn" | "again":
                yield from operations(op[2], children=children)
            case "child" | "detach" if children:
                yield from operations(op[2])


# What programs return ------------------------------------------------------------------------------------------------


class Either(NamedTuple):
    """One of several results: which one is a matter of time, or of faults."""

    results: tuple[Any, ...]


ANYTHING: Final = object()
"""Any result: that of a run which somebody else may cancel."""


def expected(program: Program) -> list[Any]:
    """Return what a program returns; where that is a matter of time, all there may be."""
    if program and program[-1][0] == "again":
        return expected(program[-1][2])
    return [_EXPECTED[op[0]](op) for op in program]


def payload(number: int) -> dict[str, int]:
    """Return what a client completes the signal of an operation with."""
    return {"signal": number}


def letter(number: int, place: int) -> list[int]:
    """Return the message that a client sends for an operation, the `place`-th."""
    return [number, place]


_EXPECTED: Final[dict[str, Callable[[Op], Any]]] = {
    "step": lambda op: op[1],
    "retried": lambda op: op[1],
    "doomed": lambda op: ["failed", op[1]],
    "broken": lambda op: op[1],
    "once": lambda op: Either((op[1], ["interrupted", op[1]])),
    "named": lambda op: op[1],
    "killer": lambda op: op[1],
    "sleep": lambda op: ["slept", op[1]],
    "value": lambda op: ["same", True],
    "signal": lambda op: payload(op[1]),
    "mail": lambda op: [letter(op[1], place) for place in range(op[2])],
    "race": lambda op: Either((payload(op[1]), "late")),
    "tell": lambda op: Either((True, False)),
    "post": lambda op: Either(("posted", "not found", "not open")),
    "patched": lambda op: True,
    "map": lambda op: [[op[1], place] for place in range(op[2])],
    "par": lambda op: [expected(branch) for branch in op[2]],
    "timeout": lambda op: Either((expected(op[2]), "late")),
    "saga": lambda op: expected(op[2]),
    "stubborn": lambda op: Either((expected(op[2]), "swallowed")),
    "limited": lambda op: Either((op[1], "timed out")),
    "generated": lambda op: [*range(op[2]), "slept"],
    "child": lambda op: expected(op[2]),
    "detach": lambda op: ["detached", op[1]],
    "attach": lambda op: Either(("late", ["awaited", ANYTHING], ["ended", ANYTHING])),
}


def fits(want: Any, found: Any) -> bool:
    """Is this a result that was to be expected?"""
    if want is ANYTHING:
        return True
    if isinstance(want, Either):
        return any(fits(one, found) for one in want.results)
    if isinstance(want, list):
        return isinstance(found, list) and len(want) == len(found) and all(map(fits, want, found))
    return bool(want == found)
