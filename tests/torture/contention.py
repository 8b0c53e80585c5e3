"""Real races: four processes start, signal, cancel, pause, retry and end the same runs on one file at once (T14).

`races` has the interleavings of two actors, one by one, in the simulation; here are real processes, whose order is
chance. `_contest.py` tells what they do. Afterwards what each was told is compared with what the others were told, and
with the database: the first write wins and all hear the same of it, a request that was acknowledged is seen, a
message is received or unread, every run ends, and everybody reads the same history.

Covers: F1, F2, F4, F5, F6, F7, F8, F9, F12
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from durable import Workflow
from durable.core.records import RunRecord
from tests.torture._application import flow
from tests.torture._contest import PATIENCE_S, make_app, plan_for, seen
from tests.torture._nursery import Nursery, is_alive
from tests.torture._outcome import Outcome
from tests.torture._rounds import scratch
from tests.torture._witness import Witness

N_DEFAULT: Final = 10_000

RACERS: Final = 4

LOOK_EVERY_S: Final = 0.05

SECONDS_PER_RUN: Final = 0.1
"""Longest time of a run, on a busy machine; they are many at once."""

HAPPENINGS: Final = (
    "signal first", "timer first", "cancelled", "cancelled too late", "other arguments", "other workflow", "retried",
    "nothing to retry", "message refused", "message unread", "ended before a pause",
)  # fmt: skip
"""What has to happen in a campaign of the usual size: else the racers did not race."""


@dataclass
class Told:
    """What one racer was told of a run."""

    run: str
    racer: int
    workflow: str
    """Which it wanted to start …"""
    variant: int
    """… and with which argument."""
    acts: list[tuple[int, str, Any, Any]]
    """Step, act, argument and answer, in order."""
    outcome: list[Any]
    seen: list[Any]
    start: str = ""
    """Empty if it has called the workflow."""
    called: list[Any] | None = None
    failed: list[Any] | None = None
    """The first outcome of a run that fails."""
    stuck: str = ""
    """Where the run stands if it does not end."""

    def answers(self, act: str, step: int | None = None) -> list[Any]:
        """Return what an act was answered, in one step or in all."""
        return [answer for at, what, _, answer in self.acts if what == act and step in (None, at)]


@dataclass
class Truth:
    """What is in the database in the end."""

    run: str
    workflow: str
    variant: int
    state: str
    events: list[tuple[str, str, str, Any]]
    """Kind, name, status and value of each entry."""
    fired_after_ms: int | None
    """How long after its start the run's first timer fired."""
    limit_ms: int
    signals: dict[str, Any]
    unread: list[Any]
    seen: list[Any]
    fails: bool = False
    executed: Counter[str] = field(default_factory=Counter)
    """Steps, by label."""

    def received(self, kind: str, name: str) -> list[Any]:
        """Return the values of its entries of a kind and name."""
        return [value for of, named, status, value in self.events if (of, named, status) == (kind, name, "ok")]


# Judging --------------------------------------------------------------------------------------------------------------


def judge(truth: Truth, told: list[Told]) -> list[str]:
    """Return what is wrong with a run."""
    rules = (_starts, _outcomes, _signals, _choice, _cancels, _pauses, _messages, _retries, _executions)
    return [f"{truth.run}: {text}" for rule in rules for text in rule(truth, told)]


def _starts(truth: Truth, told: list[Told]) -> Iterator[str]:
    """The first start made the run; each other one hears whether it wanted the same."""
    if (truth.workflow, truth.variant) not in {(one.workflow, one.variant) for one in told}:
        yield f"nobody has started {truth.workflow} with {truth.variant}"
    for one in told:
        expected = _start_of(one, truth)
        heard = one.start or (one.called or [""])[0]
        if expected != "done" or one.start:
            if heard != expected:
                yield f"racer {one.racer} started {one.workflow} {one.variant} and was told {heard}, not {expected}"
        elif one.called != one.outcome:
            yield f"racer {one.racer} called it and got {one.called}"


