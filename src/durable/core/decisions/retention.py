"""Which ended runs nobody needs any more."""

from __future__ import annotations

from durable.core.records import RunState


def may_go(finished_at: int | None, finished_before: int, *, is_awaited: bool, parent: RunState | None) -> bool:
    """May a run be pruned?

    Args:
        finished_at: When it ended, None if it is open.
        finished_before: Only runs that ended before this time go.
        is_awaited: Has another run registered a wait for its end?
        parent: State of the run that started it, None if there is none (any more).
    """
    has_ended = finished_at is not None and finished_at < finished_before
    return has_ended and not is_awaited and (parent is None or parent.is_final)
