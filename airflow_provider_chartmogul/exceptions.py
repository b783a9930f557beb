"""
The errors of this provider: one class for each remedy.

::

    ChartMogulError
    ├── ChartMogulConfigurationError    the Airflow connection is incomplete or wrong
    ├── ChartMogulAuthenticationError   401: the API key is rejected
    ├── ChartMogulPermissionError       403: the key may not do this (no CRM seat, read-only, trial over)
    ├── ChartMogulNotFoundError         404: there is no such object
    ├── ChartMogulInvalidRequestError   400, 402, 405, 422 and any other 4xx: the request has to change
    ├── ChartMogulRateLimitError        429: too many requests           (transient)
    ├── ChartMogulUnavailableError      5xx, 408, 425: server error      (transient)
    ├── ChartMogulUnreachableError      no complete response             (transient)
    ├── ChartMogulInvalidResponseError  a response that the API does not document (transient)
    └── ChartMogulAmbiguousCreateError  the outcome of a creation is unknown

The tree stands outside ``AirflowException``, because under ``soft_fail`` Airflow's deferrable sensors skip on
any ``AirflowException`` while poking sensors do not; outside of it both modes behave alike.
"""

from __future__ import annotations

import re
from typing import ClassVar

# The at sign may be encoded for a URL (more than once), for JSON or for HTML. The lookbehind keeps it linear in time.
_EMAIL = re.compile(
    r"(?<![^\s\"'<>=&?,;:()@])[^\s\"'<>=&?,;:()@]+"
    r"(?:@|%(?:25)*40|\\u0040|\\x40|&#0*64;|&#x0*40;|&commat;)[^\s\"'<>&?,;:()]+",
    re.IGNORECASE,
)


def hide_addresses(text: str) -> str:
    """Replace the email addresses in a text, encoded or not."""
    return _EMAIL.sub("<email>", text)


class ChartMogulError(Exception):
    """
    The base class of this provider's errors.

    Email addresses are redacted from all texts.

    :param message: the message of ChartMogul or of the network stack
    :param method: HTTP method of the request that failed; None if none was sent
    :param path: path of that request, without its query
    :param status: HTTP status of the response; None if there was none
    :param param: the request parameter that ChartMogul names as the cause, if any
    :param conn_id: ID of the Airflow connection that the request used
    :param retry_after: the response's ``Retry-After`` in seconds, if any
    :param may_have_acted: whether ChartMogul may have performed the request, in this attempt or an earlier one,
        although no response confirms it
    :param advice: overrides the class's advice
    """

    transient: ClassVar[bool] = False
    """Whether the same request may succeed later."""

    advice: str = ""
    """The remedy, for users."""

    def __init__(
        self,
        message: str,
        *,
        method: str | None = None,
        path: str | None = None,
        status: int | None = None,
        param: str | None = None,
        conn_id: str | None = None,
        retry_after: float | None = None,
        may_have_acted: bool = False,
        advice: str | None = None,
    ) -> None:
        self.message = hide_addresses(message)
        self.method = method
        self.path = path and "/".join(map(hide_addresses, path.split("/")))
        self.status = status
        self.param = param and hide_addresses(param)
        self.conn_id = conn_id
        self.retry_after = retry_after
        self.may_have_acted = may_have_acted
        if advice is not None:
            self.advice = advice
        super().__init__(self.message)

    @property
    def summary(self) -> str:
        """The failed request, its error and its connection, without advice."""
        parts = [self.message.rstrip(".")]
        if self.status is not None:
            parts.insert(0, f"HTTP {self.status}")
        if self.method is not None:
            parts.insert(0, f"{self.method} {self.path}")
        details = {"parameter": self.param, "connection": self.conn_id}
        if named := "; ".join(f"{name}: {value}" for name, value in details.items() if value is not None):
            parts[-1] += f" ({named})"
        return f"{': '.join(parts)}."

    def __str__(self) -> str:
        """Return the summary and the advice."""
        return f"{self.summary} {self.advice}".rstrip()


class ChartMogulConfigurationError(ChartMogulError):
    """The Airflow connection is incomplete or wrong; nothing was sent."""


class ChartMogulAuthenticationError(ChartMogulError):
    """ChartMogul rejects the API key."""

    advice = (
        "Check the API key in the password field of the Airflow connection: it may be mistyped, deleted, or "
        "have belonged to a user who has left."
    )


class ChartMogulPermissionError(ChartMogulError):
    """The API key is valid, but may not do this."""

    advice = (
        "Opportunities need an API key made by a user with a CRM seat, writing needs a key with Read & Write "
        "access, and neither works once a trial or subscription has ended."
    )


class ChartMogulNotFoundError(ChartMogulError):
    """ChartMogul has no such object."""

    advice = "Check the UUID: the object may have been deleted, or belong to another ChartMogul account."


class ChartMogulInvalidRequestError(ChartMogulError):
    """ChartMogul rejects the request as invalid."""

    advice = "Change the request as the message says; sending it again will not help."


class ChartMogulRateLimitError(ChartMogulError):
    """The account exceeds its limit of 40 requests per second, or of computing time."""

    transient = True
    advice = "Send fewer concurrent requests, for example by giving the tasks an Airflow pool."


class ChartMogulUnavailableError(ChartMogulError):
    """ChartMogul has a server error, or more than 20 connections are open."""

    transient = True
    advice = "Try again later; if the error persists, check ChartMogul's status page."


class ChartMogulUnreachableError(ChartMogulError):
    """No complete response was received."""

    transient = True
    advice = "Check the host of the Airflow connection, and the network between this machine and ChartMogul."


class ChartMogulInvalidResponseError(ChartMogulError):
    """The response is not one that the API documents: a proxy's, a maintenance page, or another server's."""

    transient = True
    advice = (
        "Check that the host of the Airflow connection is ChartMogul's API and that no proxy responds in its place."
    )


class ChartMogulAmbiguousCreateError(ChartMogulError):
    """The created opportunity, if any, cannot be distinguished from those of other clients."""

    advice = (
        "Check them in ChartMogul. If one of them is this task's opportunity, delete any duplicates and mark the task "
        "as success; if none is, create it by hand or in a new DAG run."
    )
