"""What the sandbox remembers of the requests it received."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Any


@dataclass
class RecordedRequest:
    """
    A request the sandbox received.

    :param method: in upper case
    :param path: as it came, percent-encoded, without the query
    :param query: the decoded parameters
    :param headers: the names in lower case
    :param body: the parsed JSON; None if there was none or it was no JSON
    :param status: of the answer; None if there was none, or only a part of one
    :param at: when it came, in seconds of ``time.monotonic()``
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    status: int | None
    at: float


class RequestLog:
    """
    The requests that came, in order. Every method may be called from any thread.

    :param size: how many to remember
    """

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._requests: deque[RecordedRequest] = deque(maxlen=size)

    def add(self, request: RecordedRequest) -> None:
        """Remember a request."""
        with self._lock:
            self._requests.append(request)

    def all(self) -> list[RecordedRequest]:
        """Return copies of what is remembered."""
        with self._lock:
            return [replace(request) for request in self._requests]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._requests.clear()
