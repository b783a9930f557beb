"""The faults between Airflow and ChartMogul, as a table for several tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAuthenticationError,
    ChartMogulError,
    ChartMogulInvalidRequestError,
    ChartMogulInvalidResponseError,
    ChartMogulNotFoundError,
    ChartMogulPermissionError,
    ChartMogulRateLimitError,
    ChartMogulUnavailableError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault
from tests.conftest import MAX_RETRIES

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox

REQUEST = f"GET /v1/opportunities/{EXAMPLE_OPPORTUNITY_UUID}: "
TIMEOUT = 0.3
"""Timeout in seconds: long for a server that responds, short for one that hangs."""


@dataclass(frozen=True)
class Case:
    """
    A fault and its consequences.

    :param fault: the sandbox's fault; None: it does not listen
    :param error: the class of the hook's error
    :param message: the error's message after the method and path
    :param tries: number of requests before the error is raised
    """

    name: str
    fault: Fault | None
    error: type[ChartMogulError]
    message: str
    tries: int

    @property
    def requests(self) -> int:
        """Number of tries that reach the sandbox."""
        return self.tries if self.fault else 0

    def begin(self, sandbox: Sandbox) -> None:
        if self.fault is None:
            sandbox.stop()
        else:
            sandbox.inject_fault(self.fault)

    def end(self, sandbox: Sandbox) -> None:
        if self.fault is None:
            sandbox.start()
        else:
            sandbox.clear_faults()


def _status(status: int, error: type[ChartMogulError], message: str, advice: str, tries: int = 1) -> Case:
    text = f"HTTP {status}: {message}{_NAMED} {advice}"
    return Case(str(status), Fault("status", status=status, times=None), error, text, tries)


_MANY = 1 + MAX_RETRIES
_NAMED = " (connection: chartmogul_default)."
_NO_RESPONSE = "no response from http://127.0.0.1:"

CASES = [
    Case("connection refused", None, ChartMogulUnreachableError, _NO_RESPONSE, _MANY),
    Case("reset", Fault("reset", times=None), ChartMogulUnreachableError, _NO_RESPONSE, _MANY),
    Case("read timeout", Fault("hang", times=None), ChartMogulUnreachableError, _NO_RESPONSE, _MANY),
    Case("truncated body", Fault("truncate", times=None), ChartMogulUnreachableError, _NO_RESPONSE, _MANY),
    Case("HTML with 200", Fault("html", times=None), ChartMogulInvalidResponseError, "HTTP 200: expected JSON, got", 1),
    Case(
        "JSON that is not an object",
        Fault("body", body="[]", times=None),
        ChartMogulInvalidResponseError,
        "expected a JSON object with a uuid",
        1,
    ),
    Case("redirect", Fault("redirect", times=None), ChartMogulInvalidResponseError, "HTTP 302: ", 1),
    _status(401, ChartMogulAuthenticationError, "No valid API key provided", "Check the API key"),
    _status(402, ChartMogulInvalidRequestError, "Payment Required", "Change the request"),
    _status(
        403, ChartMogulPermissionError, "Forbidden", "Opportunities need an API key made by a user with a CRM seat"
    ),
    _status(404, ChartMogulNotFoundError, "Not Found", "Check the UUID"),
    Case(
        "422",
        Fault("status", status=422, times=None),
        ChartMogulInvalidRequestError,
        "HTTP 422: Unprocessable",  # the next word depends on the version of Python
        1,
    ),
    _status(429, ChartMogulRateLimitError, "Your request rate has exceeded our rate limit", "Send fewer", _MANY),
    Case(
        "429 with Retry-After",
        Fault("status", status=429, retry_after=1, times=None),
        ChartMogulRateLimitError,
        f"HTTP 429: Your request rate has exceeded our rate limit{_NAMED}",
        _MANY,
    ),
    Case(
        "429 with a Retry-After above a minute",
        Fault("status", status=429, retry_after=61, times=None),
        ChartMogulRateLimitError,
        f"HTTP 429: Your request rate has exceeded our rate limit{_NAMED}",
        1,
    ),
    _status(500, ChartMogulUnavailableError, "Internal Server Error", "Try again later", _MANY),
    _status(502, ChartMogulUnavailableError, "Bad Gateway", "Try again later", _MANY),
    Case(
        "503 as HTML",
        Fault("html", status=503, times=None),
        ChartMogulUnavailableError,
        f"HTTP 503: 503 Service Unavailable 503 Service Unavailable{_NAMED} Try again later",
        _MANY,
    ),
    _status(504, ChartMogulUnavailableError, "Gateway Timeout", "Try again later", _MANY),
]
