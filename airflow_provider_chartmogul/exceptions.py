"""
What can go wrong between Airflow and ChartMogul: one error for each thing a user can do about it.

::

    ChartMogulError
    ├── ChartMogulConfigurationError    the Airflow connection is incomplete or wrong
    ├── ChartMogulAuthenticationError   401: the API key is rejected
    ├── ChartMogulPermissionError       403: the key may not do this (no CRM seat, read-only, trial over)
    ├── ChartMogulNotFoundError         404: there is no such object
    ├── ChartMogulInvalidRequestError   400, 402, 405, 422 and any other 4xx: the request has to change
    ├── ChartMogulRateLimitError        429: too many requests           (transient)
    ├── ChartMogulUnavailableError      5xx, 408, 425: it has a problem  (transient)
    ├── ChartMogulUnreachableError      no answer came over the network  (transient)
    ├── ChartMogulInvalidResponseError  an answer that the API does not promise (transient)
    └── ChartMogulAmbiguousCreateError        only a person can tell whether something was created

The tree stands outside ``AirflowException``, because under ``soft_fail`` Airflow's deferrable sensors skip on
any ``AirflowException`` while poking sensors do not; outside of it both modes behave alike.
"""

from __future__ import annotations

import re
from typing import ClassVar

# The at sign may be encoded for a URL (more than once), for JSON or for HTML. The lookbehind keeps it linear in time.
_EMAIL = re.compile(
    r"(?<![^\s\"'<>=&?,;:()@])[^\s\"'<>=&?,;:()@]+"
    r"(?:@|%(?:25)*40|\\u0040|&#64;|&#x40;|&commat;)[^\s\"'<>&?,;:()]+",
    re.IGNORECASE,
)


def hide_addresses(text: str) -> str:
    """Replace the email addresses in a text, encoded or not."""
    return _EMAIL.sub("<email>", text)


class ChartMogulError(Exception):
    """
    The base of everything that this provider raises about ChartMogul.

    Email addresses are taken out of all texts.

    :param message: the message of ChartMogul, or of the network
    :param method: HTTP method of the request that failed; None if none was sent
    :param path: path of that request, without its query
    :param status: HTTP status of the answer; None if there was none
    :param param: the request parameter that ChartMogul blames, if it names one
    :param retry_after: seconds that ChartMogul asks to wait before the next request, if it does
    :param may_have_acted: whether ChartMogul may have done what was asked, in this try or an earlier one,
        although no answer says so
    :param advice: what to do about it, where that differs from the class's advice
    """

    transient: ClassVar[bool] = False
    """Whether the same request can succeed later without anybody changing anything."""

    advice: str = ""
    """What a user can do about it."""

    def __init__(
        self,
        message: str,
        *,
        method: str | None = None,
        path: str | None = None,
        status: int | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        may_have_acted: bool = False,
        advice: str | None = None,
    ) -> None:
        self.message = hide_addresses(message)
        self.method = method
        self.path = path and "/".join(map(hide_addresses, path.split("/")))
        self.status = status
        self.param = param and hide_addresses(param)
        self.retry_after = retry_after
        self.may_have_acted = may_have_acted
        if advice is not None:
            self.advice = advice
        super().__init__(self.message)

    @property
    def summary(self) -> str:
        """Which request failed, and how."""
        parts = [self.message.rstrip(".")]
        if self.status is not None:
            parts.insert(0, f"HTTP {self.status}")
        if self.method is not None:
            parts.insert(0, f"{self.method} {self.path}")
        if self.param is not None:
            parts[-1] += f" (parameter: {self.param})"
        return f"{': '.join(parts)}."

    def __str__(self) -> str:
        """Say which request failed, how, and what to do."""
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
    """ChartMogul refuses the request as it stands."""

    advice = "Change the request as the message says; sending it again will not help."


class ChartMogulRateLimitError(ChartMogulError):
    """The account's limit of 40 requests a second, or of computing time, is used up."""

    transient = True
    advice = "Send fewer requests at once, for example by giving the tasks an Airflow pool."


class ChartMogulUnavailableError(ChartMogulError):
    """ChartMogul has a problem of its own, or more than 20 connections are open at once."""

    transient = True
    advice = "Try again later; if it lasts, look at ChartMogul's status page."


class ChartMogulUnreachableError(ChartMogulError):
    """No complete answer came over the network."""

    transient = True
    advice = "Check the host of the Airflow connection, and the network between this machine and ChartMogul."


class ChartMogulInvalidResponseError(ChartMogulError):
    """The answer is not what the API promises: a proxy, a maintenance page, or not ChartMogul at all."""

    transient = True
    advice = "Check that the host of the Airflow connection is ChartMogul's API and that no proxy answers for it."


class ChartMogulAmbiguousCreateError(ChartMogulError):
    """What was created, if anything was, cannot be told from what others created or changed."""

    advice = (
        "Look at them in ChartMogul. If one of them is what this task was to create, delete the others that should "
        "not be there and mark the task as success; if none is, create it by hand or in a new DAG run."
    )
