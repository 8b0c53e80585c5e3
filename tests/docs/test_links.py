"""Nothing that the manual points at is missing."""

import re
from pathlib import PurePosixPath

import pytest

from tests.docs.support import DOCS, ROOT, anchors, pages, prose

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:tests|examples|bench|src|docs)/[\w./-]+)`")


def links(page: str) -> list[str]:
    return LINK.findall(prose(pages()[page]))


@pytest.mark.parametrize("page", pages())
def test_links_between_pages_resolve(page):
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", pages())
def test_files_that_a_page_names_are_there(page):
    assert [path for path in PATH.findall(pages()[page]) if not (ROOT / path).exists()] == []


def test_every_page_is_in_the_table_of_contents():
    contents = {PurePosixPath(link.partition("#")[0]).name for link in links("docs/index.md")}
    assert {path.name for path in DOCS.glob("*.md")} - contents - {"index.md"} == set()


def test_every_page_begins_with_its_title():
    assert [page for page, text in pages().items() if not text.startswith("# ")] == []
