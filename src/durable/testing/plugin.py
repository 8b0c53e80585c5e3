"""The pytest plugin: fixtures for tests of durable code. Installed with durable; nothing is to be configured.

Fixtures are plain functions, so they serve tests of every kind: `def`, and `async def` under pytest-asyncio (in both
modes) and anyio. What they need is imported when a test asks for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from durable import Workflow
    from durable.testing import Effects, VirtualClock


@pytest.fixture
def durable_clock() -> Iterator[VirtualClock]:
    """A virtual clock. It jumps to the next moment at which something happens when everything is blocked."""
    from durable.testing import VirtualClock  # noqa: PLC0415 - see above

    with VirtualClock() as clock:
        yield clock


@pytest.fixture
def durable_app(durable_clock: VirtualClock) -> Iterator[Callable[..., Workflow]]:
    """Move an application into an empty store in memory and under `durable_clock`, until the end of the test.

    `wf = durable_app(shop.wf)`; further arguments are those of `durable.testing.rehome`. Given a name instead of an
    application, it makes a new one.
    """
    from durable import Workflow  # noqa: PLC0415 - see above
    from durable.testing import rehome  # noqa: PLC0415

    with ExitStack() as stack:

        def move(app: Workflow | str, db: object | None = None, **options: Any) -> Workflow:
            found = Workflow(app) if isinstance(app, str) else app
            return stack.enter_context(rehome(found, db, clock=durable_clock, **options))

        yield move


@pytest.fixture
def durable_effects() -> Iterator[Effects]:
    """A ledger: what `durable.testing.effect` and fakes say is recorded here during the test."""
    from durable.testing import Effects  # noqa: PLC0415 - see above

    with Effects() as ledger:
        yield ledger