def _start_of(one: Told, truth: Truth) -> str:
    if one.workflow != truth.workflow:
        return "IdConflict"
    return "done" if one.variant == truth.variant else "InputMismatch"


def _outcomes(truth: Truth, told: list[Told]) -> Iterator[str]:
    """It has ended, once, and everybody is told and reads the same."""
    expected = {"succeeded": "ok", "cancelled": "RunCancelled"}.get(truth.state)
    for one in told:
        if one.outcome != told[0].outcome or one.outcome[0] != expected:
            yield f"it has {truth.state}, and racer {one.racer} was told {one.outcome} {one.stuck}".rstrip()
        if one.seen != truth.seen:
            yield f"racer {one.racer} read another history"
        if one.failed != (["Broken"] if truth.fails else None):
            yield f"it failed first, and racer {one.racer} was told {one.failed}"
    if truth.state == "succeeded" and told[0].outcome[1:] != [_result(truth)]:
        yield f"its result is {told[0].outcome}, its journal says {_result(truth)}"


def _result(truth: Truth) -> list[Any]:
    signals = truth.received("signal", "go")
    first = ["mended"] if truth.fails else ["signal", *signals] if signals else ["timer"]
    return [truth.variant, first, truth.received("message", "mail")]


def _signals(truth: Truth, told: list[Told]) -> Iterator[str]:
    """The first one settles a signal and is told so; that one is received, or kept."""
    for name in ("go", "end"):
        winners = [one.racer for one in told if True in one.answers(name)]
        accepted = [answer for one in told for answer in one.answers(name)]
        if accepted and accepted.count(True) != 1:
            yield f"signal {name!r} was accepted {accepted.count(True)} times"
        if ([truth.signals[name]] if name in truth.signals else []) != winners:
            yield f"signal {name!r} of {winners} was accepted, and is {truth.signals.get(name)}"
        if any(value not in winners for value in truth.received("signal", name)):
            yield f"signal {name!r} of {winners} was received as {truth.received('signal', name)}"


def _choice(truth: Truth, told: list[Told]) -> Iterator[str]:
    """Either the signal or the time limit."""
    fired = [name for kind, name, status, _ in truth.events if (kind, status) == ("timer", "ok")]
    if fired and truth.received("signal", "go"):
        yield "both the signal and the time limit were applied"
    if truth.fired_after_ms is not None and truth.fired_after_ms < truth.limit_ms:
        yield f"its time limit of {truth.limit_ms} ms was applied after {truth.fired_after_ms} ms"


def _cancels(truth: Truth, told: list[Told]) -> Iterator[str]:
    """A cancellation that was acknowledged is seen, unless the end could come first; one that was refused is not."""
    answers = [answer for one in told for answer in one.answers("cancel")]
    if truth.state == "cancelled" and True not in answers:
        yield "it is cancelled, and nobody was told so"
    in_time = [one.racer for one in told if True in one.answers("cancel", 1)]
    if in_time and truth.state != "cancelled" and not _may_end_at_once(told):
        yield f"the cancellation by {in_time} was acknowledged, and it has {truth.state}"
    if not truth.fails and False in answers and truth.state == "cancelled":
        yield "a cancellation was refused, and it is cancelled"


def _may_end_at_once(told: list[Told]) -> bool:
    return any(one.answers("end", 1) for one in told)


def _pauses(truth: Truth, told: list[Told]) -> Iterator[str]:
    """Whoever cannot pause a run is told so because it has ended."""
    refused = [one.racer for one in told if False in one.answers("pause", 1)]
    if refused and truth.state != "cancelled" and not _may_end_at_once(told):
        yield f"racers {refused} could not pause it, and it had not ended"


