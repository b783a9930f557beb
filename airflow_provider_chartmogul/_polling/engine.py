"""
The polling engine: one for all triggers of a triggerer.

ChartMogul has no push notifications and no filter for changes, so changes must be polled. All waits and watchers on an
API key share its requests and its pace, whatever their connection ids and intervals.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import math
import weakref
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_chartmogul._airflow import metrics
from airflow_provider_chartmogul._polling.daemon_threads import run_in_thread, run_with_airflow
from airflow_provider_chartmogul._polling.list_scan import ListScan
from airflow_provider_chartmogul._polling.loop_yielder import LoopYielder
from airflow_provider_chartmogul._polling.rate_limited_client import RateLimitedClient
from airflow_provider_chartmogul._polling.single_polls import (
    SECONDS_UNTIL_CONFIRMED,
    SinglePolls,
    grace_period,
)
from airflow_provider_chartmogul._polling.subscription import Subscription, naming
from airflow_provider_chartmogul.exceptions import (
    ChartMogulConfigurationError,
    ChartMogulError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.hooks._rate_limit import RateLimit
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence

    from airflow_provider_chartmogul._polling.subscriber import Subscriber

log = logging.getLogger(__name__)

_SHORTEST_INTERVAL = 0.1  # seconds
_LONGEST_GATHERING = 1.0  # seconds
_LONGEST_PAUSE = 60.0  # between two tries to load a connection
_SECONDS_UNTIL_LOAD_IS_SLOW = 60.0
_LOAD_ADVICE = "Check the secrets backend and Airflow's metadata database."
_SECONDS_BETWEEN_RELOADS = 1.0
_SECONDS_BETWEEN_RELOADS_IN_AN_OUTAGE = 10.0
_SECONDS_BETWEEN_CHECKS = 1.0
_SECONDS_BEFORE_RESTART = 1.0

_engines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Engine] = weakref.WeakKeyDictionary()


def subscribe(
    subscriber: Subscriber, *, chartmogul_conn_id: str, interval: float, was_found: bool = False
) -> Subscription:
    """
    Poll for a subscriber while the returned context lasts.

    :param subscriber: receives the results
    :param chartmogul_conn_id: the Airflow connection to use
    :param interval: seconds between two polls of an opportunity
    :param was_found: whether a worker has loaded the connection; a failed lookup here is then transient
    """
    loop = asyncio.get_running_loop()
    engine = _engines.get(loop)
    if engine is None:
        engine = _engines[loop] = Engine()
    if was_found:
        engine.found.add(chartmogul_conn_id)
    return Subscription(engine, subscriber, chartmogul_conn_id, max(interval, _SHORTEST_INTERVAL))


async def open_hook(chartmogul_conn_id: str) -> ChartMogulHook:
    """Return a hook whose Airflow connection is loaded."""
    hook = ChartMogulHook(chartmogul_conn_id, max_retries=0)
    await run_with_airflow(lambda: hook.settings)
    return hook


class _Account:
    """The polling under one API key: its waits, its watchers, and the tasks that send their requests."""

    def __init__(self, engine: Engine, key: tuple[str, str], client: RateLimitedClient) -> None:
        self.key = key
        self.client = client
        self.sources: set[_Source] = set()
        self._label = functools.partial(_label, self.sources)
        self._engine = engine
        self._reloaded = -math.inf
        self._reloading: asyncio.Task[None] | None = None
        self.single_polls = SinglePolls(client, self._reload)
        self._scan = ListScan(client, self.single_polls, self._label, self._reload)
        self._scan.positions.is_ordered = key not in engine.in_sequence
        self._new: dict[Subscription, None] = {}
        self._has_new = asyncio.Event()
        workers = [*self.single_polls.workers, *self._scan.workers, self._poll_for_new, self._supervise]
        self._tasks = [start(_keep_running(worker)) for worker in workers]

    def add(self, subscription: Subscription) -> None:
        self._new[subscription] = None
        self._has_new.set()

    def remove(self, subscription: Subscription) -> None:
        self._new.pop(subscription, None)
        uuids = subscription.opportunity_uuids
        if uuids is None:
            self._scan.remove(subscription)
            uuids = self.single_polls.searched_by(subscription)
        for uuid in uuids:
            self.discard(subscription, uuid)

    def discard(self, subscription: Subscription, uuid: str) -> None:
        self.single_polls.remove(subscription, uuid)
        if uuid not in self.single_polls.targets:
            self._scan.forget(uuid)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if not self._scan.positions.is_ordered:
            self._engine.in_sequence.add(self.key)
        # A gauge keeps its last value, and an alert on requests needs to know that none are due.
        metrics.gauge("waits", 0, **self.client.tags)
        metrics.gauge("subscribers", 0, **self.client.tags)
        self.client.close()

    async def _poll_for_new(self) -> None:
        while True:
            await self._has_new.wait()
            yielder = LoopYielder()
            for subscription in tuple(self._new):
                if subscription in self._new:
                    await self._poll_for(subscription, yielder)
                    self._new.pop(subscription, None)
            if not self._new:
                self._has_new.clear()

    async def _poll_for(self, subscription: Subscription, yielder: LoopYielder) -> None:
        # Not immediately: others may subscribe too, as after a triggerer's restart.
        due = asyncio.get_running_loop().time() + min(_LONGEST_GATHERING, subscription.interval / 10)
        grace = grace_period(subscription.interval)
        uuids = subscription.opportunity_uuids
        if uuids is None:
            self._scan.add(subscription)
            return
        for uuid in tuple(uuids):
            await yielder.step(has_woken=False)
            if subscription in self._new and uuid in uuids:
                is_on_page = self._scan.locate(uuid, due)
                self.single_polls.add(subscription, uuid, due + grace * is_on_page)

    async def _reload(self) -> None:
        """Reload the connections, and wait briefly for the result."""
        self._begin_to_reload(_SECONDS_BETWEEN_RELOADS)
        if self._reloading:
            await asyncio.wait([self._reloading], timeout=SECONDS_UNTIL_CONFIRMED)

    def _begin_to_reload(self, pause: float) -> None:
        """Begin to reload the connections, since the cause of an error may have been corrected there."""
        now = asyncio.get_running_loop().time()
        if now - self._reloaded >= pause and (self._reloading is None or self._reloading.done()):
            self._reloaded = now
            # In a task of the engine, since it may close this account and so cancel the caller.
            self._reloading = start(self._engine.reload(tuple(self.sources)))

    def _set_failing_since(self, moment: float) -> None:
        for source in self.sources:
            source.failing_since = moment

    async def _supervise(self) -> None:
        """Report outages, end the rounds of watchers of chosen opportunities, and send metrics."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_CHECKS)
            now, error = clock(), self.client.outage
            subscriptions = [subscription for source in self.sources for subscription in source.subscriptions]
            # Of the connection, since a new API key makes another account of it.
            failing_since = min((source.failing_since for source in self.sources), default=math.inf)
            if error and failing_since == math.inf:
                self._set_failing_since(now)
                message = "%s: all requests fail; a few are retried until one succeeds. %s"
                log.warning(message, self._label(), naming(None, error))
                yielder = LoopYielder()
                for subscription in subscriptions:
                    await yielder.step(has_woken=subscription.notify_error(error, None))
            elif not error and self.client.last_success > failing_since:
                log.info("%s works again after %.0f s.", self._label(), now - failing_since)
                self._set_failing_since(math.inf)
            metrics.gauge("waits", len(self.single_polls.targets), **self.client.tags)
            metrics.gauge("subscribers", len(subscriptions), **self.client.tags)
            self._scan.measure()
            if error:
                self._begin_to_reload(_SECONDS_BETWEEN_RELOADS_IN_AN_OUTAGE)
                continue
            for subscription in subscriptions:
                if subscription.has_rounds and now >= subscription.next_round_end:
                    subscription.next_round_end = now + subscription.interval
                    subscription.end_round(None, self.single_polls)


