"""The state machine with which hypothesis makes histories, and shrinks those that fail."""

from __future__ import annotations

import asyncio
from unittest import TestCase

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from durable.testing.contract.choices import Drawn
from durable.testing.contract.histories import History
from durable.testing.contract.kit import Suite
from durable.testing.contract.sides import MemorySuite


class Machine(RuleBasedStateMachine):
    """Plays a history."""

    suites: tuple[Suite, Suite]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.history = History(self.suites)
        self.runner.run(self.history.open())

    def teardown(self) -> None:
        """Close both stores."""
        self.runner.run(self.history.close())
        self.runner.close()

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Start some runs."""
        self.runner.run(self.history.begin(Drawn(data.draw)))

    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """Let something happen."""
        self.runner.run(self.history.go_on(Drawn(data.draw)))


def differential(
    suite: Suite, other: Suite | None = None, *, examples: int = 30, steps: int = 40, shrinks: bool = False
) -> type[TestCase]:
    """Return a test case that plays random histories against two stores and compares everything.

    Args:
        suite: Makes the store under test (`StoreContract` or anything with its three methods, all overridden).
        other: Makes the store to compare with; `MemorySuite` if it is not given.
        examples: Histories to play, of up to `steps` steps each.
        shrinks: Look for a shorter history that fails, which takes minutes; the first one found is shown otherwise.
    """

    class Histories(Machine):
        suites = (suite, other or MemorySuite())

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    profile = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=checks,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if shrinks else [])],
    )
    case: type[TestCase] = Histories.TestCase
    case.settings = profile  # type: ignore[attr-defined]
    return case
