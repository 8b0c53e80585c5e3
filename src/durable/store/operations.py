"""What can be asked of a store, under the name that belongs to the contract: the records of `durable.core.operations`.

They live in the core, because the decisions that all stores share (`durable.core.decisions`) take and return them.
"""

from __future__ import annotations

from durable.core.operations import (
    Advance,
    Answer,
    Batch,
    Cancel,
    Claim,
    Claimed,
    Committed,
    Continue,
    Done,
    Existing,
    Extras,
    Fenced,
    Finish,
    GoOn,
    Mend,
    Message,
    NotFound,
    NotOpen,
    Operation,
    Outcome,
    Paused,
    PauseRun,
    Release,
    ResumeRun,
    Rewind,
    Send,
    SetAside,
    Settle,
    Start,
    Started,
    Suspend,
    Then,
    Woken,
)

__all__ = [
    "Advance", "Answer", "Batch", "Cancel", "Claim", "Claimed", "Committed", "Continue", "Done", "Existing", "Extras",
    "Fenced", "Finish", "GoOn", "Mend", "Message", "NotFound", "NotOpen", "Operation", "Outcome", "PauseRun", "Paused",
    "Release", "ResumeRun", "Rewind", "Send", "SetAside", "Settle", "Start", "Started", "Suspend", "Then", "Woken",
]  # fmt: skip
