"""The checks that each request has to pass: API key and request limits."""

from __future__ import annotations

import time
from base64 import b64decode
from collections import deque
from enum import Enum, auto

from airflow_provider_chartmogul.sandbox._messages import (
    NO_VALID_KEY,
    RATE_EXCEEDED,
    TOO_MANY_CONNECTIONS,
    ApiError,
)


class Access(Enum):
    """Permissions of an API key."""

    FULL = auto()
    READ_ONLY = auto()
    NO_SEAT = auto()


class ApiKeys:
    """
    The accepted keys.

    :param full: the key with all permissions
    :raises ValueError: if the key is invalid
    """

    read_only = "sandbox-read-only-api-key"
    seatless = "sandbox-seatless-api-key"

    def __init__(self, full: str) -> None:
        self.full = full

    @property
    def full(self) -> str:
        """The key with all permissions."""
        return self._full

    @full.setter
    def full(self, key: str) -> None:
        if not key or ":" in key or not key.isascii() or not key.isprintable():
            raise ValueError("An API key is printable ASCII without a colon, and not empty.")
        if key in (self.read_only, self.seatless):
            raise ValueError(f"The key {key} is reserved for limited access.")
        self._full = key

    def authenticate(self, authorization: str | None) -> Access:
        """
        Return the permissions of a request.

        :param authorization: the ``Authorization`` header
        :raises ApiError: 401 if it holds no accepted key
        """
        scheme, _, encoded = (authorization or "").partition(" ")
        try:
            user, colon, password = b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            raise ApiError(401, NO_VALID_KEY) from None
        access = {self._full: Access.FULL, self.read_only: Access.READ_ONLY, self.seatless: Access.NO_SEAT}
        if scheme.lower() != "basic" or not colon or password not in ("", user) or user not in access:
            raise ApiError(401, NO_VALID_KEY)
        return access[user]


class RequestLimits:
    """
    The account's limits, shared by all keys.

    :param requests_per_second: accepted requests in any second; None for no limit
    :param max_connections: requests in flight; None for no limit
    """

    def __init__(self, *, requests_per_second: int | None, max_connections: int | None) -> None:
        self._requests_per_second = requests_per_second
        self._max_connections = max_connections
        self._accepted: deque[float] = deque()

    def check(self, in_flight: int) -> None:
        """
        Count a request unless it exceeds a limit.

        :param in_flight: requests being handled, including this one
        :raises ApiError: 503 for too many in flight, 429 for too many in a second
        """
        if self._max_connections is not None and in_flight > self._max_connections:
            raise ApiError(503, TOO_MANY_CONNECTIONS)
        if self._requests_per_second is None:
            return
        now = time.monotonic()
        while self._accepted and now - self._accepted[0] >= 1.0:
            self._accepted.popleft()
        if len(self._accepted) >= self._requests_per_second:
            raise ApiError(429, RATE_EXCEEDED)
        self._accepted.append(now)
