"""The individual polls of opportunities."""

from __future__ import annotations

import asyncio
import copy
import functools
import logging
import math
import random
from dataclasses import dataclass, field
from operator import methodcaller
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._airflow import metrics
from airflow_provider_chartmogul._polling.due_queue import DueQueue
from airflow_provider_chartmogul._polling.loop_yielder import LoopYielder
from airflow_provider_chartmogul._polling.page_requests import page_request
from airflow_provider_chartmogul._polling.rate_limited_client import FAILURES_UNTIL_OUTAGE, KEY_ERRORS
from airflow_provider_chartmogul.exceptions import ChartMogulError
from airflow_provider_chartmogul.hooks._retries import backoff_delay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from collections.abc import Set as AbstractSet

    from airflow_provider_chartmogul._polling.rate_limited_client import RateLimitedClient
    from airflow_provider_chartmogul._polling.subscription import Subscription
    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

log = logging.getLogger(__name__)

SECONDS_UNTIL_CONFIRMED = 10.0  # by a second poll, or after an interval if that is shorter
_MOST_SEARCHED = 200  # opportunities that the list lacks are retrieved in portions


@dataclass(eq=False, slots=True)
class Target:
    """
    An opportunity to poll.

    :param subscriptions: those that poll it; those of the whole list only until the reason for its absence is known
    """

    uuid: str
    subscriptions: dict[Subscription, None] = field(default_factory=dict)
    received: float = -math.inf  # when the newest response arrived
    searched: float = -math.inf  # when the newest response for subscriptions of the whole list arrived
    failures: int = 0  # in a row
    rejected: Exception | None = None  # the permanent error of the last poll
    rejected_at: float = -math.inf  # when a poll first raised it

    @property
    def interval(self) -> float:
        """The shortest one of its subscriptions."""
        return min((subscription.interval for subscription in self.subscriptions), default=math.inf)

    @property
    def is_searched(self) -> bool:
        """Whether a subscription of the whole list polls it."""
        return any(subscription.opportunity_uuids is None for subscription in self.subscriptions)


