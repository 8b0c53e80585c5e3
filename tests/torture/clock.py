"""Sets the clock of living workers forwards and backwards while many runs wait for times (T18).

Workers under libfaketime execute sleeps, time limits and waits between attempts, in memory and suspended, while their
clock jumps by a second up to a day, `n` times. No wait may end before the clock has shown its deadline; each ends once,
deadlines stay, no run loses its owner, `durable.time()` does not decrease in a run, and as soon as the clock has passed
all deadlines, everything ends.

Without jumps: how late runs wake, when one is due now and then, and when a thousand are due each second.

Covers: D1, D2
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from durable.core.records import Entry, Kind, RunRecord, RunState, Status
from durable.store.base import RunFilter
from durable.store.sqlite.reading import SQLiteReading, reading
from tests.torture._clock_program import APP, WAITS_MS
from tests.torture._faketime import FakeClock, History
from tests.torture._nursery import Nursery, is_alive
from tests.torture._outcome import Outcome

N_DEFAULT: Final = 1_000

ALONE: Final = True

WORKERS: Final = 2

MEAN_GAP_S: Final = 0.1
"""Between two jumps."""

RUNS_PER_JUMP: Final = 2

STEPS_S: Final = (1.0, 5.0, 60.0, 3_600.0, 86_400.0)

FAR_S: Final = 2 * 86_400.0
"""How far the clock is off at most, until it is set to twice as much in the end, past all deadlines."""

RIGHT_SHARE: Final = 0.3
"""Share of the jumps back to the right time."""

PATIENCE_S: Final = 30.0
"""From the moment at which the clock has passed all deadlines to the end of all runs; they need some three seconds."""

SLACK_MS: Final = 5
"""By how much the machine's own clock may drift against its monotonic one while a campaign lasts."""


def campaign(n: int, seed: int) -> Outcome:
    """Let the clock jump `n` times, and then not at all."""
    found = jumps(n, seed)
    idle, busy = lateness(100, 20.0), lateness(3_000, 1_000.0)
    found.violations += too_late("idle", idle, 250.0, 100) + too_late("at 1,000 a second", busy, 1_000.0, 3_000)
    found.facts.update(idle_p99_ms=percentile(idle), busy_p99_ms=percentile(busy))
    return found


# Jumps ----------------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """What a body or a task wrote, and when, by the monotonic clock."""

    run_id: str
    label: str
    attempt: int
    pid: int
    moment: float


class Expiry(NamedTuple):
    """A wait whose end is recorded."""

    label: str
    """Of the first line that is written after it."""
    attempt: int
    """Of that line."""
    since: str
    """Label of the line that was written before it."""
    due_at: int


@dataclass
class Findings:
    """What was seen, and what was wrong with it."""

    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def wrong(self, run_id: str, what: str) -> None:
        """Note a broken promise."""
        self.violations.append(f"{run_id}: {what}")


def jumps(n: int, seed: int) -> Outcome:
    """Let the clock jump `n` times while runs wait, and then past all their deadlines."""
    with tempfile.TemporaryDirectory(prefix="durable-clock-", ignore_cleanup_errors=True) as folder:
        play = _Play(Path(folder), n, seed)
        return asyncio.run(play.play())


