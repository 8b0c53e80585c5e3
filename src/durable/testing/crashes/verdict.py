"""Compares a play with crashes to the one without: what ran twice, what got lost, what ended otherwise.

The rules, from what durable promises:

- An effect of a *task* happens at least once: an interrupted attempt is repeated. It must not be missing, and a step
  that is not executed without a crash must not be executed with one.
- An effect of a workflow's *own code* is recorded nowhere: it happens again with every replay. In the end it must have
  happened as often as without a crash, and a single difference is a mistake of the workflow.
- What is only *watched*, and has no known maker, may happen once more for each repeated attempt of the steps that may
  have made it.
- The *outcome* must be the same. An at-most-once attempt that was interrupted is told to the workflow, which may then
  go another way: only repetitions count in such a play.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from durable.testing.crashes.lives import Outcome, Played
from durable.testing.crashes.tape import Happened
from durable.testing.effects import Effect

What = Literal["repeated", "lost", "new", "outcome"]


@dataclass(frozen=True)
class Finding:
    """Something that a crash changes."""

    what: What
    text: str
    """The effect; for an outcome, how the run ended."""
    by: str
    """`task`, `body` or `other`."""
    expected: int
    found: int
    whole: Played
    """The play without crashes."""
    played: Played
    """The play in which it was seen."""
    effect: Effect | None = None

    @property
    def same(self) -> tuple[object, ...]:
        """What findings of one mistake have in common."""
        return self.what, self.text if self.what != "outcome" else "", self.by


def findings(
    whole: Played, again: Played, *, same: Callable[[Any, Any], bool], repeats: bool
) -> Iterator[Finding]:  # fmt: skip
    """Return what is different in `again`.

    Args:
        whole: The play without crashes.
        again: One with crashes.
        same: Decides whether two results are the same.
        repeats: May interrupted tasks repeat their effects?
    """
    astray = again.tape.interrupts_at_most_once
    yield from _of_bodies(whole, again, astray)
    yield from _of_tasks(whole, again, astray, repeats)
    yield from _of_watched(whole, again, astray, repeats)
    if not astray and not same_outcome(whole.outcome, again.outcome, same):
        yield Finding("outcome", str(again.outcome), "body", 1, 0, whole, again)


def same_outcome(expected: Outcome, found: Outcome, same: Callable[[Any, Any], bool]) -> bool:
    """Did two runs end alike?"""
    if expected.kind != found.kind:
        return False
    if expected.error is not None and found.error is not None:
        return type(expected.error) is type(found.error) and expected.error.args == found.error.args
    return same(expected.value, found.value)


# Effects of workflows' own code ---------------------------------------------------------------------------------------


def own_effects(played: Played) -> Counter[str]:
    """Return how often each effect of a workflow's own code happened."""
    return Counter(str(item.effect) for item in played.tape.happened if _is_of_body(item))


def single_pass(played: Played) -> Counter[str]:
    """Return how often each would have happened if no body had been executed more than once.

    The last stretch of a run executes its body from the top to the end. A plain function is executed anew after every
    suspension, so this matters even without a crash.
    """
    last: dict[str, int] = {}
    for item in played.tape.happened:
        if _is_of_body(item) and item.activation:
            last[item.effect.run_id] = max(item.activation, last.get(item.effect.run_id, 0))
    return Counter(
        str(item.effect)
        for item in played.tape.happened
        if _is_of_body(item) and (not item.activation or item.activation == last[item.effect.run_id])
    )


def _is_of_body(item: Happened) -> bool:
    return item.effect.by == "body"


def _of_bodies(whole: Played, again: Played, astray: bool) -> Iterator[Finding]:
    expected, found = single_pass(whole), own_effects(again)
    if astray:
        expected |= single_pass(again)
    for text in expected.keys() | found.keys():
        if found[text] > expected[text] or (found[text] < expected[text] and not astray):
            what: What = "repeated" if found[text] > expected[text] else "lost"
            first = _first(whole, text) or _first(again, text)
            yield Finding(what, text, "body", expected[text], found[text], whole, again, first)


# Effects of tasks -----------------------------------------------------------------------------------------------------


def _of_tasks(whole: Played, again: Played, astray: bool, repeats: bool) -> Iterator[Finding]:
    expected, found = _by_step(whole), _by_step(again)
    begun, begun_again = whole.tape.begins(), again.tape.begins()
    for (key, text), count in found.items():
        if (key, text) not in expected:
            if not astray:
                yield Finding("new", text, "task", 0, count, whole, again, _first(again, text))
        elif count > expected[key, text] and (not repeats or begun_again[key] <= begun[key]):
            yield Finding("repeated", text, "task", expected[key, text], count, whole, again, _first(whole, text))
    for (key, text), count in expected.items():
        if (key, text) not in found and not astray:
            yield Finding("lost", text, "task", count, 0, whole, again, _first(whole, text))


def _by_step(played: Played) -> Counter[tuple[str, str]]:
    done = (item.effect for item in played.tape.happened)
    return Counter((effect.key, str(effect)) for effect in done if effect.by == "task" and effect.key)


# What is watched ------------------------------------------------------------------------------------------------------


def _of_watched(whole: Played, again: Played, astray: bool, repeats: bool) -> Iterator[Finding]:
    expected, found = _watched(whole), _watched(again)
    begun, begun_again = whole.tape.begins(), again.tape.begins()
    for text in expected.keys() | found.keys():
        makers = frozenset().union(
            *(item.makers for item in (*whole.tape.happened, *again.tape.happened) if str(item.effect) == text)
        )
        repeated = sum(max(0, begun_again[key] - begun[key]) for key in makers) if repeats else 0
        excess = found[text] - expected[text]
        if excess > repeated or (excess < 0 and not astray):
            what: What = "lost" if excess < 0 else "repeated" if expected[text] else "new"
            first = _first(whole, text) or _first(again, text)
            yield Finding(what, text, "task", expected[text], found[text], whole, again, first)


def _watched(played: Played) -> Counter[str]:
    done = (item.effect for item in played.tape.happened)
    return Counter(str(effect) for effect in done if effect.by == "task" and not effect.key)


def _first(played: Played, text: str) -> Effect | None:
    return next((item.effect for item in played.tape.happened if str(item.effect) == text), None)
