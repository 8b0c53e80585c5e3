"""Plays die by the thousand here: that workers are dead and runs go on elsewhere is not worth a line each."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    logger = logging.getLogger("durable.worker")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)
