"""The records that cross layers: journal entries, runs, what waits for what.

All times are integer milliseconds since the epoch, UTC. Hot records are named tuples: they are created by the ten
thousand a second, and a frozen dataclass costs three times as much to make.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum
from typing import NamedTuple, TypeAlias

RunKey: TypeAlias = int
"""A store's own name for a run, opaque to everyone else; never reused while the run exists."""

WorkerId: TypeAlias = str
"""`boot:pid:start:nonce`, unique for ever."""

ID_BYTES_MAX = 512
"""Longest run id, promise id, message id or tag, in UTF-8 bytes (design §3, Ids)."""


class RunState(IntEnum):
    """Where a run is in its life; `core.states` holds the transitions. The numbers are stored: never reuse one."""

    QUEUED = 1
    RUNNING = 2
    SUSPENDED = 3
    PAUSED = 4
    SET_ASIDE = 5
    SUCCEEDED = 6
    FAILED = 7
    CANCELLED = 8

    @property
    def is_final(self) -> bool:
        """Has the run ended? (A failed run may still be retried.)"""
        return self >= RunState.SUCCEEDED

    @property
    def label(self) -> str:
        """The word shown to people: `set aside`, not `SET_ASIDE`."""
        return self.name.lower().replace("_", " ")


class Reason(StrEnum):
    """Why a run is set aside."""

    CODE_CHANGED = "code changed"
    POISONED = "poisoned"
    BUSY_LOOP = "busy loop"
    DEADLOCK = "deadlock"
    FORBIDDEN = "forbidden in workflow"
    CORRUPT = "corrupt"
    UNREADABLE = "unreadable"
    KEY_MISSING = "key missing"
    HISTORY_LIMIT = "history limit"
    INTERNAL_ERROR = "internal error"


class Kind(IntEnum):
    """What an entry is about. The numbers are stored: never reuse one."""

    RUN = 0
    """The run itself: name is `start` (position 0), `cancel`, `timeout`, `deadline`, `rewind` or `finish`."""
    TASK = 1
    TIMER = 2
    VALUE = 3
    """A synchronous value: `time`, `random`, `uuid4`, `patched`, …"""
    PROMISE = 4
    """A signal or another promise."""
    CHILD = 5
    """A child run, awaited."""
    START = 6
    """A run started and not awaited; the value is its id."""
    MESSAGE = 7
    """A message received from the run's mailbox."""
    CALL = 8
    """A request to the store from a body, its answer recorded (settle a promise, send a message, cancel a run)."""

    @property
    def label(self) -> str:
        """The word shown to people and programs: what a run waits for by name is a signal."""
        return "signal" if self is Kind.PROMISE else self.name.lower()


class Status(IntEnum):
    """What happened. The numbers are stored: never reuse one."""

    OK = 0
    ERROR = 1
    RETRY = 2
    """An attempt failed and another one follows at `due_at`; the operation stays open."""
    BEGUN = 3
    """An at-most-once attempt is about to start, or a wait began at this entry's time; the operation stays open."""


class Entry(NamedTuple):
    """One unchangeable fact in a run's journal."""

    position: int
    """Place in the order of application, from 0."""
    at: int
    """The store's time when it was applied; never decreases within a run."""
    kind: Kind
    status: Status
    seq: int | None = None
    """Sequence number of the operation, None for the run's own entries and for operations with a `step_id`."""
    step_id: str | None = None
    name: str = ""
    """Task, workflow, promise or value name: checked on replay."""
    digest: int = 0
    """Digest of the encoded arguments, 0 where there are none or they are not checked."""
    attempt: int = 0
    took: int = 0
    """Milliseconds from the start of the attempt to its end."""
    due_at: int = 0
    """For RETRY: when the next attempt starts."""
    note: str = ""
    """Short text for people: the arguments, cut."""
    data: bytes = b""
    """Encoded value or error; for position 0 the run's arguments."""

    @property
    def label(self) -> str:
        """The name shown to people and programs: a `rewind` is what the retry of a failed run leaves."""
        return "retry" if self.kind is Kind.RUN and self.name == "rewind" else self.name


class Wait(NamedTuple):
    """A run's registration for something that arrives from outside.

    `target` is `p:<promise id>`, `r:<run id>` (the run's end) or `m:<name>` (a message in the own mailbox).
    """

    seq: int
    """The waiting operation; operations with a step_id take negative numbers here, in order of issue."""
    target: str


def signal_id(run_id: str, name: str) -> str:
    """Return the promise id of a run's signal: ids hold no control character, so no two of them meet."""
    return f"{run_id}\n{name}"


class Settled(NamedTuple):
    """Something that a run waits for has happened."""

    seq: int
    target: str
    ok: bool
    data: bytes
    """Encoded value, or encoded error when not `ok`."""
    missing: bool = False
    """The target run does not exist (any more)."""


class Message(NamedTuple):
    """An unread message in a run's mailbox."""

    number: int
    name: str
    data: bytes


class Requests(IntFlag):
    """What someone asked of a run that its owner has yet to do."""

    NONE = 0
    CANCEL = 1
    PAUSE = 2


class Pending(NamedTuple):
    """What has arrived for a run and waits to be applied, oldest first."""

    requests: Requests = Requests.NONE
    reason: str = ""
    settled: tuple[Settled, ...] = ()
    messages: tuple[Message, ...] = ()


class Queue(NamedTuple):
    """What a run stands in until a worker claims it: workers claim from the queues whose code they have."""

    app: str
    workflow: str
    version: str
    group: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the store knows it, without its journal."""

    key: RunKey
    run_id: str
    queue: Queue
    state: RunState
    epoch: int
    owner: WorkerId | None
    due_at: int | None
    """When it may be claimed; None while it runs, waits for something without a time, or has ended."""
    created_at: int
    started_at: int | None
    """Time of the first claim."""
    finished_at: int | None
    digest: int
    """Digest of the arguments it was started with."""
    note: str = ""
    """The arguments, cut, for people."""
    parent_id: str | None = None
    continuation: int = 0
    """How often it continued as new."""
    deaths: int = 0
    """Owners that died since its last new entry."""
    active_ms: int = 0
    """Time spent in activations so far."""
    deadline_at: int | None = None
    requests: Requests = Requests.NONE
    reason: str = ""
    """Why it is set aside, was cancelled, or failed (type of the error)."""
    detail: str = ""
    """The text that belongs to `reason`."""
    progress: str = ""
    """What `durable.progress` said last, as JSON `[done, total, message]`."""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A process that executes runs."""

    worker_id: WorkerId
    pid: int
    host: str
    boot_id: str
    """Identifies the boot and pid namespace in which `pid` means something; empty if unknown."""
    started_at: int
    queues: tuple[Queue, ...] = ()
    """What it claims; empty for a process that only runs its own direct calls."""


@dataclass(frozen=True, slots=True)
class PromiseRecord:
    """A durable place for a value that arrives later, settled once."""

    promise_id: str
    settled_at: int | None
    ok: bool
    data: bytes


class Inbox(NamedTuple):
    """What was delivered to a run; to look at it changes nothing."""

    signals: tuple[PromiseRecord, ...] = ()
    """Its signals that were settled, received or not, in the order of their names."""
    messages: tuple[Message, ...] = ()
    """The messages that it has not received, oldest first."""