def _messages(truth: Truth, told: list[Told]) -> Iterator[str]:
    """An acknowledged message is received or unread, once, a refused one is neither; a sender's stay in order."""
    there = [tuple(value) for value in (*truth.received("message", "mail"), *truth.unread)]
    accepted: dict[str, set[tuple[int, int]]] = {}
    for one in told:
        sent = 0
        for _, act, message_id, answer in one.acts:
            sent += act == "send"
            if act == "send" and answer == "done":
                accepted.setdefault(message_id, set()).add((one.racer, sent))
    for message_id, payloads in accepted.items():
        found = [value for value in there if value in payloads]
        if len(found) != 1:
            yield f"message {message_id!r} was acknowledged, and is there {len(found)} times"
    if len(there) > len(accepted):
        yield f"{there} were received or are unread, acknowledged were {accepted}"
    for one in told:
        own = [value for value in there if value[0] == one.racer]
        if own != sorted(own):
            yield f"the messages of {one.racer} are in the order {own}"


def _retries(truth: Truth, told: list[Told]) -> Iterator[str]:
    """A run that has failed is retried once, whoever asks for it."""
    answers = {answer for one in told for answer in one.answers("retry")}
    marks = sum(name == "retry" for _, name, _, _ in truth.events)
    if marks != truth.fails or ("done" in answers) != truth.fails:
        yield f"it was retried {marks} times, and {answers} was answered"


def _executions(truth: Truth, told: list[Told]) -> Iterator[str]:
    """Nobody died, so nothing is executed twice but what has failed."""
    for label, count in truth.executed.items():
        if count > (2 if label == "fails" else 1):
            yield f"{label} was executed {count} times"
    if truth.state == "succeeded" and not {"between", "last"} <= truth.executed.keys():
        yield f"it has succeeded with the steps {dict(truth.executed)}"


# What happened --------------------------------------------------------------------------------------------------------


def happenings(truth: Truth, told: list[Told]) -> Iterator[str]:
    """Yield the names of what was seen to happen."""
    answers = {(act, answer) for one in told for _, act, _, answer in one.acts}
    heard = {one.start or (one.called or [""])[0] for one in told}
    seen_here = {
        "signal first": bool(truth.received("signal", "go")),
        "timer first": truth.fired_after_ms is not None,
        "cancelled": truth.state == "cancelled",
        "cancelled too late": truth.state == "succeeded" and {("cancel", True), ("cancel", False)} & answers,
        "other arguments": "InputMismatch" in heard,
        "other workflow": "IdConflict" in heard,
        "retried": ("retry", "done") in answers,
        "nothing to retry": ("retry", "RunNotOpen") in answers,
        "message refused": ("send", "RunNotOpen") in answers,
        "message unread": truth.unread,
        "ended before a pause": ("pause", False) in answers,
    }
    return (name for name, happened in seen_here.items() if happened)


# Playing --------------------------------------------------------------------------------------------------------------


def play(folder: Path, n: int, seed: int, racers: int) -> list[str]:
    """Let the racers contend for n runs; return which of them did not come to the end."""
    (folder / "barrier").write_bytes(bytes(8 * racers))
    for place in range(racers):
        (folder / f"told {place}").touch()
    with Nursery("tests.torture._contest", str(folder), str(seed), str(n), str(racers)) as nursery:
        pids = [nursery.spawn(str(place)) for place in range(racers)]
        limit = time.monotonic() + 2 * PATIENCE_S + n * SECONDS_PER_RUN
        while any(map(is_alive, pids)) and time.monotonic() < limit:
            time.sleep(LOOK_EVERY_S)
    lines = [(folder / f"told {place}").read_text().splitlines() for place in range(racers)]
    return [f"racer {place} has not come to the end" for place in range(racers) if "done" not in lines[place][-1:]]


