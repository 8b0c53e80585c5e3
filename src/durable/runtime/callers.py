"""Those in this process who start runs and wait for them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from durable.core.failure import plan_restart, rewind_note
from durable.core.places import result_place
from durable.core.records import Entry, Kind, RunKey, RunRecord, RunState, Status
from durable.errors import (
    DecodeError,
    IdConflict,
    InputMismatch,
    RunCancelled,
    RunFailed,
    RunSetAside,
    StoreCorrupt,
    StoreError,
)
from durable.runtime.differences import Arguments, apart, differing
from durable.runtime.endings import Ended, for_callers, reason_of
from durable.store.base import JOURNAL_PAGE_MAX
from durable.store.operations import Existing, Mend, Outcome, Rewind, Start, Started

if TYPE_CHECKING:
    from durable.runtime.engine import Engine


@dataclass(slots=True)
class Waiter:
    """Those who wait for the end of one run."""

    run_id: str
    futures: list[asyncio.Future[Ended]] = field(default_factory=list)


class WentOn(Exception):
    """A run that had ended goes on: somebody let it, between two reads."""


class Callers:
    """Starts runs for callers, lets failed ones go on, and tells how runs ended."""

    def __init__(self, host: Engine) -> None:
        self._host = host
        self._waiters: dict[RunKey, Waiter] = {}
        self.starting = 0
        """Direct calls whose runs may be claimed for us any moment."""

    # Direct calls ---------------------------------------------------------------------------------------------------

    async def call(self, start: Start, *, attach: bool) -> Ended:
        """Start a run, or go on with the one that is there, here; return how it ended (a direct call).

        Raises:
            IdConflict: the id is that of a run of another workflow, or with other arguments (unless `attach`).
            StoreError: nothing was started.
        """
        host = self._host
        await host.ready()
        answer = host.committer.submit(start._replace(worker=host.worker_id))
        self.starting += 1
        end: list[asyncio.Future[Ended]] = []
        # Whatever becomes of the caller meanwhile: a run that was claimed for us has to be executed. And its end may
        # come before the caller is awake.
        answer.add_done_callback(lambda answered: self._started(answered, start, end))
        outcome = await asyncio.shield(answer)
        if isinstance(outcome, Started):
            return await end[0]
        assert isinstance(outcome, Existing)
        record = outcome.record
        await self.check_same(record, start, attach=attach)
        return await self._go_on(record)

    async def check_same(self, record: RunRecord, start: Start, *, attach: bool) -> None:
        """Raise if a run that is there cannot stand for the one that was to be started.

        Raises:
            IdConflict: it is a run of another workflow, or with other arguments (unless `attach`).
        """
        conflict = conflict_of(record, start)
        if isinstance(conflict, InputMismatch):
            if not attach:
                raise await self._explained(conflict, record, start)
        elif conflict is not None:
            raise conflict

    async def _explained(self, conflict: InputMismatch, record: RunRecord, start: Start) -> InputMismatch:
        """Return a mismatch that tells which arguments differ, if those of the run can be read."""
        found = wanted = ""
        # A run that continued as new has other arguments now than those that it was started with. What is stored so
        # that nobody can read it does not go into a message either.
        if not record.continuation and not self._host.binds_values:
            with suppress(StoreError, DecodeError):
                for first in await self._host.store.journal(record.key, 0, 1):
                    found, wanted = differing(self._arguments(first.data, start), self._arguments(start.input, start))
        return InputMismatch(record.run_id, found, wanted) if found != wanted else conflict

    def _arguments(self, data: bytes, start: Start) -> Arguments:
        host = self._host
        spec = host.specs.get((start.queue.workflow, start.queue.version))
        return host.codec.decode_arguments(data, label="arguments", annotations=spec.argument_types if spec else None)

    def _started(self, answered: asyncio.Future[Outcome], start: Start, end: list[asyncio.Future[Ended]]) -> None:
        self.starting -= 1
        if not self.starting:
            self._host.claims.starts_answered()
        if answered.cancelled() or answered.exception() is not None:
            return
        outcome = answered.result()
        if isinstance(outcome, Started):
            end.append(self._await_end(outcome.record))
            self._host.claims.watch(outcome.record)
            is_ours = outcome.record.owner == self._host.worker_id
            if is_ours:  # and not nobody's, because the store thinks us dead
                self._host.activate_new(outcome, start)

    async def _go_on(self, record: RunRecord) -> Ended:
        if record.state is RunState.FAILED:
            with suppress(WentOn):
                refusal = await self.go_on_after_failure(record)
                if refusal is not None:
                    return Ended(RunState.FAILED, error=refusal)
        elif record.state is RunState.SET_ASIDE:
            await self.mend(record)
        elif record.state.is_final:
            return await self.ended(record)
        future = self._await_end(record)
        self._host.claims.watch(record)
        await self._host.claims.watch_awaited(record)
        return await future

    async def mend(self, record: RunRecord) -> None:
        """Let a run that was set aside try again."""
        await self._host.submit(Mend(self._host.app, record.run_id))

    async def go_on_after_failure(self, record: RunRecord) -> BaseException | None:
        """Let a failed run go on from the step that failed, unless that repeats effects; then return the refusal."""
        journal = await self.read_journal(record.key)
        plan = plan_restart(journal)
        if plan.repeats:
            failure = (await self.ended(record)).error
            refusal = RunFailed(record.run_id, f"{type(failure).__name__}: {failure}", plan.repeats)
            refusal.__cause__ = failure
            return refusal
        await self.rewind(record, journal, plan.drop)
        return None

    async def rewind(self, record: RunRecord, journal: list[Entry], drop: tuple[int, ...]) -> Outcome:
        """Drop entries of a run that failed or was set aside, and queue it."""
        host = self._host
        last = journal[-1]
        at = max(host.clock.now_ms(), last.at)
        mark = Entry(last.position + 1, at, Kind.RUN, Status.OK, name="rewind", note=rewind_note(drop))
        gone = {entry.position: entry for entry in journal if entry.position in set(drop)}
        received = (entry for entry in gone.values() if entry.kind is Kind.MESSAGE and entry.status is Status.OK)
        unread = tuple(entry.attempt for entry in received)
        host.cache.evict(record.key)
        return await host.submit(Rewind(host.app, record.run_id, drop, mark, unread))

    async def read_journal(self, run: RunKey) -> list[Entry]:
        """Return the whole journal of a run."""
        journal = await self._host.store.journal(run)
        page = journal
        while len(page) == JOURNAL_PAGE_MAX:
            page = await self._host.store.journal(run, page[-1].position + 1)
            journal += page
        return journal

    # Waiting --------------------------------------------------------------------------------------------------------

    async def wait_for(self, record: RunRecord) -> Ended:
        """Return how a run ended that others may execute."""
        if record.state.is_final or record.state is RunState.SET_ASIDE:
            with suppress(WentOn):
                return await self.ended(record)
        ended = await self._await_end(record)
        if ended.state is RunState.SET_ASIDE and not isinstance(ended.error, RunSetAside):
            # A direct call gets the trouble itself; others get the same wherever the run was executed.
            reason = reason_of(ended.error)
            aside = RunSetAside(record.run_id, reason.value, str(ended.error))
            aside.__cause__ = ended.error
            return Ended(ended.state, error=aside)
        return ended

    def _await_end(self, record: RunRecord) -> asyncio.Future[Ended]:
        future: asyncio.Future[Ended] = self._host.loop.create_future()
        waiter = self._waiters.setdefault(record.key, Waiter(record.run_id))
        waiter.futures.append(future)
        future.add_done_callback(lambda done: self._waits_no_more(record.key, waiter, done))
        self._host.claims.poll()
        return future

    def _waits_no_more(self, key: RunKey, waiter: Waiter, future: asyncio.Future[Ended]) -> None:
        if not future.cancelled():
            future.exception()  # who waited may be gone, and then nobody retrieves it
        waiter.futures.remove(future)
        if not waiter.futures and self._waiters.get(key) is waiter:
            del self._waiters[key]

    @property
    def awaited_elsewhere(self) -> tuple[RunKey, ...]:
        """Runs that somebody here waits for and that do not execute here."""
        return tuple(key for key in self._waiters if key not in self._host.active)

    async def look(self) -> None:
        """See which awaited runs have ended elsewhere."""
        for key in self.awaited_elsewhere:
            record = await self._host.store.run_by_key(key)
            if key in self._host.active or key not in self._waiters:
                continue
            if record is None:
                error = RunCancelled(self._waiters[key].run_id, "it was deleted")
                self.resolve(key, Ended(RunState.CANCELLED, error=error))
            elif record.state.is_final or record.state is RunState.SET_ASIDE:
                # Those who wait now wait for this end; who comes while it is read may wait for another one.
                # They wait on if it cannot be read now.
                waiting = list(self._waiters[key].futures)
                try:
                    ended = await self._ended_or_why_not(record)
                except WentOn:
                    continue
                self._host.claims.forget(key)
                self._tell(waiting, ended)

    async def _ended_or_why_not(self, record: RunRecord) -> Ended:
        try:
            return await self.ended(record)
        except DecodeError as error:
            return Ended(record.state, error=error)

    def resolve(self, key: RunKey, ended: Ended) -> bool:
        """Tell those who wait for a run how it ended; return False if nobody here does."""
        self._host.claims.forget(key)
        waiter = self._waiters.pop(key, None)
        if waiter is not None:
            self._tell(waiter.futures, ended)
        return waiter is not None

    def _tell(self, futures: list[asyncio.Future[Ended]], ended: Ended) -> None:
        for future in futures:
            if not future.done():
                future.set_result(ended)

    def fail_all(self, error: BaseException) -> None:
        """Tell everyone who waits that nothing will come."""
        waiters, self._waiters = self._waiters, {}
        for future in (future for waiter in waiters.values() for future in waiter.futures if not future.done()):
            future.set_exception(error)

    async def ended(self, record: RunRecord) -> Ended:
        """Return how a run ended, from its record and journal.

        Raises:
            WentOn: somebody has let it go on since the record was read.
        """
        if record.state is RunState.SET_ASIDE:
            return Ended(record.state, error=RunSetAside(record.run_id, record.reason, record.detail))
        if record.state is RunState.CANCELLED:
            return Ended(record.state, error=RunCancelled(record.run_id, record.detail))
        host = self._host
        final = await host.store.last_entry(record.key)
        if final is None:
            raise StoreCorrupt(f"run {record.run_id!r} has no final entry: its journal was damaged on disk")
        is_result = record.state is RunState.SUCCEEDED
        if (final.kind, final.name) != (Kind.RUN, "finish") or (final.status is Status.OK) is not is_result:
            raise WentOn
        place = result_place(host.app, record.run_id) if host.binds_values else b""
        if is_result:
            spec = host.specs.get((record.queue.workflow, record.queue.version))
            result_type = spec.result_type if spec else Any
            value = host.codec.decode(final.data, result_type, label=f"result of run {record.run_id!r}", aad=place)
            return Ended(record.state, value)
        error = host.codec.decode_error(final.data, aad=place)
        return Ended(record.state, error=for_callers(record.run_id, error))


def conflict_of(record: RunRecord, start: Start) -> IdConflict | None:
    """Return why a run that is there cannot stand for the one that was to be started."""
    if record.queue.workflow != start.queue.workflow:
        return IdConflict(record.run_id, record.queue.workflow, start.queue.workflow)
    if record.digest != start.digest:
        return InputMismatch(record.run_id, *apart(record.note, start.note))
    return None
