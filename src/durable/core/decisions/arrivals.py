"""What has arrived for a run: what its waits have come to, and in which order it hears of that.

What has arrived is always computed from what is there (promises, ended runs, unread messages, requests), never from a
flag; `Standing.notice` only says that the owner has not been told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from durable.core.decisions.standing import Standing
from durable.core.records import Message, Pending, PromiseRecord, Requests, RunState, Settled, Wait

Timed: TypeAlias = tuple[int, Settled]
"""What a wait has come to, and when: 0 for a run that is missing."""


def of_promise(wait: Wait, promise: PromiseRecord) -> Timed:
    """Return what a settled promise gives to a wait for it."""
    return promise.settled_at or 0, Settled(wait.seq, wait.target, promise.ok, promise.data)


def of_run(wait: Wait, state: RunState | None, ended_at: int | None, result: bytes) -> Timed | None:
    """Return what another run gives to a wait for its end; None while it is open.

    Args:
        wait: The wait.
        state: The other run's state, None if there is no such run.
        ended_at: When it ended.
        result: The value of its newest entry.
    """
    if state is None:
        return 0, Settled(wait.seq, wait.target, ok=False, data=b"", missing=True)
    if not state.is_final:
        return None
    return ended_at or 0, Settled(wait.seq, wait.target, state is RunState.SUCCEEDED, result)


def pending(requests: Requests, reason: str, settled: Iterable[Timed], unread: Iterable[Message]) -> Pending:
    """Return everything that has arrived for a run and is not consumed.

    Args:
        requests: What was asked of it, `reason` being that of a cancel request.
        reason: See there.
        settled: What its waits have come to.
        unread: Its unread messages, oldest first.
    """
    found = sorted(settled, key=lambda timed: (timed[0], timed[1].seq))
    return Pending(requests, reason, tuple(one for _, one in found), tuple(unread))


def is_worth_telling(pending: Pending) -> bool:
    """Is there anything left to tell an owner who has a notice?"""
    return pending != Pending()


def was_missed(run: Standing, *, is_there: bool) -> bool:
    """Is the run suspended although something has reached it?

    Args:
        run: The run.
        is_there: Has anything arrived that it waits for?
    """
    return run.state is RunState.SUSPENDED and (is_there or bool(run.requests))
