"""The bugs that the campaigns must catch: each a small change of a function or two, and a line that says what breaks.

A mutant that survives shows a hole in the programs or in the model, which is closed there; no mutant is made easier.
"""

from __future__ import annotations

from typing import Final

from tests.simulation.controls import FENCED_BEFORE, UNFENCED
from tests.simulation.mutating import Edit, Mutant


def _mutant(name: str, breaks: str, *edits: tuple[str, str, str], caught_by: str = "simulation") -> Mutant:
    return Mutant(name, breaks, tuple(Edit(*edit) for edit in edits), caught_by)


_ADVANCES: Final = "core.decisions.advances"
_STANDING: Final = "core.decisions.standing"
_REQUESTS: Final = "core.decisions.requests"
_STARTS: Final = "core.decisions.starts"
_MEMORY: Final = "store._memory_operations:Transaction"
_ACTIVATION: Final = "runtime.activation:Activation"
_COMMITTER: Final = "runtime.committer:Committer"
_TASK: Final = "runtime.steps:TaskOperation"
_ENGINE: Final = "runtime.engine:Engine"
_CALLERS: Final = "runtime.callers:Callers"
_CLAIMS: Final = "runtime.claims:Claims"

FENCES: Final = (
    UNFENCED,
    FENCED_BEFORE,
    _mutant(
        "claim keeps the epoch", "two owners of a run have the same epoch",
        (f"{_STARTS}:taken", "epoch=run.epoch + 1", "epoch=max(run.epoch, 1)"),
    ),
    _mutant(
        "epoch bumped when told", "an owner loses its run by being told something",
        (f"{_STANDING}:told", "run._replace(notice=False)", "run._replace(notice=False, epoch=run.epoch + run.notice)"),
    ),
    _mutant(
        "dead workers claim", "a worker that was taken for dead may claim runs, which nobody takes back",
        (f"{_MEMORY}.claim", "if claim.worker not in self.tables.workers:", "if not claim.worker:"),
    ),
    _mutant(
        "dead workers start", "a run is given to a worker that was taken for dead, and nobody takes it back",
        (f"{_STARTS}:new_run", "if start.worker is not None and worker_lives", "if start.worker is not None"),
    ),
    _mutant(
        "lease renewed after loss", "a worker that was taken for dead goes on with what it had",
        (
            f"{_ENGINE}.begin_again",
            "for act in (*self.active.values(), *self.cache.drop_all()):\n        act.evict()\n    self.active.clear()",
            "pass",
        ),
    ),
    _mutant(
        "refusal ignored", "an activation goes on although the store has fenced it",
        (f"{_ACTIVATION}.go_on", "self.host.fenced(self)\n        return", "pass"),
    ),
    _mutant(
        "claims of an old name executed", "what was claimed under a name that was given up is executed",
        (f"{_ENGINE}.activate", "if run.owner != self.worker_id:", "if not run:"),
        (f"{_ENGINE}._activate_if_ours", "if run.owner != self.worker_id:", "if not run:"),
    ),
    _mutant(
        "started means owned", "a run is executed that was started and not claimed",
        (f"{_CALLERS}._started", "is_ours = outcome.record.owner == self._host.worker_id", "is_ours = True"),
    ),
)  # fmt: skip

STORES: Final = (
    _mutant(
        "second start inserts", "the same id is started twice",
        (f"{_MEMORY}.start", "if row is not None:", "if row is not None and start.worker is None:"),
    ),
    _mutant(
        "message not recognised", "a message that is sent again is received twice",
        (f"{_REQUESTS}:answer_send", "if is_known:", "if is_known and state.is_final:"),
    ),
    _mutant(
        "last settle wins", "a signal changes after it was accepted",
        (f"{_MEMORY}.settle", "if there is None:", "if there is None or there.token != settle.token:"),
    ),
    _mutant(
        "settle not recognised", "the first settle is told that it was not the first, if its answer was lost",
        (f"{_REQUESTS}:answer_settle", "settled_by is None or settled_by == token", "settled_by is None"),
    ),
    _mutant(
        "signal wakes nobody", "a run sleeps on although its signal has come",
        (
            f"{_MEMORY}.settle",
            "for row in self.tables.waiters(settle.app, f\"p:{settle.promise_id}\"):\n            self.wake(row)",
            "pass",
        ),
    ),
    _mutant(
        "message wakes nobody", "a run sleeps on although a message has come",
        (f"{_MEMORY}._send", "self.wake(row)", "pass"),
    ),
    _mutant(
        "end wakes nobody", "a parent sleeps on although its child has ended",
        ("store._memory_changes:Changes.apply", "self.wake(waiter)", "pass"),
    ),
    _mutant(
        "sleeps through arrivals", "a run is suspended although what it waits for is there",
        (f"{_ADVANCES}:_may_leave", "return not run.requests and not is_there", "return not run.requests"),
    ),
    _mutant(
        "sleeps through requests", "a run is suspended although it was asked to cancel",
        (f"{_ADVANCES}:_may_leave", "return not run.requests and not is_there", "return not is_there"),
    ),
    _mutant(
        "pause obeyed after resume", "a run is paused although the request was withdrawn",
        (f"{_ADVANCES}:_may_leave", "or Requests.PAUSE in run.requests", "or run.epoch > 0"),
    ),
    _mutant(
        "answer tells nothing", "the answer to an Advance leaves out what has arrived",
        (
            "store._memory_operations:execute_batch", "() if worker is None else transaction.tell(worker)",
            "() if transaction.tell(worker or '') is None or batch else ()",
        ),
    ),
    _mutant(
        "messages consumed twice", "the receipt of a message is recorded, and the message stays unread",
        (f"{_MEMORY}._record", "if advance.extras is not None:", "if not advance.entries and advance.extras:"),
    ),
    _mutant(
        "poison counter not reset", "a run is set aside because of deaths between which it made progress",
        (f"{_STANDING}:appended", ", deaths=0)", ")"),
    ),
    _mutant(
        "deaths not counted", "a run that kills its workers is given to one after another for ever",
        ("core.lease:after_death", "deaths >= DEATHS_MAX", "deaths > 1_000"),
    ),
    _mutant(
        "due time forgotten", "a sleeping run is never due",
        (f"{_ADVANCES}:_gone", "RunEvent.BLOCKED, now, due_at=due_at", "RunEvent.BLOCKED, now"),
    ),
    _mutant(
        "mailbox lost on continuing", "unread messages are gone when a run continues as new",
        (f"{_MEMORY}._leave", "row.epochs.clear()", "row.epochs.clear()\n        row.letters.clear()"),
    ),
    _mutant(
        "parents cancel whom they like", "a run that is waited for is cancelled though it is nobody's child",
        ("runtime.waits:ChildOperation.withdraw", "and not self.attached", ""),
        ("runtime.waits:ChildOperation.withdraw", "self.child_id, reason, self.act.run_id)", "self.child_id, reason)"),
    ),
)  # fmt: skip

