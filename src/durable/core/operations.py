"""What can be asked of a store, as records. A batch of them is one transaction; each gets one outcome.

Every operation is idempotent: executed again after an answer was lost, it changes nothing more and reports what the
first execution did. That is how an *unknown* outcome is resolved: reopen, and execute the same batch again. Where the
second answer cannot be the first one, the operation says so: Claim, Cancel, ResumeRun, Mend.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from durable.core.records import Entry, Message, Pending, Queue, Reason, RunKey, RunRecord, RunState, Wait, WorkerId

__all__ = [
    "Advance", "Answer", "Batch", "Cancel", "Claim", "Claimed", "Committed", "Continue", "Done", "Existing", "Extras",
    "Fenced", "Finish", "GoOn", "Mend", "Message", "NotFound", "NotOpen", "Operation", "Outcome", "PauseRun", "Paused",
    "Release", "ResumeRun", "Rewind", "Send", "SetAside", "Settle", "Start", "Started", "Suspend", "Then", "Woken",
]  # fmt: skip


# What a run does after an Advance ------------------------------------------------------------------------------------


class GoOn(NamedTuple):
    """The owner keeps the run and executes on."""


class Suspend(NamedTuple):
    """The run waits and holds nothing.

    Refused with `Woken` if something has arrived and is not consumed, told or not: the target of a registered wait,
    or a request.
    """

    due_at: int | None
    """When its earliest timer fires; None if it waits for something without a time."""


class Finish(NamedTuple):
    """The run ends; the last entry of the Advance is its final one. Waiting runs become due."""

    state: RunState
    """SUCCEEDED, FAILED or CANCELLED."""
    reason: str = ""
    """Type of the error, or reason of the cancellation."""
    detail: str = ""
    """Message of the error."""


class SetAside(NamedTuple):
    """The run cannot go on until someone acts.

    A cancel request of which the owner has not been told counts as made after this: the run is queued, due now.
    """

    reason: Reason
    detail: str


class Release(NamedTuple):
    """The owner hands the run back; another worker may claim it at `due_at`. A cancel request: as with SetAside.

    What arrives for a queued run does not hasten it, a cancel request excepted: its next owner hears of everything.
    """

    due_at: int


class Paused(NamedTuple):
    """The owner obeys a pause request. Refused with `Woken` if it was withdrawn. A cancel request: as with SetAside."""


class Continue(NamedTuple):
    """The run starts anew under its id: its journal becomes one start entry, its mailbox stays, `continuation` grows.

    It is queued, due now; requests stay, all waits are forgotten, the record's digest and note are the new ones. The
    Advance carries no entries; messages that the last pump received may be `consumed` without.
    """

    input: bytes
    digest: int
    note: str


Then: TypeAlias = GoOn | Suspend | Finish | SetAside | Release | Paused | Continue


# Operations ----------------------------------------------------------------------------------------------------------


class Start(NamedTuple):
    """Insert a run, or report the one that is there. The start entry (position 0) is written with it.

    Outcome: `Started`, once in the life of the run, or `Existing`. Executed again, it is answered Existing; the run
    that the first execution claimed is found by `RunStore.owned`, and handed back with a Release.
    """

    queue: Queue
    run_id: str
    input: bytes
    digest: int
    note: str = ""
    due_at: int | None = None
    """None: due now."""
    tags: tuple[tuple[str, str], ...] = ()
    deadline_at: int | None = None
    parent_id: str | None = None
    worker: WorkerId | None = None
    """Claim it for this worker in the same step, if it is new and due now (epoch 1), and the worker is registered."""


class Claim(NamedTuple):
    """Take up due runs, earliest first (`due_at`, then key): state RUNNING, epoch + 1, owner set, `due_at` and notice
    cleared. A worker that is not registered gets none.

    Outcome: `Answer` with a tuple of `Claimed`. Executed again, it claims what is due then; runs that the first
    execution claimed are found by `RunStore.owned`, and handed back with a Release.
    """

    worker: WorkerId
    queues: tuple[Queue, ...] = ()
    """Claim from these queues …"""
    runs: tuple[RunKey, ...] = ()
    """… and these runs, whatever queue they stand in."""
    limit: int = 100


class Extras(NamedTuple):
    """What an Advance asks for beside entries; most have none.

    Starts, settles, sends and cancels come first, then waits, then unwaits: a run may wait for what it starts.
    """

    waits: tuple[Wait, ...] = ()
    """Register; one whose target is there already gives the run a notice in the same transaction. There: the promise
    is settled, the other run has ended or does not exist, an unread message has the name."""
    unwaits: tuple[Wait, ...] = ()
    """Forget: consumed or cancelled. One that is not registered is passed over."""
    starts: tuple[Start, ...] = ()
    settles: tuple[Settle, ...] = ()
    sends: tuple[Send, ...] = ()
    cancels: tuple[Cancel, ...] = ()
    consumed: tuple[int, ...] = ()
    """Numbers of the messages that the entries record as received."""
    progress: str | None = None


class Advance(NamedTuple):
    """All that one run produced since its last Advance; accepted or refused whole.

    Outcome: `Done`, `Woken` (a Suspend that is refused because something arrived; all else is stored and the run stays
    with its owner), or `Fenced` (nothing stored). With `extras` that have answers: `Answer` with a tuple of one outcome
    for each of starts, settles, sends and cancels, in this order (then `woken` says whether a Suspend was refused).

    Repeated when it has given the run away already (same epoch, nobody has claimed the run since, its entries are the
    newest ones) it is taken as stored: `Done`, or the Answer. It is `Fenced` once the run was taken back (`expire`,
    `unregister`), and may be so when its worker is not registered any more. After `Woken`, the pending of the same
    answer tells what is there, again if it was told before. An entry of kind RUN named `cancel` consumes the cancel
    request, `Paused` the pause request.
    """

    run: RunKey
    worker: WorkerId
    epoch: int
    entries: tuple[Entry, ...]
    """With consecutive positions, the first being the run's next. One that is there already with the same content under
    the same epoch is taken as stored; with other content, or after another worker's claim, the Advance is `Fenced`; so
    it is when its first entry lies beyond the run's next position."""
    then: Then
    extras: Extras | None = None
    active_ms: int = 0
    """Active time since the claim, which is added to the run's account when it leaves its owner by this Advance."""


