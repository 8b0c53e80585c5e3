"""`wf.runs`: look at runs, and act on them, one by one or in bulk by filter."""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from durable.api.durations import moment_ms
from durable.core.failure import RestartPlan, plan_discard, plan_restart
from durable.core.ids import check_id, check_text
from durable.core.places import entry_place
from durable.core.records import Entry, Kind, RunRecord, RunState, Status
from durable.errors import DecodeError, RunNotFound, RunNotOpen, UsageError
from durable.store.base import LIST_PAGE_MAX, RunFilter
from durable.store.operations import Answer, Cancel, Mend, NotFound, NotOpen, Operation, Outcome, PauseRun, ResumeRun

if TYPE_CHECKING:
    from durable.api.app import Workflow

State: TypeAlias = RunState | str


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a run's history."""

    position: int
    at: datetime
    kind: str
    """task, timer, value, signal, child, start, message, call or run."""
    status: str
    """ok, error, retry or begun."""
    name: str
    step: str
    """Sequence number or step id of the operation; empty for the run's own entries."""
    attempt: int
    seconds: float
    """How long the attempt took."""
    arguments: str
    value: Any
    """The decoded result; None if there is none."""
    error: BaseException | None
    next_at: datetime | None
    """When the next attempt starts, after a failed one."""


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Stands for a value that this process cannot decode: its class is not loaded, or its key is missing."""

    why: str
    data: bytes

    def __repr__(self) -> str:
        return f"<undecodable: {self.why}>"


class Runs:
    """The runs of one application."""

    def __init__(self, app: Workflow) -> None:
        self._app = app

    async def list(
        self,
        *,
        workflow: str | None = None,
        state: State | None = None,
        states: tuple[State, ...] = (),
        id_prefix: str | None = None,
        tags: Mapping[str, str] | None = None,
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        parent: str | None = None,
        reason: str | None = None,
        limit: int = 100,
        before: RunRecord | None = None,
    ) -> list[RunRecord]:
        """Return runs, newest first.

        Args:
            workflow: Name of the workflow.
            state: A state, in words or as `RunState`; `states` takes several.
            id_prefix: What the id begins with.
            tags: Tags that the run has, with these values.
            created_from: Created then or later; `created_before`: earlier than then. With time zone.
            parent: Id of the parent run.
            reason: Why it was set aside.
            limit: Most runs to return, from 1 to 1,000.
            before: The last run of the page before.

        Raises:
            UsageError: a filter is not of its kind.
        """
        if type(limit) is not int or not 1 <= limit <= LIST_PAGE_MAX:
            raise UsageError(f"limit={limit!r}: expected a whole number from 1 to {LIST_PAGE_MAX}")
        if before is not None and not isinstance(before, RunRecord):
            raise UsageError(f"before={before!r}: expected the last run of the page before")
        where = self._filter(workflow, state, states, id_prefix, tags, created_from, created_before, parent, reason)
        engine = await self._app._engine()
        return await engine.store.runs(where, limit=limit, before=before.key if before else None)

    def _filter(
        self, workflow: str | None, state: State | None, states: tuple[State, ...], id_prefix: str | None,
        tags: Mapping[str, str] | None, created_from: datetime | None, created_before: datetime | None,
        parent: str | None, reason: str | None,
    ) -> RunFilter:  # fmt: skip
        for text, what in ((workflow, "workflow"), (id_prefix, "id_prefix"), (parent, "parent"), (reason, "reason")):
            if text is not None:
                check_text(text, what)
        wanted = (*_states_of(states), *((state_of(state),) if state is not None else ()))
        return RunFilter(
            app=self._app.name, workflow=workflow, states=wanted, id_prefix=id_prefix, tags=_tags_of(tags),
            created_from=None if created_from is None else moment_ms(created_from, "created_from"),
            created_before=None if created_before is None else moment_ms(created_before, "created_before"),
            parent_id=parent, reason=reason,
        )  # fmt: skip

    async def count(self) -> dict[str, int]:
        """Return how many runs are in each state, by the state's word."""
        engine = await self._app._engine()
        counts = await engine.store.count(RunFilter(app=self._app.name))
        return {state.label: number for state, number in counts.items()}

    async def get(self, run_id: str) -> RunRecord:
        """Return one run.

        Raises:
            RunNotFound: there is none of that id.
        """
        check_id(run_id)
        engine = await self._app._engine()
        record = await engine.store.run(self._app.name, run_id)
        if record is None:
            raise RunNotFound(run_id, self._app.name)
        return record

    async def history(self, run_id: str) -> builtins.list[Event]:
        """Return what happened in a run, in order, values and errors decoded.

        Raises:
            RunNotFound: there is none of that id.
        """
        engine = await self._app._engine()
        record = await self.get(run_id)
        journal = await engine.callers.read_journal(record.key)
        return [self._event(record, entry) for entry in journal]

    def _event(self, record: RunRecord, entry: Entry) -> Event:
        place = entry.step_id if entry.seq is None else str(entry.seq)
        value, error = self._content(record, entry)
        return Event(
            entry.position, _moment(entry.at), entry.kind.label, entry.status.name.lower(), entry.label,
            place or "", entry.attempt, entry.took / 1000, entry.note, value, error,
            _moment(entry.due_at) if entry.status is Status.RETRY else None,
        )  # fmt: skip

    def _content(self, record: RunRecord, entry: Entry) -> tuple[Any, BaseException | None]:
        """Return the decoded value or error of an entry; what cannot be decoded here stands as `Undecodable`."""
        if not entry.data or (entry.kind is Kind.RUN and entry.name == "start"):
            return None, None
        place = entry_place(self._app.name, record.run_id, record.continuation, entry)
        try:
            if entry.status in (Status.ERROR, Status.RETRY):
                return None, self._app.codec.decode_error(entry.data, aad=place)
            return self._app.codec.decode(entry.data, label=f"entry {entry.position}", aad=place), None
        except DecodeError as error:
            return Undecodable(error.why, entry.data), None

    # Acting ---------------------------------------------------------------------------------------------------------

    async def cancel(self, run_id: str, *, reason: str = "") -> bool:
        """Ask a run to cancel; True if it is or will be cancelled, False if it has ended otherwise.

        No new step starts after this returns.

        The body gets `asyncio.CancelledError` at its next await; tasks that it awaits in `except` and `finally` still
        run. Children it waits for are cancelled too.

        Raises:
            RunNotFound: there is none of that id.
        """
        return await self._request(Cancel(self._app.name, check_id(run_id), check_text(reason, "reason")))

    async def pause(self, run_id: str) -> bool:
        """Stop a run before its next step, until it is resumed; True unless it had ended already."""
        return await self._request(PauseRun(self._app.name, check_id(run_id)))

    async def resume(self, run_id: str) -> bool:
        """Let a paused run go on; True if it was paused, or was about to be."""
        return await self._request(ResumeRun(self._app.name, check_id(run_id)))

    async def _request(self, operation: Cancel | PauseRun | ResumeRun | Mend) -> bool:
        outcome = await self._submit(operation)
        if isinstance(outcome, NotFound):
            raise RunNotFound(operation.run_id, self._app.name)
        return isinstance(outcome, Answer)

    async def _submit(self, operation: Operation) -> Outcome:
        engine = await self._app._engine()
        return await engine.submit(operation)

    async def plan_retry(self, run_id: str, *, position: int | None = None) -> RestartPlan:
        """Return what `retry` would drop, and which effects that succeeded would run again.

        Raises:
            RunNotFound: there is none of that id.
            RunNotOpen: it neither failed nor was set aside.
        """
        engine = await self._app._engine()
        record = await self.get(run_id)
        return _plan(record, await engine.callers.read_journal(record.key), position)

    async def retry(self, run_id: str, *, position: int | None = None) -> RestartPlan:
        """Let a run that failed or was set aside go on, repeating what `plan_retry` tells; return that plan.

        Args:
            run_id: The run.
            position: Discard what was recorded from there on. Default: what made it fail; nothing if it was set aside.

        Raises:
            RunNotFound: there is none of that id.
            RunNotOpen: it neither failed nor was set aside.
        """
        engine = await self._app._engine()
        record = await self.get(run_id)
        journal = await engine.callers.read_journal(record.key)
        plan = _plan(record, journal, position)
        if plan.drop:
            outcome = await engine.callers.rewind(record, journal, plan.drop)
        else:
            outcome = await self._submit(Mend(self._app.name, run_id))
        if isinstance(outcome, NotOpen):
            raise RunNotOpen(run_id, outcome.state.label, "it has changed meanwhile; look again")
        return plan

    async def cancel_all(self, *, reason: str = "", **where: Any) -> int:
        """Ask every run that matches to cancel; return how many had not ended. Takes the filters of `list`."""
        return await self._in_bulk(lambda run_id: self.cancel(run_id, reason=reason), _OPEN, where)

    async def pause_all(self, **where: Any) -> int:
        """Pause every run that matches; return how many. Takes the filters of `list`."""
        return await self._in_bulk(self.pause, _OPEN, where)

    async def resume_all(self, **where: Any) -> int:
        """Resume every paused run that matches; return how many. Takes the filters of `list`."""
        return await self._in_bulk(self.resume, (RunState.PAUSED,), where)

    async def retry_all(self, **where: Any) -> int:
        """Retry every failed or set-aside run that matches; return how many. Takes the filters of `list`."""

        async def retry(run_id: str) -> bool:
            await self.retry(run_id)
            return True

        return await self._in_bulk(retry, (RunState.FAILED, RunState.SET_ASIDE), where)

    async def _in_bulk(
        self, act: Callable[[str], Awaitable[bool]], default: tuple[RunState, ...], where: dict[str, Any]
    ) -> int:
        if unknown := where.keys() - _FILTERS:
            raise UsageError(f"{', '.join(sorted(unknown))}: no such filter; there are {', '.join(sorted(_FILTERS))}")
        if not where.get("state") and not where.get("states"):
            where["states"] = default
        done = 0
        before: RunRecord | None = None
        while page := await self.list(**where, limit=LIST_PAGE_MAX, before=before):
            for record in page:
                done += await act(record.run_id)
            before = page[-1]
        return done

    async def prune(
        self, *, finished_before: datetime, states: tuple[State, ...] = (), workflow: str | None = None
    ) -> int:
        """Delete runs that ended before a moment, with everything that belongs to them; return how many went.

        A run that others wait for, or whose parent has not ended, stays.

        Args:
            finished_before: A datetime with a time zone.
            states: Only runs in these final states; default: succeeded and cancelled. Failed runs can still be retried.
            workflow: Only runs of this workflow.
        """
        wanted = tuple(state_of(state) for state in states) or (RunState.SUCCEEDED, RunState.CANCELLED)
        where = RunFilter(app=self._app.name, workflow=workflow, states=wanted)
        engine = await self._app._engine()
        gone = 0
        while number := await engine.store.prune(where, finished_before=moment_ms(finished_before), limit=500):
            gone += number
        return gone


