"""How ChartMogul's lists are read to their end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.exceptions import ChartMogulInvalidResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PAGE_SIZE = 200  # the API's default and maximum


class CursorPaginator(Iterator[list[dict[str, Any]]]):
    """
    The pages of a list endpoint, one after the other.

    A page that could not be had can be asked for again: an error does not end the iteration.

    :param request: sends a request, as :meth:`ChartMogulHook.request` does
    :param endpoint: path below ``/v1``
    :param params: query parameters; ``per_page`` is 200 unless given
    :raises ChartMogulInvalidResponseError: if an answer is not a page, or its cursor does not move on
    """

    def __init__(self, request: Callable[..., Any], endpoint: str, params: Mapping[str, Any] | None = None) -> None:
        self.is_finished = False
        self._request = request
        self._endpoint = endpoint
        self._query = {"per_page": _PAGE_SIZE, **(params or {})}
        self._cursors = {self._query.get("cursor")}

    def __next__(self) -> list[dict[str, Any]]:
        if self.is_finished:
            raise StopIteration
        page = self._request("GET", self._endpoint, params=self._query)
        entries = self._entries_of(page)
        # The last page has a cursor too, so only `has_more` says whether another one follows.
        if not page.get("has_more"):
            self.is_finished = True
            return entries
        cursor = page.get("cursor")
        if not cursor or cursor in self._cursors:
            raise self._error("the list does not end: has_more is true, but the cursor does not move on")
        self._cursors.add(cursor)
        self._query["cursor"] = cursor
        return entries

    def _entries_of(self, page: Any) -> list[dict[str, Any]]:
        """Return the only list of a page: ``entries``, or on older endpoints named like the objects in it."""
        lists = [value for value in page.values() if isinstance(value, list)] if isinstance(page, dict) else []
        if len(lists) != 1 or not all(isinstance(entry, dict) for entry in lists[0]):
            raise self._error("expected a page of a list")
        return lists[0]

    def _error(self, message: str) -> ChartMogulInvalidResponseError:
        return ChartMogulInvalidResponseError(message, method="GET", path=f"/v1/{self._endpoint}")
