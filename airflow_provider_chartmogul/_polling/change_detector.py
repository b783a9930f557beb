"""The differences between polls, queued as changes of opportunities."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._airflow import metrics
from airflow_provider_chartmogul._polling.failure_log import FailureLog
from airflow_provider_chartmogul._polling.subscriber import Subscriber
from airflow_provider_chartmogul.exceptions import ChartMogulNotFoundError
from airflow_provider_chartmogul.opportunity._values import check_opportunity_uuid

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet

    from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore
    from airflow_provider_chartmogul.opportunity._watch_condition import Row, WatchCondition

log = logging.getLogger(__name__)

# The triggerer writes events to the database about once a second, and loses those in memory if it is killed.
_SECONDS_UNTIL_EVENT_IS_STORED = 5.0
_SECONDS_BETWEEN_LOADS = 1.0
_MOST_SECONDS_BETWEEN_TRIES = 30.0
_COMPARISONS_IN_A_STEP = 2_000  # of the event loop
_SECONDS_UNTIL_STORE_IS_SLOW = 60.0  # 1,024 reads of Airflow's store take about 34
_MOST_CLOCK_SKEW = timedelta(minutes=5)  # between ChartMogul and this machine


@dataclass(frozen=True, slots=True)
class Change:
    """
    A difference between two polls that makes an event.

    :param event: ``created``, ``changed`` or ``deleted``
    :param previous: the watched values before; None: the opportunity is new
    :param current: the watched values now; None: the opportunity is deleted
    :param round: the number of the poll round that detected it
    """

    event: str
    opportunity_uuid: str
    customer_uuid: str | None
    previous: Row | None
    current: Row | None
    updated_at: str | None
    observed_at: str
    round: int


class ChangeDetector(Subscriber):
    """
    Compare poll results with the snapshot, and queue each wanted difference.

    The snapshot is the state whose events were delivered: a change enters it some seconds after
    :meth:`acknowledge`, so that the change is detected again if the triggerer is killed before.

    :param store: the snapshot
    :param condition: the differences that are wanted
    :param name: names the watcher in log lines and metrics
    :param chartmogul_conn_id: the Airflow connection, for log lines and metrics
    :param opportunity_uuids: the opportunities to poll; None: the whole list
    """

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
        # For each opportunity with events in flight: the rows to store once Airflow has stored the events.
        self._unsettled: dict[str, deque[Row | None]] = {}
        self._handed_over: deque[tuple[float, Change]] = deque()
        self._has_unsaved = asyncio.Event()
        self._round = 0
        self._has_failed_in_round = False
        self._unknown: set[str] = set()
        self._subject = f"Watcher {name} on connection {chartmogul_conn_id}"
        self._polls = FailureLog(log, self._subject, "The watcher continues.")
        self._saves = FailureLog(log, f"{self._subject}, asset state store of Airflow", "It is tried again.")

    def on_opportunity(self, opportunity: dict[str, Any]) -> bool:
        """Compare an opportunity with its last known values."""
        uuid = opportunity.get("uuid")
        if not isinstance(uuid, str):
            return False
        row = self._read_row(opportunity)
        known = self._latest(uuid)
        if known is not None:
            if self._condition.is_unchanged(row, known):
                return False
        elif self.opportunity_uuids is not None or not self._store.is_new(uuid, opportunity.get("created_at")):
            self._store.note_baseline(opportunity.get("created_at"))
            self._keep(uuid, row)
            return False
        return self._on_difference(uuid, known, row, opportunity)

    def on_error(self, error: Exception, opportunity_uuid: str | None) -> bool:
        """Treat a confirmed 404 as a deletion; log other errors once."""
        if opportunity_uuid is not None and isinstance(error, ChartMogulNotFoundError):
            known = self._latest(opportunity_uuid)
            if known is not None:
                is_event = self._on_difference(opportunity_uuid, known, None, None)
                if is_event:
                    self._unknown.add(opportunity_uuid)  # the event is enough
                return is_event
            if opportunity_uuid not in self._unknown and opportunity_uuid in (self.opportunity_uuids or ()):
                self._unknown.add(opportunity_uuid)
                log.warning("%s: %s", self._subject, error)
            return False
        self._has_failed_in_round = True
        self._polls.on_failure(error)
        return False

    async def on_round_end(self, listed: AbstractSet[str] | None) -> Collection[str]:
        """Return the known opportunities that the list lacks."""
        self._round += 1
        is_complete = self.opportunity_uuids is not None or listed is not None
        if is_complete:
            # An empty list may be a fault that the next poll no longer meets.
            self._store.mark_baseline_complete((datetime.now(UTC) - _MOST_CLOCK_SKEW).isoformat())
            if not self._has_failed_in_round:
                self._polls.on_success()
        self._has_failed_in_round = False
        self._has_unsaved.set()
        return await self._missing_from(listed) if self.opportunity_uuids is None and listed is not None else ()

    def acknowledge(self, change: Change) -> None:
        """Record that the event of a change was yielded to Airflow."""
        self._handed_over.append((asyncio.get_running_loop().time(), change))
        self._has_unsaved.set()
        metrics.count("events", conn_id=self._conn_id, watcher=self.name)

    async def load(self) -> None:
        """Load the stored snapshot, retrying until that succeeds, since changes cannot be detected without it."""
        pause = _SECONDS_BETWEEN_LOADS
        while not await self._use_store(self._store.load(self._subject), "Polling begins once the snapshot is loaded."):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MOST_SECONDS_BETWEEN_TRIES)
        if self.opportunity_uuids is not None:
            for uuid in set(self._store) - set(self.opportunity_uuids):
                del self._store[uuid]

    async def keep_saved(self) -> None:
        """Save the snapshot after rounds and events, until cancelled. No event waits for it."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._has_unsaved.wait()
            self._has_unsaved.clear()
            if self._handed_over:
                await asyncio.sleep(_SECONDS_UNTIL_EVENT_IS_STORED)
                self._settle(clock() - _SECONDS_UNTIL_EVENT_IS_STORED)
                if self._handed_over:
                    self._has_unsaved.set()
            if not await self._use_store(self._store.save(), "Until it is saved, a restart repeats events."):
                self._has_unsaved.set()
                await asyncio.sleep(_MOST_SECONDS_BETWEEN_TRIES)

    def _on_difference(
        self, uuid: str, previous: Row | None, current: Row | None, opportunity: dict[str, Any] | None
    ) -> bool:
        if not self._condition.is_event(previous, current, opportunity):
            self._keep(uuid, current)
            return False
        change = Change(
            event=self._condition.event_of(previous, current),
            opportunity_uuid=uuid,
            customer_uuid=opportunity.get("customer_uuid") if opportunity else None,
            previous=previous,
            current=current,
            updated_at=opportunity.get("updated_at") if opportunity else None,
            observed_at=datetime.now(UTC).isoformat(),
            round=self._round,
        )
        self._unsettled.setdefault(uuid, deque()).append(current)
        self.changes.put_nowait(change)
        return True

    def _latest(self, uuid: str) -> Row | None:
        if self._unsettled and uuid in self._unsettled:
            return self._unsettled[uuid][-1]
        return self._store.get(uuid)

    def _keep(self, uuid: str, row: Row | None) -> None:
        """Store a row once the events before it are stored."""
        if uuid in self._unsettled:
            self._unsettled[uuid][-1] = row
        else:
            self._store_row(uuid, row)

    def _store_row(self, uuid: str, row: Row | None) -> None:
        if row is None:
            self._store.pop(uuid, None)
        else:
            self._store[uuid] = row

    def _settle(self, moment: float) -> None:
        while self._handed_over and self._handed_over[0][0] <= moment:
            uuid = self._handed_over.popleft()[1].opportunity_uuid
            rows = self._unsettled[uuid]
            # Not the latest row if another event is in flight: after a restart that change has to be detected again.
            self._store_row(uuid, rows.popleft())
            if not rows:
                del self._unsettled[uuid]

    async def _missing_from(self, listed: AbstractSet[str]) -> list[str]:
        unsettled = [uuid for uuid in self._unsettled if self._latest(uuid) is not None]
        missing = [uuid for uuid in unsettled if uuid not in listed and _can_be_retrieved(uuid)]
        for number, uuid in enumerate(self._store):
            if uuid not in listed and uuid not in self._unsettled and _can_be_retrieved(uuid):
                missing.append(uuid)
            if number % _COMPARISONS_IN_A_STEP == 0:
                await asyncio.sleep(0)
        return missing

    async def _use_store(self, work: Any, consequence: str) -> bool:
        message = "%s, asset state store of Airflow: not finished after %.0f s. %s"
        # A call in a thread cannot be cancelled, so one that hangs is reported instead of repeated.
        slow = asyncio.get_running_loop().call_later(
            _SECONDS_UNTIL_STORE_IS_SLOW, log.warning, message, self._subject, _SECONDS_UNTIL_STORE_IS_SLOW, consequence
        )
        try:
            await work
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
