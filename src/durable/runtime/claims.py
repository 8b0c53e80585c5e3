"""Finds out what this worker should execute: what is due in its queues, and the runs that it was asked for.

Everything that could mean "something is due" ends in `due` or in an alarm, and both lead to one claim at a time. A
notification is only a hint: the alarm is set from the database after every claim, and a poll looks at it every second
at the latest.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from durable.core.records import Queue, RunKey, RunRecord
from durable.errors import StoreError
from durable.runtime.clock import Alarm
from durable.store.operations import Answer, Claim, Claimed, Outcome, Release

if TYPE_CHECKING:
    from durable.runtime.engine import Engine

logger = logging.getLogger("durable.worker")

EMPTY_CLAIM_MS: Final = 50
"""Time until something is claimed again that was due and that a claim did not get."""

CLAIM_MAX: Final = 200
"""Runs in one claim."""

EXPIRE_SECONDS: Final = 0.4
"""How often to look for dead workers: a takeover is due within a second (reliability T20)."""

REGISTRATION_SECONDS: Final = 5.0
"""How often to see whether others took this worker for dead; at once after it was fenced."""

STILL_SECONDS: Final = 1.0
"""Time without a look for dead workers after which this one may be thought dead itself. At most what a store allows."""

SWEEP_SECONDS: Final = 10.0
"""How often to look for runs that were not woken although what they wait for is there."""

REST_POLL_SECONDS: Final = 0.04
"""How often to look for commits of other processes when there was none for a while: half a percent of a core."""

LIVELY_SECONDS: Final = 1.0
"""Time after a commit of another process in which the engine's `poll_seconds` counts instead."""

LOOK_SECONDS: Final = 1.0
"""Longest time without a look at what is due, whatever the hints say."""


