"""The suite by which a store proves that it keeps the contract of `durable.store.base` and `durable.store.operations`.

Subclass it in a test module; each test is one fact about one promise:

    class TestMyStore(StoreContract):
        async def make_store(self) -> RunStore:
            return MyStore(...)

`make_peer` and `kill_worker` are worth overriding as well: without them the facts that need them are skipped. The tests
are plain functions that run a loop of their own, so no pytest plugin is needed.

`differential` plays random batches against the store and against another one, usually a `MemoryStore`, which is the
specification, and compares all answers. `MySuite` is a class with the three methods (no `Test` in its name):

    TestMyStoreAnswersAsMemoryDoes = differential(MySuite())
"""

from __future__ import annotations

import pytest

# Before they are imported: a fact that fails then shows what it found.
_PARTS = "advances claims histories kit mailbox plans reads requests rewinds sides starts upkeep waking workers"
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS.split()))

from durable.testing.contract.kit import Lab, ManualClock, Suite, fact  # noqa: E402 - see above
from durable.testing.contract.machine import differential  # noqa: E402
from durable.testing.contract.sides import MemorySuite  # noqa: E402
from durable.testing.contract.suite import StoreContract  # noqa: E402

__all__ = ["Lab", "ManualClock", "MemorySuite", "StoreContract", "Suite", "differential", "fact"]