RUNTIME: Final = (
    _mutant(
        "commands before the commit", "tasks start before what led to them is durable",
        (f"{_ACTIVATION}._carry_out", "held[0][0] <= self.durable and ", ""),
    ),
    _mutant(
        "result before the commit", "callers are told a result that is not durable",
        (
            f"{_ACTIVATION}._end", "self.ended = ending.ended",
            "self.ended = ending.ended\n    if ending.ended: self.host.callers.resolve(self.run.key, ending.ended)",
        ),
    ),
    _mutant(
        "marker not awaited", "an at-most-once attempt starts before its marker is durable",
        (
            f"{_TASK}._start", "self.act.hold(self._execute)",
            "self._execute() if self.options.at_most_once else self.act.hold(self._execute)",
        ),
    ),
    _mutant(
        "interrupted attempts repeated", "an at-most-once attempt begins again after a crash",
        (f"{_TASK}.begin", "self.options.at_most_once and self.begun > self.attempt", "self.begun > 1_000"),
    ),
    _mutant(
        "unknown treated as failed", "after an unknown outcome the batch is repeated without reopening the store",
        (f"{_COMMITTER}._landed", "self._try_again(error, reopen=True)",
         "self._refuse_requests(error); self._try_again(error, reopen=False)"),
    ),
    _mutant(
        "unknown swallowed", "an unknown outcome is taken for success",
        (f"{_COMMITTER}._landed", "self._try_again(error, reopen=True)",
         "self._landed_well(Committed([Done.DONE for _ in self._flying[2]]), began)"),
    ),
    _mutant(
        "failed batch dropped", "a batch that failed for certain is not written again",
        (f"{_COMMITTER}._try_again", "self._host.loop.call_later(delay, self._fly)", "self._flying = None"),
    ),
    _mutant(
        "unanswered claims forgotten", "runs stay with a worker that does not know that it has claimed them",
        (f"{_COMMITTER}._landed_well", "if self._uncertain:", "if False:"),
    ),
    _mutant(
        "trouble never ends", "a store that has failed once is never used again",
        (f"{_COMMITTER}._try_again", "self._flying = None\n        self._trouble = None", "self._flying = None"),
    ),
    _mutant(
        "starts after the cancellation", "a task starts although its run's cancellation has been heard of",
        (f"{_ACTIVATION}._carry_out", "if self.arrivals.cancel_waits and not self.root.done():", "if False:"),
    ),
    _mutant(
        "told too late", "what was held is carried out before what has arrived is heard of",
        (f"{_COMMITTER}._landed_well", "self._host.hear(committed.pending)\n", "pass\n"),
        (
            f"{_COMMITTER}._landed_well", "self._host.heard_due(",
            "self._host.hear(committed.pending)\n    self._host.heard_due(",
        ),
    ),
    _mutant(
        "told while not listening", "what arrives while a journal is read is forgotten",
        (f"{_ENGINE}.hear", "self._early[key] = arrived", "pass"),
    ),
    _mutant(
        "stale cache", "a cached activation goes on although another worker has made progress",
        (f"{_ENGINE}.activate", "and act.journal.position == claimed.position and", "and"),
    ),
    _mutant(
        "woken and gone", "an activation leaves although its suspension was refused",
        (f"{_ACTIVATION}.go_on", "if outcome is not Woken.WOKEN and", "if outcome is not None or"),
    ),
    _mutant(
        "retry counter lost", "attempts are counted anew after a crash",
        ("runtime.steps:Operation.recorded", "self.attempt = entry.attempt", "pass"),
    ),
    _mutant(
        "backoff forgotten", "after a crash the next attempt does not wait for its time",
        (f"{_TASK}.begin", "if self.due_at and not self.act.host.clock.has_come(self.due_at):", "if False:"),
    ),
    _mutant(
        "timers fire early", "a sleep ends before its time",
        ("runtime.frontier:Frontier.ring", "if has_come(at))", "if has_come(at - 300))"),
    ),
    _mutant(
        "deadline made anew", "a sleep begins again with each activation",
        ("runtime.steps:TimerOperation.begin", "= self.due_at", "= self.act.host.clock.now_ms() + self.delay_ms"),
    ),
    _mutant(
        "completions replayed by number", "branches are replayed in the order of their steps, not of their outcomes",
        (
            "core.replay:Journal.__init__", "self._cursor = 1",
            "self._recorded[1:] = sorted(self._recorded[1:], key=lambda e: (e.seq or 0)); self._cursor = 1",
        ),
    ),
    _mutant(
        "one page of a journal", "the rest of a long journal is not read",
        (f"{_CALLERS}.read_journal", "while len(page) == JOURNAL_PAGE_MAX:", "while False:"),
    ),
    _mutant(
        "values drawn anew", "random numbers are not recorded",
        (f"{_ACTIVATION}.value", "self._append(Kind.VALUE, Status.OK, seq=seq, name=name, data=data)", "pass"),
    ),
    _mutant(
        "clock taken as it is", "entries are dated back when a clock is set back",
        ("core.replay:Journal.append_outcome", "if now > self._newest_at:", "if now:"),
    ),
    _mutant(
        "children share an id", "a run that continues as new takes its first children for its new ones",
        ("core.ids:child_id", "if continuation else key", "if continuation > 9 else key"),
    ),
    _mutant(
        "waiters forgotten", "who waits for a run is forgotten when its end cannot be read at once",
        (f"{_CALLERS}.look", "waiting = list(self._waiters[key].futures)", "waiting = self._waiters.pop(key).futures"),
    ),
    _mutant(
        "old names kept", "a name that was given up owns runs for ever",
        (f"{_ENGINE}.give_up_names", "while self._former_names:", "while False:"),
    ),
    _mutant(
        "former activation kept", "a run that was lost and claimed again is executed twice at once",
        (f"{_CLAIMS}._take_up", "self._host.drop(run.key)", "pass"),
    ),
    _mutant(
        "waits lost by a rewind", "a parent that is retried waits for its child for ever",
        ("runtime.waits:ChildOperation.begin", " and not self.act.journal.rewound", ""),
    ),
    _mutant(
        "claims without pause", "a worker that gets nothing of what is due claims again at once",
        (f"{_CLAIMS}._look_ahead", "if self._host.clock.has_come(due_at):", "if False:"),
    ),
    _mutant(
        "end of another time", "the newest entry of a run that goes on again is taken for its end",
        (f"{_CALLERS}.ended", "raise WentOn", "pass"),
    ),
    _mutant(
        "withdrawn timers ring", "a timer that was cancelled rings all the same",
        ("runtime.frontier:Frontier.withdraw", "self.timers.pop(op.key, None)", "pass"),
    ),
)  # fmt: skip