class Claims:
    """Claims runs for an engine."""

    def __init__(self, host: Engine) -> None:
        self._host = host
        self.reserved: dict[RunKey, int] = {}
        """Runs that are claimed while their journal is read, and under which epoch."""
        self._queues: tuple[Queue, ...] = ()
        self._watched: dict[RunKey, int | None] = {}
        """Runs that we execute whoever else does not, and when they are due, as far as known."""
        self._watched_due: list[tuple[int, RunKey]] = []
        self._wanted: set[RunKey] = set()
        self._claiming = False
        self._again = False
        self._stock_wanted = False
        self._idle: dict[RunKey, int] = {}
        """Runs of ours that nobody executed when we looked last, and their epochs."""
        self._alarm: tuple[int, Alarm] | None = None
        self._poll_alarm: Alarm | None = None
        self._expire_alarm: Alarm | None = None
        self._stopped = False
        self._looked_at = 0.0
        self._changed_at = 0.0
        self._looking = False
        self._expiring = False
        self._swept_at = 0.0
        self._registration_seen_at = 0.0
        self._alive_at = 0.0
        """When this worker was last known to be registered, or so lately that it could not be otherwise."""
        self._alive = asyncio.Event()
        self._complained = False

    # Life -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look after dead workers and foreign commits."""
        self._alive_at = self._host.loop.time()
        self._expire_soon(0.0)

    async def serve(self, queues: tuple[Queue, ...]) -> None:
        """Claim from these queues from now on."""
        self._queues = queues
        await self.resume()

    async def resume(self) -> None:
        """Say what this worker claims, and claim it."""
        if self._queues:
            await self._host.say_what_is_claimed(self._queues)
        self._wanted.update(self._watched)
        self.poll()
        self._claim_soon()

    def stop(self) -> None:
        """Claim nothing any more."""
        self._stopped = True
        for alarm in (self._poll_alarm, self._expire_alarm):
            if alarm is not None:
                alarm.cancel()
        if self._alarm is not None:
            self._alarm[1].cancel()
            self._alarm = None

    # What may be due ------------------------------------------------------------------------------------------------

    def watch(self, run: RunRecord) -> None:
        """Execute this run whenever it is due and nobody else does, if this process has its workflow and version."""
        if (run.queue.workflow, run.queue.version) not in self._host.specs:
            version = f" version {run.queue.version!r}" if run.queue.version else ""
            logger.warning("run %r waits for a worker that has workflow %r%s", run.run_id, run.queue.workflow, version)
            return
        self._watched[run.key] = run.due_at
        if run.owner != self._host.worker_id:
            self._wanted.add(run.key)
            self._claim_soon()
        if run.due_at is not None:
            heapq.heappush(self._watched_due, (run.due_at, run.key))
            self._set_alarm(run.due_at)
        self.poll()

    def adopt(self, run: RunRecord, parent: RunRecord) -> None:
        """Execute a child of a run of ours, unless it belongs to another group of workers."""
        if run.queue.group == parent.queue.group:
            self.watch(run)

    async def watch_awaited(self, run: RunRecord) -> None:
        """Execute also the runs that this one waits for, and those that they wait for, while it is suspended itself."""
        seen = {run.run_id}
        todo = [run]
        while todo:
            for wait in await self._host.store.waits(todo.pop().key):
                child_id = wait.target.removeprefix("r:")
                if not wait.target.startswith("r:") or child_id in seen:
                    continue
                seen.add(child_id)
                child = await self._host.store.run(self._host.app, child_id)
                if child is not None and not child.state.is_final:
                    self.adopt(child, run)
                    todo.append(child)

    def forget(self, key: RunKey) -> None:
        """The run has ended."""
        self._watched.pop(key, None)

    def due(self, keys: Iterable[RunKey]) -> None:
        """These runs may be due now."""
        if self._queues:
            self._claim_soon()
        wanted = [key for key in keys if key in self._watched]
        if wanted:
            self._wanted.update(wanted)
            self._claim_soon()

    def suspended(self, key: RunKey, due_at: int | None) -> None:
        """A run of ours has suspended until `due_at`."""
        if key in self._watched:
            self._watched[key] = due_at
            if due_at is not None:
                heapq.heappush(self._watched_due, (due_at, key))
        if due_at is not None and (self._queues or key in self._watched):
            self._set_alarm(due_at)

    def capacity_freed(self) -> None:
        """A slot is free again."""
        if self._again and not self._claiming:
            self._claim_soon()

    def _set_alarm(self, at: int) -> None:
        if self._stopped:
            return
        if self._alarm is not None:
            if self._alarm[0] <= at:
                return
            self._alarm[1].cancel()
        self._alarm = (at, self._host.clock.ring_at(at, self._rang))

    def _rang(self) -> None:
        at = self._alarm[0] if self._alarm else 0
        self._alarm = None
        if not self._host.clock.has_come(at):
            self._set_alarm(at)
            return
        while self._watched_due and self._host.clock.has_come(self._watched_due[0][0]):
            due_at, key = heapq.heappop(self._watched_due)
            if self._watched.get(key) == due_at:
                self._wanted.add(key)
        if self._watched_due:
            self._set_alarm(self._watched_due[0][0])
        self._claim_soon()

    # Claiming -------------------------------------------------------------------------------------------------------

    def _claim_soon(self) -> None:
        if self._stopped or self._host.lost is not None:
            return
        if self._claiming:
            self._again = True
            return
        self._claim()

    def ride(self) -> None:
        """Claim with the batch that is about to be written, if this worker serves queues and is not claiming anyway."""
        if self._queues and not self._claiming and not self._stopped:
            self._claim()

    def _claim(self) -> None:
        host = self._host
        free = host.options.slots - len(host.active) - len(self.reserved)
        runs = tuple(key for key in self._wanted if key not in host.active and key not in self.reserved)
        self._again = False
        if free <= 0:
            self._again = True
            return
        if not self._queues and not runs:
            self._wanted.clear()
            return
        self._wanted.clear()
        self._claiming = True
        limit = min(free, CLAIM_MAX)
        future = host.committer.submit(Claim(host.worker_id, self._queues, runs[:limit], limit))
        self._wanted.update(runs[limit:])
        future.add_done_callback(lambda f: self._claimed(f, limit))

    def _claimed(self, future: asyncio.Future[Outcome], limit: int) -> None:
        self._claiming = False
        error = None if future.cancelled() else future.exception()
        if future.cancelled() or self._stopped:
            return
        if self._stock_wanted:
            self._host.call_soon(self.take_stock)
        if error is not None:
            self._host.loop.call_later(1.0, self._claim_soon)
            return
        outcome = future.result()
        claimed = outcome.value if isinstance(outcome, Answer) else ()
        assert isinstance(claimed, tuple)
        for item in claimed:
            self._take_up(item)
        if len(claimed) >= limit or self._again or self._wanted:
            self._claim_soon()
        elif self._queues:
            self._host.spawn(self._look_ahead())

    def _take_up(self, claimed: Claimed) -> None:
        run = claimed.record
        if run.key in self._watched:
            self._watched[run.key] = None
        self._host.drop(run.key)
        self.reserved[run.key] = run.epoch
        self._host.spawn(self._host.activate(claimed))

    def taken_up(self, run: RunRecord) -> None:
        """A claimed run is activated, or cannot be; it may be claimed anew by now."""
        if self.reserved.get(run.key) == run.epoch:
            del self.reserved[run.key]

    async def _look_ahead(self) -> None:
        due_at = await self._host.store.next_due(self._queues)
        if due_at is None:
            return
        if self._host.clock.has_come(due_at):
            # Our claim did not get what was due: others are about to, or we are not registered any more.
            self.check_registration()
            due_at = self._host.clock.now_ms() + EMPTY_CLAIM_MS
        self._set_alarm(due_at)

    def take_stock(self) -> None:
        """Hand back the runs that a claim or start whose answer was lost has taken for us."""
        if self._claiming or self._host.callers.starting:
            self._stock_wanted = True
            return
        self._stock_wanted = False
        self._claiming = True  # what is claimed meanwhile would look as if nobody executed it
        self._host.spawn(self._take_stock())

    def starts_answered(self) -> None:
        """No direct call waits for its start any more."""
        if self._stock_wanted:
            self.take_stock()

    async def _take_stock(self) -> None:
        host = self._host
        try:
            owned = await host.store.owned(host.worker_id)
            if host.callers.starting:  # one of these may be about to be executed
                self._stock_wanted = True
                return
            for record in owned:
                if record.key not in host.active and record.key not in self.reserved:
                    host.give_up(record, Release(host.clock.now_ms()))
        except StoreError:
            self._stock_wanted = True
        finally:
            self._claiming = False
            if self._stock_wanted:
                host.loop.call_later(1.0, self.take_stock)
            self._claim_soon()

    async def _hand_back_idle(self) -> None:
        """Hand back what is ours and nobody executes, now and at the look before: a bug, but no run stands still.

        Once is not enough: the answer that tells of a run may be on its way. Where it was lost, `take_stock` follows.
        """
        host = self._host
        busy = self._ours()  # before the question: what has left since is owned in the answer still
        owned = await host.store.owned(host.worker_id)
        if host.committer.is_uncertain or self._stock_wanted or host.lost is not None:
            owned = []
        busy |= self._ours()
        idle = {run.key: run for run in owned if run.key not in busy}
        for run in idle.values():
            if self._idle.get(run.key) == run.epoch:
                logger.error("run %r of %s is owned and not executed, please report it", run.run_id, host.app)
                host.give_up(run, Release(host.clock.now_ms()))
        self._idle = {run.key: run.epoch for run in idle.values()}

    def _ours(self) -> set[RunKey]:
        """Return the runs that are executed here, are about to be, or are being handed back."""
        return {*self._host.active, *self.reserved, *self._host.handed_back}

    # Other processes ------------------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Look for commits of other processes from now on, as long as something is awaited."""
        if self._poll_alarm is None and not self._stopped:
            self._poll_alarm = self._host.clock.look_later(self._host.options.poll_seconds, self._polled)

    def _polled(self) -> bool:
        """Look whether others have committed something; the clock is told whether they have."""
        self._poll_alarm = None
        host = self._host
        if self._stopped or host.lost is not None:
            return False
        now = host.loop.time()
        changed = False
        if not self._looking:
            changed = host.store.changed()
            self._changed_at = now if changed else self._changed_at
            if changed or now - self._looked_at > LOOK_SECONDS:
                self._looked_at = now
                self._looking = True
                host.spawn(self._look())
        if self._queues or self._watched or host.active or host.callers.awaited_elsewhere:
            seconds = host.options.poll_seconds if now - self._changed_at < LIVELY_SECONDS else REST_POLL_SECONDS
            self._poll_alarm = host.clock.look_later(seconds, self._polled)
        return changed

    async def _look(self) -> None:
        host = self._host
        try:
            if host.active:
                host.committer.collect()
            idle = [key for key in self._watched if key not in host.active]
            self._wanted.update(idle)
            if idle or self._queues:
                self._claim_soon()
            await host.callers.look()
        finally:
            self._looking = False

    # Dead workers ---------------------------------------------------------------------------------------------------

    def check_registration(self) -> None:
        """We were fenced: are we thought dead?"""
        self._registration_seen_at = 0.0
        self._expire_soon(0.0)

    def has_stood_still(self) -> bool:
        """Has this process stood still (stopped, its loop blocked), so that others may have its runs by now?"""
        return self._host.loop.time() - self._alive_at > STILL_SECONDS and not self._stopped

    async def sign_of_life(self) -> None:
        """Wait until the store says that this worker is registered; if it is not, all that it executes is dropped."""
        while self.has_stood_still():
            self._alive.clear()
            self.check_registration()
            await self._alive.wait()

    def _expire_soon(self, seconds: float) -> None:
        if not self._stopped and not self._host.loop.is_closed():
            if self._expire_alarm is not None:
                self._expire_alarm.cancel()
            self._expire_alarm = self._host.clock.look_later(seconds, lambda: self._host.spawn(self._expire()))

    async def _expire(self) -> None:
        if self._expiring:
            return
        self._expiring = True
        try:
            await self._look_for_the_dead()
            self._complained = False
        except StoreError as error:
            if not self._complained:
                logger.warning("%s: cannot look for dead workers: %s", self._host.app, error)
            self._complained = True
        finally:
            self._expiring = False
            self._expire_soon(EXPIRE_SECONDS)

    async def _look_for_the_dead(self) -> None:
        host = self._host
        host.store.beat()
        expired = await host.store.expire()
        now = host.loop.time()
        if self.has_stood_still() or now - self._registration_seen_at > REGISTRATION_SECONDS:
            self._registration_seen_at = now
            if not await host.store.registered(host.worker_id):
                await host.begin_again()
        self._alive_at = now
        self._alive.set()
        await host.give_up_names()
        if host.loop.time() - self._swept_at > SWEEP_SECONDS:
            self._swept_at = host.loop.time()
            self.due(await host.store.sweep())
            await self._hand_back_idle()
        if expired.runs:
            # The second part of a worker's id is its process.
            processes = " and ".join(worker.split(":")[1] for worker in expired.workers if worker.count(":") > 1)
            logger.warning("process %s died; runs that it executed go on (%d)", processes, len(expired.runs))
            self.due(expired.runs)
            self._claim_soon()
        for old in host.cache.drop_old(host.clock.now_ms()):
            old.evict()
