"""The error that an error response stands for."""

from __future__ import annotations

import json
import re
from typing import Any

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAuthenticationError,
    ChartMogulError,
    ChartMogulInvalidRequestError,
    ChartMogulInvalidResponseError,
    ChartMogulNotFoundError,
    ChartMogulPermissionError,
    ChartMogulRateLimitError,
    ChartMogulUnavailableError,
)

_LONGEST_MESSAGE = 500
_LONGEST_BODY = 10_000  # characters that are looked at where a body is not JSON

_ERRORS_BY_STATUS: dict[int, type[ChartMogulError]] = {
    401: ChartMogulAuthenticationError,
    403: ChartMogulPermissionError,
    404: ChartMogulNotFoundError,
    408: ChartMogulUnavailableError,
    425: ChartMogulUnavailableError,
    429: ChartMogulRateLimitError,
}


def error_from_response(
    method: str, path: str, status: int, body: str, *, retry_after: float | None = None
) -> ChartMogulError:
    """
    Make the error that fits an answer other than 2xx.

    :param method: HTTP method of the request
    :param path: path of the request, without its query
    :param status: HTTP status of the answer
    :param body: the answer's body, of any kind and length
    :param retry_after: seconds that the answer asks to wait
    """
    if status in _ERRORS_BY_STATUS:
        error = _ERRORS_BY_STATUS[status]
    elif status >= 500:
        error = ChartMogulUnavailableError
    elif status >= 400:
        error = ChartMogulInvalidRequestError
    else:
        error = ChartMogulInvalidResponseError
        body = "the API promises no such answer, and redirects are not followed"
    message, param = _read_error_body(body)
    return error(
        message or "no message",
        method=method,
        path=path,
        status=status,
        param=param,
        retry_after=retry_after,
        may_have_acted=status >= 500,
    )


def _read_error_body(body: str) -> tuple[str, str | None]:
    """Find message and blamed parameter in any of the shapes that ChartMogul's services use."""
    try:
        message, param = _read_json_error(json.loads(body))
    except (ValueError, RecursionError):
        message, param = _without_markup(body), None
    return _shorten(message), param


def _read_json_error(content: Any) -> tuple[str, str | None]:
    if not isinstance(content, dict):
        return _flatten(content), None
    details = content.get("error_details")
    details = [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    param = content.get("param") or (details[0].get("param") if details else None)
    message = (
        content.get("message")
        or content.get("error")
        or content.get("errors")
        or [detail.get("message") for detail in details]
        or content
    )
    return _flatten(message), param if isinstance(param, str) else None


def _flatten(content: Any) -> str:
    if isinstance(content, dict):
        return "; ".join(f"{name}: {_flatten(value)}" for name, value in content.items())
    if isinstance(content, list):
        return "; ".join(_flatten(value) for value in content)
    return str(content)


def _without_markup(body: str) -> str:
    text = body[:_LONGEST_BODY]
    if not text.lstrip().startswith("<"):
        return text
    return re.sub(r"<[^>]*>", " ", re.sub(r"(?is)<(script|style)\b.*?</\1\s*>", " ", text))


def _shorten(text: str) -> str:
    text = " ".join(text[:_LONGEST_BODY].split())
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[: _LONGEST_MESSAGE - 1]}…"
