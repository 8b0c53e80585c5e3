"""Every exception of durable. The branches say who can act.

    DurableError
    ├── UsageError              the caller: a call that cannot work as it stands
    │   ├── EncodeError         a value that the codec cannot store
    │   │   └── PayloadTooLarge a value over a size, depth or element limit
    │   ├── IdConflict          a run id that is taken by something else
    │   │   └── InputMismatch   … by a run with other arguments
    │   ├── RunNotFound         no run has that id
    │   └── RunNotOpen          the run has ended or is in another state than needed
    ├── StoreError              the operator: the database
    │   ├── StoreUnavailable    nothing was written; the same call may succeed later
    │   ├── OutcomeUnknown      it may or may not have been written
    │   ├── StoreUnusable       this file or server cannot serve as a store
    │   └── StoreCorrupt        stored bytes are damaged
    ├── DecodeError             the operator: stored bytes cannot be turned into a value here
    │   └── KeyMissing          … because the key ring lacks their key
    ├── NonDeterminismError     the workflow's author: code and journal disagree
    ├── WorkflowError           the workflow's author: the body did what a body cannot do
    │   ├── Deadlock            nothing will ever wake it
    │   ├── BusyLoop            it never blocks
    │   ├── ForbiddenInWorkflow real I/O, threads and the like in a body
    │   └── HistoryLimit        its journal has grown too long
    ├── RunError                whoever waits for a run
    │   ├── RunFailed           it failed, and going on would repeat effects
    │   ├── RunCancelled        it was cancelled
    │   ├── RunTimedOut         its timeout or deadline passed
    │   └── RunSetAside         it cannot go on until someone acts
    ├── TaskError               the workflow: a failure whose own type is not available here
    ├── TaskInterrupted         the workflow: an at-most-once attempt was interrupted
    ├── TaskTimedOut            the workflow: an attempt or all attempts took too long (also a TimeoutError)
    ├── GiveUp                  raised by a task to stop its retries
    └── Bug                     us: please report it

`args` are the fields and `__str__` makes the text, so that errors cross the journal and pickle without more code.
"""

from __future__ import annotations


class DurableError(Exception):
    """Base of all errors that durable raises on purpose."""


class UsageError(DurableError):
    """The call cannot work as it stands; the text says what to change."""


class EncodeError(UsageError):
    """A value cannot be stored."""

    def __init__(self, label: str, path: str, type_name: str, why: str) -> None:
        super().__init__(label, path, type_name, why)
        self.label, self.path, self.type_name, self.why = label, path, type_name, why

    def __str__(self) -> str:
        at = f" at {self.path}" if self.path else ""
        return f"{self.label}{at} is a {self.type_name}: {self.why}"


class PayloadTooLarge(EncodeError):
    """A value is larger or deeper than the codec's limits allow."""


class IdConflict(UsageError):
    """The run id belongs to a run of another workflow."""

    def __init__(self, run_id: str, found: str, wanted: str) -> None:
        super().__init__(run_id, found, wanted)
        self.run_id, self.found, self.wanted = run_id, found, wanted

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} is a run of workflow {self.found!r}, not of {self.wanted!r}; "
            "give one of the two another id or id template"
        )


class InputMismatch(IdConflict):
    """The run id belongs to a run of the same workflow with other arguments.

    `found` and `wanted` are the arguments that differ: those of the run, and those of the call.
    """

    @property
    def finding(self) -> str:
        """What is wrong, without what to do about it, which depends on where the call was written."""
        if self.found == self.wanted:  # all that is known of the two is how they begin, or nothing
            alike = f", which begin alike ({self.found})" if self.found else ""
            return f"run {self.run_id!r} was started with other arguments than these{alike}"
        return f"run {self.run_id!r} was started with other arguments ({self.found}) than these ({self.wanted})"

    def __str__(self) -> str:
        return f"{self.finding}; use another id, or pass on_conflict='attach' to take the run that is there"


class RunNotFound(UsageError):
    """No run has that id."""

    def __init__(self, run_id: str, app: str) -> None:
        super().__init__(run_id, app)
        self.run_id, self.app = run_id, app

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} does not exist in application {self.app!r}; 'durable runs list' shows those that do"
        )


class RunNotOpen(UsageError):
    """The run is in a state in which this request makes no sense."""

    def __init__(self, run_id: str, state: str, wanted: str) -> None:
        super().__init__(run_id, state, wanted)
        self.run_id, self.state, self.wanted = run_id, state, wanted

    def __str__(self) -> str:
        ended = {"succeeded": "has succeeded", "failed": "has failed", "cancelled": "was cancelled"}
        return f"run {self.run_id!r} {ended.get(self.state, f'is {self.state}')}: {self.wanted}"


class StoreError(DurableError):
    """The database did not do what was asked; the text says what the operator can do."""


class StoreUnavailable(StoreError):
    """Nothing was written, for certain; the same call may succeed later (disk full, lock held, server away)."""


class OutcomeUnknown(StoreError):
    """The commit raised or its answer was lost: what it wrote must be read back before going on."""


class StoreUnusable(StoreError):
    """The file or server cannot serve as a store: not a database, newer version, no rights, network file system."""


