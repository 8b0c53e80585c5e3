"""Advances: what the pumps of many runs produced, stored as one.

First one read brings epoch, owner and next position of all runs, and the core judges each Advance by that. All new
entries are inserted by one `executemany`, and last come the changes of state: in the order of the batch, but those that
cannot affect each other (runs that go on, that end, or that wait for nothing but a time) as sets. So a batch of a
hundred runs that go on costs one read and one write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from durable.core.decisions import advances as decide
from durable.core.records import Entry, Kind, Reason, RunKey, RunState
from durable.store.operations import (
    Advance,
    Cancel,
    Continue,
    Done,
    Extras,
    Fenced,
    Finish,
    GoOn,
    Outcome,
    SetAside,
    Suspend,
    Then,
    Woken,
)
from durable.store.sqlite import queries as q
from durable.store.sqlite.arrivals import is_anything_there
from durable.store.sqlite.requests import meant, request, settle
from durable.store.sqlite.rows import ENTRY_COMMON, EntryRow, Found, Unstorable, clean, entry_row, places_of
from durable.store.sqlite.schema import POSITIONS
from durable.store.sqlite.starts import start_runs
from durable.store.sqlite.transaction import Transaction, keys_text

_NOTHING: Final = Extras()
_GONE: Final = Fenced(0)


class Look(NamedTuple):
    """What is known of a run before anything of the batch is stored."""

    key: RunKey
    epoch: int
    owner: int
    app: int
    newest: int
    """Position of its newest entry."""


class Verdict(NamedTuple):
    """What becomes of one Advance."""

    judged: decide.Accepted | Fenced
    rows: Sequence[EntryRow] = ()
    """Entries to insert."""
    flaw: str = ""
    """Why it can never be stored."""


def advance_runs(transaction: Transaction, advances: Sequence[Advance]) -> list[Outcome]:
    """Store Advances of different runs and return their outcomes."""
    looks = _look(transaction, advances)
    verdicts = [_judge(transaction, advance, looks.get(advance[0])) for advance in advances]
    _insert(transaction, verdicts)
    return _Aftermath(transaction, looks).outcomes(advances, verdicts)


def _look(transaction: Transaction, advances: Sequence[Advance]) -> dict[RunKey, Look]:
    found = transaction.execute(q.LOOK, (keys_text([advance[0] for advance in advances]),)).fetchall()
    mask = POSITIONS - 1
    return {key: Look(key, epoch, owner, app, -1 if place is None else place & mask)
            for key, epoch, owner, app, place in found}  # fmt: skip


def _judge(transaction: Transaction, advance: Advance, look: Look | None) -> Verdict:
    if look is None:
        return Verdict(_GONE)
    run, worker, epoch, entries, _, _, _ = advance

    def is_stored(entry: Entry) -> bool:
        return _is_stored(transaction, run, epoch, entry)

    judged = decide.judge(advance, look.epoch, _hold(transaction, worker, look.owner), look.newest + 1, is_stored)
    if judged.__class__ is Fenced:
        return Verdict(judged)
    new = entries if judged is decide.NEW else entries[judged[0] :]
    try:
        return Verdict(judged, [entry_row(run, epoch, entry) for entry in new])
    except Unstorable as error:
        return Verdict(judged, flaw=str(error))


def _hold(transaction: Transaction, worker: str, owner: int) -> decide.Hold:
    number = transaction.worker(worker)
    if number and owner == number:
        return decide.Hold.OWNS
    return decide.Hold.LEFT if number and owner == -number else decide.Hold.NOTHING


def _is_stored(transaction: Transaction, run: RunKey, epoch: int, entry: Entry) -> bool:
    """Is this entry in the journal, just so, written under this epoch?"""
    try:
        row = entry_row(run, epoch, entry)
    except Unstorable:
        return False
    return transaction.one(q.ENTRIES, row[0], row[0] + 1, 1) == row


def _insert(transaction: Transaction, verdicts: list[Verdict]) -> None:
    rows = [row for verdict in verdicts for row in verdict.rows]
    common = [row[:ENTRY_COMMON] for row in rows if row[-2] is None and not row[-1]]
    if common:
        transaction.many(q.ADD_ENTRY, common)
    if len(common) < len(rows):
        transaction.many(q.ADD_FULL_ENTRY, [row for row in rows if row[-2] is not None or row[-1]])


class _Aftermath:
    """What follows the entries of a batch: extras, and where each run goes."""

    def __init__(self, transaction: Transaction, looks: dict[RunKey, Look]) -> None:
        self.transaction, self.looks = transaction, looks
        self._finishes: list[Advance] = []
        self._suspends: list[tuple[int, Advance]] = []
        self._outcomes: list[Outcome] = []
        self._waiting: set[RunKey] = set()

    def outcomes(self, advances: Sequence[Advance], verdicts: list[Verdict]) -> list[Outcome]:
        suspended = [advance.run for advance in advances if advance[4].__class__ is Suspend]
        if suspended:
            self._waiting = {run for (run,) in self.transaction.all(q.WITH_WAITS, keys_text(suspended))}
        for advance, verdict in zip(advances, verdicts, strict=True):
            self._outcomes.append(self._one(advance, verdict))
        self._flush()
        return self._outcomes

    def _one(self, advance: Advance, verdict: Verdict) -> Outcome:
        judged, rows, flaw = verdict
        if isinstance(judged, Fenced):
            return judged
        if flaw:
            return self._refuse_for_ever(advance, flaw)
        then, extras = advance[4], advance[5]
        if extras is None and not judged.left:
            if _has_cancel(rows):
                self._flush()
                self.transaction.execute(q.CLEAR_CANCEL, (advance.run,))
            if then.__class__ is GoOn:
                return Done.DONE
            if then.__class__ is Finish:
                self._finishes.append(advance)
                return Done.DONE
            if then.__class__ is Suspend and advance.run not in self._waiting:
                self._suspends.append((len(self._outcomes), advance))
                return Done.DONE
        self._flush()
        return self._in_full(advance, judged, rows)

    # As sets ---------------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Carry out what was put off because its order does not matter."""
        if self._suspends:
            suspends, self._suspends = self._suspends, []
            self._suspend_all(suspends)
        if self._finishes:
            finishes, self._finishes = self._finishes, []
            self._finish_all(finishes)

    def _suspend_all(self, suspends: list[tuple[int, Advance]]) -> None:
        transaction, now = self.transaction, self.transaction.now
        values = [(_due_at(advance), now, advance.active_ms, advance.run) for _, advance in suspends]
        is_whole = transaction.many(q.SUSPEND_PLAIN, values).rowcount == len(values)
        for (place, advance), (due_at, *_) in zip(suspends, values, strict=True):
            # Those that the statement left alone are owned still.
            if not is_whole and (found := transaction.surely_found(advance.run)).run.state is RunState.RUNNING:
                woken = self._leave(found, advance.then, advance.active_ms)
                self._outcomes[place] = Woken.WOKEN if woken else Done.DONE
            elif due_at is not None and due_at <= now:
                transaction.due.add(advance.run)

    def _finish_all(self, finishes: list[Advance]) -> None:
        transaction = self.transaction
        transaction.many(q.FINISH, [_finish_row(advance, transaction.now) for advance in finishes])
        runs = [advance.run for advance in finishes]
        transaction.execute(q.FORGET_WAITS, (keys_text(runs),))
        transaction.wake_waiters_of_runs(runs)

    # One by one ------------------------------------------------------------------------------------------------------

    def _in_full(self, advance: Advance, accepted: decide.Accepted, rows: Sequence[EntryRow]) -> Outcome:
        extras = advance.extras or _NOTHING
        if accepted.left:
            return decide.answer(self._extra_outcomes(extras, repeated=True), extras, woken=False)
        self._record(advance.run, extras, rows)
        outcomes = self._extra_outcomes(extras, repeated=accepted.repeated)
        self._change_waits(advance.run, extras)
        stays = advance.then.__class__ is GoOn
        found = None if stays else self.transaction.surely_found(advance.run)
        woken = found is not None and self._leave(found, advance.then, advance.active_ms)
        return decide.answer(outcomes, extras, woken=woken)

    def _record(self, run: RunKey, extras: Extras, rows: Sequence[EntryRow]) -> None:
        transaction = self.transaction
        if extras.progress is not None:
            transaction.execute(q.SET_PROGRESS, (clean(extras.progress), run))
        if _has_cancel(rows):
            transaction.execute(q.CLEAR_CANCEL, (run,))
        if extras.consumed:
            transaction.many(q.READ_MESSAGE, [(number, run) for number in extras.consumed])

    def _extra_outcomes(self, extras: Extras, *, repeated: bool) -> tuple[Outcome, ...]:
        """Execute what else an Advance asks for; repeated, all but cancel requests are known by their ids."""
        transaction = self.transaction
        outcomes: list[Outcome] = [start_runs(transaction, [start])[0] for start in extras.starts]
        outcomes += [settle(transaction, operation) for operation in extras.settles]
        outcomes += [request(transaction, operation) for operation in extras.sends]
        for cancel in extras.cancels:
            outcomes.append(self._cancelled(cancel) if repeated else request(transaction, cancel))
        return tuple(outcomes)

    def _cancelled(self, cancel: Cancel) -> Outcome:
        found = meant(self.transaction, cancel)
        return decide.cancelled_again(None if found is None else found.run.state)

    def _change_waits(self, run: RunKey, extras: Extras) -> None:
        transaction, app = self.transaction, self.looks[run].app
        waits = [(app, wait.target, run, wait.seq) for wait in extras.waits]
        if waits:
            transaction.many(q.ADD_WAIT, waits)
        if extras.unwaits:
            transaction.many(q.FORGET_WAIT, [(app, wait.target, run, wait.seq) for wait in extras.unwaits])
        if any(transaction.one(q.IS_THERE, *wait) for wait in waits):
            transaction.execute(q.NOTICE, (run,))

    def _leave(self, found: Found, then: Then, active_ms: int) -> bool:
        """Let the run go where its owner says; True if it stays because something has arrived."""
        transaction = self.transaction
        is_there = isinstance(then, Suspend) and is_anything_there(transaction, found.key)
        change, woken = decide.leave(found.run, then, active_ms, transaction.now, is_there=is_there)
        if isinstance(then, Continue):
            transaction.execute(q.DELETE_ENTRIES, places_of(found.key))
        transaction.apply(found, change)
        return woken

    def _refuse_for_ever(self, advance: Advance, flaw: str) -> Fenced:
        """Set a run aside whose entries no row can hold: only itself is refused, and its journal stays as it was."""
        detail = f"an entry of this run cannot be stored: {flaw}"
        self._leave(self.transaction.surely_found(advance.run), SetAside(Reason.UNREADABLE, detail), 0)
        return Fenced(advance.epoch)


def _has_cancel(rows: Sequence[EntryRow]) -> bool:
    """As `decide.consumes_cancel`, of rows: text that no row can hold is escaped in them."""
    for row in rows:  # noqa: SIM110 - as there
        if row[3] == Kind.RUN and row[6] == "cancel":
            return True
    return False


def _due_at(advance: Advance) -> int | None:
    assert isinstance(advance.then, Suspend)
    return advance.then.due_at


def _finish_row(advance: Advance, now: int) -> tuple[object, ...]:
    assert isinstance(advance.then, Finish)
    state, reason, detail = advance.then
    return int(state), now, advance.active_ms, clean(reason), clean(detail), advance.run
