"""Ways in which the sandbox can be told to fail."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, get_args

from airflow_provider_chartmogul.sandbox.responses import (
    NO_VALID_KEY,
    TOO_FAST,
    TOO_MANY_AT_ONCE,
    Answer,
    to_json,
)

FaultKind = Literal["status", "slow", "hang", "reset", "truncate", "html", "redirect", "body"]

_DEFAULT_STATUS: dict[str, int] = {"status": 503, "html": 200, "redirect": 302, "body": 200}
_DEFAULT_SECONDS = {"slow": 1.0, "hang": 60.0}
_MESSAGES = {401: NO_VALID_KEY, 429: TOO_FAST, 503: TOO_MANY_AT_ONCE}
_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"


@dataclass(frozen=True)
class Fault:
    """
    Something that goes wrong with a request, before authentication and limits are looked at.

    :param kind: what goes wrong:

        - ``status``: an error in the API's own JSON
        - ``slow``: a delay, then the normal answer
        - ``hang``: no answer
        - ``reset``: the connection is reset without an answer
        - ``truncate``: the connection is closed in the middle of the body
        - ``html``: a page in place of JSON
        - ``redirect``: an answer that points elsewhere
        - ``body``: an answer with a body of your own
    :param status: status code of ``status`` (default 503), ``html`` (200), ``redirect`` (302), ``body`` (200)
    :param retry_after: the ``Retry-After`` header of these: seconds, or text as it is; None leaves it out
    :param message: the message of ``status``; default: the API's own for that status; empty: no body at all
    :param seconds: how long ``slow`` waits (default 1), ``hang`` holds the connection at most (default 60)
    :param location: where ``redirect`` points to; default: a path of the sandbox that does not exist
    :param body: the body of ``body``, sent as ``application/json``
    :param times: how many matching requests it hits; None for all until it is cleared
    :param method: hits only this method; None for any
    :param path: hits only where this regular expression is found in the decoded path, for example
        ``/v1/opportunities/uuid``; None for any
    :param after_acting: first do what was asked, then fail: the answer gets lost, not the request
    :raises ValueError: if an option makes no sense, or not for this kind
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
            raise ValueError(f"kind: {self.kind!r} is none of {', '.join(get_args(FaultKind))}.")
        self._check_that_options_fit()
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status: {self.status} is not between 200 and 599.")
        if self.seconds is not None and self.seconds < 0:
            raise ValueError("seconds: a wait cannot be negative.")
        if self.times is not None and self.times < 1:
            raise ValueError("times: at least 1, or None for all until the fault is cleared.")
        if self.path is not None:
            try:
                re.compile(self.path)
            except re.error as error:
                raise ValueError(f"path: {self.path!r} is not a regular expression: {error}.") from None
        if self.kind == "body" and self.body is None:
            raise ValueError("body: say which body to answer with.")
        # So that the fault says in full what it does.
        object.__setattr__(self, "status", self.status or _DEFAULT_STATUS.get(self.kind))
        if self.seconds is None:
            object.__setattr__(self, "seconds", _DEFAULT_SECONDS.get(self.kind))

    def _check_that_options_fit(self) -> None:
        fitting = {
            "status": _DEFAULT_STATUS,
            "retry_after": _DEFAULT_STATUS,
            "message": ("status",),
            "seconds": _DEFAULT_SECONDS,
            "location": ("redirect",),
            "body": ("body",),
        }
        for option, kinds in fitting.items():
            if getattr(self, option) is not None and self.kind not in kinds:
                raise ValueError(f"{option}: makes no sense for the kind {self.kind}, only for {', '.join(kinds)}.")

    def hits(self, method: str, path: str) -> bool:
        """
        Tell whether this fault is meant for a request.

        :param method: in upper case
        :param path: decoded, without the query
        """
        if self.method is not None and self.method.upper() != method:
            return False
        return self.path is None or re.search(self.path, path) is not None

    def answer(self) -> Answer:
        """Return the wrong answer, for the kinds that give one."""
        status = self.status or HTTPStatus.OK
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.kind == "html":
            return Answer(status, _PAGE.format(f"{status} {phrase}").encode(), "text/html", headers)
        if self.kind == "redirect":
            headers["location"] = self.location or "/redirected"
            return Answer(status, b"", None, headers)
        if self.kind == "body":
            return Answer(status, (self.body or "").encode(), headers=headers)
        if self.message == "":
            return Answer(status, b"", None, headers)
        message = self.message or _MESSAGES.get(status, phrase)
        return Answer(status, to_json({"code": status, "message": message, "param": None}), headers=headers)


class FaultQueue:
    """The faults that are to come, first come first served. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault) -> None:
        """Let a fault happen from now on."""
        with self._lock:
            self._waiting.append((fault, fault.times))

    def clear(self) -> None:
        """Let no fault happen any more."""
        with self._lock:
            self._waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """
        Return the fault that a request is to suffer, if any, and count it.

        :param method: in upper case
        :param path: decoded, without the query
        """
        with self._lock:
            for index, (fault, left) in enumerate(self._waiting):
                if fault.hits(method, path):
                    if left == 1:
                        del self._waiting[index]
                    elif left is not None:
                        self._waiting[index] = fault, left - 1
                    return fault
        return None
