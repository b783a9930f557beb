"""Parts of the hook for the tests of other packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.hooks import _retries
from airflow_provider_chartmogul.hooks._connection_settings import ConnectionSettings
from airflow_provider_chartmogul.hooks._paging import Page
from airflow_provider_chartmogul.hooks._rate_limit import RateLimit
from airflow_provider_chartmogul.hooks._response_errors import error_from_response

if TYPE_CHECKING:
    import pytest

    from airflow_provider_chartmogul.exceptions import ChartMogulError


def settings_of(host: str, **fields: Any) -> ConnectionSettings:
    """Return the settings of a connection to a remote host, with the key ``"key"``."""
    return ConnectionSettings(f"{host}/v1", is_loopback=False, api_key="key", **fields)


def rate_limit(requests_per_second: float) -> RateLimit:
    """Return a rate limit."""
    return RateLimit(requests_per_second)


def page_of(entries: list[Any], cursor: str | None = None) -> Page:
    """Return a page of the list, the last one if there is no cursor."""
    return Page(entries, cursor)


def error_of(endpoint: str, status: int, retry_after: float | None = None) -> ChartMogulError:
    """Return the error that a status makes."""
    return error_from_response("GET", f"/v1/{endpoint}", status, f"status {status}", retry_after=retry_after)


def shorten_backoff(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the first backoff of the retries of all hooks."""
    monkeypatch.setattr(_retries, "_FIRST_BACKOFF", seconds)
