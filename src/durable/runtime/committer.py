"""Group commit: all runs of a process hand their Advances to one committer.

It takes what is there, writes it as one transaction, tells everyone the outcome, and takes the next. Batches form by
themselves under load. A batch whose outcome is *failed for certain* is executed again, in order, until it succeeds;
after an *unknown* outcome the store is reopened first. Requests of clients do not wait for a failing store: they are
told, unless their own outcome is unknown; such a request is repeated until it is known.
"""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, Final

from durable.core.records import Pending, RunKey
from durable.errors import OutcomeUnknown, StoreError, StoreUnavailable, UsageError
from durable.store.checks import check_operation
from durable.store.operations import Advance, Answer, Claimed, Committed, Done, Operation, Outcome, Send, Settle, Start

if TYPE_CHECKING:
    from durable.runtime.activation import Activation
    from durable.runtime.engine import Engine

logger = logging.getLogger("durable.store")

BATCH_MAX: Final = 1_000
"""Operations in one transaction."""

RETRY_SECONDS: Final = (0.05, 0.2, 1.0, 2.0, 5.0)
"""Waits before a failed batch is executed again; the last one repeats."""

INLINE_SECONDS_MAX: Final = 0.001
"""Commits slower than this are not made on the caller's loop, which they block (design §3, Group commit)."""


