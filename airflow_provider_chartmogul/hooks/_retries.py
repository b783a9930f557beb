"""The retry policy and the backoff."""

from __future__ import annotations

import random

from airflow_provider_chartmogul.exceptions import ChartMogulError, ChartMogulUnreachableError

_RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504, 520, 524})
_FIRST_BACKOFF = 0.5  # seconds
_MOST_DOUBLINGS = 10  # a float holds no more than 1,023
LONGEST_BACKOFF = 60.0  # seconds


def is_retried(method: str, error: ChartMogulError) -> bool:
    """
    Return whether a request may be retried after an error.

    :param method: its HTTP method in capitals
    :param error: its error; ``may_have_acted`` includes its earlier attempts
    """
    is_safe = method != "POST" or not error.may_have_acted
    can_help = isinstance(error, ChartMogulUnreachableError) or error.status in _RETRIED_STATUSES
    return is_safe and can_help and not retry_after_exceeds_cap(error)


def retry_after_exceeds_cap(error: ChartMogulError) -> bool:
    """Return whether ``Retry-After`` exceeds the longest delay of a retry."""
    return (error.retry_after or 0) > LONGEST_BACKOFF


def backoff_delay(retry: int, retry_after: float | None) -> float:
    """
    Return the seconds to wait, with jitter, so that concurrent failures are not retried simultaneously.

    :param retry: number of earlier retries
    :param retry_after: the response's ``Retry-After`` in seconds, if any
    """
    if retry_after is not None:
        return retry_after + min(retry_after, 1) * random.random()
    return min(_FIRST_BACKOFF * 2.0 ** min(retry, _MOST_DOUBLINGS), LONGEST_BACKOFF) * random.uniform(0.5, 1.0)
