from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.support import Launcher


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path)
    with launcher.programs:
        yield launcher
