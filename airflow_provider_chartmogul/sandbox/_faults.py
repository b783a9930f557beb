"""Faults that the sandbox injects."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, get_args

from airflow_provider_chartmogul.sandbox._messages import (
    NO_VALID_KEY,
    RATE_EXCEEDED,
    TOO_MANY_CONNECTIONS,
    Response,
    to_json,
)

FaultKind = Literal["status", "slow", "hang", "reset", "truncate", "html", "redirect", "body"]

_DEFAULT_STATUS: dict[str, int] = {"status": 503, "html": 200, "redirect": 302, "body": 200}
_DEFAULT_SECONDS = {"slow": 1.0, "hang": 60.0}
_MESSAGES = {401: NO_VALID_KEY, 429: RATE_EXCEEDED, 503: TOO_MANY_CONNECTIONS}
_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"


@dataclass(frozen=True)
class Fault:
    """
    A fault that a request meets, before its key and the limits are checked.

    :param kind: the effect:

        - ``status``: an error response in the API's JSON
        - ``slow``: the normal response, delayed
        - ``hang``: no response
        - ``reset``: the connection is reset without a response
        - ``truncate``: the connection is closed in the middle of the body
        - ``html``: a page instead of JSON
        - ``redirect``: a redirect
        - ``body``: a response with the given body
    :param status: status code of ``status`` (default 503), ``html`` (200), ``redirect`` (302), ``body`` (200)
    :param retry_after: their ``Retry-After`` header, seconds or any text; None omits it
    :param message: message of ``status``; default: the API's message for that status; empty: no body
    :param seconds: delay of ``slow`` (default 1), longest time that ``hang`` holds the connection (default 60)
    :param location: target of ``redirect``; default: a path of the sandbox that does not exist
    :param body: body of ``body``, sent as ``application/json``
    :param times: number of matching requests; None for all until the fault is cleared
    :param method: only requests with this method; None for any
    :param path: only requests in whose decoded path this regular expression is found, for example
        ``/v1/opportunities/uuid``; None for any
    :param after_acting: perform the request, then fail: the response is lost, not the request
    :raises ValueError: if an option is invalid, or not for this kind
    """

    kind: FaultKind
    status: int | None = None
    retry_after: int | str | None = None
    message: str | None = None
    seconds: float | None = None
    location: str | None = None
    body: str | None = None
    times: int | None = 1
    method: str | None = None
    path: str | None = None
    after_acting: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"kind: {self.kind!r} is not one of {', '.join(get_args(FaultKind))}.")
        self._check_options()
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status: {self.status} is not between 200 and 599.")
        if self.seconds is not None and self.seconds < 0:
            raise ValueError("seconds: must not be negative.")
        if self.times is not None and self.times < 1:
            raise ValueError("times: must be at least 1, or None for all requests until the fault is cleared.")
        if self.path is not None:
            try:
                re.compile(self.path)
            except re.error as error:
                raise ValueError(f"path: {self.path!r} is not a regular expression: {error}.") from None
        if self.kind == "body" and self.body is None:
            raise ValueError("body: required by the kind body.")
        # So that the repr shows the effective values.
        object.__setattr__(self, "status", self.status or _DEFAULT_STATUS.get(self.kind))
        if self.seconds is None:
            object.__setattr__(self, "seconds", _DEFAULT_SECONDS.get(self.kind))

    def _check_options(self) -> None:
        supported = {
            "status": _DEFAULT_STATUS,
            "retry_after": _DEFAULT_STATUS,
            "message": ("status",),
            "seconds": _DEFAULT_SECONDS,
            "location": ("redirect",),
            "body": ("body",),
        }
        for option, kinds in supported.items():
            if getattr(self, option) is not None and self.kind not in kinds:
                raise ValueError(f"{option}: not supported by the kind {self.kind}, only by {', '.join(kinds)}.")

    def matches(self, method: str, path: str) -> bool:
        """
        Return whether a request matches.

        :param method: in upper case
        :param path: decoded, without the query
        """
        if self.method is not None and self.method.upper() != method:
            return False
        return self.path is None or re.search(self.path, path) is not None

    def response(self) -> Response:
        """Return the response, for the kinds that have one."""
        status = self.status or HTTPStatus.OK
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.kind == "html":
            return Response(status, _PAGE.format(f"{status} {phrase}").encode(), "text/html", headers)
        if self.kind == "redirect":
            headers["location"] = self.location or "/redirected"
            return Response(status, b"", None, headers)
        if self.kind == "body":
            return Response(status, (self.body or "").encode(), headers=headers)
        if self.message == "":
            return Response(status, b"", None, headers)
        message = self.message or _MESSAGES.get(status, phrase)
        return Response(status, to_json({"code": status, "message": message, "param": None}), headers=headers)


class FaultQueue:
    """The injected faults, in order. All methods are thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault) -> None:
        """Inject a fault."""
        with self._lock:
            self._faults.append((fault, fault.times))

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """
        Return the first fault that matches a request, if any, and count it.

        :param method: in upper case
        :param path: decoded, without the query
        """
        with self._lock:
            for index, (fault, left) in enumerate(self._faults):
                if fault.matches(method, path):
                    if left == 1:
                        del self._faults[index]
                    elif left is not None:
                        self._faults[index] = fault, left - 1
                    return fault
        return None
