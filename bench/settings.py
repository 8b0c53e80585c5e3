"""What one repetition of a scenario is told, and where it keeps its files."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from urllib.parse import quote

from durable.store.sqlite.url import Durability


@dataclass(frozen=True, slots=True)
class Settings:
    """One repetition."""

    n: int
    """How much to do; what it counts depends on the scenario."""
    folder: str
    """An empty folder, removed afterwards by whoever made it."""
    durability: Durability = "full"

    def path(self, name: str = "bench") -> str:
        """Return where a database of that name lies."""
        return os.path.join(self.folder, f"{name}.db")

    def url(self, name: str = "bench", durability: Durability | None = None) -> str:
        """Return the URL of a database in the folder."""
        return f"sqlite:///{quote(self.path(name))}?durability={durability or self.durability}"

    def to_json(self) -> str:
        """Return the settings as an argument of a child process."""
        return json.dumps(asdict(self))


def from_json(text: str) -> Settings:
    """Return the settings that `Settings.to_json` wrote."""
    return Settings(**json.loads(text))