class _Play:
    def __init__(self, folder: Path, n: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._n, self._seed = n, seed
        self._db, self._ledger = str(folder / "durable.db"), str(folder / "ledger")
        self._clock = FakeClock(folder)
        self._found = Findings()
        self._journals: dict[int, list[Entry]] = {}
        """What has been read of them, by run key."""

    async def play(self) -> Outcome:
        program = "tests.torture._clock_program"
        with Nursery(program, self._db, self._ledger, environment=self._clock.environment()) as nursery:
            count = self._n * RUNS_PER_JUMP
            workers = [nursery.spawn("worker") for _ in range(WORKERS)]
            starter = nursery.spawn("start", str(count), str(MEAN_GAP_S / RUNS_PER_JUMP))
            await _until(lambda: bool(self._acknowledged()) or not is_alive(starter))
            await self._jump()
            await _until(lambda: not is_alive(starter))
            self._clock.set(2 * FAR_S)
            began = time.monotonic()
            with reading(self._db) as store:
                await self._come_to_the_end(store)
                seconds = time.monotonic() - began
                await self._check(store)
            for pid in workers:
                if not is_alive(pid):
                    self._found.wrong("worker", f"{pid} ended by itself")
            if len(self._acknowledged()) != count:
                self._found.wrong("who starts runs", f"ended after {len(self._acknowledged())} of {count}")
        facts: dict[str, object] = {**self._found.counts, "ended_after_s": round(seconds, 1)}
        return Outcome([f"seed {self._seed}: {text}" for text in self._found.violations], facts, n=self._n)

    async def _jump(self) -> None:
        with reading(self._db) as store:
            for _ in range(self._n):
                await asyncio.sleep(self._random.expovariate(1 / MEAN_GAP_S))
                self._clock.set(another_offset(self._random, self._clock.history.offset_s))
                await self._look_at_the_suspended(store)

    def _acknowledged(self) -> list[str]:
        return [words[0] for words in _words(self._ledger + ".acks")]

    async def _look_at_the_suspended(self, store: SQLiteReading) -> None:
        """What a run is suspended for is a deadline of its journal, whatever the clock shows now."""
        for record in await store.runs(RunFilter(app=APP, states=(RunState.SUSPENDED,)), limit=50):
            self._found.counts["looks"] += 1
            self._found.violations += wrong_due(record, await self._journal(store, record))

    async def _journal(self, store: SQLiteReading, record: RunRecord) -> list[Entry]:
        journal = await store.journal(record.key)
        before = self._journals.get(record.key, [])
        if journal[: len(before)] != before:
            self._found.wrong(record.run_id, "an entry that was recorded has changed")
        self._journals[record.key] = journal
        return journal

    async def _come_to_the_end(self, store: SQLiteReading) -> None:
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit:
            counted = await store.count(RunFilter(app=APP))
            if all(state.is_final or not number for state, number in counted.items()):
                return
            await asyncio.sleep(0.05)

    async def _check(self, store: SQLiteReading) -> None:
        by_run: dict[str, list[Line]] = {}
        for run_id, label, attempt, pid, moment in _words(self._ledger):
            by_run.setdefault(run_id, []).append(Line(run_id, label, int(attempt), int(pid), float(moment)))
        for run_id in self._acknowledged():
            record = await store.run(APP, run_id)
            if record is None or record.state is not RunState.SUCCEEDED:
                self._found.wrong(run_id, f"should have ended well, and is {record}")
                continue
            journal = await self._journal(store, record)
            self._found.violations += wrong_run(record, journal)
            expiries = list(expiries_of(record, journal))
            self._found.counts["waits"] += len(expiries)
            self._found.violations += wrong_waits(run_id, expiries, by_run.get(run_id, []), self._clock.history)
        for (warning,) in _words(self._ledger + ".warnings"):
            self._found.counts["warnings"] += 1
            if "died" in warning or "another owner" in warning:
                self._found.wrong("a worker", f"says: {warning}")


def another_offset(source: random.Random, offset_s: float) -> float:
    """Return by how much the clock is off next."""
    if source.random() < RIGHT_SHARE:
        return 0.0
    offset_s += source.choice((-1, 1)) * source.choice(STEPS_S)
    return offset_s if abs(offset_s) <= FAR_S else 0.0


async def _until(is_so: Callable[[], bool]) -> None:
    while True:
        if is_so():
            return
        await asyncio.sleep(0.02)


def _words(path: str) -> list[list[str]]:
    try:
        return [line.split("\t") for line in Path(path).read_text().splitlines()]
    except FileNotFoundError:
        return []


# What is wrong --------------------------------------------------------------------------------------------------------


def expiries_of(record: RunRecord, journal: list[Entry]) -> Iterator[Expiry]:
    """Yield the waits of a run whose end is recorded, with the deadlines that follow from their beginning."""
    for k, (seq, due_at) in enumerate(deadlines_of(record, journal)):
        if any(entry.seq == seq and entry.status is Status.OK for entry in journal):
            yield Expiry(f"after {k}", 1, f"before {k}", due_at)
    for entry in journal:
        if entry.status is Status.RETRY:
            yield Expiry(entry.name, entry.attempt + 1, entry.name, entry.due_at)


def deadlines_of(record: RunRecord, journal: list[Entry]) -> list[tuple[int | None, int]]:
    """Return the number of each timer that has begun, and when it ends."""
    begun = [entry for entry in journal if entry.kind is Kind.TIMER and entry.status is Status.BEGUN]
    waits_ms = WAITS_MS[record.queue.workflow]
    return [(entry.seq, entry.at + wait_ms) for entry, wait_ms in zip(begun, waits_ms, strict=False)]


def wrong_due(record: RunRecord, journal: list[Entry]) -> list[str]:
    """Return what is wrong with the time for which a run is suspended: it must be one that the journal says."""
    said = {due_at for _, due_at in deadlines_of(record, journal)}
    said |= {entry.due_at for entry in journal if entry.status is Status.RETRY}
    if record.due_at in said:
        return []
    return [f"{record.run_id}: is suspended until {record.due_at}, its journal says {sorted(said)}"]


def wrong_run(record: RunRecord, journal: list[Entry]) -> list[str]:
    """Return what is wrong with a run that has ended: its deaths, its times, the ends of its timers."""
    wrong = []
    if record.deaths:
        wrong.append(f"{record.deaths} of its owners were taken for dead")
    if record.active_ms < 0 or any(entry.took < 0 for entry in journal):
        wrong.append(f"took less than no time: {record.active_ms} ms, {[entry.took for entry in journal]}")
    times = [entry.at for entry in journal]
    if times != sorted(times):
        wrong.append(f"the times of its entries decrease: {times}")
    told = msgspec.json.decode(journal[-1].data[1:])
    if told != sorted(told):
        wrong.append(f"durable.time() has decreased: {told}")
    ends = Counter(entry.seq for entry in journal if entry.kind is Kind.TIMER and entry.status is Status.OK)
    if len(ends) != len(WAITS_MS[record.queue.workflow]) or any(number != 1 for number in ends.values()):
        wrong.append(f"its timers have fired {dict(ends)} times")
    return [f"{record.run_id}: {text}" for text in wrong]


def wrong_waits(run_id: str, expiries: Iterable[Expiry], lines: list[Line], clock: History) -> list[str]:
    """Return what is wrong with the ends of a run's waits, by what was executed after them."""
    wrong = []
    effects: dict[tuple[str, int], list[Line]] = {}
    for line in lines:
        effects.setdefault((line.label, line.attempt), []).append(line)
    for (label, attempt), written in effects.items():
        # A body is executed again at each replay, and nobody has died: a task is not.
        if len(written) > 1 and not label.startswith(("before", "begins")):
            wrong.append(f"{label}, attempt {attempt}, was executed {len(written)} times")
    for label, attempt, since, due_at in expiries:
        if (label, attempt) not in effects or (since, 1) not in effects:
            wrong.append(f"{label}, attempt {attempt}, has ended, and nothing was executed after it")
            continue
        begun = effects[since, max(attempt - 1, 1)][0].moment
        latest_ms = clock.latest_ms(begun, effects[label, attempt][0].moment)
        if latest_ms + SLACK_MS < due_at:
            wrong.append(
                f"{label}, attempt {attempt}, came {due_at - latest_ms:.0f} ms before the clock showed its time"
            )
    return [f"{run_id}: {text}" for text in wrong]


# Without jumps --------------------------------------------------------------------------------------------------------


def lateness(count: int, a_second: float) -> list[float]:
    """Let runs sleep until they are due one after another, and return how late each woke, in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="durable-clock-", ignore_cleanup_errors=True) as folder:
        db, ledger = str(Path(folder, "durable.db")), str(Path(folder, "ledger"))
        after_s = 2.0 + count / 300
        with Nursery("tests.torture._clock_program", db, ledger) as nursery:
            nursery.spawn("worker")
            nursery.spawn("start late", str(count), str(a_second), str(after_s))
            time.sleep(after_s + count / a_second)
            return asyncio.run(_lateness(db, count))


async def _lateness(db: str, count: int) -> list[float]:
    where = RunFilter(app=APP, states=(RunState.SUCCEEDED,))
    limit = time.monotonic() + PATIENCE_S
    with reading(db) as store:
        while time.monotonic() < limit:
            if (await store.count(where)).get(RunState.SUCCEEDED, 0) == count:
                break
            await asyncio.sleep(0.1)
        late: list[float] = []
        page = await store.runs(where)
        while page:
            last = [await store.last_entry(record.key) for record in page]
            late += [1000 * _result(entry) for entry in last if entry is not None]
            page = await store.runs(where, before=page[-1].key)
        return late


def _result(entry: Entry) -> Any:
    return msgspec.json.decode(entry.data[1:])


def percentile(values: list[float], share: float = 0.99) -> float:
    """Return the value under which that share of them lies; infinity if there is none."""
    return round(sorted(values)[min(int(share * len(values)), len(values) - 1)], 1) if values else float("inf")


def too_late(when: str, values: list[float], limit_ms: float, count: int) -> list[str]:
    """Return what is wrong with how late runs woke; early is worse than late."""
    wrong = [] if len(values) == count else [f"{when}: {len(values)} of {count} sleepers woke"]
    if percentile(values) > limit_ms:
        wrong.append(f"{when}: the 99th percentile woke {percentile(values)} ms late")
    if values and min(values) < 0:
        wrong.append(f"{when}: one woke {-min(values):.3f} ms early")
    return wrong