_FILTERS = frozenset(
    ("workflow", "state", "states", "id_prefix", "tags", "created_from", "created_before", "parent", "reason")
)
_OPEN = (RunState.QUEUED, RunState.RUNNING, RunState.SUSPENDED, RunState.PAUSED, RunState.SET_ASIDE)


def _states_of(states: object) -> tuple[RunState, ...]:
    if isinstance(states, (str, RunState)) or not isinstance(states, Iterable):
        raise UsageError(f"states={states!r}: expected several states; state= takes one")
    return tuple(state_of(state) for state in states)


def _tags_of(tags: object) -> dict[str, str]:
    if tags is None:
        return {}
    if not isinstance(tags, Mapping):
        raise UsageError(f"tags={tags!r}: expected names with values, such as {{'customer': '42'}}")
    return {check_text(name, "tag"): check_text(value, f"value of tag {name!r}") for name, value in tags.items()}


def _plan(record: RunRecord, journal: list[Entry], position: int | None) -> RestartPlan:
    if record.state not in (RunState.FAILED, RunState.SET_ASIDE):
        raise RunNotOpen(record.run_id, record.state.label, "only a run that failed or was set aside can be retried")
    if position is not None:
        try:
            return plan_discard(journal, position)
        except ValueError as error:
            raise UsageError(f"run {record.run_id!r}: {error}") from None
    if record.state is RunState.SET_ASIDE:
        return RestartPlan((), ())
    return plan_restart(journal)


def state_of(state: State) -> RunState:
    """Return the state that a word names.

    Raises:
        UsageError: no state has that name.
    """
    if isinstance(state, RunState):
        return state
    try:
        return RunState[str(state).upper().replace(" ", "_").replace("-", "_")]
    except KeyError:
        names = ", ".join(item.label for item in RunState)
        raise UsageError(f"state {state!r} is none: expected one of {names}") from None


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