def read_told(folder: Path, racers: int) -> tuple[dict[str, list[Told]], list[str]]:
    """Return what all racers were told, by run, and what they complain of."""
    told: dict[str, list[Told]] = {}
    complaints = []
    for place in range(racers):
        lines = (folder / f"told {place}").read_text().splitlines()
        for found in (json.loads(line) for line in lines if line != "done"):
            if "missed" in found:
                complaints.append(f"run number {found['missed']} was reached and not woken: racer {place} swept it up")
            else:
                told.setdefault(found["run"], []).append(Told(**found))
    return told, complaints


class Reader:
    """Reads what is true, when all has come to its end."""

    def __init__(self, folder: Path, seed: int, racers: int) -> None:
        self._app = make_app(str(folder / "durable.db"), folder)
        self._seed, self._racers = seed, racers
        self._witness = Witness(self._app, str(folder / "ledger"))
        self._executed: dict[str, Counter[str]] = {}
        for line in (folder / "ledger").read_text().splitlines():
            run_id, label = line.split("\t")
            self._executed.setdefault(run_id, Counter())[label] += 1

    @property
    def app(self) -> Workflow:
        """Who reads."""
        return self._app

    async def read(self, number: int) -> Truth:
        """Return what is true of a run."""
        plan = plan_for(self._seed, number, 0, self._racers)
        record, history = await self._app.runs.get(plan.run_id), await self._app.runs.history(plan.run_id)
        engine = await self._app._engine()
        inbox = await engine.store.inbox(record.key)
        decode = self._app.codec.decode
        fired = [event.at for event in history if (event.kind, event.status) == ("timer", "ok")]
        return Truth(
            plan.run_id, record.queue.workflow, self._variant(number, record), record.state.label,
            [(event.kind, event.name.rpartition("\n")[2], event.status, event.value) for event in history],
            round((fired[0] - history[0].at).total_seconds() * 1000) if fired else None, plan.limit_ms,
            {one.promise_id.rpartition("\n")[2]: decode(one.data, label="signal") for one in inbox.signals},
            [decode(message.data, label="message") for message in inbox.messages],
            await seen(self._app, plan.run_id), plan.fails, self._executed.get(plan.run_id, Counter()),
        )  # fmt: skip

    def _variant(self, number: int, record: RunRecord) -> int:
        """Return the argument that a run was started with, -1 if nobody can have done so."""
        limit_ms = plan_for(self._seed, number, 0, self._racers).limit_ms
        start = flow(self._app, record.queue.workflow)._start
        digests = [start(record.run_id, (number, variant, limit_ms), {}).digest for variant in (0, 1)]
        return digests.index(record.digest) if record.digest in digests else -1

    async def findings(self) -> list[str]:
        """Return what is wrong with the database as a whole."""
        store = (await self._app._engine()).store
        self._witness._check_epochs(store)
        return [*await store.check(), *self._witness.violations]


async def check(folder: Path, n: int, seed: int, racers: int) -> tuple[list[str], Counter[str]]:
    """Return what is wrong, and what happened how often."""
    counts = Counter[str]()
    told, complaints = read_told(folder, racers)
    reader = Reader(folder, seed, racers)
    try:
        violations = [*complaints, *await reader.findings()]
        for number in range(n):
            truth, heard = await reader.read(number), told.get(f"run-{number}", [])
            if len(heard) < racers:
                violations.append(f"{truth.run}: only {len(heard)} racers have told of it")
                continue
            violations += judge(truth, heard)
            counts.update(happenings(truth, heard))
    finally:
        await reader.app.stop()
    return violations, counts


def campaign(n: int, seed: int, racers: int = RACERS) -> Outcome:
    """Contend for `n` runs."""
    with scratch("contention") as folder:
        stuck = play(folder, n, seed, racers)
        violations, counts = (stuck, Counter[str]()) if stuck else asyncio.run(check(folder, n, seed, racers))
    if n >= N_DEFAULT:
        violations += [f"this never happened: {name}" for name in HAPPENINGS if not counts[name]]
    return Outcome(violations, dict(sorted(counts.items())))
