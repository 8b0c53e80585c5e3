"""Random batches for the differential: sensible most of the time, stale or wrong now and then.

A plan is written in names that both stores share: a run's place in `IDS` stands for its key, and the place of a message
among all that were ever sent stands for its number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from hypothesis import strategies as st

from durable.core.failure import rewind_note
from durable.core.records import Entry, Kind, Reason, RunRecord, RunState, Status, Wait, WorkerId
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
from durable.testing.contract.kit import APP, QUEUE

T = TypeVar("T")

IDS: Final = ("a", "b", "c", "d")
QUEUES: Final = (QUEUE, QUEUE._replace(workflow="other"))
PROMISES: Final = ("p", "q", "a\nsignal")
TARGETS: Final = (*(f"p:{one}" for one in PROMISES), "r:b", "r:c", "r:nobody", "m:mail", "m:post")
WAITS: Final = tuple(Wait(seq, target) for seq, target in enumerate(TARGETS, 1))
REQUESTS: Final = (Cancel, PauseRun, ResumeRun, Mend)
KINDS: Final = ("start", "claim", "claim", *["advance"] * 6, "settle", "send", "request", "request", "rewind")


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
    """Draws the operations of one batch."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], view: View) -> None:
        self._draw, self.view = draw, view

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

    def pick(self, choices: tuple[T, ...] | list[T]) -> T:
        """Return one of these."""
        choice: T = self._draw(st.sampled_from(choices))
        return choice

    def seldom(self, times: int) -> bool:
        """Return True once in so many times."""
        number: int = self._draw(st.integers(1, times))
        return number == times

    def some(self, choices: tuple[T, ...] | list[T], most: int = 2) -> tuple[T, ...]:
        """Return a few of these, mostly none."""
        if not choices or not self.seldom(3):
            return ()
        found: list[T] = self._draw(st.lists(st.sampled_from(choices), max_size=most, unique=True))
        return tuple(found)

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
        make, run_id = self.pick(REQUESTS), self.pick(IDS)
        return Cancel(APP, run_id, self.pick(("", "why"))) if make is Cancel else make(APP, run_id)

    def rewind(self) -> Rewind:
        """Return a Rewind that fits, mostly."""
        run_id = self.pick(IDS)
        position = self.view.position(run_id) + self.pick((0, 0, 0, 0, 1))
        dropped = self.some([entry.position for entry in self.view.journals.get(run_id, []) if entry.position], most=4)
        note = rewind_note(dropped)
        gone = [entry for entry in self.view.journals.get(run_id, []) if entry.position in dropped]
        unread = tuple(entry.attempt for entry in gone if entry.kind is Kind.MESSAGE)
        mark = Entry(position, self.view.now, Kind.RUN, Status.OK, name="rewind", note=note)
        return Rewind(APP, run_id, dropped, mark, unread)

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
