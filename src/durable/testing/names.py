"""The public names of the test kit, where they come from."""

from durable.testing.clock import VirtualClock
from durable.testing.crashes import CrashMatrixFailed, CrashReport, crash_matrix
from durable.testing.effects import Effect, Effects, effect
from durable.testing.fakes import Call, Fake
from durable.testing.homes import Rehomed, rehome
from durable.testing.replays import History, ReplayDiverged, assert_replays, history_of, load_history, save_history
from durable.testing.steps import Step, Steps, steps_of

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
