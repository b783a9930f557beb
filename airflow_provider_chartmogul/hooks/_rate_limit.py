"""A rate limit for requests with an API key, adapted to other clients of the account."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from airflow_provider_chartmogul.hooks._retries import LONGEST_BACKOFF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECONDS_TO_RECOVER = 120.0  # from zero to the full rate
_SLOWEST_SHARE = 1 / 32  # of the full rate
_SECONDS_BETWEEN_HALVINGS = 1.0  # concurrent requests are rejected together


class RateLimit:
    """
    Schedule requests; the caller sleeps. Thread-safe.

    ChartMogul's limits apply to all clients of an account together. A 429 without ``Retry-After`` therefore halves the
    rate, and time without a 429 raises it again, slowly.

    :param requests_per_second: the rate that is never exceeded
    """

    def __init__(self, requests_per_second: float) -> None:
        self.limit = self._rate = requests_per_second
        self._next_start = self._paused_until = self._halved_at = -math.inf
        self._rated_at = math.inf
        self._lock = threading.Lock()

    @property
    def requests_per_second(self) -> float:
        """The current rate."""
        return self._rate

    def delays(self, clock: Callable[[], float], requests: int = 1) -> Iterator[float]:
        """
        Reserve the next requests, and yield the seconds to sleep before they are sent, in one or several portions.

        :param clock: returns a monotonic clock's seconds
        :param requests: how many are sent together
        """
        yield max(self.reserve(clock()) for _ in range(requests))
        while self.pause_left(clock()) > 0:
            # Reserved again, since the next caller already has the slot at the end of the pause.
            yield max(self.reserve(clock()) for _ in range(requests))

    def reserve(self, now: float) -> float:
        """
        Reserve the next request.

        :param now: a monotonic clock's seconds
        :return: seconds to wait before it is sent
        """
        with self._lock:
            self._recover(now)
            start = max(now, self._next_start, self._paused_until)
            self._next_start = start + 1 / self._rate
            return start - now

    def pause_left(self, now: float) -> float:
        """Return the remaining seconds of a ``Retry-After`` that was received after the reservation."""
        return max(0.0, self._paused_until - now)

    def on_rate_limited(self, now: float, retry_after: float | None = None) -> None:
        """
        Reduce the rate after a 429.

        :param now: a monotonic clock's seconds
        :param retry_after: the response's ``Retry-After`` in seconds; capped at a minute
        """
        with self._lock:
            self._recover(now)
            if retry_after is not None:
                self._paused_until = max(self._paused_until, now + min(retry_after, LONGEST_BACKOFF))
            elif now - self._halved_at >= _SECONDS_BETWEEN_HALVINGS:
                self._rate = max(self._rate / 2, self.limit * _SLOWEST_SHARE)
                self._halved_at = now

    def _recover(self, now: float) -> None:
        gained = self.limit * max(0.0, now - self._rated_at) / _SECONDS_TO_RECOVER
        self._rate = min(self.limit, self._rate + gained)
        self._rated_at = now
