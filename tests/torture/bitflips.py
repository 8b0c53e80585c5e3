"""Flips one bit of a database file, and lets the product work with it (T27).

A database is prepared with runs that have ended and runs that wait: for a signal, for messages, for a time, for a
worker. Then each round copies it, flips one bit, in the database or in its log, and lets a worker go on. What must
hold: either everything is as it would have been, or somebody is told: an error of the store, a run that is set aside as
corrupt, a finding of `check`. Never a wrong result, a lost run, a step executed again, or a wait without an end.

Runs whose bytes are sound go on, unless SQLite finds damage in its own structure: that stops the store.

Two known limits. A flipped key of an entry, or of an index, hides what it belongs to: `check` finds that; a worker does
not, and executes a step again whose entry it does not see. And damage in the last transaction of a log cannot be told
from the tail that a crash has torn: that one tells nothing here that anybody asks for, and neither does the one before
it, whose commit is known by a single bit. What is lost behind damage in the log all the same has a verdict of its own.

Covers: B11, I12, L14
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import durable
from durable import DurableError, RunSetAside, StoreError, Workflow
from durable.core.records import Reason, RunState
from tests.torture._application import APP, MESSAGES, Ledger, flow, job, make_app
from tests.torture._outcome import Outcome
from tests.torture._rounds import exit_code, fork, play, scratch

N_DEFAULT: Final = 1_000

ENDED: Final = (
    ("steps", 1), ("threaded", 2), ("branches", 3), ("retries", 2), ("rounds", 3), ("nested", 4), ("mailbox", 5),
    ("approval", 0), ("doomed", 2),
)  # fmt: skip
"""Runs that have ended before the flip, and their arguments."""

WAITING: Final = ("approval-waits", "mailbox-waits", "mailbox-queued", "nap", "queued")
"""Runs that have not."""

IN_LOG: Final = 0.3
"""Share of the flips that hit a database whose log has not been copied."""

IN_USE: Final = 0.7
"""Share of the flips that hit a byte which is not zero: most zeros are space that nobody uses."""

JOBS: Final = 4

PATIENCE_S: Final = 4.0
"""How long a run may take to end after a flip; without one it takes a tenth of a second."""

HARMLESS: Final = "harmless"
DETECTED: Final = "detected"
STOPPED: Final = "stopped the store"
WRONG: Final = "wrong"
LOST_IN_LOG: Final = "lost behind damage in the log"


def campaign(n: int, seed: int) -> Outcome:
    """Flip n bits, one for each seed."""
    outcome = Outcome(n=n)
    verdicts: Counter[str] = Counter()
    with scratch("bitflips") as folder:
        prepare(folder)
        rounds = ((str(folder), number) for number in range(seed, seed + n))
        for played in play("tests.torture.bitflips:one_round", rounds, jobs=JOBS, patience_s=60.0):
            number = played.arguments[1]
            if played.failure:
                outcome.violations.append(f"flip {number}: the round {played.failure}")
                continue
            verdicts[played.result["verdict"]] += 1
            where = f"flip {number} ({played.result['where']})"
            outcome.violations += [f"{where}: {violation}" for violation in played.result["violations"]]
    outcome.facts["verdicts"] = dict(verdicts)
    return outcome


# Preparing ------------------------------------------------------------------------------------------------------------


def make(db: Path, ledger: str) -> Workflow:
    """Return the application, with one workflow that sleeps for long."""
    app = make_app(str(db), Ledger(ledger), pause_s=0.0)
    step = job(app, "step")

    @app.workflow
    async def nap(n: int) -> list[str]:
        first = await step("before")
        await durable.sleep(3600)
        return [first, await step("after")]

    return app


def prepare(folder: Path) -> None:
    """Make the two databases, one with all in the file, one with a log, and the results of a play without a flip."""
    origin = folder / "origin"
    origin.mkdir()
    code = exit_code(fork(lambda: asyncio.run(_work(origin / "x.db", origin))))
    assert code == 0, code
    # The process has ended without closing: its log is there. Another one opens and closes: the log is copied.
    shutil.copytree(origin, folder / "logged")
    shutil.copytree(origin, folder / "copied")
    code = exit_code(fork(lambda: asyncio.run(_close(folder / "copied" / "x.db", origin))))
    assert code == 0, code
    assert (folder / "logged" / "x.db-wal").stat().st_size > 0
    assert not (folder / "copied" / "x.db-wal").exists()
    shutil.copytree(folder / "copied", folder / "sound")
    code = exit_code(fork(lambda: _expect(folder)))
    assert code == 0, code


async def _work(db: Path, folder: Path) -> int:
    """Execute everything up to the moment of the flip."""
    app = make(db, str(folder / "ledger"))
    await app.start()
    results = {}
    for kind, n in ENDED:
        run_id = f"{kind}-{n}"
        handle = await flow(app, kind).start(n, id=run_id)
        if kind == "approval":
            await handle.signal("go", {"n": n})
        elif kind == "doomed":
            await app.runs.cancel(run_id)
        for number in range(MESSAGES if kind == "mailbox" else 0):
            await handle.send("news", number)
        results[run_id] = await _told(handle.result)
    await flow(app, "approval").start(1, id="approval-waits")
    waits = await flow(app, "mailbox").start(1, id="mailbox-waits")
    for number in range(2):
        await waits.send("news", number)
    await flow(app, "nap").start(1, id="nap")
    await _all_wait(app)
    (folder / "results").write_text(json.dumps(results))
    await app.stop()
    # Without a worker: these two stay in their queue. Everything is then left as by a death.
    client = make(db, str(folder / "ledger"))
    await flow(client, "steps").start(1, id="queued")
    queued = await flow(client, "mailbox").start(2, id="mailbox-queued")
    for number in range(MESSAGES):
        await queued.send("news", number)
    # A log whose last transaction is damaged looks like one that a crash has torn; so let the last two not matter.
    for number in range(2):
        await client.complete("nobody", f"known limit {number}")
    return 0


async def _all_wait(app: Workflow) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await app.runs.list(states=("running", "queued")):  # noqa: ASYNC110 - nothing tells when a run suspends
            await asyncio.sleep(0.01)


async def _close(db: Path, folder: Path) -> int:
    app = make(db, str(folder / "ledger"))
    await app.runs.list(limit=1)
    await app.stop()
    return 0


def _expect(folder: Path) -> int:
    """Play on without a flip: what comes of that is what is compared with."""
    found = asyncio.run(_go_on(folder / "sound"))
    (folder / "expected").write_text(json.dumps(found.told))
    return 0


# A round --------------------------------------------------------------------------------------------------------------


def one_round(folder: str, seed: int) -> dict[str, Any]:
    """Flip the bit that the seed decides on, and let a worker go on."""
    logging.getLogger("durable").setLevel(logging.CRITICAL)
    prepared = Path(folder)
    with scratch("bitflip") as place:
        origin, where = _flip(prepared, place / "flipped", random.Random(seed))
        shutil.copytree(place / "flipped", place / "kept")
        found = asyncio.run(_go_on(place / "flipped"))
        violations = compare(json.loads((prepared / "expected").read_text()), found)
        if violations:
            # A copy: to open it with SQLite would copy its log, and the next rounds need that.
            shutil.copytree(origin, place / "origin")
            where += f", {describe(place / 'origin' / 'x.db', place / 'kept' / 'x.db')}"
        if violations and where.startswith("x.db-wal"):
            return {"where": where, "verdict": LOST_IN_LOG, "violations": violations}
        return {"where": where, "verdict": verdict(found, violations), "violations": violations}


def _flip(prepared: Path, folder: Path, source: random.Random) -> tuple[Path, str]:
    """Copy one of the databases and flip a bit; return which one it was, and where."""
    is_logged = source.random() < IN_LOG
    origin = prepared / ("logged" if is_logged else "copied")
    shutil.copytree(origin, folder)
    name = source.choice(("x.db", "x.db-wal")) if is_logged else "x.db"
    content = bytearray((folder / name).read_bytes())
    place = source.randrange(len(content))
    if source.random() < IN_USE:
        place = source.choice([number for number, byte in enumerate(content) if byte])
    bit = source.randrange(8)
    content[place] ^= 1 << bit
    (folder / name).write_bytes(content)
    return origin, f"{name}{', logged' if is_logged and name == 'x.db' else ''}, byte {place}, bit {bit}"


def describe(origin: Path, flipped: Path) -> str:
    """Return which row a flip has changed: the databases of two campaigns are never the same."""
    with closing(sqlite3.connect(origin)) as before, closing(sqlite3.connect(flipped)) as after:
        before.text_factory = after.text_factory = bytes
        name = b"the schema"
        try:
            for (name,) in before.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                select = f"SELECT * FROM {name.decode()}"
                old, new = (connection.execute(select).fetchall() for connection in (before, after))
                if changed := [row for row in old if row not in new]:
                    return f"{name.decode()}: {changed[:2]} became {[row for row in new if row not in old][:2]}"
        except sqlite3.Error as error:
            return f"{name.decode()}: {error}"
    return "no row of a table"


class Found:
    """What came of a play."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        """Results by run; a text that begins with the type of an error if there is none."""
        self.errors: list[BaseException] = []
        """Everything that says that something is damaged."""
        self.findings: list[str] = []
        """What `check` says."""
        self.repeated: list[str] = []
        """Steps that were executed although they are recorded."""


async def _go_on(folder: Path) -> Found:
    """Let a worker finish what can be finished, and ask for all results."""
    found = Found()
    before = len((folder / "ledger").read_text())
    app = make(folder / "x.db", str(folder / "ledger"))
    try:
        await _play(app, found)
        engine = await app._engine()
        found.findings = await engine.store.check()
    except Exception as error:
        found.errors.append(error)
    finally:
        try:
            await app.stop()
        except Exception as error:
            found.errors.append(error)
    lines = (folder / "ledger").read_text()
    done = set(lines[:before].splitlines())
    known = {tuple(line.split("\t")[:3]) for line in done}
    found.repeated = [line for line in lines[before:].splitlines() if tuple(line.split("\t")[:3]) in known]
    return found


async def _play(app: Workflow, found: Found) -> None:
    async with app:
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            **{f"{kind}-{n}": app.handle(f"{kind}-{n}").result for kind, n in ENDED},
            "approval-waits": lambda: _approve(app),
            "mailbox-waits": lambda: _send(app),
            "mailbox-queued": app.handle("mailbox-queued").result,
            "queued": app.handle("queued").result,
        }
        told = await asyncio.gather(*(_told(call, found) for call in calls.values()))
        found.told.update(zip(calls, told, strict=True))
        found.told["nap"] = await _told(lambda: _look_at_nap(app), found)


async def _approve(app: Workflow) -> Any:
    await app.complete("approval-waits", "go", {"n": 1})
    return await app.handle("approval-waits").result()


async def _send(app: Workflow) -> Any:
    for number in range(2, MESSAGES):
        await app.send("mailbox-waits", "news", number, id=f"late {number}")
    return await app.handle("mailbox-waits").result()


async def _look_at_nap(app: Workflow) -> Any:
    run = await (await app._engine()).store.run(APP, "nap")
    if run is not None and run.state is RunState.SET_ASIDE:
        raise RunSetAside("nap", run.reason, run.detail)
    return None if run is None else run.state.label


async def _told(call: Callable[[], Awaitable[Any]], found: Found | None = None) -> Any:
    """Return what a call returns, or its error as text."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return json.loads(json.dumps(await call()))
    except TimeoutError:
        return "TimeoutError"
    except Exception as error:
        if found is not None and is_telling(error):
            found.errors.append(error)
            return f"told: {type(error).__name__}"
        return f"{type(error).__name__}: {error}"


