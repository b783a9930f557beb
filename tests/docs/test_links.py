from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.docs_pages import PAGES, REPOSITORY, name_of, prose_of

if TYPE_CHECKING:
    from pathlib import Path

DOCS = REPOSITORY / "docs"
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub, and Sphinx too, give to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_link_leads_to_a_file_and_each_anchor_to_a_heading(page: Path) -> None:
    for link in LINK.findall(prose_of(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert target.is_relative_to(REPOSITORY)
        if anchor:
            assert anchor in anchors_of(target), link


def test_each_page_and_image_is_linked() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in LINK.findall(prose_of(page))
    }
    files = {*REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("docs/images/*")}
    assert files <= linked


def test_the_index_has_each_page_by_its_title() -> None:
    listed = dict(re.findall(r"^\* \[([^\]]+)\]\(([\w-]+\.md)\)$", (DOCS / "README.md").read_text(), re.MULTILINE))
    titles = {page.read_text().split("\n", 1)[0].removeprefix("# "): page.name for page in DOCS.glob("*.md")}
    titles.pop("Documentation")
    assert listed == titles
    toctree = re.findall(r"^   ([a-z-]+)$", (DOCS / "index.rst").read_text(), re.MULTILINE)
    assert sorted(toctree) == sorted([*(name.removesuffix(".md") for name in titles.values()), "reference"])


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) < 150
