"""Which requests are sent again, and when."""

from __future__ import annotations

import random

from airflow_provider_chartmogul.exceptions import ChartMogulError, ChartMogulUnreachableError

_RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504, 520, 524})
_FIRST_BACKOFF = 0.5  # seconds
LONGEST_BACKOFF = 60.0  # seconds


def is_retried(method: str, error: ChartMogulError) -> bool:
    """
    Tell whether a request may be sent again after an error.

    :param method: its HTTP method in capitals
    :param error: what became of it; of a POST, also of its earlier attempts
    """
    if (method == "POST" and error.may_have_acted) or retry_after_exceeds_cap(error):
        return False
    return isinstance(error, ChartMogulUnreachableError) or error.status in _RETRIED_STATUSES


def retry_after_exceeds_cap(error: ChartMogulError) -> bool:
    """Tell whether ChartMogul asks for a longer wait than a request is held up for."""
    return (error.retry_after or 0) > LONGEST_BACKOFF


def backoff_delay(retry: int, retry_after: float | None) -> float:
    """
    Return how long to wait, in part at random so that what failed together does not return together.

    :param retry: how many retries there were before this one
    :param retry_after: seconds that ChartMogul asked for, if it did
    """
    if retry_after is not None:
        return retry_after + random.uniform(0, min(retry_after, 1))
    return min(_FIRST_BACKOFF * 2.0**retry, LONGEST_BACKOFF) * random.uniform(0.5, 1.0)
