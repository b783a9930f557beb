"""Conversion of responses to errors."""

from __future__ import annotations

import html
import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAuthenticationError,
    ChartMogulError,
    ChartMogulInvalidRequestError,
    ChartMogulInvalidResponseError,
    ChartMogulNotFoundError,
    ChartMogulPermissionError,
    ChartMogulRateLimitError,
    ChartMogulUnavailableError,
    hide_addresses,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LONGEST_MESSAGE = 500
_LONGEST_PARAM = 100
_LONGEST_BODY = 65_536  # characters that are searched if a body is not JSON

_MARKUP = re.compile(r"<(?:!doctype|\?xml|html|head|body|title|meta|script|style|center|div|h[1-6]|p)\b", re.IGNORECASE)
# The end may be missing if the body was truncated.
_INVISIBLE = re.compile(r"(?is)<(script|style|template)\b.*?(?:</\1\s*>|$)|<!--.*?(?:-->|$)")
_TAG = re.compile(r"<[^<>]*>?")

_NO_MATCH = "Nothing matches the query."
_NO_ENDPOINT = "Check the endpoint: ChartMogul has no such path, or no such object."

_ERRORS_BY_STATUS: dict[int, type[ChartMogulError]] = {
    401: ChartMogulAuthenticationError,
    403: ChartMogulPermissionError,
    404: ChartMogulNotFoundError,
    408: ChartMogulUnavailableError,
    425: ChartMogulUnavailableError,
    429: ChartMogulRateLimitError,
}


@contextmanager
def on_connection(conn_id: str | None) -> Iterator[None]:
    """Name the Airflow connection in errors of requests that are sent inside the block."""
    try:
        yield
    except ChartMogulError as error:
        if error.method is not None:
            error.conn_id = error.conn_id or conn_id
        raise


def error_from_response(
    method: str,
    path: str,
    status: int,
    body: str,
    *,
    retry_after: float | None = None,
    redact: Callable[[str], str] = str,
) -> ChartMogulError:
    """
    Return the error for a response other than 2xx.

    :param method: HTTP method of the request
    :param path: path of the request, without its query
    :param status: HTTP status of the response
    :param body: the response's body, of any type and length
    :param retry_after: the response's ``Retry-After`` in seconds
    :param redact: removes secrets from a text
    """
    if status in _ERRORS_BY_STATUS:
        error = _ERRORS_BY_STATUS[status]
    elif status >= 500:
        error = ChartMogulUnavailableError
    elif status >= 400:
        error = ChartMogulInvalidRequestError
    else:
        error = ChartMogulInvalidResponseError
        body = "the API documents no such response, and redirects are not followed"
    message, param = _read_error_body(body)
    not_found = error is ChartMogulNotFoundError

    def clean(text: str, longest: int) -> str:
        # Truncated last: half a key or half an address would not be recognized.
        return _shorten(redact(hide_addresses(_without_markup(text[:_LONGEST_BODY]))), longest)

    return error(
        clean(message, _LONGEST_MESSAGE) or "no message",
        method=method,
        path=path,
        status=status,
        param=param and clean(param, _LONGEST_PARAM),
        retry_after=retry_after,
        may_have_acted=status >= 500,
        advice=_not_found_advice(path, param) if not_found else None,
    )


def check_opportunity(payload: Any, method: str, uuid: str | None = None) -> dict[str, Any]:
    """
    Return the JSON of a response if it is an opportunity.

    :param payload: the JSON
    :param method: HTTP method of the request
    :param uuid: the expected opportunity; None: any
    :raises ChartMogulInvalidResponseError: if it is not
    """
    is_opportunity = isinstance(payload, dict) and bool(payload.get("uuid"))
    if is_opportunity and uuid in (None, payload["uuid"]):
        return payload  # type: ignore[no-any-return]  # a dict
    path = f"/v1/opportunities/{uuid}" if uuid else "/v1/opportunities"
    message = f"expected opportunity {uuid}, got another" if is_opportunity else "expected a JSON object with a uuid"
    raise ChartMogulInvalidResponseError(message, method=method, path=path, may_have_acted=True)


def _not_found_advice(path: str, param: str | None) -> str | None:
    """Return the advice for a 404 that is not about the UUID in the path; None: it is."""
    if path.endswith("/search") or (param is not None and not re.search(r"id$", param, re.IGNORECASE)):
        return _NO_MATCH  # as recorded for a search of customers by email
    return None if re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", path, re.IGNORECASE) else _NO_ENDPOINT


def _read_error_body(body: str) -> tuple[str, str | None]:
    """Return message and parameter, from any of the formats that ChartMogul's services use."""
    try:
        return _read_json_error(json.loads(body))
    except (ValueError, RecursionError):
        return body, None


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


def _without_markup(text: str) -> str:
    if not _MARKUP.search(text):
        return text
    return html.unescape(_TAG.sub(" ", _INVISIBLE.sub(" ", text)))


def _shorten(text: str, longest: int) -> str:
    # Control characters, and those that change the direction of text, would garble a log.
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
