"""
One polling loop for all triggers of a process that share an Airflow connection and an interval.

ChartMogul cannot tell anybody that an opportunity changed, its list has no filter for it, and 200 opportunities come
with one request. So what waits alone costs as many requests as what waits together with 199 others.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_chartmogul._polling.rate_limited_client import PacedConnection
from airflow_provider_chartmogul.exceptions import (
    ChartMogulError,
    ChartMogulInvalidRequestError,
    ChartMogulInvalidResponseError,
    ChartMogulNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from airflow_provider_chartmogul.hooks._paging import CursorPaginator

log = logging.getLogger(__name__)

_SHORTEST_INTERVAL = 0.1  # seconds; with 0 the loop would never rest
_LONGEST_GATHERING = 1.0  # seconds in which a new loop waits for others to join, as after a triggerer's restart
_ASSUMED_REQUESTS_PER_SWEEP = 5  # until a sweep has told
_ROUNDS_BETWEEN_SWEEPS = 100  # after so many, what the last sweep told is out of date
_LONGEST_BACKOFF = 60.0  # seconds
_MOST_DOUBLINGS = 20  # of the backoff; a float has no room for some thousand
_FAILURES_IN_A_ROUND = 10  # without any success, after which the rest is not tried
_WAKE_UPS_AT_ONCE = 50  # so that the event loop comes to other things in between

_polling_loops: dict[tuple[asyncio.AbstractEventLoop, str, float], _PollingLoop] = {}
_connections: dict[tuple[asyncio.AbstractEventLoop, str], PacedConnection] = {}


class Observer(ABC):
    """
    What a polling loop tells what it sees; a context manager that joins the loop and leaves it.

    :param opportunity_uuids: the opportunities to look at; None: all of the account
    :param chartmogul_conn_id: the Airflow connection to use
    :param interval: seconds between two looks
    """

    __slots__ = ("_key", "opportunity_uuids")

    def __init__(self, opportunity_uuids: Sequence[str] | None, chartmogul_conn_id: str, interval: float) -> None:
        self.opportunity_uuids = opportunity_uuids
        self._key = (asyncio.get_running_loop(), chartmogul_conn_id, max(interval, _SHORTEST_INTERVAL))

    def __enter__(self) -> Self:
        if self._key not in _polling_loops:
            _polling_loops[self._key] = _PollingLoop(*self._key)
        _polling_loops[self._key].join(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _polling_loops[self._key].leave(self)

    @abstractmethod
    def see(self, opportunity: dict[str, Any]) -> bool:
        """Take a look at an opportunity; return whether that wakes somebody up."""

    @abstractmethod
    def fail(self, error: Exception, opportunity_uuid: str | None) -> bool:
        """
        Hear of an error; return whether that wakes somebody up.

        :param opportunity_uuid: the opportunity that could not be looked at; None: none could
        """

    def end_round(self) -> None:  # noqa: B027  # a wait for one opportunity has nothing to end
        """Hear that everything was looked at."""


class Waiter(Observer):
    """
    One wait for news of an opportunity.

    :param opportunity_uuid: the opportunity's UUID
    :param chartmogul_conn_id: the Airflow connection to use
    :param interval: seconds between two looks at the opportunity
    """

    __slots__ = ("_category", "_has_looked", "_in_trouble", "_news")

    def __init__(self, opportunity_uuid: str, *, chartmogul_conn_id: str, interval: float) -> None:
        super().__init__((opportunity_uuid,), chartmogul_conn_id, interval)
        self._news: asyncio.Future[dict[str, Any] | Exception] = asyncio.get_running_loop().create_future()
        self._category: str | None = None
        self._has_looked = False
        self._in_trouble = False

    async def news(self) -> dict[str, Any] | Exception:
        """
        Return what the loop saw when there is something to tell; of what came meanwhile only the latest.

        :return: the opportunity's JSON: at the first look, after its forecast category changed, and after the end of
            an error; or an error: a transient one when it begins, a permanent one, after which no news come
        """
        await self._news
        # Not what was awaited: newer news have a future of their own.
        news = self._news.result()
        self._news = asyncio.get_running_loop().create_future()
        return news

    def see(self, opportunity: dict[str, Any]) -> bool:
        """Tell of the opportunity unless it looks as it did before."""
        category = opportunity.get("forecast_category")
        if self._has_looked and category == self._category and not self._in_trouble:
            return False
        self._has_looked, self._category, self._in_trouble = True, category, False
        self._tell(opportunity)
        return True

    def fail(self, error: Exception, opportunity_uuid: str | None) -> bool:
        """Tell of the error unless it is one more of the same trouble."""
        if self._in_trouble and isinstance(error, ChartMogulError) and error.transient:
            return False
        self._in_trouble = True
        self._tell(error)
        return True

    def _tell(self, news: dict[str, Any] | Exception) -> None:
        if self._news.done():
            self._news = asyncio.get_running_loop().create_future()
        self._news.set_result(news)


class _PollingLoop:
    """The polling loop. It runs as long as somebody observes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chartmogul_conn_id: str, interval: float) -> None:
        self._key = (loop, chartmogul_conn_id, interval)
        self._interval = interval
        self._observers_by_uuid: dict[str, list[Observer]] = {}
        self._observers_of_all: list[Observer] = []
        self._wake_ups = 0
        self._requests_per_sweep = _ASSUMED_REQUESTS_PER_SWEEP
        self._pages_of_list = 0
        self._rounds_since_sweep = 0
        connection = _connections.get((loop, chartmogul_conn_id)) or PacedConnection(chartmogul_conn_id)
        _connections[loop, chartmogul_conn_id] = connection
        connection.users += 1
        self._connection = connection
        self._task = self._start()

    def join(self, observer: Observer) -> None:
        if observer.opportunity_uuids is None:
            self._observers_of_all.append(observer)
            return
        for uuid in observer.opportunity_uuids:
            self._observers_by_uuid.setdefault(uuid, []).append(observer)

    def leave(self, observer: Observer) -> None:
        if observer.opportunity_uuids is None:
            self._observers_of_all.remove(observer)
        for uuid in observer.opportunity_uuids or ():
            self._observers_by_uuid[uuid].remove(observer)
            if not self._observers_by_uuid[uuid]:
                del self._observers_by_uuid[uuid]
        if not self._observers_by_uuid and not self._observers_of_all:
            self._close()

    def _start(self) -> asyncio.Task[None]:
        # In a context of its own: in the first observer's, all that the loop logs would go to that one's task log.
        task = self._key[0].create_task(self._run(), context=contextvars.Context())
        task.add_done_callback(self._start_again)
        return task

    def _start_again(self, ended: asyncio.Task[None]) -> None:
        """Go on after what no handler of exceptions sees; those who wait would wait in vain."""
        error = None if ended.cancelled() else ended.exception()
        if error and _polling_loops.get(self._key) is self:
            log.error("The polling loop ended, and begins anew.", exc_info=error)
            self._task = self._start()

    def _close(self) -> None:
        self._task.cancel()
        del _polling_loops[self._key]
        self._connection.users -= 1
        if not self._connection.users:
            self._connection.close()
            del _connections[self._key[:2]]

    def _observers(self) -> list[Observer]:
        return [
            *self._observers_of_all,
            *{observer for observers in self._observers_by_uuid.values() for observer in observers},
        ]

    async def _run(self) -> None:
        await asyncio.sleep(min(_LONGEST_GATHERING, self._interval / 10))
        clock = asyncio.get_running_loop().time
        start = clock()
        failures = 0
        while True:
            try:
                await self._look()
            except Exception as error:
                failures += 1
                if isinstance(error, ChartMogulError):
                    log.warning("%s", error)
                else:
                    log.exception("Unexpected error in the polling loop; the waits that it serves end.")
                await self._fail(self._observers(), error)
                self._connection.distrust()
                await asyncio.sleep(self._pause_after(error, failures))
            else:
                failures = 0
                # Counted from the start, so that slow rounds neither shift the beat nor are made up for.
                await asyncio.sleep(self._interval - (clock() - start) % self._interval)

    def _pause_after(self, error: Exception, failures: int) -> float:
        if not isinstance(error, ChartMogulError) or not error.transient:
            return self._interval
        pause = max(2.0 ** min(failures, _MOST_DOUBLINGS), error.retry_after or 0)
        return min(pause, max(self._interval, _LONGEST_BACKOFF))

    async def _look(self) -> None:
        """Look at all that is observed, in as few requests as are known to do it."""
        observers = self._observers()
        wanted = set(self._observers_by_uuid)
        if self._observers_of_all or len(wanted) > self._requests_per_sweep:
            wanted = await self._sweep(wanted)
            self._rounds_since_sweep = 0
        else:
            self._rounds_since_sweep += 1
            if self._rounds_since_sweep == _ROUNDS_BETWEEN_SWEEPS:
                self._requests_per_sweep = _ASSUMED_REQUESTS_PER_SWEEP
        await self._look_singly(wanted)
        for observer in observers:
            observer.end_round()

    async def _sweep(self, wanted: set[str]) -> set[str]:
        """Read the list, until all wanted ones were seen or to its end; return those that were not seen."""
        pages = self._connection.hook.pages("opportunities")
        unseen = set(wanted)
        read = 0
        while True:
            read += 1
            for opportunity in await self._next_page(pages):
                uuid = opportunity.get("uuid", "")
                unseen.discard(uuid)
                await self._see([*self._observers_of_all, *self._observers_by_uuid.get(uuid, ())], opportunity)
            if pages.is_finished:
                self._requests_per_sweep = self._pages_of_list = read
                return unseen
            if not self._observers_of_all and len(unseen) <= max(0, self._pages_of_list - read):
                # What is left is found singly in no more requests than the other pages would take.
                self._requests_per_sweep = read + len(unseen)
                return unseen
            if read == len(wanted) and not self._observers_of_all:
                # The list is longer than all of them looked at singly; not tried again until they are many more.
                self._requests_per_sweep = 2 * len(wanted)
                return unseen

    async def _next_page(self, pages: CursorPaginator) -> list[dict[str, Any]]:
        try:
            return await self._connection.call(next, pages)
        except ChartMogulInvalidRequestError as error:
            # Such as a cursor that ChartMogul no longer knows: none of those who wait is to blame.
            raise ChartMogulInvalidResponseError(
                f"a page of the list was refused: {error.message}",
                method=error.method,
                path=error.path,
                status=error.status,
            ) from error

    async def _look_singly(self, uuids: set[str]) -> None:
        outcome = _Outcome()
        remaining = iter(uuids)
        await self._connection.connect()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(len(uuids), self._connection.concurrency)):
                    group.create_task(self._work_through(remaining, outcome))
        except ExceptionGroup as group_of_errors:
            raise group_of_errors.exceptions[0] from None
        if outcome.error and not outcome.successes:
            raise outcome.error

    async def _work_through(self, uuids: Iterator[str], outcome: _Outcome) -> None:
        hook = self._connection.hook
        for uuid in uuids:
            try:
                # One that has to be asked for again and again is not to keep the others waiting.
                opportunity = await self._connection.call(hook.retrieve_opportunity, uuid, patience=self._interval)
            except (ChartMogulNotFoundError, ChartMogulInvalidRequestError) as error:
                outcome.successes += 1
                await self._fail(self._observers_by_uuid.get(uuid, ()), error, uuid)
            except ChartMogulError as error:
                outcome.failures += 1
                outcome.error = error
                if not error.transient or (outcome.failures == _FAILURES_IN_A_ROUND and not outcome.successes):
                    raise
                await self._fail(self._observers_by_uuid.get(uuid, ()), error, uuid)
            except Exception as error:
                log.exception("Unexpected error at opportunity %s; the waits for it end.", uuid)
                await self._fail(self._observers_by_uuid.get(uuid, ()), error, uuid)
            else:
                outcome.successes += 1
                await self._see(self._observers_by_uuid.get(uuid, ()), opportunity)

    async def _see(self, observers: Iterable[Observer], opportunity: dict[str, Any]) -> None:
        for observer in tuple(observers):
            if observer.see(opportunity):
                await self._let_others_run()

    async def _fail(self, observers: Iterable[Observer], error: Exception, uuid: str | None = None) -> None:
        for observer in tuple(observers):
            if observer.fail(error, uuid):
                await self._let_others_run()

    async def _let_others_run(self) -> None:
        self._wake_ups += 1
        if self._wake_ups % _WAKE_UPS_AT_ONCE == 0:
            await asyncio.sleep(0)


@dataclass
class _Outcome:
    """How the single looks of a round went. An opportunity that is gone counts as seen."""

    successes: int = 0
    failures: int = 0
    error: ChartMogulError | None = None