class _Source:
    """An Airflow connection, and the subscriptions on it."""

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self.subscriptions: dict[Subscription, None] = {}
        self.account: _Account | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.has_failed = False  # to be loaded again
        self.failing_since = math.inf  # when all requests began to fail


class Engine:
    """
    Polls for all subscriptions of an event loop.

    :param open_hook: loads an Airflow connection
    :param run: calls a function in a thread
    """

    def __init__(
        self,
        open_hook: Callable[[str], Awaitable[ChartMogulHook]] = open_hook,
        run: Callable[..., Awaitable[Any]] = run_in_thread,
    ) -> None:
        self._open_hook = open_hook
        self._run = run
        self._sources: dict[str, _Source] = {}
        self._accounts: dict[tuple[str, str], _Account] = {}
        # Kept when nobody polls: the account's other clients are still there.
        self._rate_limits: dict[tuple[str, str], RateLimit] = {}
        self.in_sequence: set[tuple[str, str]] = set()  # accounts whose list is read in sequence until a restart
        self.found: set[str] = set()  # connections that exist, whatever Airflow says later

    def join(self, subscription: Subscription) -> None:
        """Begin to poll for a subscription."""
        conn_id = subscription.chartmogul_conn_id
        source = self._sources.get(conn_id)
        if source is None:
            source = self._sources[conn_id] = _Source(conn_id)
            source.connecting = start(_keep_running(lambda: self._connect(source)))
        source.subscriptions[subscription] = None
        if source.account:
            source.account.add(subscription)

    def leave(self, subscription: Subscription) -> None:
        """Stop polling for a subscription; the last one to leave ends all tasks and connections."""
        source = self._sources[subscription.chartmogul_conn_id]
        del source.subscriptions[subscription]
        if source.account:
            source.account.remove(subscription)
        if not source.subscriptions:
            del self._sources[source.conn_id]
            if source.connecting:
                source.connecting.cancel()
            self._detach(source)

    def discard(self, subscription: Subscription, opportunity_uuid: str) -> None:
        """Stop polling an opportunity for a subscription."""
        if account := self._sources[subscription.chartmogul_conn_id].account:
            account.discard(subscription, opportunity_uuid)

    async def reload(self, sources: Sequence[_Source]) -> None:
        """Reload Airflow connections; keep their settings if that fails."""
        for source in sources:
            try:
                hook = await self._load(source.conn_id)
            except ChartMogulError as error:
                if not source.has_failed:
                    log.info("Connection %s is used as it was. %s", source.conn_id, error)
                source.has_failed = True
            else:
                source.has_failed = False
                await self._assign(source, hook)

    async def _connect(self, source: _Source) -> None:
        clock = asyncio.get_running_loop().time
        failures, begin = 0, clock()
        while True:
            try:
                hook = await self._load(source.conn_id)
            except ChartMogulError as error:
                failures += 1
                if failures == 1:
                    log.warning("%s: loading it failed, and is retried. %s", _label([source]), error)
                if any(subscription.opportunity_uuids is None for subscription in source.subscriptions):
                    metrics.gauge("seconds_since_complete_round", clock() - begin, conn_id=source.conn_id)
                is_confirmed = failures > 1 and not error.transient
                yielder = LoopYielder()
                for subscription in tuple(source.subscriptions):
                    is_ended = is_confirmed and not subscription.subscriber.is_watcher
                    for uuid in subscription.opportunity_uuids or (None,) if is_ended else (None,):
                        await yielder.step(has_woken=subscription.notify_error(error, uuid))
                shortest = min((subscription.interval for subscription in source.subscriptions), default=math.inf)
                longest = _LONGEST_PAUSE if error.transient or is_confirmed else SECONDS_UNTIL_CONFIRMED
                await asyncio.sleep(min(shortest, 2.0 ** min(failures, 10) if error.transient else longest, longest))
            else:
                if failures:
                    log.info("%s works again after %.0f s.", _label([source]), clock() - begin)
                await self._assign(source, hook)
                return

    async def _load(self, conn_id: str) -> ChartMogulHook:
        # A call in a thread cannot be cancelled, so one that hangs is reported instead of repeated.
        message = f"Connection %s: Airflow has not loaded it after %.0f s. {_LOAD_ADVICE}"
        loop = asyncio.get_running_loop()
        slow = loop.call_later(_SECONDS_UNTIL_LOAD_IS_SLOW, log.warning, message, conn_id, _SECONDS_UNTIL_LOAD_IS_SLOW)
        try:
            hook = await self._open_hook(conn_id)
        except ChartMogulError:
            raise
        except AirflowNotFoundException as error:
            # Airflow 3 reports a secrets backend that is down in the same words (apache/airflow#71307).
            if conn_id not in self.found:
                raise ChartMogulConfigurationError(str(error)) from None
            message = f"Airflow lost the connection {conn_id!r}: {error}"
            raise ChartMogulUnreachableError(message, advice=_LOAD_ADVICE) from None
        except Exception as error:
            message = f"Airflow could not load the connection {conn_id!r}: {error}"
            raise ChartMogulUnreachableError(message, advice=_LOAD_ADVICE) from error
        finally:
            slow.cancel()
        self.found.add(conn_id)
        return hook

    async def _assign(self, source: _Source, hook: ChartMogulHook) -> None:
        """Poll for a connection's subscriptions under the API key that it has now."""
        settings = hook.settings
        key = (settings.base_url, settings.api_key)
        if self._sources.get(source.conn_id) is not source or (source.account and source.account.key == key):
            if source.account and source.account.client.hook.settings != settings:
                source.account.client.hook, hook = hook, source.account.client.hook
            hook.close()
            return
        self._detach(source)
        account = self._accounts.get(key)
        if account:
            hook.close()
        else:
            rate_limit = self._rate_limits.get(key)
            if rate_limit is None or rate_limit.limit != settings.max_requests_per_second:
                rate_limit = self._rate_limits[key] = RateLimit(settings.max_requests_per_second)
            account = self._accounts[key] = _Account(self, key, RateLimitedClient(hook, rate_limit, self._run))
        source.account = account
        account.sources.add(source)
        for subscription in source.subscriptions:
            account.add(subscription)

    def _detach(self, source: _Source) -> None:
        account, source.account = source.account, None
        if account:
            account.sources.discard(source)
            if not account.sources:
                del self._accounts[account.key]
                account.close()
                return
            for subscription in source.subscriptions:
                account.remove(subscription)


def _label(sources: Collection[_Source]) -> str:
    """Return the name of connections and their users, for log lines."""
    subscriptions = [subscription for source in sources for subscription in source.subscriptions]
    watchers = sorted({each.subscriber.name for each in subscriptions if each.subscriber.is_watcher})
    waits = sum(not subscription.subscriber.is_watcher for subscription in subscriptions)
    users = [f"watchers: {', '.join(watchers)}"] * bool(watchers) + [f"waits: {waits}"] * bool(waits)
    return f"Connection {', '.join(sorted(source.conn_id for source in sources))} ({'; '.join(users)})"


def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task in a context of its own; in a trigger's, it would log to the log of that trigger's task."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


async def _keep_running(worker: Callable[[], Awaitable[None]]) -> None:
    """Start a worker again if it ends unexpectedly, so that no subscriber hangs."""
    while True:
        try:
            return await worker()
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # such as Airflow's DeadlockImminentError
            log.exception("Unexpected error in the polling engine; it goes on.")
        await asyncio.sleep(_SECONDS_BEFORE_RESTART)