ELSEWHERE: Final = (
    _mutant(
        "tasks hashed by chance", "sets of branches have another order on replay",
        ("runtime.loop:BodyLoop.next_hash", "return self._hash_next", "return hash((perf_counter(), self._hash_next))"),
        caught_by="trees",
    ),
    _mutant(
        "taken too early", "a recorded outcome is applied while other callbacks are ready",
        ("runtime.frontier:Frontier.take_inline", "and self._loop.is_blocked ", ""),
        caught_by="trees",
    ),
    _mutant(
        "SQLite: signal wakes nobody", "a run sleeps on although its signal has come",
        ("store.sqlite.requests:_add_promise", "transaction.wake_waiters(app, f\"p:{operation.promise_id}\")", "pass"),
        caught_by="differential",
    ),
    _mutant(
        "SQLite: message wakes nobody", "a run sleeps on although a message has come",
        ("store.sqlite.requests:_send", "transaction.wake([found.key])", "pass"),
        caught_by="differential",
    ),
    _mutant(
        "SQLite: told without end", "owners are told the same again and again",
        ("store.sqlite.arrivals:tell", "transaction.execute(q.FORGET_NOTICES, (owner,))", "pass"),
        caught_by="differential",
    ),
    _mutant(
        "SQLite: rewind not recognised", "a rewind whose answer was lost is refused",
        ("store.sqlite.requests:_is_marked", "return there is not None and there[2:] == row[2:]", "return False"),
        caught_by="differential",
    ),
)  # fmt: skip

MUTANTS: Final = (*FENCES, *STORES, *RUNTIME, *ELSEWHERE)
"""All of them, by name unique."""
