"""How the end of a body becomes the end of its run: result, failure, cancellation, another start, or set aside."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from durable.core.failure import format_origins, origins
from durable.core.places import arguments_place, result_place
from durable.core.records import Reason, RunState, Status
from durable.errors import (
    Bug,
    BusyLoop,
    Deadlock,
    DecodeError,
    DurableError,
    ForbiddenInWorkflow,
    HistoryLimit,
    KeyMissing,
    NonDeterminismError,
    RunCancelled,
    RunFailed,
    RunTimedOut,
)
from durable.store.operations import Continue, Finish, SetAside, Then

if TYPE_CHECKING:
    from durable.codec.base import Codec
    from durable.runtime.activation import Activation

TEXT_MAX: Final = 500
"""Characters of an error's message in the run's record; the journal has the whole."""


class ContinueAsNew(BaseException):
    """Leaves a body that wants to start anew with other arguments."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(args, kwargs)
        self.arguments = args, kwargs


class Ended(NamedTuple):
    """How a run ended, for those who wait in this process."""

    state: RunState
    value: Any = None
    error: BaseException | None = None


class FinalEntry(NamedTuple):
    """What the last entry of a journal says."""

    status: Status
    data: bytes
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """What an ended body asks for."""

    then: Then
    final: FinalEntry | None = None
    ended: Ended | None = None

    @property
    def replaces_journal(self) -> bool:
        """Does the run start anew?"""
        return isinstance(self.then, Continue)


_REASONS: tuple[tuple[type[DurableError], Reason], ...] = (
    (NonDeterminismError, Reason.CODE_CHANGED),
    (HistoryLimit, Reason.HISTORY_LIMIT),
    (Deadlock, Reason.DEADLOCK),
    (BusyLoop, Reason.BUSY_LOOP),
    (ForbiddenInWorkflow, Reason.FORBIDDEN),
    (KeyMissing, Reason.KEY_MISSING),
    (DecodeError, Reason.UNREADABLE),
    (Bug, Reason.INTERNAL_ERROR),
)


def for_callers(run_id: str, error: BaseException) -> BaseException:
    """Return what those who wait for a failed run get.

    A cancellation that came from within the run is no cancellation of theirs: asyncio would take it for one, and
    swallow it.
    """
    if not isinstance(error, asyncio.CancelledError):
        return error
    failure = RunFailed(run_id, f"CancelledError: {error}")
    failure.__cause__ = error
    return failure


def reason_of(trouble: BaseException | None) -> Reason:
    """Return the reason for which a run with this trouble is set aside."""
    return next((reason for kind, reason in _REASONS if isinstance(trouble, kind)), Reason.UNREADABLE)


class Endings:
    """Turns the ends of bodies into what their runs become."""

    def __init__(self, app: str, codec: Codec, *, binds_values: bool) -> None:
        self._app = app
        self._codec = codec
        self._binds_values = binds_values

    def of_body(self, act: Activation) -> Ending:
        """Return the ending of an activation whose body has ended."""
        root = act.root
        if root.cancelled():
            return self._interrupted(act)
        error = root.exception()
        if error is None:
            return self._returned(act, root.result())
        if isinstance(error, ContinueAsNew):
            return self._continued(act, error)
        return self.failed(act.run_id, error)

    def of_trouble(self, act: Activation, trouble: BaseException) -> Ending:
        """Return the ending of an activation that cannot go on.

        A run that was to be cancelled, and whose body cannot be run to compensate, is cancelled without.
        """
        if act.is_cancelled:
            return self._cancelled(act.run_id, f"could not go on to compensate: {trouble}")
        return Ending(SetAside(reason_of(trouble), str(trouble)))

    def _returned(self, act: Activation, result: Any) -> Ending:
        label = f"result of workflow {act.spec.name!r}"
        try:
            data, value = self._codec.round_trip(result, act.spec.result_type, label=label, aad=self._place(act.run_id))
        except DurableError as error:
            return self.failed(act.run_id, error)
        return Ending(Finish(RunState.SUCCEEDED), FinalEntry(Status.OK, data), Ended(RunState.SUCCEEDED, value))

    def _interrupted(self, act: Activation) -> Ending:
        limit = act.interruptions.passed_limit
        if limit is not None:
            return self.failed(act.run_id, RunTimedOut(act.run_id, limit, act.limit_seconds(limit)))
        if act.is_cancelled:
            return self._cancelled(act.run_id, act.interruptions.cancel_reason)
        return self.failed(act.run_id, asyncio.CancelledError("the workflow cancelled itself"))

    def _cancelled(self, run_id: str, detail: str) -> Ending:
        error = RunCancelled(run_id, detail)
        final = FinalEntry(Status.ERROR, self._codec.encode_error(error, aad=self._place(run_id)))
        return Ending(Finish(RunState.CANCELLED, "cancelled", detail), final, Ended(RunState.CANCELLED, error=error))

    def failed(self, run_id: str, error: BaseException) -> Ending:
        """Return the ending of a run whose body raised `error`."""
        place = self._place(run_id)
        data = self._codec.encode_error(error, aad=place)
        recorded = for_callers(run_id, self._codec.decode_error(data, aad=place))
        # Where values are encrypted the record tells the type alone: its columns are not.
        then = Finish(RunState.FAILED, type(error).__name__, "" if self._binds_values else _text_of(error))
        return Ending(
            then, FinalEntry(Status.ERROR, data, format_origins(origins(error))), Ended(RunState.FAILED, error=recorded)
        )

    def _continued(self, act: Activation, wish: ContinueAsNew) -> Ending:
        args, kwargs = wish.arguments
        place = arguments_place(self._app, act.run_id) if self._binds_values else b""
        try:
            data, _, _ = self._codec.encode_arguments(args, kwargs, label=act.spec.name, aad=place)
        except DurableError as error:
            return self.failed(act.run_id, error)
        # The run is still known by the arguments that it was started with: who starts it again with these finds it.
        return Ending(Continue(data, act.run.digest, act.run.note))

    def _place(self, run_id: str) -> bytes:
        return result_place(self._app, run_id) if self._binds_values else b""


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:TEXT_MAX]
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<{type(error).__name__} whose text cannot be made>"
