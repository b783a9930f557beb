"""The requests for pages of the list of opportunities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_chartmogul.exceptions import ChartMogulInvalidResponseError
from airflow_provider_chartmogul.hooks._paging import PAGE_SIZE, Page, parse_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook


def invalid_list(message: str) -> ChartMogulInvalidResponseError:
    """Return the error for a list that cannot be read."""
    return ChartMogulInvalidResponseError(message, method="GET", path="/v1/opportunities")


def page_request(cursor: str | None) -> Callable[[ChartMogulHook], Page]:
    """Return a function that requests the page at a cursor."""
    params = {"per_page": PAGE_SIZE, **({"cursor": cursor} if cursor else {})}
    return lambda hook: parse_page(hook.request("GET", "opportunities", params=params), "opportunities")
