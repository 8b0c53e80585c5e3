"""Crashes at every durable boundary of a workflow, and what differs from the run without them.

`matrix` is what users call. It plays a workflow (`lives`) on a store that dies where it is told to (`store`), with a
tape of everything that happened (`tape`), compares the tapes (`verdict`) and tells what it found (`story`). Nothing
here is called by anybody but users' tests.
"""

from durable.testing.crashes.matrix import CrashMatrixFailed, CrashReport, crash_matrix

__all__ = ["CrashMatrixFailed", "CrashReport", "crash_matrix"]
