"""The differences between polls, queued as changes of opportunities."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._airflow import metrics
from airflow_provider_chartmogul._polling.change import Change
from airflow_provider_chartmogul._polling.failure_log import FailureLog
from airflow_provider_chartmogul._polling.subscriber import Subscriber
from airflow_provider_chartmogul.exceptions import ChartMogulNotFoundError
from airflow_provider_chartmogul.opportunity._values import check_opportunity_uuid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from collections.abc import Set as AbstractSet

    from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore
    from airflow_provider_chartmogul.opportunity._watch_condition import Row, WatchCondition

log = logging.getLogger(__name__)

# The triggerer writes events to the database about once a second, and loses those in memory if it is killed.
_SECONDS_UNTIL_EVENT_IS_STORED = 5.0
_SECONDS_UNTIL_DELIVERY_IS_SAVED = 10.0  # so that many events are one save
_SECONDS_BETWEEN_SAVES = 5.0
_FEWEST_SECONDS_BETWEEN_TRIES = 1.0
_MOST_SECONDS_BETWEEN_TRIES = 30.0
_COMPARISONS_IN_A_STEP = 2_000  # of the event loop
_SECONDS_UNTIL_STORE_IS_SLOW = 60.0  # 1,024 reads of Airflow's store take about 34
_MOST_CLOCK_SKEW = timedelta(minutes=5)  # between ChartMogul and this machine


class ChangeDetector(Subscriber):
    """
    Compare poll results with the snapshot, and queue each wanted difference.

    A change is stored together with the new values at the end of the round, and removed some seconds after
    :meth:`acknowledge`, so that a triggerer that is killed in between sends its event again.

    :param store: the snapshot
    :param condition: the differences that are wanted
    :param name: names the watcher in log lines and metrics
    :param chartmogul_conn_id: the Airflow connection, for log lines and metrics
    :param opportunity_uuids: the opportunities to poll; None: the whole list
    """

    is_watcher = True

    def __init__(
        self,
        store: SnapshotStore,
        condition: WatchCondition,
        *,
        name: str,
        chartmogul_conn_id: str,
        opportunity_uuids: Collection[str] | None = None,
    ) -> None:
        self.name = name
        self.opportunity_uuids = opportunity_uuids
        self.changes: asyncio.Queue[Change] = asyncio.Queue()
        self._store = store
        self._condition = condition
        self._read_row = condition.reader()
        self._conn_id = chartmogul_conn_id
        self._has_unsaved = asyncio.Event()
        self._round = 0
        self._failing: set[str] = set()
        self._unknown: set[str] = set()
        self._subject = f"Watcher {name} on connection {chartmogul_conn_id}"
        self._polls = FailureLog(log, self._subject, "The watcher continues.")
        self._saves = FailureLog(log, f"{self._subject}, asset state store of Airflow", "Retrying.")

    def on_opportunity(self, opportunity: dict[str, Any]) -> bool:
        """Compare an opportunity with its last known values."""
        uuid = opportunity.get("uuid")
        if not isinstance(uuid, str):
            return False
        self._on_response(uuid)
        row = self._read_row(opportunity)
        known = self._store.get(uuid)
        if known is not None:
            if self._condition.is_unchanged(row, known):
                return False
        elif self.opportunity_uuids is not None or not self._store.is_new(uuid, opportunity.get("created_at")):
            self._store.note_baseline(opportunity.get("created_at"))
            self._store[uuid] = row
            return False
        return self._on_difference(uuid, known, row, opportunity)

    def on_error(self, error: Exception, opportunity_uuid: str | None) -> bool:
        """Treat a confirmed 404 as a deletion; log other errors of an opportunity once."""
        if opportunity_uuid is None:
            return False  # logged by the engine, once for all subscribers
        if isinstance(error, ChartMogulNotFoundError):
            self._on_response(opportunity_uuid)
            known = self._store.get(opportunity_uuid)
            if known is not None:
                is_event = self._on_difference(opportunity_uuid, known, None, None)
                if is_event:
                    self._unknown.add(opportunity_uuid)  # the event is enough
                return is_event
            if opportunity_uuid not in self._unknown and opportunity_uuid in (self.opportunity_uuids or ()):
                self._unknown.add(opportunity_uuid)
                log.warning("%s: %s", self._subject, error)
            return False
        self._failing.add(opportunity_uuid)
        self._polls.on_failure(error)
        return False

    async def on_round_end(self, listed: AbstractSet[str] | None) -> Collection[str]:
        """Return the known opportunities that the list lacks."""
        self._round += 1
        is_complete = self.opportunity_uuids is not None or listed is not None
        if is_complete:
            # An empty list may be a transient fault.
            self._store.mark_baseline_complete((datetime.now(UTC) - _MOST_CLOCK_SKEW).isoformat())
        self._has_unsaved.set()
        return () if listed is None else await self._missing_from(listed)

    def acknowledge(self, change: Change) -> None:
        """Record that the event of a change was yielded to Airflow."""
        loop = asyncio.get_running_loop()
        loop.call_later(_SECONDS_UNTIL_EVENT_IS_STORED, self._store.remove_pending, change)
        loop.call_later(_SECONDS_UNTIL_DELIVERY_IS_SAVED, self._has_unsaved.set)
        metrics.count("events", conn_id=self._conn_id, watcher=self.name)

    async def load(self) -> None:
        """Load the stored snapshot, retrying until that succeeds, since changes cannot be detected without it."""
        await self._use_store(lambda: self._store.load(self._subject), "Polling begins once the snapshot is loaded.")
        if self.opportunity_uuids is not None:
            for uuid in set(self._store) - set(self.opportunity_uuids):
                del self._store[uuid]
        for change in self._store.pending:
            is_polled = self.opportunity_uuids is None or change.opportunity_uuid in self.opportunity_uuids
            # The targets may have changed since it was stored.
            if is_polled and self._condition.is_event(change.previous, change.current, None):
                self.changes.put_nowait(change)
            else:
                self._store.remove_pending(change)
        if self._store.has_baseline:
            message = "%s: snapshot restored; opportunities: %d, events to send again: %d."
            log.info(message, self._subject, len(self._store), self.changes.qsize())
        else:
            log.info("%s: no snapshot; the first complete round is the baseline and makes no events.", self._subject)

    async def keep_saved(self) -> None:
        """Save the snapshot after rounds and events, until cancelled. Events do not wait for it."""
        while True:
            await self._has_unsaved.wait()
            self._has_unsaved.clear()
            if not self._store.is_saved:
                await self._use_store(self._store.save, "Until it is saved, a restart repeats events.")
                await asyncio.sleep(_SECONDS_BETWEEN_SAVES)

    def _on_response(self, uuid: str) -> None:
        if uuid in self._failing:
            self._failing.discard(uuid)
            if not self._failing:
                self._polls.on_success()

    def _on_difference(
        self, uuid: str, previous: Row | None, current: Row | None, opportunity: dict[str, Any] | None
    ) -> bool:
        if current is None:
            del self._store[uuid]
        else:
            self._store[uuid] = current
        if not self._condition.is_event(previous, current, opportunity):
            return False
        change = Change(
            opportunity_uuid=uuid,
            previous=previous,
            current=current,
            observed_at=datetime.now(UTC).isoformat(),
            customer_uuid=opportunity.get("customer_uuid") if opportunity else None,
            updated_at=opportunity.get("updated_at") if opportunity else None,
            round=self._round,
        )
        self._store.add_pending(change)
        self.changes.put_nowait(change)
        return True

    async def _missing_from(self, listed: AbstractSet[str]) -> list[str]:
        missing = []
        for number, uuid in enumerate(self._store):
            if uuid not in listed and _can_be_retrieved(uuid):
                missing.append(uuid)
            if number % _COMPARISONS_IN_A_STEP == 0:
                await asyncio.sleep(0)
        return missing

    async def _use_store(self, call: Callable[[], Awaitable[None]], consequence: str) -> None:
        """Load or save, retrying until that succeeds."""
        pause = _FEWEST_SECONDS_BETWEEN_TRIES
        while not await self._try_store(call, consequence):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MOST_SECONDS_BETWEEN_TRIES)

    async def _try_store(self, call: Callable[[], Awaitable[None]], consequence: str) -> bool:
        message = "%s, asset state store of Airflow: not finished after %.0f s. %s"
        # A call in a thread cannot be cancelled, so one that hangs is reported instead of repeated.
        slow = asyncio.get_running_loop().call_later(
            _SECONDS_UNTIL_STORE_IS_SLOW, log.warning, message, self._subject, _SECONDS_UNTIL_STORE_IS_SLOW, consequence
        )
        try:
            await call()
        except Exception as error:  # noqa: BLE001  # Airflow's API server and state backends may raise anything
            self._saves.on_failure(error)
            metrics.count("store_errors", conn_id=self._conn_id, watcher=self.name)
            return False
        finally:
            slow.cancel()
        self._saves.on_success()
        return True


def _can_be_retrieved(uuid: str) -> bool:
    """Return whether a deletion can be confirmed; the list may hold UUIDs of another form."""
    try:
        check_opportunity_uuid(uuid)
    except ValueError:
        return False
    return True
