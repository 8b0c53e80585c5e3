"""Advances: what the pumps of many runs produced, stored as one.

First one read brings epoch, owner and next position of all runs. `_judge` then decides about each Advance without
touching the database. All new entries are inserted by one `executemany`, and last come the changes of state: in the
order of the batch, but those that cannot affect each other (runs that go on, that end, or that wait for nothing but a
time) as sets. So a batch of a hundred runs that go on costs one read and one write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, assert_never

from durable.core.records import Kind, Reason, Requests, RunKey, RunState
from durable.store.operations import (
    Advance,
    Answer,
    Continue,
    Done,
    Extras,
    Fenced,
    Finish,
    GoOn,
    NotFound,
    NotOpen,
    Outcome,
    Paused,
    Release,
    SetAside,
    Suspend,
    Woken,
)
from durable.store.sqlite import queries as q
from durable.store.sqlite.arrivals import has_arrived
from durable.store.sqlite.requests import append, last_at, request, settle
from durable.store.sqlite.rows import ENTRY_COMMON, EntryRow, Unstorable, clean, entry_row, place_of, places_of
from durable.store.sqlite.schema import POSITIONS
from durable.store.sqlite.starts import start_entry, start_runs
from durable.store.sqlite.transaction import Transaction, keys_text

_NOTHING = Extras()


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

    rows: list[EntryRow] | None = None
    """Entries to insert; None when nothing more is stored for this run."""
    refusal: Fenced | None = None
    repeated: bool = False
    """Was it stored before, so that only its answer is wanted?"""
    left: bool = False
    """… and did it give the run away?"""
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
    return {row[0]: Look(row[0], row[1], row[2], row[3], row[4] & mask) for row in found}


def _judge(transaction: Transaction, advance: Advance, look: Look | None) -> Verdict:
    run, worker, epoch, entries, then, _ = advance
    if look is None:
        return Verdict(refusal=Fenced(0))
    owner = transaction.worker(worker)
    if look.epoch != epoch or not owner or owner != abs(look.owner):
        return Verdict(refusal=Fenced(look.epoch))
    try:
        rows = [entry_row(run, epoch, entry) for entry in entries]
    except Unstorable as error:
        return Verdict(flaw=str(error)) if look.owner > 0 else Verdict(refusal=Fenced(look.epoch))
    if look.owner < 0:
        was_left = then.__class__ is not GoOn and _is_newest(look, advance) and _are_stored(transaction, rows)
        return Verdict(repeated=True, left=True) if was_left else Verdict(refusal=Fenced(look.epoch))
    if not rows or entries[0][0] == look.newest + 1:
        return Verdict(rows)
    old = [row for row in rows if row[0] <= place_of(run, look.newest)]
    has_gap = entries[0][0] > look.newest
    if has_gap or not _are_stored(transaction, old):
        return Verdict(refusal=Fenced(look.epoch))
    return Verdict(rows[len(old) :], repeated=len(old) == len(rows))


def _is_newest(look: Look, advance: Advance) -> bool:
    return not advance.entries or advance.entries[-1].position == look.newest


def _are_stored(transaction: Transaction, rows: list[EntryRow]) -> bool:
    """Is each of these entries in the journal, just so?"""
    return all(transaction.one(q.ENTRIES, row[0], row[0] + 1, 1) == row for row in rows)


def _insert(transaction: Transaction, verdicts: list[Verdict]) -> None:
    rows = [row for verdict in verdicts for row in verdict.rows or ()]
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
        if verdict.refusal is not None:
            return verdict.refusal
        if verdict.flaw:
            return self._refuse_for_ever(advance, verdict.flaw)
        then, extras = advance[4], advance[5]
        if extras is None and not verdict.left:
            if _has_cancel(verdict):
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
        return self._in_full(advance, verdict)

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
        values = [(_due_at(advance), now, advance.run) for _, advance in suspends]
        if transaction.many(q.SUSPEND_PLAIN, values).rowcount == len(values):
            transaction.due.update(run for due_at, _, run in values if due_at is not None and due_at <= now)
            return
        for place, advance in suspends:
            if (run := transaction.one(q.STILL_OWNED, advance.run)) is None:
                continue
            self._outcomes[place] = Done.DONE if self._then(advance, _owned(run)) else Woken.WOKEN
        transaction.due.update(run for due_at, _, run in values if due_at is not None and due_at <= now)
        transaction.recheck_due = True

    def _finish_all(self, finishes: list[Advance]) -> None:
        transaction = self.transaction
        rows = [_finish_row(advance, transaction.now) for advance in finishes]
        transaction.many(q.FINISH, rows)
        runs = [advance.run for advance in finishes]
        transaction.execute(q.FORGET_WAITS, (keys_text(runs),))
        transaction.wake_waiters_of_runs(runs)

    # One by one ------------------------------------------------------------------------------------------------------

    def _in_full(self, advance: Advance, verdict: Verdict) -> Outcome:
        extras = advance.extras or _NOTHING
        if verdict.left:
            return _answer(self._extra_outcomes(extras, repeated=True), extras, woken=False)
        self._record(advance, extras, verdict)
        outcomes = self._extra_outcomes(extras, repeated=verdict.repeated)
        self._change_waits(advance.run, extras)
        woken = not self._then(advance, None)
        return _answer(outcomes, extras, woken=woken)

    def _record(self, advance: Advance, extras: Extras, verdict: Verdict) -> None:
        transaction, run = self.transaction, advance.run
        active_ms = 0 if verdict.repeated else extras.active_ms
        if active_ms or extras.progress is not None:
            progress = None if extras.progress is None else clean(extras.progress)
            transaction.execute(q.ADD_PROGRESS, (progress, active_ms, run))
        if _has_cancel(verdict):
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
            if repeated:
                outcomes.append(self._cancelled(cancel.app, cancel.run_id))
            else:
                outcomes.append(request(transaction, cancel))
        return tuple(outcomes)

    def _cancelled(self, app: str, run_id: str) -> Outcome:
        run = self.transaction.one_run(app, run_id)
        if run is None:
            return NotFound()
        return NotOpen(run.state) if run.state in (RunState.SUCCEEDED, RunState.FAILED) else Answer(run.state)

    def _change_waits(self, run: RunKey, extras: Extras) -> None:
        transaction, app = self.transaction, self.looks[run].app
        waits = [(app, wait.target, run, wait.seq) for wait in extras.waits]
        if waits:
            transaction.many(q.ADD_WAIT, waits)
        if extras.unwaits:
            transaction.many(q.FORGET_WAIT, [(app, wait.target, run, wait.seq) for wait in extras.unwaits])
        if any(transaction.one(q.IS_THERE, *wait) for wait in waits):
            transaction.execute(q.NOTICE, (run,))

    def _then(self, advance: Advance, owned: _Owned | None) -> bool:
        """Let the run go where its owner says; False if it stays because something has arrived."""
        transaction, run, then = self.transaction, advance.run, advance.then
        if isinstance(then, GoOn):
            return True
        owned = owned or _owned(transaction.one(q.STILL_OWNED, run))
        is_refused = isinstance(then, Suspend) and has_arrived(transaction, run)
        if is_refused or (isinstance(then, Paused) and not owned.requests & Requests.PAUSE):
            transaction.execute(q.NOTICE, (run,))
            return False
        self._leave(advance)
        cancel_is_new = owned.notice and owned.requests & Requests.CANCEL
        if cancel_is_new and isinstance(then, SetAside | Release | Paused):
            transaction.queue_for_cancel(run)
        return True

    def _leave(self, advance: Advance) -> None:
        transaction, run, now = self.transaction, advance.run, self.transaction.now
        match advance.then:
            case GoOn():
                pass
            case Suspend(due_at) | Release(due_at):
                transaction.execute(q.SUSPEND if isinstance(advance.then, Suspend) else q.RELEASE, (due_at, now, run))
                if due_at is not None and due_at <= now:
                    transaction.due.add(run)
            case Finish():
                self._finish_all([advance])
            case SetAside(reason, detail):
                transaction.set_aside(run, reason, detail)
            case Paused():
                transaction.execute(q.PAUSE_OWNED, (now, run))
            case Continue():
                self._continue(run, advance.then)
            case _:
                assert_never(advance.then)

    def _continue(self, run: RunKey, then: Continue) -> None:
        transaction, now = self.transaction, self.transaction.now
        at = max(now, last_at(transaction, run))
        transaction.execute(q.FORGET_WAITS, (keys_text([run]),))
        transaction.execute(q.DELETE_ENTRIES, places_of(run))
        append(transaction, run, self.looks[run].epoch, start_entry(at, then))
        transaction.execute(q.CONTINUE, (now, now, then.digest, clean(then.note), run))
        transaction.due.add(run)

    def _refuse_for_ever(self, advance: Advance, flaw: str) -> Fenced:
        """Set a run aside whose entries no row can hold: only itself is refused, and its journal stays as it was."""
        detail = f"an entry of this run cannot be stored: {flaw}"
        self.transaction.set_aside(advance.run, Reason.UNREADABLE, detail)
        return Fenced(advance.epoch)


def _has_cancel(verdict: Verdict) -> bool:
    """Do the new entries say that the owner has obeyed a cancel request?"""
    return any(row[3] == Kind.RUN and row[6] == "cancel" for row in verdict.rows or ())


class _Owned(NamedTuple):
    """What decides whether a run may leave its owner."""

    requests: int
    notice: int


def _owned(row: tuple[int, ...] | None) -> _Owned:
    assert row is not None
    return _Owned(*row)


def _due_at(advance: Advance) -> int | None:
    assert isinstance(advance.then, Suspend)
    return advance.then.due_at


def _finish_row(advance: Advance, now: int) -> tuple[object, ...]:
    assert isinstance(advance.then, Finish)
    state, reason, detail = advance.then
    return int(state), now, clean(reason), clean(detail), advance.run


def _answer(outcomes: tuple[Outcome, ...], extras: Extras, *, woken: bool) -> Outcome:
    if extras.starts or extras.settles or extras.sends or extras.cancels:
        return Answer(outcomes, woken)
    return Woken.WOKEN if woken else Done.DONE
