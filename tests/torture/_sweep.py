"""Plays one round for every system call that a workload makes: what `syscalls` and `io` have in common.

A round is played first with a fault that never comes, and says how many calls there are that it could have hit. Then
there is one round for each of them, and for a few more, since no two executions make exactly as many.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from tests.torture._outcome import Outcome
from tests.torture._rounds import play
from tests.torture._shim import preloaded

NEVER = 1_000_000_000
"""A call that no workload comes to."""

MORE = 1.1


def sweep(target: str, ways: Iterable[str], n: int, seed: int, *, jobs: int, patience_s: float) -> Outcome:
    """Play every call of every way.

    Args:
        target: Function of a way and the number of a call. It returns a dict of `violations` (sentences), `fired` (how
            often the fault came), `matched` (calls that it could have hit), `hit` (which one it did), and of figures to
            add up.
        ways: How things go wrong.
        n: Most rounds for each way; below the number of calls, they are chosen by the seed.
        seed: Chooses them.
        jobs: Rounds at a time.
        patience_s: Longest time of a round.
    """
    outcome = Outcome(n=0)
    for way in ways:
        probe = next(play(target, [(way, NEVER)], environment=preloaded(), patience_s=patience_s))
        if probe.failure or probe.result["violations"]:
            outcome.violations.append(f"{way}: without a fault the workload {probe.failure or probe.result}")
            continue
        calls = chosen(probe.result["matched"], n, seed)
        rounds = ((way, k) for k in calls)
        _sweep_way(target, way, rounds, outcome, jobs=jobs, patience_s=patience_s)
    return outcome


def chosen(matched: int, n: int, seed: int) -> list[int]:
    """Return the calls to hit, of so many that there are."""
    calls = list(range(1, round(matched * MORE) + 1))
    return calls if n >= len(calls) else sorted(random.Random(seed).sample(calls[:matched], n))


def _sweep_way(
    target: str, way: str, rounds: Iterator[tuple[str, int]], outcome: Outcome, *, jobs: int, patience_s: float
) -> None:
    fired = 0
    for played in play(target, rounds, jobs=jobs, environment=preloaded(), patience_s=patience_s):
        k = played.arguments[1]
        if played.failure:
            outcome.violations.append(f"{way}, call {k}: the round {played.failure}")
            continue
        result = played.result
        outcome.violations += [f"{way}, call {k}, {result['hit']}: {found}" for found in result["violations"]]
        fired += bool(result["fired"])
        for name, value in result.get("figures", {}).items():
            before = outcome.facts.get(name, 0)
            assert isinstance(before, int)
            outcome.facts[name] = before + value
    if not fired:
        outcome.violations.append(f"{way}: nothing went wrong, so nothing was tested")
    assert outcome.n is not None
    outcome.n += fired
    outcome.facts[way] = fired
