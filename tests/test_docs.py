"""The documents hang together: links lead somewhere, and every page can be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "src").rglob("*.md"), *ROOT.glob("examples/*/*.md")})

_FENCED = re.compile(r"^```.*?^```", re.M | re.S)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_NAMED = re.compile(r'<a id="([^"]+)">')
_HEADING = re.compile(r"^#+ (.+)$", re.M)


def text_of(page: Path) -> str:
    return _FENCED.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The names of its headings, as GitHub makes them, and those that stand in the text."""
    text = text_of(page)
    names = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}
    return names | set(_NAMED.findall(text))


def links(page: Path) -> set[Path]:
    """The files that it leads to."""
    paths = (link.partition("#")[0] for link in _LINK.findall(text_of(page)))
    return {(page.parent / path).resolve() for path in paths if path}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(text_of(page)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_index() -> None:
    indexes = {DOCS / "README.md", DOCS / "internals" / "README.md"}
    assert set(DOCS.rglob("*.md")) <= indexes.union(*map(links, indexes))