class SinglePolls:
    """
    Poll each opportunity an interval after it was last received, individually or on a page of the list.

    Opportunities that fail wait in a queue of their own, so that requests that hang delay none of the others.

    :param client: sends the requests
    :param on_key_error: called when ChartMogul rejects the API key
    """

    def __init__(self, client: RateLimitedClient, on_key_error: Callable[[], Awaitable[None]]) -> None:
        self.targets: dict[str, Target] = {}
        self._client = client
        self._on_key_error = on_key_error
        self._due: DueQueue[Target] = DueQueue()
        self._failing: DueQueue[Target] = DueQueue()
        self._key_rejected_at = -math.inf

    @property
    def workers(self) -> list[Callable[[], Awaitable[None]]]:
        """The coroutine functions to run."""
        concurrency = self._client.concurrency
        return [
            *[functools.partial(self._work, self._due)] * concurrency,
            *[functools.partial(self._work, self._failing)] * max(1, concurrency // 2),
            self._confirm_outages,
        ]

    def add(self, subscription: Subscription, uuid: str, due: float) -> None:
        """
        Poll an opportunity for a subscription.

        :param due: when to poll it, even if it is polled already: the new subscription has received nothing
        """
        target = self.targets.setdefault(uuid, Target(uuid))
        target.subscriptions[subscription] = None
        # Never postponed: a stream of new subscriptions would otherwise starve it.
        self._put(target, min(due, self._due.due(target), self._failing.due(target)))

    def remove(self, subscription: Subscription, uuid: str) -> None:
        """Stop polling an opportunity for a subscription."""
        target = self.targets.get(uuid)
        if target and subscription in target.subscriptions:
            del target.subscriptions[subscription]
            if not target.subscriptions:
                self._discard(target)

    def search(self, subscription: Subscription, uuids: Collection[str], listed: AbstractSet[str]) -> None:
        """
        Poll opportunities that the list lacks, until they are found or their deletion is confirmed.

        :param uuids: those that the subscription knows
        :param listed: those that are in the list by now
        """
        for target in tuple(self.targets.values()):
            if not target.subscriptions:
                self._discard(target)
        searched = [target for target in self.targets.values() if target.is_searched and target.uuid not in listed]
        for target in searched:
            target.subscriptions[subscription] = None
        # In portions that all watchers share, and at random, since some may be hidden from the list for good.
        sample = random.sample(tuple(uuids), min(len(uuids), _MOST_SEARCHED))
        known = {target.uuid for target in searched}
        new = [uuid for uuid in sample if uuid not in listed and uuid not in known]
        for uuid in new[: max(0, _MOST_SEARCHED - len(searched))]:
            self.add(subscription, uuid, asyncio.get_running_loop().time())

    def searched_by(self, subscription: Subscription) -> set[str]:
        """Return the opportunities that are polled for a subscription of the whole list."""
        return {target.uuid for target in self.targets.values() if subscription in target.subscriptions}

    async def on_listed(self, opportunity: dict[str, Any], sent: float, period: float, yielder: LoopYielder) -> None:
        """
        Notify the subscribers of an opportunity that is on a page of the list.

        :param sent: when the page was requested
        :param period: seconds after which that page is read again
        """
        target = self.targets.get(opportunity["uuid"])
        if target is None or sent < target.received:
            return
        self._end_search(target)
        if not target.subscriptions:
            self._discard(target)
            return
        # A page that is read often enough replaces individual polls.
        grace = grace_period(target.interval) if period <= target.interval else 0
        await self._on_polled(target, opportunity, sent + target.interval + grace, yielder)

    async def fail_all(self, error: ChartMogulError) -> None:
        """Report a confirmed error of the connection or its key for each opportunity, with its own request."""
        yielder = LoopYielder()
        for target in tuple(self.targets.values()):
            await self._on_failed(target, _for_request_of(target.uuid, error), yielder)

    async def _work(self, queue: DueQueue[Target]) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            target, due = await queue.next()
            metrics.timing("poll_lateness", max(0.0, clock() - due), **self._client.tags)
            try:
                await self._poll(target, due)
            finally:
                # Also after an unexpected error.
                if target.subscriptions and target not in self._due and target not in self._failing:
                    self._put(target, clock() + target.interval)

    async def _confirm_outages(self) -> None:
        """Request the head of the list, and an opportunity that has not failed, when requests time out."""
        while True:
            await self._client.until_outage_is_suspected()
            healthy = [target for target in self.targets.values() if not target.failures and not target.rejected]
            newest = max(healthy, key=lambda target: target.received, default=None)
            requests: list[Callable[[ChartMogulHook], object]] = [page_request(None)]
            if newest:
                requests.append(methodcaller("retrieve_opportunity", newest.uuid))
            await self._client.confirm_outage(*requests)

    async def _poll(self, target: Target, due: float) -> None:
        clock = asyncio.get_running_loop().time
        uuid, yielder = target.uuid, LoopYielder()
        try:
            response = await self._client.call(methodcaller("retrieve_opportunity", uuid))
        except ChartMogulError as error:
            if error.transient:
                target.failures += 1
                # Not after an interval of an hour, and no more often than the others. The client honors Retry-After.
                self._put(target, clock() + min(target.interval, backoff_delay(target.failures - 1, None)))
                if target.failures > self._client.hook.settings.max_retries:
                    await self._on_failed(target, error, yielder)
            else:
                await self._reject(target, error, yielder)
        except Exception as error:
            if type(error) is not type(target.rejected):
                log.exception("Unexpected error at opportunity %s.", uuid)
            await self._reject(target, error, yielder)
        else:
            if response.sent < target.received:  # a page that was requested later was faster
                self._put(target, target.received + target.interval + grace_period(target.interval))
            else:
                # Counted from the due time, unless the next one has passed, too: missed polls are skipped.
                await self._on_polled(target, response.value, max(due + target.interval, clock()), yielder)

    async def _reject(self, target: Target, error: Exception, yielder: LoopYielder) -> None:
        """Handle a permanent error: pass it on if an earlier poll raised it, too."""
        now = asyncio.get_running_loop().time()
        confirmed_after = min(target.interval, SECONDS_UNTIL_CONFIRMED)
        if type(error) is not type(target.rejected):
            target.rejected, target.rejected_at, target.failures = error, now, 0
        # A new subscription may have had it polled sooner.
        is_confirmed = target.rejected_at < now >= target.rejected_at + confirmed_after
        self._put(target, now + target.interval if is_confirmed else target.rejected_at + confirmed_after)
        if isinstance(error, KEY_ERRORS) and self._is_key_rejected(target, now, confirmed_after):
            await self.fail_all(error)
        elif is_confirmed:
            await self._on_failed(target, error, yielder)
            self._on_search_answered(target, now)
        if isinstance(error, KEY_ERRORS):
            await self._on_key_error()

    def _is_key_rejected(self, target: Target, now: float, confirmed_after: float) -> bool:
        """Return whether nothing has worked since the key was first rejected, some time ago."""
        if self._client.last_success >= self._key_rejected_at:
            self._key_rejected_at = now
            # Another opportunity shows whether it is the key or this opportunity.
            polled = (each for each in self.targets.values() if each.subscriptions and each is not target)
            if other := next((each for each in polled if not each.rejected), None):
                self._put(other, now)
        return now - self._key_rejected_at >= confirmed_after

    async def _on_polled(self, target: Target, opportunity: dict[str, Any], due: float, yielder: LoopYielder) -> None:
        target.received = asyncio.get_running_loop().time()
        target.failures, target.rejected = 0, None
        self._put(target, due)
        subscriptions = tuple(target.subscriptions)
        self._on_search_answered(target, target.received)
        for subscription in subscriptions:
            await yielder.step(has_woken=subscription.notify(opportunity))

    async def _on_failed(self, target: Target, error: Exception, yielder: LoopYielder) -> None:
        # For a watcher an error is a log line, and an outage has one of its own.
        is_early = target.failures <= FAILURES_UNTIL_OUTAGE and isinstance(error, ChartMogulError) and error.transient
        may_be_outage = is_early or self._client.outage is not None
        for subscription in tuple(target.subscriptions):
            if not (may_be_outage and subscription.subscriber.is_watcher):
                await yielder.step(has_woken=subscription.notify_error(error, target.uuid))

    def _on_search_answered(self, target: Target, now: float) -> None:
        if target.is_searched:
            target.searched = now
            self._end_search(target)
            if not target.subscriptions:  # stays known until the next search, as newer than pages in flight
                self._due.discard(target)
                self._failing.discard(target)

    def _end_search(self, target: Target) -> None:
        target.subscriptions = {each: None for each in target.subscriptions if each.opportunity_uuids is not None}

    def _put(self, target: Target, due: float) -> None:
        if not target.subscriptions:  # the last one left while a request was in flight
            return
        queue, other = (self._failing, self._due) if target.failures else (self._due, self._failing)
        other.discard(target)
        queue.put(target, due)

    def _discard(self, target: Target) -> None:
        del self.targets[target.uuid]
        self._due.discard(target)
        self._failing.discard(target)


def grace_period(interval: float) -> float:
    """Return the seconds that a page may be late before an opportunity on it is polled individually."""
    return min(interval / 4, 3.0)


def _for_request_of(uuid: str, error: ChartMogulError) -> ChartMogulError:
    if error.path is None:  # no request was sent
        return error
    error = copy.copy(error)
    error.method, error.path = "GET", f"/v1/opportunities/{uuid}"
    return error