def is_telling(error: Exception) -> bool:
    """Does this error say that something is damaged?"""
    if isinstance(error, RunSetAside):
        return error.reason in (Reason.CORRUPT, Reason.UNREADABLE)
    # A run without a final entry.
    return isinstance(error, StoreError) or (type(error) is DurableError and "has no" in str(error))


def compare(expected: dict[str, Any], found: Found) -> list[str]:
    """Return what is wrong, and nobody was told."""
    wrong = [f"{line!r} was recorded, and executed again" for line in found.repeated if not found.findings]
    wrong += [f"raised {error!r}" for error in found.errors if not is_telling(error)]  # type: ignore[arg-type]
    for run_id, result in expected.items():
        told = found.told.get(run_id)
        if told == result or (isinstance(told, str) and told.startswith("told: ")):
            continue
        if told is None and found.errors:
            continue  # the store could not be opened
        # Where an index is damaged, something is not found. Whoever looks with `check` is told.
        if is_missing(told) and (found.errors or found.findings):
            continue
        wrong.append(f"{run_id} gave {told}, expected {result}")
    return wrong


def is_missing(told: Any) -> bool:
    """Is this what somebody is told who waits for what cannot be found?"""
    return isinstance(told, str) and told.startswith(("TimeoutError", "RunNotFound"))


def verdict(found: Found, violations: list[str]) -> str:
    """Return one word for a round."""
    if violations:
        return WRONG
    if any(isinstance(error, StoreError) and not isinstance(error, RunSetAside) for error in found.errors):
        return STOPPED
    return DETECTED if found.errors or found.findings else HARMLESS
