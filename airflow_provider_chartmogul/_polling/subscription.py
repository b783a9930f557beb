"""The place of a wait or watcher in the polling engine."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_chartmogul._polling.subscriber import Subscriber
from airflow_provider_chartmogul.exceptions import ChartMogulError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from airflow_provider_chartmogul._polling.engine import Engine
    from airflow_provider_chartmogul._polling.single_polls import SinglePolls

log = logging.getLogger(__name__)


class Subscription:
    """A subscriber's place in the engine; a context manager."""

    def __init__(self, engine: Engine, subscriber: Subscriber, chartmogul_conn_id: str, interval: float) -> None:
        self.subscriber = subscriber
        self.chartmogul_conn_id = chartmogul_conn_id
        self.interval = interval
        self.opportunity_uuids = None if subscriber.opportunity_uuids is None else set(subscriber.opportunity_uuids)
        self.next_round_end = -math.inf
        self._engine = engine
        self._round_end: asyncio.Task[None] | None = None
        self._has_reported = False

    def __enter__(self) -> Self:
        self._engine.join(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.leave(self)
        if self._round_end:
            self._round_end.cancel()

    @property
    def has_rounds(self) -> bool:
        """Whether it polls chosen opportunities, and handles the ends of rounds."""
        handles = type(self.subscriber).on_round_end is not Subscriber.on_round_end
        return handles and self.opportunity_uuids is not None

    def discard(self, opportunity_uuid: str) -> None:
        """Stop polling one of the subscriber's opportunities."""
        if self.opportunity_uuids and opportunity_uuid in self.opportunity_uuids:
            self.opportunity_uuids.discard(opportunity_uuid)
            self._engine.discard(self, opportunity_uuid)

    def notify(self, opportunity: dict[str, Any]) -> bool:
        """Pass an opportunity on; return whether a task was woken."""
        try:
            return self.subscriber.on_opportunity(opportunity)
        except Exception as defect:  # noqa: BLE001  # of one subscriber, which must not end the others
            return self._report(defect)

    def notify_error(self, error: Exception, opportunity_uuid: str | None) -> bool:
        """Pass an error on; return whether a task was woken."""
        if isinstance(error, ChartMogulError) and error.conn_id is not None:
            # Connections with the same API key share requests; a reader looks for the connection of the DAG.
            error = naming(None if self.subscriber.is_watcher else self.chartmogul_conn_id, error)
        try:
            return self.subscriber.on_error(error, opportunity_uuid)
        except Exception as defect:  # noqa: BLE001  # likewise
            return self._report(defect)

    def end_round(self, listed: AbstractSet[str] | None, single_polls: SinglePolls) -> None:
        """Let the subscriber end a round, unless it is still busy with the one before."""

        async def end_round() -> None:
            try:
                missing = await self.subscriber.on_round_end(listed)
            except Exception as defect:  # noqa: BLE001  # likewise
                self._report(defect)
            else:
                if missing and listed is not None:
                    single_polls.search(self, missing, listed)

        if self._round_end is None or self._round_end.done():
            self._round_end = asyncio.create_task(end_round())

    def _report(self, defect: Exception) -> bool:
        if not self._has_reported:
            self._has_reported = True
            subject = f"{self.subscriber.name} on connection {self.chartmogul_conn_id}"
            log.error("Unexpected error in %s; it is not reported again.", subject, exc_info=defect)
        return False


def naming(conn_id: str | None, error: ChartMogulError) -> ChartMogulError:
    """Return a copy of an error that names this connection; None: none, for a log line that begins with it."""
    error = copy.copy(error)
    error.conn_id = conn_id
    return error