class Settle(NamedTuple):
    """Settle a promise, once; it need not exist before. Runs that wait for it become due (or get a notice).

    Outcome: `Answer(True)` for the first settle and for its repetition with the same token, else `Answer(False)`.
    Promise ids take up to 1,025 bytes: that of a signal is made of two ids (`core.records.signal_id`).
    """

    app: str
    promise_id: str
    ok: bool
    data: bytes
    token: str
    """Names this request, so that its repetition is recognised."""


class Send(NamedTuple):
    """Append a message to a run's mailbox, once per message id as long as the run exists.

    It wakes the run if that waits for a message of this name. Outcome: `Done`, also for an id that is there already
    (whatever the run's state, whether or not the message was read); `NotFound`; `NotOpen` if the run has ended.
    """

    app: str
    run_id: str
    message_id: str
    name: str
    data: bytes


class Cancel(NamedTuple):
    """Ask a run to cancel. One that has never been claimed ends as CANCELLED in this step: with a final entry.

    That entry is RUN `finish`, status ERROR, the reason as its note and no data. Others keep the request until their
    owner applies it (by an entry RUN `cancel`): an owned run gets a notice, any other becomes due now (a paused or
    set-aside run too). Made again before it is applied it changes nothing, the first reason stays; made after that it
    is another request, unless it comes with the repetition of an Advance. Outcome: `Answer(state after)`, also for a
    run that is CANCELLED already; `NotFound`; `NotOpen` if it had ended otherwise.
    """

    app: str
    run_id: str
    reason: str = ""
    parent_id: str | None = None
    """Only if the run is a child of this one; any other run of that id is `NotFound`."""


