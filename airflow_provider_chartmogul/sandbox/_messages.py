"""HTTP messages: the requests that the sandbox records and the responses that it sends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_VALID_KEY = "No valid API key provided"
RATE_EXCEEDED = "Your request rate has exceeded our rate limit."
TOO_MANY_CONNECTIONS = "Service unavailable"


@dataclass
class RecordedRequest:
    """
    A request that the sandbox received.

    :param method: in upper case
    :param path: percent-encoded, without the query
    :param query: the decoded parameters
    :param headers: with names in lower case
    :param body: the parsed JSON; None without a body or if it is not JSON
    :param status: of the response; None if there was none, or only a part of one
    :param at: time of arrival, in seconds of ``time.monotonic()``
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    status: int | None
    at: float


@dataclass(frozen=True, slots=True)
class Response:
    """
    A response before it is sent.

    :param status: status code
    :param body: as bytes, not compressed
    :param content_type: the header of that name; None omits it
    :param headers: further headers
    """

    status: int
    body: bytes
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """
    An error as ChartMogul's API reports it.

    :param status: status code
    :param message: the cause
    :param param: name of the parameter that caused it
    """

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param

    @property
    def response(self) -> Response:
        """The error as a response."""
        return Response(self.status, to_json({"code": self.status, "message": self.message, "param": self.param}))


def to_json(value: Any) -> bytes:
    """Return JSON without white space, as the API sends it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
