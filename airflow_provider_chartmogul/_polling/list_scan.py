"""The scan of the list: segments read concurrently, each as often as its opportunities need."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import random
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._airflow import metrics
from airflow_provider_chartmogul._polling.due_queue import DueQueue
from airflow_provider_chartmogul._polling.list_check import find_missed
from airflow_provider_chartmogul._polling.list_positions import ListPositions, PositionError, Segment
from airflow_provider_chartmogul._polling.loop_yielder import LoopYielder
from airflow_provider_chartmogul._polling.page_requests import invalid_list, page_request
from airflow_provider_chartmogul._polling.page_schedule import WAITS_FOR_A_PAGE, seconds_between_reads
from airflow_provider_chartmogul._polling.rate_limited_client import FAILURES_UNTIL_OUTAGE, KEY_ERRORS
from airflow_provider_chartmogul._polling.subscription import naming
from airflow_provider_chartmogul.exceptions import (
    ChartMogulError,
    ChartMogulInvalidRequestError,
    ChartMogulNotFoundError,
)
from airflow_provider_chartmogul.hooks._paging import PAGE_SIZE
from airflow_provider_chartmogul.hooks._retries import LONGEST_BACKOFF, backoff_delay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_chartmogul._polling.rate_limited_client import RateLimitedClient
    from airflow_provider_chartmogul._polling.single_polls import SinglePolls
    from airflow_provider_chartmogul._polling.subscription import Subscription

log = logging.getLogger(__name__)

_FEW_WAITS = 5  # are polled individually, however short the list may be
_LATE_ROUND = 1.25  # intervals
_ROUNDS_BETWEEN_CHECKS = 100
_ROUNDS_UNTIL_FIRST_CHECK = 10


class ListScan:
    """
    Read the list for watchers, and for waits where a page has several of them.

    :param client: sends the requests
    :param single_polls: the waits
    :param label: returns the name of the connection for log lines
    :param on_key_error: called when ChartMogul rejects the API key
    """

    def __init__(
        self,
        client: RateLimitedClient,
        single_polls: SinglePolls,
        label: Callable[[], str],
        on_key_error: Callable[[], Awaitable[None]],
    ) -> None:
        self.subscriptions: dict[Subscription, None] = {}
        self.positions = ListPositions()
        self._client = client
        self._single_polls = single_polls
        self._label = label
        self._on_key_error = on_key_error
        self._queue: DueQueue[Segment] = DueQueue()
        self._reading: set[Segment] = set()
        self._due_again: dict[Segment, float] = {}  # of those that are being read
        self._unread: set[Segment] = set()  # found, but needed by nobody
        self._unlocated: set[str] = set()  # waits that no page showed yet
        self._pending: set[Segment] = set()  # to be read before the round ends
        self._round_end = -math.inf  # when the next round is due
        self._has_read = asyncio.Event()
        self._joined = -math.inf  # when a watcher last joined
        self._completed = -math.inf  # when a round was last complete, or the first watcher joined
        self._failing_since: float | None = None
        self._logged_failures: set[type[ChartMogulError]] = set()
        self._reported: set[str] = set()
        self._round = 0  # the number of the current one

    @property
    def workers(self) -> list[Callable[[], Awaitable[None]]]:
        """The coroutine functions to run."""
        return [self._rounds, self._check, *[self._work] * self._client.concurrency]

    @property
    def interval(self) -> float:
        """Seconds between two rounds; infinite without watchers."""
        return min((subscription.interval for subscription in self.subscriptions), default=math.inf)

    def add(self, subscription: Subscription) -> None:
        """Read the whole list for a watcher."""
        self._joined = asyncio.get_running_loop().time()
        if not self.subscriptions:
            self._completed = self._joined
        self.subscriptions[subscription] = None
        # In sequence, no page can be read before the next round, which follows immediately.
        for segment in self.positions if self.positions.is_ordered else ():
            # Those with closed opportunities too: the new subscription has received none.
            self._put(segment, min(self._joined, self._queue.due(segment)))
            self._pending.add(segment)
        self._has_read.set()

    def measure(self) -> None:
        """Send metrics, even between the ends of rounds."""
        if self.subscriptions:
            seconds = asyncio.get_running_loop().time() - self._completed
            metrics.gauge("seconds_since_complete_round", seconds, **self._client.tags)

    def remove(self, subscription: Subscription) -> None:
        """Stop reading for a watcher."""
        self.subscriptions.pop(subscription, None)

    def locate(self, uuid: str, due: float) -> bool:
        """
        Locate the page of a polled opportunity, if that saves requests.

        :param due: when it is to be polled
        :return: whether a page known to contain it is read by then
        """
        segment = self.positions.owners.get(uuid)
        if segment is None:
            self._unlocated.add(uuid)
            if not self.subscriptions and self._is_more_needed():
                # The head too, since it may have grown.
                is_old = due - self.positions.head.received > LONGEST_BACKOFF
                for unread in (*self._unread, *[self.positions.head] * is_old):
                    self._put(unread, min(due, self._queue.due(unread)))
                self._unread.clear()
            return False
        segment.waits += 1
        if segment.waits < WAITS_FOR_A_PAGE or segment.failures or not self.positions.is_ordered:
            return False
        self._put(segment, min(due, self._queue.due(segment)))
        return True

    def forget(self, uuid: str) -> None:
        """Stop searching for the page of an opportunity."""
        self._unlocated.discard(uuid)

    def _is_more_needed(self) -> bool:
        pages = len(self.positions.owners) // PAGE_SIZE
        return bool(self.subscriptions) or len(self._unlocated) > max(_FEW_WAITS, pages)

    def _put(self, segment: Segment, due: float) -> None:
        if segment in self._reading:
            self._due_again[segment] = min(due, self._due_again.get(segment, math.inf))
        else:
            self._queue.put(segment, due)

    async def _work(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            segment, due = await self._queue.next()
            begin = clock()
            self._reading.add(segment)
            try:
                await self._read(segment, due)
            finally:
                self._reading.discard(segment)
                is_done = segment.received >= begin and segment.period == math.inf
                again = self._due_again.pop(segment, math.inf if is_done else clock())
                if again < math.inf and self.positions.is_known(segment):
                    self._queue.put(segment, again)
                is_retried = segment.failures > 0 and again < self._round_end
                is_recent = begin >= self._joined or not self.positions.is_ordered
                if not self.positions.is_known(segment) or (is_recent and not is_retried):
                    self._pending.discard(segment)
                self._has_read.set()

    async def _read(self, segment: Segment, due: float) -> None:
        clock = asyncio.get_running_loop().time
        try:
            response = await self._client.call(page_request(segment.cursor), is_page=True)
            if not self.positions.is_known(segment):
                return
            entries, added = self.positions.apply(segment, response.value, response.sent, clock())
        except PositionError as error:
            self._on_misfit(segment, error)
        except ChartMogulError as error:
            await self._on_refused_or_failed(segment, error)
        except Exception as error:
            if not segment.failures:
                log.exception("%s: unexpected error at a page of the list.", self._label())
            self._on_failed(segment, invalid_list(f"unexpected error: {error!r}"))
        else:
            if added:
                self._read_next(added)
            if self.positions.malformed:
                self._report("malformed", "a page of the list has entries that are no opportunities; they are skipped.")
            self._schedule(segment, due, entries)
            await self._deliver(segment, entries, response.sent)

    async def _on_refused_or_failed(self, segment: Segment, error: ChartMogulError) -> None:
        is_refused = isinstance(error, ChartMogulInvalidRequestError | ChartMogulNotFoundError)
        previous = segment.previous
        if is_refused and previous and previous.refusals <= self._client.hook.settings.max_retries:
            self._drop(segment, error.summary)
        elif self.positions.is_known(segment):
            self._on_failed(segment, error)
        if isinstance(error, KEY_ERRORS):
            await self._on_key_error()

    def _read_next(self, segment: Segment) -> None:
        if self._is_more_needed():
            self._pending.add(segment)
            self._put(segment, -math.inf)  # before all others: nothing behind it is known yet
        else:
            self._unread.add(segment)

    async def _deliver(self, segment: Segment, entries: list[dict[str, Any]], sent: float) -> None:
        yielder = LoopYielder()
        for entry in entries:
            uuid = entry["uuid"]
            self._unlocated.discard(uuid)
            if self.positions.owners.get(uuid) is not segment:
                continue  # another segment delivered it meanwhile
            target = self._single_polls.targets.get(uuid)
            if target is None or target.searched <= sent:
                for subscription in tuple(self.subscriptions):
                    await yielder.step(has_woken=subscription.notify(entry))
            if target:
                await self._single_polls.on_listed(entry, sent, segment.period, yielder)

    def _schedule(self, segment: Segment, due: float, entries: list[dict[str, Any]]) -> None:
        now = asyncio.get_running_loop().time()
        targets = self._single_polls.targets
        following = segment.next
        is_due = following in self._reading or following in self._pending
        if following and not is_due and self.positions.can_merge(segment):
            self._queue.discard(following)
            self.positions.drop(following)
        before = segment.period
        waits = [targets[entry["uuid"]].interval for entry in entries if entry["uuid"] in targets]
        segment.waits, segment.period = len(waits), math.inf
        if self.positions.is_ordered:  # otherwise, each round reads it after the page before it
            rounds = self._client.hook.settings.closed_poll_rounds
            segment.period = seconds_between_reads(segment, waits, self.interval, rounds, now)
        if segment.period == math.inf:
            return
        if segment.period > before or (before == math.inf and segment.period > self.interval):
            # Less often from now on; evenly over the rounds.
            self._put(segment, now + segment.period * random.random())
        elif before == math.inf:
            self._put(segment, now + segment.period)
        else:
            # Counted from the due time, unless the next one is over, too: missed reads are not made up for.
            self._put(segment, max(due + segment.period, now))

    def _on_failed(self, segment: Segment, error: ChartMogulError) -> None:
        now = asyncio.get_running_loop().time()
        segment.failures += 1
        self._put(segment, now + backoff_delay(segment.failures - 1, None))
        if segment.failures <= self._client.hook.settings.max_retries and error.transient:
            return
        if self._failing_since is None:
            self._failing_since = now
        # An outage has a log line of its own, for all requests.
        may_be_outage = error.transient or isinstance(error, KEY_ERRORS)
        is_list = not self._client.outage and (segment.failures > FAILURES_UNTIL_OUTAGE or not may_be_outage)
        if is_list and type(error) not in self._logged_failures:
            self._logged_failures.add(type(error))
            message = "%s: the list cannot be read completely; waits are polled one by one. %s"
            log.warning(message, self._label(), naming(None, error))

    def _on_misfit(self, segment: Segment, error: PositionError) -> None:
        if not self.positions.is_ordered:
            self._on_failed(segment, invalid_list(f"the list does not end: {error}"))
        elif segment.cursor is None or not segment.is_read:
            self._read_in_sequence(str(error))
        else:
            self._drop(segment, str(error))

    def _drop(self, segment: Segment, reason: str) -> None:
        """Drop an unusable position, and read again from the one before it."""
        log.info("%s: a position in the list is read from the one before it: %s", self._label(), reason)
        self._queue.discard(segment)
        previous = self.positions.drop(segment)
        self._pending.add(previous)
        pause = backoff_delay(previous.refusals, None) if previous.refusals else 0
        previous.refusals += 1
        self._put(previous, asyncio.get_running_loop().time() + pause)

    def _read_in_sequence(self, reason: str) -> None:
        """Read one page after another until the triggerer restarts."""
        self._report("sequence", f"from now on, the list is read one page after another, which is slow: {reason}.")
        self.positions.is_ordered = False
        self._restart()

    def _restart(self) -> None:
        for segment in self.positions:
            self._queue.discard(segment)
        self.positions.restart()
        self._unread.clear()
        self._pending = {self.positions.head}
        self._put(self.positions.head, asyncio.get_running_loop().time())

    def _report(self, subject: str, message: str) -> None:
        if subject not in self._reported:
            self._reported.add(subject)
            log.warning("%s: %s", self._label(), message)

    async def _rounds(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await self._until(lambda: bool(self.subscriptions))
            begin, interval = clock(), self.interval
            self._round += 1
            if not self.positions.is_ordered:
                self._restart()
            self._round_end = begin + interval
            self._pending.add(self.positions.head)
            for segment in self.positions:
                if self._queue.due(segment) <= self._round_end or segment in self._reading:
                    self._pending.add(segment)
            await self._until(lambda: not self._pending or not self.subscriptions)
            is_complete = self.positions.is_complete and not any(segment.failures for segment in self.positions)
            if is_complete:
                self._completed = clock()
                self._on_complete_round(self._completed - begin, interval, is_first=self._round == 1)
            # A subscription that joined a round in sequence has not received its first pages.
            is_shared = is_complete and (self.positions.is_ordered or not self._has_new_subscription(begin))
            for subscription in tuple(self.subscriptions):
                subscription.end_round(self.positions.owners.keys() if is_shared else None, self._single_polls)
            # A new subscription need not wait for the next round to have received everything.
            await self._until(functools.partial(self._has_new_subscription, begin), self._round_end - clock())

    def _can_be_checked(self, last_round: int) -> bool:
        is_remembered = self.positions.is_complete and self.positions.is_ordered
        return self._round > last_round and is_remembered and bool(self.subscriptions)

    def _has_new_subscription(self, since: float) -> bool:
        return self._joined > since

    async def _until(self, condition: Callable[[], bool], seconds: float | None = None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._has_read.clear()
                    await self._has_read.wait()

    def _on_complete_round(self, seconds: float, interval: float, *, is_first: bool) -> None:
        metrics.timing("round_seconds", seconds, **self._client.tags)
        if self._failing_since is not None:
            if self._logged_failures:
                failed = asyncio.get_running_loop().time() - self._failing_since
                log.info("%s: the list can be read completely again, after %.0f s.", self._label(), failed)
            self._failing_since = None
            self._logged_failures.clear()
        elif seconds > _LATE_ROUND * interval and not is_first:
            self._report(
                "late",
                f"a round takes {round(seconds, 2):g} s, longer than the poll_interval of {interval:g} s; the next one "
                f"follows immediately. A longer poll_interval, or more max_requests_per_second and "
                f"max_concurrent_requests in the connection's extra, would help.",
            )

    async def _check(self) -> None:
        """Compare the segments with the list read page by page; read it like that from now on if they differ."""
        rounds = _ROUNDS_UNTIL_FIRST_CHECK
        while True:
            await self._until(functools.partial(self._can_be_checked, self._round + rounds))
            seconds_until_read = 2 * self._client.hook.settings.closed_poll_rounds * self.interval
            rounds = _ROUNDS_UNTIL_FIRST_CHECK
            try:
                missed = await find_missed(self._client, self.positions, seconds_until_read)
            except ChartMogulError as error:
                log.debug("%s: the list could not be compared with its positions: %s", self._label(), error.summary)
            else:
                rounds = _ROUNDS_BETWEEN_CHECKS
                if missed:
                    self._read_in_sequence(f"opportunity {missed} was missed")
