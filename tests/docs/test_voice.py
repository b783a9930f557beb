"""Pages name the noun instead of paraphrasing it, in words that peers use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.docs_pages import PAGES, name_of, prose_of

if TYPE_CHECKING:
    from pathlib import Path

QUAINT = r"\b(anew|be it|in vain|at once|such as do|tell whether|in the place of|as it says)\b"
WRITTEN = [page for page in PAGES if page.name != "RESULTS.md"]


def words_of(page: Path) -> str:
    """Return a page without its code: messages are quoted as they are."""
    return re.sub(r"`[^`]+`", "", prose_of(page))


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_a_page_has_no_quaint_phrase(page: Path) -> None:
    assert re.findall(QUAINT, words_of(page), re.IGNORECASE) == []


def test_clauses_with_what_are_rare() -> None:
    words = " ".join(map(words_of, WRITTEN)).lower().split()
    assert words.count("what") <= len(words) / 1000


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_headings_are_tasks_or_nouns(page: Path) -> None:
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    clauses = r"(What|When|Which|How|Who|In which|Whether)\b|.*\?$"
    assert [heading for heading in headings if re.match(clauses, heading) and heading != "How it works"] == []
