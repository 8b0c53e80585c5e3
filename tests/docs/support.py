"""The manual as data: its pages, their headings, links and code blocks.

What the first words after the three backticks mean is told in `docs/index.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```(.*)$")


@dataclass(frozen=True)
class Block:
    """A code block."""

    page: str
    line: int
    """Where its first line stands, from 1."""
    info: str
    text: str
    heading: str
    """The heading under which it stands."""

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    @property
    def mark(self) -> str:
        """What to do with it: `run`, `file=quickstart.py`, `wrong: code changed`, …"""
        return self.info.partition(" ")[2].strip()

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def pages() -> dict[str, str]:
    """Return the text of each page, by its path from the root."""
    files = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}


@cache
def manual() -> str:
    """Return the whole manual as one text."""
    return "\n".join(pages().values())


@cache
def blocks() -> tuple[Block, ...]:
    """Return all code blocks, in order."""
    return tuple(block for page, text in pages().items() for block in _blocks(page, text))


def _blocks(page: str, text: str) -> Iterator[Block]:
    heading, begin, info = "", 0, ""
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and not begin:
            begin, info, lines = number + 1, fence[1], []
        elif fence:
            yield Block(page, begin, info, "\n".join(lines) + "\n", heading)
            begin = 0
        elif begin:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    assert not begin, f"{page}:{begin}: a code block does not end"


def marked(language: str, mark: str) -> list[Block]:
    """Return the blocks of a language whose mark begins so."""
    return [block for block in blocks() if block.language == language and block.mark.startswith(mark)]


def after(block: Block) -> Block | None:
    """Return the block that follows on the same page under the same heading."""
    all_blocks = blocks()
    index = all_blocks.index(block) + 1
    if index == len(all_blocks):
        return None
    found = all_blocks[index]
    return found if (found.page, found.heading) == (block.page, block.heading) else None


def prose(text: str) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the anchors that a page's headings have, made as GitHub makes them."""
    headings = [line.lstrip("#").strip() for line in prose(text).splitlines() if re.match(r"#{1,6} ", line)]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
