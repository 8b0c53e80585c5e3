"""All facts about stores in one class."""

from __future__ import annotations

from durable.testing.contract.advances import AdvanceFacts
from durable.testing.contract.claims import ClaimFacts
from durable.testing.contract.mailbox import MailboxFacts
from durable.testing.contract.reads import ReadFacts
from durable.testing.contract.requests import CancelFacts, MendFacts, PauseFacts
from durable.testing.contract.rewinds import ContinueFacts, RewindFacts
from durable.testing.contract.starts import StartFacts
from durable.testing.contract.upkeep import LifeFacts, PruneFacts
from durable.testing.contract.waking import WakingFacts
from durable.testing.contract.workers import WorkerFacts


class StoreContract(
    StartFacts,
    ClaimFacts,
    AdvanceFacts,
    WakingFacts,
    MailboxFacts,
    CancelFacts,
    PauseFacts,
    MendFacts,
    RewindFacts,
    ContinueFacts,
    WorkerFacts,
    ReadFacts,
    LifeFacts,
    PruneFacts,
):
    """All facts. `make_store` must be overridden; see `ContractPart` for the rest."""
