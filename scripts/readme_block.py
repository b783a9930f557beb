"""Generated parts of the README, each between two hidden lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_block(readme: Path, begin: str, end: str, text: str) -> None:
    """
    Replace the text between two lines of the README.

    :param begin: the line before
    :param end: the line after
    :raises ValueError: if the README does not have each of the lines once, in this order
    """
    content = readme.read_text()
    if content.count(begin) != 1 or content.count(end) != 1 or content.index(begin) > content.index(end):
        raise ValueError(f"{readme.name} needs these two lines: {begin} and {end}")
    before, rest = content.split(begin)
    readme.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")
