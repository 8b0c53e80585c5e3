"""Exit codes of the `durable` command, and which error leads to which.

    0    done
    1    the run did not succeed (failed, cancelled, set aside), or `doctor` or `check` found something
    2    usage: an unknown option, a module that cannot be imported, an argument of the wrong type, …
    3    store trouble: the database is missing, locked, full, damaged, of a newer version, …
    4    not found: no such run or application
    5    nothing was changed: the run's state does not allow it, or the question was answered with no
    130  interrupted; a run that was executing can be resumed
    141  nobody reads the output any more (as in `durable runs list | head`)

An error of our own is one line on stderr: the object, what was found, what was expected, what to do. An error that is
not ours is a bug, or comes from the user's code, and keeps its traceback.
"""

from __future__ import annotations

from typing import Final

from durable.errors import (
    DecodeError,
    DurableError,
    RunError,
    RunNotFound,
    RunNotOpen,
    StoreError,
    UsageError,
)

OK: Final = 0
UNSUCCESSFUL: Final = 1
USAGE: Final = 2
STORE: Final = 3
NOT_FOUND: Final = 4
REFUSED: Final = 5
INTERRUPTED: Final = 130
CLOSED_OUTPUT: Final = 141

SUMMARY: Final = (
    "0 done; 1 the run did not succeed, or doctor or check found something; 2 usage; 3 store trouble; "
    "4 no such run or application; 5 nothing was changed (the run's state does not allow it, or not confirmed); "
    "130 interrupted"
)
"""What `--help` says about exit codes."""


class CommandError(Exception):
    """A command cannot go on: one line for stderr, and the exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message, code)
        self.message, self.code = message, code

    def __str__(self) -> str:
        return self.message


class NoSuchApplication(CommandError):
    """The database holds no runs of that application."""

    def __init__(self, message: str) -> None:
        super().__init__(message, NOT_FOUND)


def code_of(error: BaseException) -> int | None:
    """Return the exit code for an error that is told in one line, None for one that keeps its traceback."""
    match error:
        case CommandError():
            return error.code
        case RunNotFound():
            return NOT_FOUND
        case RunNotOpen():
            return REFUSED
        case StoreError() | DecodeError():
            return STORE
        case RunError():
            return UNSUCCESSFUL
        case UsageError():
            return USAGE
        case DurableError():
            return UNSUCCESSFUL
    return None
