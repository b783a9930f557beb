"""The repository's Markdown files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("benchmarks/*.md")])

_FENCED = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    """Return the path of a page, relative to the repository."""
    return page.relative_to(REPOSITORY).as_posix()


def blocks_in(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    content = page.read_text()
    return [
        Block(page, content.count("\n", 0, found.start()) + 1, found["language"], dedent(found["text"]))
        for found in _FENCED.finditer(content)
    ]


def prose_of(page: Path) -> str:
    """Return a page without its blocks and comments."""
    return _COMMENT.sub("", _FENCED.sub("", page.read_text()))


BLOCKS = [block for page in PAGES for block in blocks_in(page)]
