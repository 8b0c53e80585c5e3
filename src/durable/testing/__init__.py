"""The public test kit: a virtual clock, crashes at every durable boundary, fakes, assertions on histories, replays.

What lives here is for tests, of durable itself and of users, and stands on the public API. Nothing else imports it. The
pytest plugin (`plugin`) is installed with durable; so that it costs other tests nothing, names are imported when they
are asked for.

`durable.testing.contract` is the suite by which a store proves itself; it needs pytest and hypothesis, so it is
imported by name and never from here.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable.testing.names import (
        Call,
        CrashMatrixFailed,
        CrashReport,
        Effect,
        Effects,
        Fake,
        History,
        Rehomed,
        ReplayDiverged,
        Step,
        Steps,
        VirtualClock,
        assert_replays,
        crash_matrix,
        effect,
        history_of,
        load_history,
        rehome,
        save_history,
        steps_of,
    )

__all__ = [
    "Call",
    "CrashMatrixFailed",
    "CrashReport",
    "Effect",
    "Effects",
    "Fake",
    "History",
    "Rehomed",
    "ReplayDiverged",
    "Step",
    "Steps",
    "VirtualClock",
    "assert_replays",
    "crash_matrix",
    "effect",
    "history_of",
    "load_history",
    "rehome",
    "save_history",
    "steps_of",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from durable.testing import names  # noqa: PLC0415 - see above

    return getattr(names, name)