class Committer:
    """Brings Advances and requests to the store, batch by batch."""

    def __init__(self, host: Engine) -> None:
        self._host = host
        self._dirty: dict[Activation, None] = {}
        self._requests: list[tuple[Operation, asyncio.Future[Outcome]]] = []
        self._flying: (
            tuple[list[Activation], list[tuple[Operation, asyncio.Future[Outcome]]], list[Operation]] | None
        ) = None
        self._kick_scheduled = False
        self._has_to_collect = False
        self._failures = 0
        self._has_to_reopen = False
        self.is_uncertain = False
        """Has there been an unknown outcome since the last commit that was answered?"""
        self._trouble: StoreError | None = None
        """Why the store does not accept writes at the moment."""
        self._commit_seconds = 0.0
        """Running mean of the time that a commit takes."""

    @property
    def is_idle(self) -> bool:
        """Is nothing on its way or waiting?"""
        return self._flying is None and not self._dirty and not self._requests

    @property
    def _is_wanted(self) -> bool:
        return bool(self._dirty or self._requests or self._has_to_reopen or self._has_to_collect)

    def add(self, act: Activation) -> None:
        """Take what the activation has, with the next batch."""
        self._dirty[act] = None
        self._kick_soon()

    def submit(self, operation: Operation) -> asyncio.Future[Outcome]:
        """Execute a request with the next batch.

        The future raises StoreUnavailable at once if nothing could be written; any other StoreError if the store is
        beyond use.
        """
        future: asyncio.Future[Outcome] = self._host.loop.create_future()
        if self._trouble is not None:
            future.set_exception(self._trouble)
            return future
        try:
            check_operation(operation)
        except (ValueError, TypeError, AttributeError) as error:
            # What no store takes must not come into a batch that carries the runs of others.
            future.set_exception(UsageError(f"{type(operation).__name__} cannot be stored: {error}"))
            return future
        self._requests.append((operation, future))
        self._kick_soon()
        return future

    def fail_all(self, error: StoreError) -> None:
        """Tell everyone whose request was not executed that it never will be."""
        for _, future in (*self._requests, *(self._flying[1] if self._flying else ())):
            if not future.done():
                future.set_exception(error)
        self._requests.clear()

    def _kick_soon(self) -> None:
        if self._flying is None and not self._kick_scheduled:
            self._kick_scheduled = True
            self._host.call_soon(self._kick)

    def turns_begin(self) -> None:
        """Start no batch before `turns_end`, which surely follows."""
        self._kick_scheduled = True

    def turns_end(self) -> None:
        """Start a batch now, if none is on its way: nothing more will come of these turns."""
        self._kick_scheduled = False
        if self._flying is None and self._is_wanted:
            self._kick()

    def collect(self) -> None:
        """Hear what has arrived for the runs that execute here, from the next batch or, if none is wanted, by itself.

        One line for both, since each telling is newer than the one before: an answer that overtakes another lets
        something start after a cancellation that was heard.
        """
        self._has_to_collect = True
        self._kick_soon()

    def _kick(self) -> None:
        self._kick_scheduled = False
        if self._flying is not None:
            return
        if self._has_to_reopen:
            self._has_to_reopen = False
            self._flying = ([], [], [])
            self._host.spawn(self._reopen())
            return
        acts: list[Activation] = []
        batch: list[Operation] = []
        for act in list(self._dirty)[:BATCH_MAX]:
            del self._dirty[act]
            advance = act.take()
            if advance is not None:
                acts.append(act)
                batch.append(advance)
        if any(_makes_due(operation) for operation, _ in self._requests):
            # A claim in the same batch takes what the batch makes due: one commit less until it executes.
            self._host.claims.ride()
        requests = [item for item in self._requests[:BATCH_MAX] if not item[1].done()]
        del self._requests[:BATCH_MAX]
        batch += [operation for operation, _ in requests]
        if batch or self._has_to_collect:
            self._has_to_collect = False
            self._flying = (acts, requests, batch)
            self._fly()

    def _fly(self) -> None:
        assert self._flying is not None
        batch = self._flying[2]
        began = perf_counter()
        if self._may_execute_now(batch):
            try:
                committed = self._execute_now(batch)
            except OutcomeUnknown as error:
                self._try_again(error, reopen=True)
                return
            if committed is not None:
                self._landed_well(committed, began)
                return
        store, worker = self._host.store, self._host.worker_id
        future = asyncio.ensure_future(store.execute(batch, worker) if batch else store.collect(worker))
        future.add_done_callback(lambda f: self._landed(f, began))

    def _may_execute_now(self, batch: list[Operation]) -> bool:
        """Is one Advance all there is to do, on a fast disk?"""
        return (
            len(batch) == 1
            and isinstance(batch[0], Advance)
            and self._host.commits_inline
            and self._commit_seconds < INLINE_SECONDS_MAX
        )

    def _execute_now(self, batch: list[Operation]) -> Committed | None:
        execute_now = getattr(self._host.store, "execute_now", None)
        if execute_now is None:
            return None
        try:
            return execute_now(batch, self._host.worker_id)  # type: ignore[no-any-return]
        except OutcomeUnknown:
            raise
        except (StoreError, ValueError):
            # The same batch once more, the slow way: it reports what is wrong, and every operation is idempotent.
            return None

    def _landed(self, future: asyncio.Future[Committed], began: float) -> None:
        if future.cancelled():
            self._flying = None
            return
        error = future.exception()
        assert self._flying is not None
        if error is None:
            self._landed_well(future.result(), began)
        elif not self._flying[2]:
            self._not_collected(error)
        elif isinstance(error, OutcomeUnknown):
            self._try_again(error, reopen=True)
        elif isinstance(error, StoreUnavailable):
            if self.is_uncertain:  # what was asked for may have been written the first time
                self._refuse_waiting(error)
            else:
                self._refuse_requests(error)
            self._try_again(error, reopen=False)
        elif isinstance(error, StoreError):
            self._refuse_requests(error)
            self._flying = None
            self._host.store_is_lost(error)
        else:
            # One operation holds a value that cannot be stored: the others are executed without it.
            self._host.spawn(self._one_by_one())

    def _not_collected(self, error: BaseException) -> None:
        self._flying = None
        if isinstance(error, OutcomeUnknown):
            self._has_to_reopen = True  # what the lost answer told, is told again then
        elif isinstance(error, StoreUnavailable):
            logger.warning("the store of %s cannot be asked what has arrived: %s", self._host.app, error)
        elif isinstance(error, StoreError):
            self._host.store_is_lost(error)
        else:
            logger.error("%s: what has arrived was not heard", self._host.app, exc_info=error)
        if self._is_wanted:
            self._kick_soon()

    async def _one_by_one(self) -> None:
        """Execute the operations of a batch each by itself, and tell the one that cannot be stored."""
        assert self._flying is not None
        acts, requests, batch = self._flying
        outcomes: list[Outcome] = []
        due: list[RunKey] = []
        pending: list[tuple[RunKey, Pending]] = []
        for index, operation in enumerate(batch):
            try:
                committed = await self._host.store.execute([operation], self._host.worker_id)
            except StoreError as error:
                self._host.hear(pending)  # told once: the repetition does not tell it again
                self._try_again(error, reopen=isinstance(error, OutcomeUnknown))
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this operation's own
                outcomes.append(Done.DONE)
                self._blame(acts[index] if index < len(acts) else requests[index - len(acts)][1], error)
            else:
                outcomes += committed.outcomes
                due += committed.due
                pending += committed.pending
        self._landed_well(Committed(outcomes, tuple(due), tuple(pending)), perf_counter())

    def _blame(self, guilty: Activation | asyncio.Future[Outcome], error: BaseException) -> None:
        if isinstance(guilty, asyncio.Future):
            if not guilty.done():
                guilty.set_exception(UsageError(f"it cannot be stored: {error}"))
        else:
            self._host.broke(guilty, error)

    def _landed_well(self, committed: Committed, began: float) -> None:
        assert self._flying is not None
        acts, requests, batch = self._flying
        self._flying = None
        if batch:
            self._accepted(perf_counter() - began)
        outcomes = committed.outcomes
        for act, outcome in zip(acts, outcomes, strict=False):
            self._host.guarded(act, act.stored, outcome)
        # What has arrived comes before what was held: nothing starts after a cancellation that was acknowledged.
        self._host.hear(committed.pending)
        for act, outcome in zip(acts, outcomes, strict=False):
            self._host.guarded(act, act.go_on, outcome)
        for (_, future), outcome in zip(requests, outcomes[len(acts) :], strict=True):
            if not future.done():
                future.set_result(outcome)
        self._host.heard_due(_without_claimed(committed).due if committed.due else ())
        if batch and self.is_uncertain:
            self.is_uncertain = False
            self._host.claims.take_stock()
        if self._is_wanted:
            self._kick_soon()

    def _accepted(self, seconds: float) -> None:
        """The store has taken a batch, within this time."""
        self._commit_seconds += (seconds - self._commit_seconds) / 8
        if self._failures:
            logger.warning("the store of %s accepts writes again", self._host.app)
            self._failures = 0
            self._trouble = None

    def _refuse_requests(self, error: BaseException) -> None:
        assert self._flying is not None
        acts, requests, batch = self._flying
        self._flying = (acts, [], batch[: len(acts)])
        self._requests[:0] = requests
        self._refuse_waiting(error)

    def _refuse_waiting(self, error: BaseException) -> None:
        for _, future in self._requests:
            if not future.done():
                future.set_exception(error)
        self._requests.clear()

    def _try_again(self, error: BaseException, *, reopen: bool) -> None:
        delay = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
        if not self._failures:
            logger.warning("the store of %s does not accept writes, work waits: %s", self._host.app, error)
        self._failures += 1
        if reopen:
            self.is_uncertain = True
            # What is asked for meanwhile is not executed, for certain.
            self._trouble = StoreUnavailable(f"the store answered nothing to a commit and is being reopened: {error}")
            self._host.spawn(self._reopen())
        elif self._flying is not None and not self._flying[2]:
            # Only requests failed, and they were told: the next one tries afresh.
            self._flying = None
            self._trouble = None
            if self._is_wanted:
                self._kick_soon()
        else:
            self._trouble = error if isinstance(error, StoreError) else None
            self._host.loop.call_later(delay, self._fly)

    async def _reopen(self) -> None:
        while True:
            try:
                await self._host.store.reopen()
            except (StoreUnavailable, OutcomeUnknown) as error:
                logger.warning("the store of %s cannot be reopened yet: %s", self._host.app, error)
                await asyncio.sleep(RETRY_SECONDS[-2])
            except (StoreError, OSError) as error:
                self._refuse_requests(error)
                self._flying = None
                self._host.store_is_lost(error)
                return
            else:
                self._fly_again()
                return

    def _fly_again(self) -> None:
        assert self._flying is not None
        if self._flying[2]:
            self._fly()
            return
        self._flying = None  # nothing was written: the answer to something else was lost
        if self._is_wanted:
            self._kick_soon()


def _makes_due(operation: Operation) -> bool:
    return isinstance(operation, Settle | Send) or (isinstance(operation, Start) and operation.worker is None)


def _without_claimed(committed: Committed) -> Committed:
    """Return the answer without the hint at runs that a claim of the same batch has taken."""
    answers = (outcome for outcome in committed.outcomes if isinstance(outcome, Answer))
    claimed = {item.record.key for answer in answers for item in _claimed_in(answer)}
    return committed._replace(due=tuple(key for key in committed.due if key not in claimed)) if claimed else committed


def _claimed_in(outcome: Answer) -> tuple[Claimed, ...]:
    value = outcome.value
    return value if isinstance(value, tuple) and value and isinstance(value[0], Claimed) else ()
