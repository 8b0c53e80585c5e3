"""The SQLite store against the memory store, which is the specification: random histories, all answers compared (T16).

Both get the same operations and the same clock; what they answer, how they refuse, and all that can be read afterwards
has to be equal. `n` counts operations. `durable.testing.contract` makes the histories up and compares; here the seeds
are spread, and it is counted what was reached: each operation has to get each of its answers, and no other.

Covers: A8, A17, F11
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from durable.core.records import RunState
from durable.store.operations import (
    Advance,
    Answer,
    Claim,
    Done,
    Existing,
    Extras,
    Fenced,
    NotFound,
    NotOpen,
    Operation,
    Started,
    Woken,
)
from durable.testing.contract import MemorySuite, Suite
from durable.testing.contract.choices import Seeded
from durable.testing.contract.histories import History
from durable.testing.contract.malformed import NAMES
from tests.support.suites import OneByOne
from tests.torture._outcome import Outcome
from tests.torture._processes import Found, spread
from tests.torture._rounds import SHARED_MEMORY

N_DEFAULT: Final = 100_000

EVENTS: Final = 150
"""Events of a history."""

OPERATIONS: Final = 230
"""Operations of a history, about."""

CHUNK: Final = 10
"""Histories that one process plays at a time."""


# What there is to reach -----------------------------------------------------------------------------------------------


def _not_open(*states: RunState) -> set[str]:
    return {f"not open: {state.label}" for state in states}


def _answers(*states: RunState) -> set[str]:
    return {state.label for state in states}


S = RunState
ENDED: Final = (S.SUCCEEDED, S.FAILED, S.CANCELLED)
WAITING: Final = (S.QUEUED, S.SUSPENDED, S.PAUSED)

STORED: Final = {"done", "answers", "fenced: gone", "fenced"}
STARTED: Final = {"started", "started and claimed", "existing"}
SENT: Final = {"done", "not found", *_not_open(*ENDED)}
CANCELS: Final = {*_answers(S.QUEUED, S.RUNNING, S.CANCELLED), "not found", *_not_open(S.SUCCEEDED, S.FAILED)}

REACHABLE: Final[dict[str, set[str]]] = {
    "Start": STARTED,
    "Claim": {"none", "some"},
    **{f"Advance {then}": STORED for then in ("GoOn", "Finish", "SetAside", "Release", "Continue")},
    **{f"Advance {then}": {*STORED, "woken", "answers, woken"} for then in ("Suspend", "Paused")},
    "Settle": {"True", "False"},
    "Send": SENT,
    "Cancel": CANCELS,
    "PauseRun": {*_answers(S.RUNNING, S.PAUSED), "not found", *_not_open(*ENDED, S.SET_ASIDE)},
    # A request to pause outlives everything that an owner does but the end.
    "ResumeRun": {
        *_answers(S.QUEUED, S.RUNNING, S.SET_ASIDE), "not found",
        *_not_open(*ENDED, S.QUEUED, S.RUNNING, S.SUSPENDED, S.SET_ASIDE),
    },
    "Mend": {*_answers(S.QUEUED), "not found", *_not_open(*ENDED, *WAITING, S.RUNNING)},
    "Rewind": {"done", "not found", *_not_open(*ENDED, *WAITING, S.RUNNING, S.SET_ASIDE)},
    "Start of a run": STARTED,
    "Settle of a run": {"True", "False"},
    "Send of a run": SENT,
    # Repeated with its Advance, it is not made again, and is answered how the run stands.
    "Cancel of a run": {*CANCELS, *_answers(S.SUSPENDED, S.PAUSED, S.SET_ASIDE)},
    "collect": {"none", "some"},
    "expire": {"none", "some"},
    "unregister": {"none", "some"},
    "prune": {"none", "some"},
    "look": {"none", "some"},
    "reopen": {"done"},
    "close": {"done"},
    **{f"malformed: {name}": {"refused"} for name in NAMES},
}  # fmt: skip
"""Each call, and all that it may be answered."""


def missed(found: Found) -> list[str]:
    """Return the answers that were not reached, and those that nobody expected."""
    reachable = {f"{call} -> {answer}" for call, answers in REACHABLE.items() for answer in answers}
    reached = {key for key in found.counts if " -> " in key}
    never = [f"never reached: {key}" for key in sorted(reachable - reached)]
    return never + [f"no such answer is expected: {key}" for key in sorted(reached - reachable)]


# Counting -------------------------------------------------------------------------------------------------------------


def pairs(call: Operation | str, answer: object) -> Iterator[tuple[str, str]]:
    """Yield the names of a call and its answer, and those of the operations within an Advance."""
    if isinstance(call, str):
        yield call, _other_answer(answer)
    elif isinstance(call, Advance):
        yield f"Advance {type(call.then).__name__}", _name(call, answer)
        extras = call.extras or Extras()
        inner: tuple[Operation, ...] = (*extras.starts, *extras.settles, *extras.sends, *extras.cancels)
        if isinstance(answer, Answer) and isinstance(answer.value, tuple):
            for operation, outcome in zip(inner, answer.value, strict=True):
                yield f"{type(operation).__name__} of a run", _name(operation, outcome)
    else:
        yield type(call).__name__, _name(call, answer)


def _other_answer(answer: object) -> str:
    """Return how a call that is no operation was answered."""
    if answer is None:
        return "done"
    return answer if isinstance(answer, str) else "some" if answer else "none"


def _name(operation: Operation, outcome: object) -> str:
    match outcome:
        case Done() | Woken():
            return outcome.value
        case Fenced(epoch):
            return "fenced" if epoch else "fenced: gone"
        case NotFound():
            return "not found"
        case NotOpen(state):
            return f"not open: {state.label}"
        case Started(record):
            return "started and claimed" if record.owner else "started"
        case Existing():
            return "existing"
        case Answer(value, woken):
            return _answer_name(operation, value, woken=woken)
        case _:
            return repr(outcome)


def _answer_name(operation: Operation, value: object, *, woken: bool) -> str:
    if isinstance(operation, Claim):
        return "some" if value else "none"
    if isinstance(operation, Advance):
        return "answers, woken" if woken else "answers"
    return value.label if isinstance(value, RunState) else str(value)


# Playing --------------------------------------------------------------------------------------------------------------


async def play(seed: int, suites: tuple[Suite, Suite], found: Found) -> None:
    """Play the history of a seed.

    Raises:
        Exception: the stores differ (`AssertionError`), or one of them raised what nobody expected.
    """

    def hear(call: Operation | str, answer: object) -> None:
        found.counts["operations"] += 1
        found.counts.update(f"{name} -> {what}" for name, what in pairs(call, answer))

    history, choices = History(suites, hear), Seeded(seed)
    await history.open()
    try:
        await history.begin(choices)
        for _ in range(EVENTS):
            await history.go_on(choices)
    finally:
        await history.close()


def work(first: int, count: int) -> Found:
    """Play a range of seeds."""
    found = Found()
    place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="durable-differential-", dir=place, ignore_cleanup_errors=True) as folder:
        suites = OneByOne(Path(folder)), MemorySuite()
        for seed in range(first, first + count):
            try:
                asyncio.run(play(seed, suites, found))
            except Exception as error:  # whatever it is: a wrong store may raise anything
                found.violations.append(f"history {seed}: {type(error).__name__}: {error}")
    return found


def campaign(n: int, seed: int) -> Outcome:
    """Play histories of about `n` operations; at the usual size and above, everything has to be reached."""
    histories = max(1, -(-n // OPERATIONS))
    found = spread(work, histories, seed, CHUNK)
    if n >= N_DEFAULT:
        found.violations += missed(found)
    reached = sum(" -> " in key for key in found.counts)
    return Outcome(found.violations, {"histories": histories, "pairs": reached}, n=found.counts["operations"])
