"""Pagination: the whole list, or an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.exceptions import ChartMogulInvalidResponseError
from airflow_provider_chartmogul.hooks._response_errors import on_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAGE_SIZE = 200  # the API's default and maximum

_UNPAGED = re.compile(r"data_sources|metrics/.+")  # they return the whole list and take no per_page
_NESTING = 3  # levels of objects that are searched for paging fields
# Names of paging fields, in lower case and without delimiters.
_NEXT = re.compile(r"(has)?(next|more)(pages?)?(url|link|token|offset|items|results)?")
_PAGE_COUNT = re.compile(r"totalpages|pages|pagecount|lastpage")
_ENTRY_COUNT = re.compile(r"(total)?count|total(entries|records|results|items|rows|elements)?")
# Elsewhere, as in the summary of metrics, these can be counts of anything.
_HOLDS_COUNTS = re.compile(r"meta|pag")
_NOT_A_LIST = "This is not a list endpoint, or not one that pages with a cursor; use the hook's request() instead."
_INCOMPLETE = "The rest of the list might be missing, so nothing is returned; use the hook's request() instead."


@dataclass(frozen=True, slots=True)
class Page:
    """
    A page of a list.

    :param entries: the entries, of any JSON type
    :param cursor: the cursor of the next page; None: this is the last one
    """

    entries: list[Any]
    cursor: str | None


def parse_page(payload: Any, endpoint: str, pages_before: int | None = None, entries_before: int = 0) -> Page:
    """
    Parse a response as a page of a list.

    The entries are ``entries``, or on older endpoints the list named like the endpoint. Paging fields are beside it
    or in an object such as ``meta``: ``has_more`` and ``cursor``, or numbers of pages or entries.

    :param payload: the response's JSON
    :param endpoint: path below ``/v1``
    :param pages_before: number of pages of this list that were read before; None: unknown
    :param entries_before: number of entries on them
    :raises ChartMogulInvalidResponseError: if it is not a page, or if another page follows without a cursor
    """
    if not isinstance(payload, dict):
        raise _error("expected a page of a list", endpoint)
    facts = _Facts(payload, endpoint)
    entries = _entries(payload, endpoint, is_paged=facts.is_paged)
    return Page(entries, facts.next_cursor(pages_before, entries_before + len(entries)))


class CursorPaginator(Iterator[list[dict[str, Any]]]):
    """
    An iterator over the pages of a list endpoint.

    A page that failed can be requested again: an error does not end the iteration.

    :param request: sends a request, as :meth:`ChartMogulHook.request` does
    :param endpoint: path below ``/v1``
    :param params: query parameters; ``per_page`` is 200 unless given
    :param conn_id: ID of the Airflow connection, for messages
    :raises ValueError: if the query has a ``page``
    :raises ChartMogulInvalidResponseError: if a response is not a page of objects, or if another page follows without
        a cursor
    """

    def __init__(
        self,
        request: Callable[..., Any],
        endpoint: str,
        params: Mapping[str, Any] | None = None,
        conn_id: str | None = None,
    ) -> None:
        query = dict(params or {})
        if query.get("page") is not None:
            raise ValueError(
                "page: ChartMogul has deprecated page numbers, and a list is read from its start to its end here; "
                "leave it out."
            )
        self.is_finished = False
        self._request = request
        self._endpoint = endpoint
        self._conn_id = conn_id
        self._query = query if _UNPAGED.fullmatch(endpoint) else {"per_page": PAGE_SIZE, **query}
        self._cursors = {query.get("cursor")}
        self._pages_read: int | None = None if query.get("cursor") else 0
        self._entries_read = 0

    def __next__(self) -> list[dict[str, Any]]:
        if self.is_finished:
            raise StopIteration
        with on_connection(self._conn_id):
            payload = self._request("GET", self._endpoint, params=self._query)
            page = parse_page(payload, self._endpoint, self._pages_read, self._entries_read)
            if not all(isinstance(entry, dict) for entry in page.entries):
                raise _error("expected a page of a list of objects", self._endpoint)
            if page.cursor is None:
                self.is_finished = True
            elif page.cursor in self._cursors:
                raise _error("the list does not end: its cursor does not advance", self._endpoint, _INCOMPLETE)
            else:
                self._cursors.add(page.cursor)
                self._query["cursor"] = page.cursor
            if self._pages_read is not None:
                self._pages_read += 1
            self._entries_read += len(page.entries)
            return page.entries


def _entries(page: dict[str, Any], endpoint: str, *, is_paged: bool) -> list[Any]:
    """Return the list of a page, ignoring other lists such as ``warnings``."""
    lists = {name: value for name, value in page.items() if isinstance(value, list)}
    for name in ("entries", endpoint.rpartition("/")[2]):
        if name in page:
            if name not in lists:
                kind = "null" if page[name] is None else "no list"
                raise _error(f"expected a page of a list, but {name} is {kind}", endpoint)
            return lists[name]
    if len(lists) == 1 and is_paged:
        return next(iter(lists.values()))
    # A single object may hold a list too, such as the tags of a customer's attributes.
    raise _error("expected a page of a list", endpoint)


class _Facts:
    """
    The paging fields of a page, from every place in which ChartMogul is known to send them.

    :param page: the page
    :param endpoint: path below ``/v1``, for messages
    """

    def __init__(self, page: dict[str, Any], endpoint: str) -> None:
        self._endpoint = endpoint
        found: dict[str, list[Any]] = {}
        for name, value in _fields(page, has_counts=not endpoint.startswith("metrics/")):
            found.setdefault(name, []).append(value)
        flags = found.get("hasmore", [])
        if not all(isinstance(flag, bool) for flag in flags):
            raise _error("has_more is neither true nor false", endpoint, _INCOMPLETE)
        self._has_more = any(flags) if flags else None
        cursors = found.get("cursor", []) + found.get("nextcursor", [])
        if not all(isinstance(cursor, str) for cursor in cursors):
            raise _error("the cursor is not text", endpoint, _INCOMPLETE)
        self._cursor: str | None = next(filter(None, cursors), None)
        self._number = next(
            filter(None, map(_whole_number, found.get("currentpage", []) + found.get("page", []))), None
        )
        if None in map(_whole_number, found.get("totalpages", [])):
            raise _error("total_pages is not a whole number", endpoint, _INCOMPLETE)
        self._total = _greatest(found, _PAGE_COUNT)
        self._entry_count = _greatest(found, _ENTRY_COUNT)
        self._has_next = any(any(values) for name, values in found.items() if _NEXT.fullmatch(name))

    @property
    def is_paged(self) -> bool:
        return not (self._has_more is None and self._cursor is None and self._total is None)

    def next_cursor(self, pages_before: int | None, entries_read: int) -> str | None:
        """Return the next page's cursor, or None if this page and those before it are the whole list."""
        if self._has_more or (self._has_more is None and self._cursor is not None):
            if self._cursor is None:
                raise _error("the list does not end: has_more is true without a cursor", self._endpoint, _INCOMPLETE)
            return self._cursor
        number, total = self._number, self._total
        if pages_before is not None:
            if number is not None and number > pages_before + 1:
                message = f"this is page {number}, and the pages before it are missing"
                raise _error(message, self._endpoint, _INCOMPLETE)
            # Not the page's own number, which may be 1 on all pages requested by cursor.
            number = pages_before + 1
        elif number is None and self._has_more is False:
            number = total
        if total is not None and total > (number or 1):
            message = f"this is page {number or 1} of {total}, and no cursor leads to the next one"
            raise _error(message, self._endpoint, _INCOMPLETE)
        # The number of entries may have grown since the first page.
        is_the_end = self._has_more is False and pages_before != 0
        if self._entry_count is not None and self._entry_count > entries_read and not is_the_end:
            message = f"these are {entries_read} of {self._entry_count} entries, and no cursor leads to the others"
            raise _error(message, self._endpoint, _INCOMPLETE)
        if self._has_next:
            raise _error("another page follows, and no cursor leads to it", self._endpoint, _INCOMPLETE)
        return None


