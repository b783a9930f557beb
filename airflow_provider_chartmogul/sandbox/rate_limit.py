"""The API's limits on an account's requests."""

from __future__ import annotations

import time
from collections import deque

from airflow_provider_chartmogul.sandbox.responses import TOO_FAST, TOO_MANY_AT_ONCE, ApiError


class Limits:
    """
    Count requests, all API keys together.

    :param requests_per_second: how many are answered in any second; None for no limit
    :param max_connections: how many may be under way at once; None for no limit
    """

    def __init__(self, *, requests_per_second: int | None, max_connections: int | None) -> None:
        self._requests_per_second = requests_per_second
        self._max_connections = max_connections
        self._answered: deque[float] = deque()

    def admit(self, under_way: int) -> None:
        """
        Let a request pass and count it, unless that is one too many.

        :param under_way: requests being answered now, this one included
        :raises ApiError: if a limit is exceeded
        """
        if self._max_connections is not None and under_way > self._max_connections:
            raise ApiError(503, TOO_MANY_AT_ONCE)
        if self._requests_per_second is None:
            return
        now = time.monotonic()
        while self._answered and now - self._answered[0] >= 1.0:
            self._answered.popleft()
        if len(self._answered) >= self._requests_per_second:
            raise ApiError(429, TOO_FAST)
        self._answered.append(now)
