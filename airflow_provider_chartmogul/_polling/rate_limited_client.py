"""Requests from an event loop: in threads, at the rate limit of an API key."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from airflow_provider_chartmogul._airflow import metrics
from airflow_provider_chartmogul._polling.daemon_threads import run_in_thread
from airflow_provider_chartmogul.exceptions import (
    ChartMogulAuthenticationError,
    ChartMogulError,
    ChartMogulPermissionError,
    ChartMogulRateLimitError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.hooks._retries import LONGEST_BACKOFF

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_chartmogul.hooks._rate_limit import RateLimit
    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

_Result = TypeVar("_Result")

KEY_ERRORS = (ChartMogulAuthenticationError, ChartMogulPermissionError)
_GRACE = 1.0  # seconds in which the hook itself may raise that a request took too long
FAILURES_UNTIL_OUTAGE = 5  # in a row
_REJECTIONS_UNTIL_OUTAGE = 2  # of the API key, likewise
_SECONDS_BETWEEN_CHECKS = 1.0


class Response(NamedTuple, Generic[_Result]):
    """
    The result of a request.

    :param value: the result
    :param sent: time of the event loop's clock at which the request was sent
    """

    value: _Result
    sent: float


class RateLimitedClient:
    """
    Call a hook's methods in threads, within the concurrency and rate limits of the Airflow connection.

    After a few failures in a row there is an outage: until a request succeeds, they are sent one by one, less and less
    often. Requests that time out make an outage only if others confirm it: a few opportunities may hang by themselves.

    :param hook: a hook that does not retry
    :param rate_limit: the pace of the hook's API key
    :param run: calls a function in a thread
    """

    def __init__(
        self, hook: ChartMogulHook, rate_limit: RateLimit, run: Callable[..., Awaitable[Any]] = run_in_thread
    ) -> None:
        self.hook = hook
        self.concurrency = hook.settings.max_concurrent_requests
        self.last_success = -math.inf
        self._rate_limit = rate_limit
        self._run = run
        self._slots = asyncio.Semaphore(self.concurrency)
        self._lanes = (asyncio.Lock(), asyncio.Lock())
        self._rate_lock = asyncio.Lock()
        self._failures = 0
        self._last_error: ChartMogulError | None = None
        self._is_healthy = True
        self._next_probe = -math.inf
        self._is_suspected = asyncio.Event()

    @property
    def outage(self) -> ChartMogulError | None:
        """The last error, while only occasional probes are sent."""
        return None if self._is_healthy else self._last_error

    @property
    def tags(self) -> dict[str, Any]:
        """The labels of metrics."""
        return {"conn_id": self.hook.chartmogul_conn_id}

    async def call(self, function: Callable[[ChartMogulHook], _Result], *, is_page: bool = False) -> Response[_Result]:
        """
        Call a function that sends one request through the hook it is given.

        :param is_page: whether it requests a page of the list, which does not wait for more than one other request
        :raises ChartMogulError: if the request fails
        """
        async with contextlib.AsyncExitStack() as stack:
            # Of each kind, one waits at a time: many waits would slow down the scan that is to find them.
            async with self._lanes[is_page]:
                await stack.enter_async_context(self._slots)
                await self._wait_for_rate_limit()
            return await self._request(function, self.hook)

    async def until_outage_is_suspected(self) -> None:
        """Return when requests time out one after another."""
        await self._is_suspected.wait()

    async def confirm_outage(self, *functions: Callable[[ChartMogulHook], object]) -> None:
        """
        Decide by other requests whether a suspected outage is one.

        :param functions: each sends one request that is not known to fail
        """
        clock = asyncio.get_running_loop().time
        begin = clock()
        await self._reserve(len(functions))
        # Without a slot, since those that hang may hold all of them.
        requests = [self._request(function, self.hook) for function in functions]
        errors = await asyncio.gather(*requests, return_exceptions=True)
        self._is_suspected.clear()
        is_limited = any(isinstance(error, ChartMogulRateLimitError) for error in errors)
        if self.last_success < begin and not is_limited:
            self._begin_outage(clock())

    def close(self) -> None:
        """Close the session. Requests in flight end by themselves, and do not block the exit of the process."""
        self.hook.close()

    async def _request(self, function: Callable[[ChartMogulHook], _Result], hook: ChartMogulHook) -> Response[_Result]:
        clock = asyncio.get_running_loop().time
        sent = clock()
        error: ChartMogulError | None = None
        try:
            async with asyncio.timeout(hook.settings.timeout + _GRACE):
                value = await self._run(function, hook)
        except TimeoutError:
            message = f"no complete response from {hook.host} within {hook.settings.timeout:g} s"
            error = ChartMogulUnreachableError(message)
        except ChartMogulError as raised:
            error = raised
        self._record(error, sent, clock())
        if error:
            error.conn_id = error.conn_id or hook.chartmogul_conn_id
            raise error
        return Response(value, sent)

    async def _wait_for_rate_limit(self) -> None:
        clock = asyncio.get_running_loop().time
        # One at a time, so that a pause is kept by all requests but those in flight.
        async with self._rate_lock:
            while self.outage and (wait := self._next_probe - clock()) > 0:
                await asyncio.sleep(min(wait, _SECONDS_BETWEEN_CHECKS))
            await self._reserve()
            if self.outage:
                self._next_probe = clock() + self.hook.settings.timeout + 2 * _GRACE

    async def _reserve(self, requests: int = 1) -> None:
        for number, seconds in enumerate(self._rate_limit.delays(asyncio.get_running_loop().time, requests)):
            if number:
                metrics.count("rate_limit_pauses", **self.tags)
            await asyncio.sleep(seconds)

    def _record(self, error: ChartMogulError | None, sent: float, now: float) -> None:
        status = 200 if error is None else error.status or type(error).__name__
        metrics.count("requests", **self.tags, status=status)
        if isinstance(error, ChartMogulRateLimitError):
            self._rate_limit.on_rate_limited(now, error.retry_after)
        elif error is None or not (error.transient or isinstance(error, KEY_ERRORS)):
            self._failures, self.last_success = 0, now
            self._is_healthy = True
        else:
            # No sign of an outage if another request succeeded meanwhile.
            self._failures += sent > self.last_success
            self._last_error = error
            if error.retry_after is not None:
                self._rate_limit.on_rate_limited(now, error.retry_after)
            is_rejected = isinstance(error, KEY_ERRORS)
            if self._failures >= (_REJECTIONS_UNTIL_OUTAGE if is_rejected else FAILURES_UNTIL_OUTAGE):
                if self.outage or now - sent < self.hook.settings.timeout:
                    self._begin_outage(now)
                else:
                    self._is_suspected.set()

    def _begin_outage(self, now: float) -> None:
        """Send nothing but an occasional probe; the next one later if there is an outage already."""
        self._is_healthy = False
        exponent = min(max(self._failures - FAILURES_UNTIL_OUTAGE, 0), 10)
        self._next_probe = now + min(2.0**exponent, LONGEST_BACKOFF)
