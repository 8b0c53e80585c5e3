"""The memory store keeps the contract of stores."""

from __future__ import annotations

from durable.testing.contract import MemorySuite, StoreContract, differential


class TestMemoryStore(MemorySuite, StoreContract):
    pass


TestMemoryAnswersAsMemoryDoes = differential(MemorySuite())