def _fields(content: dict[str, Any], level: int = 0, *, has_counts: bool) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an object and of those nested in it, except nulls; of its lists, only those of links."""
    for field, value in content.items():
        name = re.sub("[_-]", "", field).lower()
        is_count = _ENTRY_COUNT.fullmatch(name) or (_PAGE_COUNT.fullmatch(name) and name != "totalpages")
        if value is not None and (has_counts or not is_count):
            yield name, value
        if isinstance(value, dict) and level < _NESTING:
            yield from _fields(value, level + 1, has_counts=has_counts and bool(_HOLDS_COUNTS.search(name)))
        elif isinstance(value, list) and name == "links":
            yield from (("next", link) for link in value if isinstance(link, dict) and link.get("rel") == "next")


def _greatest(found: dict[str, list[Any]], names: re.Pattern[str]) -> int | None:
    numbers = [_whole_number(value) for name, values in found.items() if names.fullmatch(name) for value in values]
    return max((number for number in numbers if number is not None), default=None)


def _whole_number(value: Any) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None


def _error(message: str, endpoint: str, advice: str | None = None) -> ChartMogulInvalidResponseError:
    if advice is None and endpoint != "opportunities":  # which is a list, so another server responded
        advice = _NOT_A_LIST
    return ChartMogulInvalidResponseError(message, method="GET", path=f"/v1/{endpoint}", advice=advice)
