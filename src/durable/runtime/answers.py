"""What the store's answers to the requests of bodies mean: children, detached starts, signals, messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.core.records import RunRecord, RunState, Status
from durable.errors import IdConflict, StoreError
from durable.runtime.callers import WentOn, conflict_of
from durable.runtime.steps import MISSING
from durable.runtime.waits import CallOperation, ChildOperation
from durable.store.operations import Answer, Existing, NotFound, NotOpen, Outcome, Start, Started

if TYPE_CHECKING:
    from durable.runtime.engine import Engine


class Answers:
    """Turns answers into arrivals, and sees to it that somebody executes what was started."""

    def __init__(self, host: Engine) -> None:
        self._host = host

    def adopt_child(self, op: ChildOperation) -> None:
        """The parent was claimed cold: somebody has to execute its child, too."""
        self._host.spawn(self._adopt(op))

    async def _adopt(self, op: ChildOperation) -> None:
        record = await self._host.store.run(self._host.app, op.child_id)
        if record is not None:
            op.attached = record.parent_id != op.act.run_id
            if not record.state.is_final:
                self._host.claims.adopt(record, op.act.run)

    def to_child(self, op: ChildOperation, outcome: Outcome) -> None:
        """The store has answered the start of a child."""
        if isinstance(outcome, Started):
            self._host.claims.adopt(outcome.record, op.act.run)
        elif isinstance(outcome, Existing):
            assert op.start is not None
            op.attached = outcome.record.parent_id != op.act.run_id
            conflict = conflict_of(outcome.record, op.start)
            if conflict is not None:
                op.act.arrive_error(op, conflict)
            elif outcome.record.state is RunState.FAILED and outcome.record.parent_id == op.act.run_id:
                op.reviving = True
                self._host.spawn(self._revive(op, outcome.record))
            elif not outcome.record.state.is_final:
                self._host.claims.adopt(outcome.record, op.act.run)
            elif op.early is not None:
                op.act.arrivals.settle(op, op.early, self._host.codec)
                self._host.turn_soon(op.act)

    async def _revive(self, op: ChildOperation, record: RunRecord) -> None:
        # The parent goes on from the step that failed, so the child does too, unless that would repeat effects.
        try:
            refusal = await self._host.callers.go_on_after_failure(record)
        except WentOn:
            refusal = None
        except StoreError as error:
            refusal = error
        op.reviving = False
        if refusal is None:
            self._host.claims.adopt(record, op.act.run)
            self._host.turn_soon(op.act)
        else:
            op.act.arrive_error(op, refusal.__cause__ or refusal)

    def to_call(self, op: CallOperation, outcome: Outcome) -> None:
        """The store has answered another request of a body."""
        match outcome:
            case Existing(record) if (conflict := _conflict(record, op.request)) is not None:
                op.act.arrive_error(op, conflict)
                return
            case Started(record) | Existing(record):
                value: Any = record.run_id
                if not record.state.is_final:
                    self._host.claims.adopt(record, op.act.run)
            case NotFound():
                op.act.arrive_error(op, op.not_found())
                return
            case NotOpen(state):
                op.act.arrive_error(op, op.not_open(state))
                return
            case Answer(answer):
                value = int(answer) if isinstance(answer, RunState) else answer
            case _:
                value = None
        op.act.arrive(op, Status.OK, self._host.codec.encode(value, label=op.label, aad=op.place), MISSING)


def _conflict(record: RunRecord, request: object) -> IdConflict | None:
    return conflict_of(record, request) if isinstance(request, Start) else None
