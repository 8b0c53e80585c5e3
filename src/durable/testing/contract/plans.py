"""Random batches for the differential: sensible most of the time, stale or wrong now and then.

A plan is written in names that both stores share: a run's place in `IDS` stands for its key, and the place of a message
among all that were ever sent stands for its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from durable.core.failure import rewind_note
from durable.core.records import Entry, Kind, Reason, RunRecord, RunState, Status, Wait, WorkerId
from durable.store.base import RunFilter
from durable.store.operations import (
    Advance,
    Cancel,
    Claim,
    Continue,
    Extras,
    Finish,
    GoOn,
    Mend,
    Operation,
    Paused,
    PauseRun,
    Release,
    ResumeRun,
    Rewind,
    Send,
    SetAside,
    Settle,
    Start,
    Suspend,
    Then,
)
from durable.testing.contract.choices import Choices
from durable.testing.contract.kit import APP, QUEUE

T = TypeVar("T")

IDS: Final = ("a", "b", "c", "d")
QUEUES: Final = (QUEUE, QUEUE._replace(workflow="other"))
PROMISES: Final = ("p", "q", "a\nsignal")
TARGETS: Final = (*(f"p:{one}" for one in PROMISES), "r:b", "r:c", "r:nobody", "m:mail", "m:post")
WAITS: Final = tuple(Wait(seq, target) for seq, target in enumerate(TARGETS, 1))
REQUESTS: Final = (Cancel, PauseRun, ResumeRun, Mend)
ENDED: Final = (RunState.FAILED, RunState.SET_ASIDE)
"""States from which a run can be rewound."""
KINDS: Final = ("start", "claim", "claim", *["advance"] * 6, "settle", "send", "request", "request", "rewind")


class Look(NamedTuple):
    """Reads with arguments; runs by their places."""

    where: RunFilter
    limit: int
    before: int | None
    run: int
    start: int
    workers: tuple[WorkerId, ...]


@dataclass
class View:
    """What a planner knows: the runs as they are, and what it planned before."""

    now: int
    workers: list[WorkerId]
    runs: dict[str, RunRecord] = field(default_factory=dict)
    journals: dict[str, list[Entry]] = field(default_factory=dict)
    heard: dict[str, list[int]] = field(default_factory=dict)
    """Messages that an owner of the run was told of."""
    advances: dict[str, Advance] = field(default_factory=dict)
    """The last Advance of each run, to be repeated."""
    sent: int = 0
    may_limit: bool = True
    """False when the order of claims may differ, because a death delayed a run at random."""

    def position(self, run_id: str) -> int:
        """Return the next position of a run, 1 if there is none."""
        return self.journals[run_id][-1].position + 1 if self.journals.get(run_id) else 1


class Planner:
    """Makes up the operations of one batch."""

    def __init__(self, choices: Choices, view: View) -> None:
        self._choices, self.view = choices, view

    def opening(self) -> list[Operation]:
        """Return a batch with which all runs exist."""
        return [self.start()._replace(run_id=run_id, due_at=None, worker=self.worker()) for run_id in IDS]

    def batch(self) -> list[Operation]:
        """Return a well-formed batch of one to five operations."""
        operations: list[Operation] = []
        advanced: set[int] = set()
        for _ in range(self.pick((1, 1, 2, 3, 5))):
            operation = self.operation()
            if isinstance(operation, Advance):
                if operation.run in advanced:
                    continue
                advanced.add(operation.run)
            operations.append(operation)
        return operations

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of these."""
        return self._choices.pick(choices)

    def seldom(self, times: int) -> bool:
        """Return True once in so many times."""
        return self.pick(range(times)) == times - 1

    def some(self, choices: Sequence[T], most: int = 2) -> tuple[T, ...]:
        """Return a few of these, mostly none."""
        return self._choices.several(choices, most) if choices and self.seldom(3) else ()

    def operation(self) -> Operation:
        """Return any operation."""
        match self.pick(KINDS):
            case "start":
                return self.start()
            case "claim":
                return self.claim()
            case "advance":
                return self.advance() if self.owned() or self.seldom(3) else self.claim()
            case "settle":
                return self.settle()
            case "send":
                return self.send()
            case "request":
                return self.request()
            case _:
                return self.rewind()

    def owned(self) -> list[str]:
        """Return the runs that somebody owns."""
        return [run_id for run_id, run in self.view.runs.items() if run.owner is not None]

    def worker(self) -> WorkerId:
        """Return a worker, seldom one that nobody knows."""
        return self.pick([*self.view.workers * 5, "stranger"])

    def time(self) -> int:
        """Return a time around now."""
        return self.view.now + self.pick((0, 0, 5, 50, -3))

    def claim(self) -> Claim:
        """Return a Claim, mostly of everything that is due."""
        limit = self.pick((100, 1, 2)) if self.view.may_limit else 100
        return Claim(
            self.worker(), self.pick((QUEUES, QUEUES, QUEUES[:1], ())), self.some((*range(len(IDS)), 99)), limit
        )

    def start(self) -> Start:
        """Return a Start of any run."""
        return Start(
            self.pick(QUEUES), self.pick(IDS), self.pick((b"1", b"2")), self.pick((1, 2)),
            due_at=self.pick((None, self.time())), tags=self.some((("t", "1"), ("u", "2"))),
            parent_id=self.pick((None, "a")), worker=self.pick((None, self.worker())),
        )  # fmt: skip

    def settle(self) -> Settle:
        """Return a Settle of any promise."""
        return Settle(
            APP, self.pick(PROMISES), self.pick((True, False)), self.pick((b"1", b"2")), self.pick(("t", "u"))
        )

    def send(self) -> Send:
        """Return a message that can be told from all others by its data."""
        self.view.sent += 1
        message_id, name = self.pick(("m1", "m2", "m3", "m4", "m5")), self.pick(("mail", "post"))
        return Send(APP, self.pick((*IDS, "nobody")), message_id, name, b"%d" % self.view.sent)

    def request(self) -> Operation:
        """Return a request about any run."""
        make, run_id = self.pick(REQUESTS), self.pick((*IDS * 4, "nobody"))
        return Cancel(APP, run_id, self.pick(("", "why"))) if make is Cancel else make(APP, run_id)

    def rewind(self) -> Rewind:
        """Return a Rewind that fits, mostly."""
        run_id = self.pick(self._in_states(ENDED) or IDS) if not self.seldom(4) else self.pick(IDS)
        position = self.view.position(run_id) + self.pick((0, 0, 0, 0, 1))
        journal = self.view.journals.get(run_id, [])
        dropped = self.some([entry.position for entry in journal if entry.position and entry.name != "rewind"], most=4)
        note = rewind_note(dropped)
        gone = [entry for entry in journal if entry.position in dropped]
        unread = tuple(entry.attempt for entry in gone if entry.kind is Kind.MESSAGE)
        mark = Entry(position, self.view.now, Kind.RUN, Status.OK, name="rewind", note=note)
        return Rewind(APP, run_id, dropped, mark, unread)

    def _in_states(self, states: tuple[RunState, ...]) -> list[str]:
        return [run_id for run_id, run in self.view.runs.items() if run.state in states]

    # Reads -----------------------------------------------------------------------------------------------------------

    def look(self) -> Look:
        """Return reads with any arguments."""
        pick, run, none = self.pick, self.pick(range(len(IDS))), (None,) * 6
        where = RunFilter(
            app=pick((*none, APP, "another")), workflow=pick((*none, QUEUE.workflow)), group=pick((*none, QUEUE.group)),
            states=self.some(tuple(RunState), most=4), id_prefix=pick((*none, "a", "")),
            tags=dict(self.some((("t", "1"), ("u", "2")), most=1)), created_from=pick((*none, self.time())),
            created_before=pick((*none, self.time())), finished_before=pick((*none, self.time())),
            parent_id=pick((*none, "a")), reason=pick((*none, "Error", str(Reason.DEADLOCK))),
        )  # fmt: skip
        before = pick((None, *(IDS.index(run_id) for run_id in self.view.runs)))
        return Look(where, pick((1000, 0, 1, 2)), before, run, pick((0, 1, 3)), (self.worker(),))

    # Advances --------------------------------------------------------------------------------------------------------

    def advance(self) -> Advance:
        """Return an Advance of an owned run, if there is one; sometimes repeated, stale or wrong."""
        run_id = self.pick(self.owned() or IDS)
        if run_id in self.view.advances and self.seldom(6):
            return self.view.advances[run_id]
        run = self.view.runs.get(run_id)
        worker, epoch, position = self.worker(), 1, self.view.position(run_id)
        if run is not None and not self.seldom(10):
            worker, epoch = run.owner or worker, run.epoch
        elif run is not None:
            epoch, position = run.epoch + self.pick((-1, 0, 1)), max(1, position + self.pick((-1, 0, 1)))
        advance = self._advance(run_id, worker, epoch, position)
        self.view.advances[run_id] = advance
        return advance

    def _advance(self, run_id: str, worker: WorkerId, epoch: int, position: int) -> Advance:
        then, entries = self.then(), list[Entry]()
        heard = self.view.heard.get(run_id, [])
        consumed = self.some(heard)
        if not isinstance(then, Continue):
            count = self.pick((0, 1, 1, 2, 3))
            kinds = [Kind.MESSAGE] * len(consumed) + [Kind.TASK] * count
            numbers = [*consumed, *[0] * count]
            entries = [
                self.entry(position + place, kind)._replace(attempt=number)
                for place, (kind, number) in enumerate(zip(kinds, numbers, strict=True))
            ]
            position += len(entries)
            if self.seldom(3):
                entries.append(Entry(position, self.view.now, Kind.RUN, Status.OK, name="cancel"))
                position += 1
        if isinstance(then, Finish):
            entries.append(
                Entry(position, self.view.now, Kind.RUN, Status.OK, name="finish", data=self.pick((b"1", b"2")))
            )
        extras = self.extras(consumed) if consumed or not self.seldom(3) else None
        if isinstance(then, Suspend) and not self.seldom(3):
            extras = (extras or Extras())._replace(waits=self._choices.several(WAITS, 3))
        return Advance(IDS.index(run_id), worker, epoch, tuple(entries), then, extras, self.pick((0, 7)))

    def entry(self, position: int, kind: Kind) -> Entry:
        """Return an entry of any content."""
        return Entry(
            position,
            self.view.now,
            kind,
            self.pick((Status.OK, Status.ERROR, Status.RETRY)),
            seq=self.pick((None, position)),
            step_id=self.pick((None, "s")),
            name=self.pick(("", "task")),
            data=self.pick((b"", b"1", b"2")),
        )

    def then(self) -> Then:
        """Return any way on."""
        state = self.pick((RunState.SUCCEEDED, RunState.FAILED, RunState.FAILED, RunState.CANCELLED))
        suspend = Suspend(self.pick((None, None, self.time())))
        ways: tuple[Then, ...] = (
            GoOn(), GoOn(), GoOn(), suspend, suspend, suspend, Release(self.time()), Paused(), Paused(),
            SetAside(self.pick((Reason.DEADLOCK, Reason.CODE_CHANGED)), "detail"), Finish(state, "Error", "message"),
            Continue(self.pick((b"1", b"2")), self.pick((1, 2)), "note"),
        )  # fmt: skip
        return self.pick(ways)

    def extras(self, consumed: tuple[int, ...]) -> Extras:
        """Return what else an Advance may ask for."""
        few = not self.seldom(3)
        return Extras(
            waits=self.some(WAITS, most=3),
            unwaits=self.some(WAITS),
            starts=() if few else (self.start(),),
            settles=() if few else (self.settle(),),
            sends=() if few else (self.send(),),
            cancels=() if few else (Cancel(APP, self.pick(IDS), "parent", self.pick((None, "a"))),),
            consumed=consumed,
            progress=self.pick((None, "[1]")),
        )