class PauseRun(NamedTuple):
    """Ask a run to pause: at once if nobody owns it, else its owner does.

    Outcome: `Answer(state after)`, `NotFound`, or `NotOpen` if it has ended or is set aside.
    """

    app: str
    run_id: str


class ResumeRun(NamedTuple):
    """Let a paused run go on, and withdraw a pause request.

    It is due now; one that has never been claimed keeps its time. Outcome: `Answer(state after)`, `NotFound`, or
    `NotOpen` if there is neither a pause nor a request: so says the repetition, too.
    """

    app: str
    run_id: str


class Mend(NamedTuple):
    """Let a run that was set aside try again: queued, due now, `deaths` 0.

    Outcome: `Answer(state after)`, `NotFound`, or `NotOpen` if it is not set aside: so says the repetition, too.
    """

    app: str
    run_id: str


class Rewind(NamedTuple):
    """Delete entries of a run that failed or was set aside, and queue it, due now, with `deaths` 0.

    The entry `mark` (kind RUN, name `rewind`) is appended at its position, which must be the run's next one: it lists
    the dropped positions in its note, so that gaps in a journal are accounted for. All waits of the run are forgotten.
    The start entry cannot be dropped, and the marks of earlier rewinds should not be. Outcome: `Done` (also if the mark
    is there already), `NotFound`, or `NotOpen` if the state is neither, or the next position is another one.
    """

    app: str
    run_id: str
    drop: tuple[int, ...]
    mark: Entry
    unread: tuple[int, ...] = ()
    """Numbers of the messages that dropped entries had received: these, and no others, become unread again."""


Operation: TypeAlias = Start | Claim | Advance | Settle | Send | Cancel | PauseRun | ResumeRun | Mend | Rewind
Batch: TypeAlias = "list[Operation]"


# Outcomes ------------------------------------------------------------------------------------------------------------


class Done(Enum):
    """The operation took effect and has nothing to say."""

    DONE = "done"


class Woken(Enum):
    """Everything was stored but the suspension (or pause): something has arrived, the run stays with its owner."""

    WOKEN = "woken"


class Fenced(NamedTuple):
    """The run has another owner, or none: nothing was stored."""

    epoch: int
    """The run's epoch now; 0 if the run is gone."""


class NotFound(NamedTuple):
    """No such run."""


class NotOpen(NamedTuple):
    """The run is in a state in which this makes no sense."""

    state: RunState


class Started(NamedTuple):
    """The run is new."""

    record: RunRecord
    """Owned by the asking worker with epoch 1 if it was claimed in the same step."""


class Existing(NamedTuple):
    """A run has that id already; whether it is the same run is the caller's to decide."""

    record: RunRecord


class Claimed(NamedTuple):
    """A run that this worker now owns."""

    record: RunRecord
    position: int
    """Its next position."""
    pending: Pending


class Answer(NamedTuple):
    """What an operation found out."""

    value: object
    woken: bool = False


Outcome: TypeAlias = Done | Woken | Fenced | NotFound | NotOpen | Started | Existing | Answer


class Committed(NamedTuple):
    """The answer to a batch."""

    outcomes: list[Outcome]
    due: tuple[RunKey, ...] = ()
    """Runs that this batch made due now and nobody owns: someone should claim soon. A hint."""
    pending: tuple[tuple[RunKey, Pending], ...] = ()
    """For each run of the asking worker for which something has arrived since it was last told: everything that has not
    been consumed, so also what was told before and is still on its way into the journal. A later claim hears of all of
    it again. Runs for which nothing is left are not listed. Settled ones are ordered by time, then seq; messages by
    number, waited for or not."""