class StoreCorrupt(StoreError):
    """Stored bytes do not match their checksum, or the database is damaged."""


class DecodeError(DurableError):
    """Stored bytes cannot be turned into a value; they are kept as they are."""

    def __init__(self, label: str, why: str) -> None:
        super().__init__(label, why)
        self.label, self.why = label, why

    def __str__(self) -> str:
        return f"{self.label} cannot be decoded: {self.why}"


class KeyMissing(DecodeError):
    """The value is encrypted under a key that the key ring does not hold."""


class NonDeterminismError(DurableError):
    """The workflow's code asks for something else than its journal recorded."""

    def __init__(self, run_id: str, position: int, recorded: str, asked: str) -> None:
        super().__init__(run_id, position, recorded, asked)
        self.run_id, self.position, self.recorded, self.asked = run_id, position, recorded, asked

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r}, position {self.position}: the journal recorded {self.recorded}, "
            f"the code now asks for {self.asked}; put the code back, guard the change with durable.patched(...) "
            "or a new workflow version, or discard the journal from there with "
            f"'durable runs retry {self.run_id} --from {self.position}'"
        )


class WorkflowError(DurableError):
    """A workflow body did what a body cannot do; the run is set aside, nothing is lost."""


class Deadlock(WorkflowError):
    """Every branch of the body waits for another one; no timer, task or signal will ever wake it."""


class BusyLoop(WorkflowError):
    """The body runs on and on without coming to a durable operation."""


class ForbiddenInWorkflow(WorkflowError):
    """A body did real I/O, used a thread or woke the loop from outside; that belongs in a task."""


class HistoryLimit(WorkflowError):
    """The journal has more entries than the application allows; the run is set aside, nothing is lost."""

    def __init__(self, run_id: str, entries_max: int) -> None:
        super().__init__(run_id, entries_max)
        self.run_id, self.entries_max = run_id, entries_max

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} has {self.entries_max:,} journal entries, the most that history_max allows: "
            "split the work into child workflows, use durable.continue_as_new(...), or raise Workflow(history_max=…)"
        )


class RunError(DurableError):
    """A run did not end with a result."""


class RunFailed(RunError):
    """The run failed earlier, and going on by itself would repeat effects that succeeded."""

    def __init__(self, run_id: str, error: str, repeats: tuple[str, ...] = ()) -> None:
        super().__init__(run_id, error, repeats)
        self.run_id, self.error, self.repeats = run_id, error, tuple(repeats)

    def __str__(self) -> str:
        if not self.repeats:
            return f"run {self.run_id!r} failed: {self.error}"
        return (
            f"run {self.run_id!r} failed: {self.error}; going on would repeat {', '.join(self.repeats)} "
            "(in brackets: the position in its journal). "
            f"'durable runs retry {self.run_id}' does it all the same"
        )


class RunCancelled(RunError):
    """The run was cancelled."""

    def __init__(self, run_id: str, reason: str = "") -> None:
        super().__init__(run_id, reason)
        self.run_id, self.reason = run_id, reason

    def __str__(self) -> str:
        return f"run {self.run_id!r} was cancelled" + (f": {self.reason}" if self.reason else "")


class RunTimedOut(RunError):
    """The run's own timeout or deadline passed."""

    def __init__(self, run_id: str, limit: str, seconds: float) -> None:
        super().__init__(run_id, limit, seconds)
        self.run_id, self.limit, self.seconds = run_id, limit, seconds

    def __str__(self) -> str:
        counted = "of active time" if self.limit == "timeout" else "from its start"
        return f"run {self.run_id!r} ran into its {self.limit} of {self.seconds:g} s {counted}"


class RunSetAside(RunError):
    """The run cannot go on until someone acts; its journal is untouched."""

    def __init__(self, run_id: str, reason: str, detail: str) -> None:
        super().__init__(run_id, reason, detail)
        self.run_id, self.reason, self.detail = run_id, reason, detail

    def __str__(self) -> str:
        return f"run {self.run_id!r} is set aside ({self.reason}): {self.detail}"


class TaskError(DurableError):
    """A recorded failure whose own exception type is not available in this process."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name, message)
        self.type_name, self.message = type_name, message

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}"


class TaskInterrupted(DurableError):
    """An at-most-once attempt had begun when its worker ended; whether its effect took place is not known."""

    def __init__(self, task: str, run_id: str) -> None:
        super().__init__(task, run_id)
        self.task, self.run_id = task, run_id

    def __str__(self) -> str:
        return f"task {self.task!r} of run {self.run_id!r} was interrupted and is at-most-once: it is not repeated"


class TaskTimedOut(DurableError, TimeoutError):
    """An attempt took longer than `timeout`, or all attempts together longer than `deadline`."""

    def __init__(self, task: str, limit: str, seconds: float) -> None:
        super().__init__(task, limit, seconds)
        self.task, self.limit, self.seconds = task, limit, seconds

    def __str__(self) -> str:
        return f"task {self.task!r} ran into its {self.limit} of {self.seconds:g} s"


class GiveUp(DurableError):
    """Raise this in a task to fail its step at once, whatever retries are left."""


class Bug(DurableError):
    """A state that cannot be; please report it with the text."""
