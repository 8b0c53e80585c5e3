"""The code of an application as records, for those who look at it without executing runs."""

from __future__ import annotations

from durable.api.app import Workflow
from durable.api.context import GeneratorContext
from durable.runtime.engine import EngineOptions
from durable.runtime.rehearsal import Code


def code_of(app: Workflow) -> Code:
    """Return the code of an application, as it is declared now."""
    options = EngineOptions(history_max=app._options.history_max, strict=app._options.strict)
    return Code(app.name, app.codec, dict(app._specs), GeneratorContext.of(app), options)
