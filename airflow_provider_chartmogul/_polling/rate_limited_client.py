"""Requests from an event loop over one Airflow connection, at a pace that leaves the account usable for others."""

from __future__ import annotations

import asyncio
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from asgiref.sync import sync_to_async

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAuthenticationError,
    ChartMogulConfigurationError,
    ChartMogulError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.hooks._retries import LONGEST_BACKOFF, backoff_delay, retry_after_exceeds_cap
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_MAX_RETRIES = 3


class PacedConnection:
    """
    Call a hook's methods in threads, no more at once and no faster than the Airflow connection's extra says.

    The Airflow connection is looked up at the first call, again when ChartMogul rejects the API key, so that a rotated
    key is picked up, and again after :meth:`distrust`.

    :param chartmogul_conn_id: the Airflow connection to use
    """

    def __init__(self, chartmogul_conn_id: str) -> None:
        self.hook = ChartMogulHook(chartmogul_conn_id, max_retries=0)
        self.users = 0
        self.concurrency = 1
        self._seconds_per_request = 0.0
        self._next_start = 0.0
        self._turn = asyncio.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._under_way = asyncio.Semaphore()
        self._lookups = 0
        self._distrusted_lookups = 0
        self._lookup_lock = asyncio.Lock()

    async def call(self, function: Callable[..., _Result], *args: Any, patience: float = math.inf) -> _Result:
        """
        Call a function that sends one request through :attr:`hook`, and again after a transient error.

        :param patience: seconds after which it is not called again
        :raises ChartMogulError: if that did not help, or the error is permanent
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + patience
        retry = 0
        has_looked_up_anew = False
        while True:
            await self.connect()
            lookup = self._lookups
            try:
                return await self._call_once(function, *args)
            except ChartMogulAuthenticationError:
                if has_looked_up_anew:
                    raise
                has_looked_up_anew = True
                await self._look_up(known=lookup)
            except ChartMogulError as error:
                wait = backoff_delay(retry, error.retry_after)
                if error.retry_after is not None:
                    # It is the account that sent too much, not this request.
                    self._next_start = max(self._next_start, clock() + min(wait, LONGEST_BACKOFF))
                is_last = retry == _MAX_RETRIES or clock() + wait > deadline
                if not error.transient or is_last or retry_after_exceeds_cap(error):
                    raise
                retry += 1
                log.info("%s Trying again in %.1f s (retry %d of %d).", error.summary, wait, retry, _MAX_RETRIES)
                if error.retry_after is None:
                    await asyncio.sleep(wait)

    async def connect(self) -> None:
        """Look the Airflow connection up unless that was done before, and is trusted."""
        await self._look_up(known=self._distrusted_lookups)

    def distrust(self) -> None:
        """Look the Airflow connection up again before the next request: whoever sees an error may correct it."""
        self._distrusted_lookups = self._lookups

    def close(self) -> None:
        """Close the session and let the threads end."""
        if self._executor:
            self._executor.shutdown(wait=False, cancel_futures=True)
        self.hook.close()

    async def _look_up(self, *, known: int) -> None:
        """Look the Airflow connection up unless it was done more often than the caller knows of."""
        async with self._lookup_lock:
            if self._lookups > known:
                return
            try:
                # In a thread, since the triggerer's loop may not be blocked; and by asgiref, since Airflow 3 finds
                # its way from the thread back to that loop only then.
                settings = await sync_to_async(self.hook.reconnect)()
            except ChartMogulConfigurationError:
                raise
            except AirflowNotFoundException as error:
                raise ChartMogulConfigurationError(str(error)) from None
            except Exception as error:
                message = f"Airflow could not look up the connection {self.hook.chartmogul_conn_id!r}: {error}"
                raise ChartMogulUnreachableError(message) from error
            self._lookups += 1
            if self._executor is None:
                self.concurrency = settings.max_concurrent_requests
                self._seconds_per_request = 1 / settings.max_requests_per_second
                self._under_way = asyncio.Semaphore(self.concurrency)
                self._executor = ThreadPoolExecutor(self.concurrency, thread_name_prefix="chartmogul")

    async def _call_once(self, function: Callable[..., _Result], *args: Any) -> _Result:
        loop = asyncio.get_running_loop()
        async with self._under_way:
            async with self._turn:
                while (wait := self._next_start - loop.time()) > 0:
                    await asyncio.sleep(wait)
                self._next_start = loop.time() + self._seconds_per_request
            return await loop.run_in_executor(self._executor, function, *args)
