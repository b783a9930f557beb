"""A list of opportunities, for a server that answers from memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_chartmogul.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE_SIZE = 200


@dataclass(frozen=True)
class ListOf:
    """
    Make what answers the requests for a list's pages.

    :param opportunities: how many it has
    :param different: how many of them differ; then they come again
    """

    opportunities: int
    different: int | None = None

    @property
    def pages(self) -> int:
        """How many requests it takes to read it."""
        return -(-self.opportunities // PAGE_SIZE)

    def __call__(self) -> Callable[[str], bytes]:
        """Return a function from a request's path and query to the page."""
        entries = [
            json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
            for fields in Sandbox(
                opportunities=min(self.opportunities, self.different or self.opportunities)
            ).opportunities
        ]
        pages = [b",".join(entries[start : start + PAGE_SIZE]) for start in range(0, len(entries), PAGE_SIZE)]

        def page(target: str) -> bytes:
            number = int(target.partition("cursor=")[2] or 0)
            has_more = b"true" if number + 1 < self.pages else b"false"
            return b'{"entries":[%b],"cursor":"%d","has_more":%b}' % (pages[number % len(pages)], number + 1, has_more)

        return page
