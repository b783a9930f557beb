"""Retrieval of many opportunities: individually and from the list, concurrently, so that the faster way wins."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.exceptions import ChartMogulError, ChartMogulNotFoundError, ChartMogulRateLimitError
from airflow_provider_chartmogul.hooks._paging import CursorPaginator
from airflow_provider_chartmogul.hooks._rate_limit import RateLimit
from airflow_provider_chartmogul.hooks._response_errors import check_opportunity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_chartmogul.hooks._connection_settings import ConnectionSettings

log = logging.getLogger(__name__)


class Pace:
    """
    Apply a rate limit to several threads, of which one waits at a time.

    A thread that uses another pace of the same limit therefore queues behind at most one of them.

    :param rate_limit: that of the connection
    """

    def __init__(self, rate_limit: RateLimit) -> None:
        self._rate_limit = rate_limit
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait until the next request may be sent."""
        with self._lock:
            for seconds in self._rate_limit.delays(time.monotonic):
                time.sleep(seconds)

    def on_error(self, error: ChartMogulError) -> None:
        """Reduce the rate if an error is a 429."""
        if isinstance(error, ChartMogulRateLimitError):
            self._rate_limit.on_rate_limited(time.monotonic(), error.retry_after)


def retrieve_many(
    uuids: Iterable[str], request: Callable[..., Any], settings: ConnectionSettings
) -> dict[str, dict[str, Any]]:
    """
    Return opportunities by their UUIDs.

    A few are requested individually. More are also read from the list, which has 200 per page but no filter by UUID:
    it is faster for a large part of the account's opportunities, and costs one connection otherwise.

    :param uuids: the UUIDs of the opportunities
    :param request: sends a request, with retries, at the given ``pace``
    :param settings: those of the connection
    :raises ChartMogulNotFoundError: naming all missing opportunities
    """
    return _Retrieval(uuids, request, settings).run()


class _Retrieval:
    def __init__(self, uuids: Iterable[str], request: Callable[..., Any], settings: ConnectionSettings) -> None:
        rate_limit = RateLimit(settings.max_requests_per_second)
        self._request = partial(request, pace=Pace(rate_limit))
        # A page is worth up to 200 opportunities, and the next one cannot be requested before it arrived.
        self._request_page = partial(request, pace=Pace(rate_limit))
        self._concurrency = settings.max_concurrent_requests
        self._wanted = list(dict.fromkeys(uuids))
        self._waiting = list(reversed(self._wanted))
        self._found: dict[str, dict[str, Any]] = {}
        self._missing: set[str] = set()
        self._lock = threading.Lock()
        self._is_over = False

    def run(self) -> dict[str, dict[str, Any]]:
        threads = min(self._concurrency, len(self._wanted)) or 1
        with_list = len(self._wanted) > self._concurrency > 1
        with ThreadPoolExecutor(threads, thread_name_prefix="chartmogul-retrieve") as executor:
            tasks = [executor.submit(self._scan_list)] if with_list else []
            tasks += [executor.submit(self._retrieve_singly) for _ in range(threads - len(tasks))]
            try:
                for task in tasks:
                    task.result()
            finally:
                self._is_over = True
        if self._missing:
            missing = [uuid for uuid in self._wanted if uuid in self._missing]
            raise ChartMogulNotFoundError(
                f"{len(missing)} of {len(self._wanted)} opportunities do not exist: {', '.join(missing)}",
                method="GET",
                path="/v1/opportunities/{uuid}",
                status=404,
            )
        return self._found

    def _next(self) -> str | None:
        with self._lock:
            while self._waiting and not self._is_over:
                uuid = self._waiting.pop()
                if uuid not in self._found:
                    return uuid
        return None

    def _retrieve_singly(self) -> None:
        while uuid := self._next():
            try:
                payload = self._request("GET", f"opportunities/{uuid}")
                self._found[uuid] = check_opportunity(payload, "GET", uuid)
            except ChartMogulNotFoundError:
                if uuid not in self._found:
                    self._missing.add(uuid)
            except BaseException:
                self._is_over = True
                raise

    def _scan_list(self) -> None:
        wanted = frozenset(self._wanted)
        try:
            for page in CursorPaginator(self._request_page, "opportunities"):
                for entry in page:
                    uuid = entry.get("uuid")
                    if isinstance(uuid, str) and uuid in wanted and "updated_at" in entry:
                        self._found.setdefault(uuid, entry)
                if self._is_over or len(self._found) + len(self._missing) >= len(wanted):
                    return
        except ChartMogulError as error:
            log.warning("%s The opportunities are retrieved individually.", error.summary)
        # Opportunities that the list lacks may have been created or deleted meanwhile, or never existed.
        self._retrieve_singly()
