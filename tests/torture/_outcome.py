"""What a campaign found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """Violations, a sentence each, and further figures for the campaign's line."""

    violations: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    n: int | None = None
    """How many rounds there were, if the campaign decides that itself."""
