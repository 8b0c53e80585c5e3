"""What an encrypted value is bound to: its place, so that a stored value cannot be moved to another one.

Each place is a byte string that everyone who may have to read the value can compute.
"""

from __future__ import annotations

from durable.core.records import Entry, Kind, signal_id


def arguments_place(app: str, run_id: str) -> bytes:
    """Return the place of a run's arguments."""
    return f"{app}\nstart\n{run_id}".encode()


def result_place(app: str, run_id: str) -> bytes:
    """Return the place of a run's result or error, which parents and handles read too."""
    return f"{app}\nresult\n{run_id}".encode()


def step_place(app: str, run_id: str, continuation: int, key: int | str) -> bytes:
    """Return the place of what a step gave; `key` is its sequence number or step id."""
    return f"{app}\nstep\n{run_id}\n{continuation}\n{key!r}".encode()


def promise_place(app: str, promise_id: str) -> bytes:
    """Return the place of a promise's value."""
    return f"{app}\npromise\n{promise_id}".encode()


def message_place(app: str, run_id: str) -> bytes:
    """Return the place of the messages to a run."""
    return f"{app}\nmessage\n{run_id}".encode()


def key_of(seq: int | None, step_id: str | None) -> int | str:
    """Return what tells a step from the others of its run."""
    return step_id or 0 if seq is None else seq


def entry_place(app: str, run_id: str, continuation: int, entry: Entry) -> bytes:
    """Return the place of the value in a journal entry."""
    match entry.kind:
        case Kind.RUN:
            return arguments_place(app, run_id) if entry.name == "start" else result_place(app, run_id)
        case Kind.PROMISE:
            return promise_place(app, signal_id(run_id, entry.name))
        case Kind.CHILD:
            return result_place(app, entry.note)
        case Kind.MESSAGE:
            return message_place(app, run_id)
        case _:
            return step_place(app, run_id, continuation, key_of(entry.seq, entry.step_id))
